"""Read, select and summarise a pool of a million candidates; prints seconds and memory.

python benchmarks/million.py                 # 1,000 problems of 1,000 candidates
python benchmarks/million.py 15625 64        # as many, in other groups
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from timing import peak_bytes

import edifice_tt as et
from edifice_tt.contract.registry import load_registry

LIMIT_S, LIMIT_MB = 60, 500


def synthetic(problems: int, candidates: int) -> Iterator[et.Pool]:
    """Answers of one digit, each with a text of 40 characters, a score, and whether it is right."""
    rng = np.random.default_rng(0)
    for problem in range(problems):
        answers = rng.integers(0, 10, candidates)
        scores = rng.random(candidates)
        made = tuple(
            et.Candidate(
                index,
                f"so the number that was asked for is {answer:4d}",
                finish_reason="eos",
                answer=str(answer),
                correct=bool(answer == problem % 10),
                num_tokens=12,
                seconds=0.5,
                scores={"judge": float(score)},
            )
            for index, (answer, score) in enumerate(zip(answers, scores, strict=True))
        )
        settings = {"model": "synthetic", "n": candidates, "seed": 0}
        gold = str(problem % 10)
        yield et.Pool("?", made, settings, f"p{problem}", gold, {"judge": "probability"})


def main(problems: int = 1000, candidates: int = 1000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.jsonl"
        started = time.perf_counter()
        et.write_pools(path, synthetic(problems, candidates))
        size = path.stat().st_size / 1e6
        print(f"written: {time.perf_counter() - started:.1f} s, {size:.0f} MB")

        selectors = load_registry().selectors
        best, vote = selectors["best_of_n"].function, selectors["majority"].function
        started = time.perf_counter()
        pools = et.read_pools(path)
        checked = time.perf_counter() - started
        totals = dict.fromkeys(("problems", "candidates", "right", "tokens", "best", "vote"), 0)
        for pool in pools:
            totals["problems"] += 1
            totals["candidates"] += len(pool)
            totals["right"] += sum(candidate.correct is True for candidate in pool)
            totals["tokens"] += sum(candidate.num_tokens for candidate in pool)
            totals["best"] += best(pool.candidates, scorer="judge").candidate.correct
            totals["vote"] += vote(pool.candidates).candidate.correct
        seconds, memory = time.perf_counter() - started, peak_bytes() / 1e6
    print(totals)
    print(f"read and checked: {checked:.1f} s; with selecting and summarising: {seconds:.1f} s")
    print(f"most memory: {memory:.0f} MB")
    assert totals["candidates"] == problems * candidates
    assert seconds < LIMIT_S, f"{seconds:.1f} s, the limit is {LIMIT_S}"
    assert memory < LIMIT_MB, f"{memory:.0f} MB, the limit is {LIMIT_MB}"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
