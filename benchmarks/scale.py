"""What many problems cost a driver: bytes, seconds and memory of its file, and of each call.

Nothing here loads a model. Each size is measured in a process of its own. Seconds are those of the
processor, but for runs with fake workers, so that a busy machine changes them little.

python benchmarks/scale.py                               # the file, and what the driver holds
python benchmarks/scale.py --executor processes          # calls of fake workers that sleep
python benchmarks/scale.py --executor ray --workers 1000 # as many in 20 actors, on a new Ray
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from timing import peak_bytes

import edifice_tt as et
from edifice_tt.sampling.prompts import TokenizedProblem
from edifice_tt.workers.chunks import chunks
from edifice_tt.workers.driving import drive
from edifice_tt.workers.items import Item, Items

N, TOKENS, PROMPT, LETTERS = 64, 128, 100, 400  # candidates, tokens of each, of a prompt, letters
SETTINGS = {"model": "synthetic", "fingerprint": "none", "n": N, "seed": 0}
ACTORS = 20  # that share the fake workers of Ray


def problems(count: int) -> list[TokenizedProblem]:
    """Problems as a driver holds them: their texts, and 100 tokens of each."""
    ids = range(PROMPT)
    return [
        TokenizedProblem(f"p{i}", "42", f"{i} " + "x" * LETTERS, array("i", ids), False)
        for i in range(count)
    ]


def candidates(rng: np.random.Generator, count: int) -> tuple[et.Candidate, ...]:
    """Answers of 128 tokens with a log-probability each, and a text of 400 letters."""
    text = "so the number is 42. " * (LETTERS // 21)
    tokens = rng.integers(0, 50_000, (count, TOKENS)).tolist()
    logprobs = (-rng.random((count, TOKENS))).tolist()
    return tuple(
        et.Candidate(i, text, tuple(tokens[i]), tuple(logprobs[i]), "eos", seconds=0.5)
        for i in range(count)
    )


def measure_file(count: int, folder: Path) -> dict[str, float]:
    """Write the file of so many problems, a candidate at a time, but for the last problem."""
    path, rng = folder / "pool.jsonl", np.random.default_rng(0)
    made, held = problems(count), [one.empty_pool() for one in problems(count)]
    some = candidates(rng, N)
    with et.fill_pool(path, held, SETTINGS) as filling:
        begun = time.process_time()
        for one in made[:-1]:
            for candidate in some:
                filling.add(et.Pool(one.text, (candidate,), problem=one.problem, gold="42"))
        written = time.process_time() - begun
    return {"bytes": path.stat().st_size, "written": written}


def measure_resume(count: int, folder: Path) -> dict[str, float]:
    """Open the file again: the scan that finds what is missing."""
    held = [one.empty_pool() for one in problems(count)]
    before, begun = peak_bytes(), time.process_time()
    with et.fill_pool(folder / "pool.jsonl", held, SETTINGS, resume=True) as filling:
        scanned = time.process_time() - begun
        assert filling.num_missing == N
    return {"scanned": scanned, "memory": peak_bytes() - before}


def measure_driver(count: int, folder: Path) -> dict[str, float]:
    """What a driver holds of so many problems, of which nothing is sampled, and hands out."""
    before = peak_bytes()
    held = problems(count)
    after = peak_bytes()
    with et.fill_pool(folder / "none.jsonl", [one.empty_pool() for one in held], SETTINGS) as f:
        missing = [(one, indices) for one, (_, indices) in zip(held, f.missing, strict=True)]
        begun, items = time.process_time(), Items(chunks(missing), {}, print)
        taken = 0
        while (one := items.take()) is not None:
            items.done(one[0])
            taken += 1
        seconds = time.process_time() - begun
    memory = peak_bytes()
    return {"texts": after - before, "in all": memory - before, "chunks": taken, "taking": seconds}


MEASURES: dict[str, Callable[[int, Path], dict[str, float]]] = {
    "file": measure_file,
    "resume": measure_resume,
    "driver": measure_driver,
}


def apart(measure: str, count: int, folder: str) -> dict[str, float]:
    """Measure in a process of its own, so that its memory is its own."""
    command = [sys.executable, __file__, "--measure", measure, str(count), folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def begin_sleeping(seconds: float) -> Callable[..., None]:
    """A fake worker: it sleeps as long as a model would work, and gives 16 candidates."""
    made = candidates(np.random.default_rng(0), 16)

    def do(_: Any, give: Callable[[Any], None]) -> None:
        time.sleep(seconds)
        for one in made:
            give(one)

    return do


def on_ray(workers: int) -> Any:
    """An executor of Ray with many fake workers in few processes, on a Ray begun for this."""
    import ray
    from edifice_tt_ray.executor import Actor, Ray, _Hand

    class Shared(Ray):
        """Each actor is many workers at once, for they only sleep."""

        def __enter__(self) -> Any:
            each = -(-workers // ACTORS)
            remote = ray.remote(Actor).options(num_cpus=1, max_concurrency=each)
            self._actors = itertools.cycle([remote.remote() for _ in range(ACTORS)])
            return super().__enter__()

        def _hire(self, start: Any, calls: dict[Any, Any]) -> None:
            hand = _Hand(next(self._actors))
            self._hands.add(hand)
            calls[hand.actor.ping.remote()] = calls[hand.actor.begin.remote(start)] = hand

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    address = ray.get_runtime_context().gcs_address
    return Shared(address, workers, 1, 0)


def executor_of(name: str, workers: int) -> Any:
    if name == "ray":
        return on_ray(workers)
    from edifice_tt.workers.processes import Processes

    return Processes(workers, None)


def measure_calls(name: str, workers: int, seconds: float, each: int) -> dict[str, float]:
    """A run of chunks: its seconds, those asleep, and the driver's processor seconds a chunk."""
    items: Iterator[Item] = (Item(f"p{i}", None) for i in range(workers * (each + 1)))
    with executor_of(name, workers) as executor:
        begin = import_module("scale").begin_sleeping  # by a name that a worker can import
        results = drive(executor, partial(begin, seconds), items, {}, print)
        for _ in range(16 * workers):  # all have begun by then
            next(results)
        begun, work = time.perf_counter(), time.process_time()
        count = sum(1 for _ in results)
        took, work = time.perf_counter() - begun, time.process_time() - work
    count //= 16
    asleep = count / workers * seconds
    return {"chunks": count, "seconds": took, "asleep": asleep, "processor per chunk": work / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--executor", help="measure calls: processes or ray")
    parser.add_argument("--workers", type=int, default=2, help="fake workers (default: 2)")
    parser.add_argument("--sleep", type=float, default=1.0, help="seconds a chunk (default: 1)")
    parser.add_argument("--each", type=int, default=10, help="chunks per worker (default: 10)")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure, count, folder = given.measure
        print(json.dumps(MEASURES[measure](int(count), Path(folder))))
        return
    rows: list[dict[str, Any]] = []
    if not given.executor:
        for count in (10, 20) if given.quick else (125, 250, 500, 1000):
            with tempfile.TemporaryDirectory() as folder:
                found = apart("file", count, folder) | apart("resume", count, folder)
            rows.append({"case": f"file of {count} problems x {N}", **found})
        for count in (10, 20) if given.quick else (25_000, 50_000, 100_000):
            with tempfile.TemporaryDirectory() as folder:
                found = apart("driver", count, folder)
            rows.append({"case": f"driver of {count} problems x {N}", **found})
    if given.executor:
        found = measure_calls(
            given.executor, given.workers, given.sleep, 1 if given.quick else given.each
        )
        rows.append({"case": f"{given.workers} workers by {given.executor}", **found})
    if given.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        values = (f"{name} {value:,.4g}" for name, value in row.items() if name != "case")
        print(f"{row['case']}: {', '.join(values)}")


if __name__ == "__main__":
    main()
