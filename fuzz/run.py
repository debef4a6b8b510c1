"""Fuzz the targets that are named, or all: `python fuzz/run.py NAME ... --seconds 600`.

Each target runs in a process of its own, with atheris where that is installed, else with changes
drawn at random. A finding is an exception that is not ours, 10 seconds, or a gigabyte; each kind is
written to the folder of findings once. The exit status is 1 if there is any.
"""

import argparse
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

HANG, MEMORY = 10, 1_000_000_000  # seconds of the CPU, bytes
GRACE = 300  # seconds for the start and the end


class Slow(BaseException):
    """An input took `HANG` seconds of the CPU."""


def _alarm(*_: object) -> None:
    raise Slow


def instrument() -> bool:
    """Have atheris follow which lines run, from before they are imported; False without it."""
    try:
        import atheris
    except ImportError:
        return False
    with atheris.instrument_imports(include=["edifice_tt", "edifice_tt_math"]):
        import targets  # noqa: F401

        import edifice_tt as et

        for public in et.__all__:  # each is imported when it is first asked for
            getattr(et, public)
    return True


def fuzz(name: str, options: argparse.Namespace) -> None:
    """Fuzz one target in this process."""
    warnings.simplefilter("ignore")
    guided = not options.plain and instrument()
    import targets as rooms

    with TemporaryDirectory() as home:
        target = rooms.targets(Path(home))[name]
        seeds = list(target.seeds())
        folder = Path(home, "input")
        call = _caller(name, target.run, folder, options.findings)
        for one in seeds:  # what is compiled once is no input's doing
            call(one)
        _limit_memory()
        if guided:
            _with_atheris(call, seeds, options, Path(home))
        else:
            _with_changes(name, call, seeds, options)


def _caller(
    name: str, run: Callable[[bytes, Path], object], folder: Path, findings: Path
) -> Callable[[bytes], None]:
    from edifice_tt.contract.errors import EdificeError

    findings.mkdir(parents=True, exist_ok=True)
    last, kinds = findings / f"{name}.last", set()
    signal.signal(signal.SIGPROF, _alarm)

    def call(given: bytes) -> None:
        last.write_bytes(given)  # what a process that dies cannot tell
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        signal.setitimer(signal.ITIMER_PROF, HANG)
        try:
            run(given, folder)
        except (EdificeError, ValueError):
            pass
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            signal.setitimer(signal.ITIMER_PROF, 0)
            where = traceback.extract_tb(error.__traceback__)[-1]
            if (kind := (type(error), where.filename, where.lineno)) not in kinds:
                kinds.add(kind)
                _write(findings, name, given, "".join(traceback.format_exception(error)))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    return call


def _write(findings: Path, name: str, given: bytes, what: str) -> None:
    path = findings / f"{name}-{hashlib.sha256(given).hexdigest()[:10]}"
    path.with_suffix(".bin").write_bytes(given)
    path.with_suffix(".txt").write_text(what)
    print(f"{name}: finding {path}.bin\n{what}", flush=True)


def _limit_memory() -> None:
    if not (statm := Path("/proc/self/statm")).exists():  # only Linux tells, and keeps the limit
        return
    pages = int(statm.read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _with_changes(
    name: str, call: Callable[[bytes], None], seeds: list[bytes], options: argparse.Namespace
) -> None:
    from mutate import mutate

    draw, until, count = random.Random(options.seed), time.monotonic() + options.seconds, 0
    while time.monotonic() < until and count != options.inputs:
        call(mutate(draw.choice(seeds), seeds, draw))
        count += 1
    print(f"{name}: {count} inputs, without atheris, seed {options.seed}", flush=True)


def _with_atheris(
    call: Callable[[bytes], None], seeds: list[bytes], asked: argparse.Namespace, home: Path
) -> None:
    import atheris
    from mutate import mutate

    corpus = home / "corpus"
    corpus.mkdir()
    for place, one in enumerate(seeds):
        (corpus / str(place)).write_bytes(one)

    def change(given: bytes, most: int, number: int) -> bytes:
        if number % 2:
            return atheris.Mutate(given, most)
        return mutate(given, seeds, random.Random(number))[:most]

    options = [f"-max_total_time={asked.seconds}", f"-seed={asked.seed}"]
    options += [f"-timeout={asked.seconds + GRACE}"]  # of the clock; with 0, one second ends it
    options += [f"-runs={asked.inputs or -1}"]
    options += ["-rss_limit_mb=0", "-malloc_limit_mb=0", "-verbosity=0", "-print_final_stats=1"]
    options += [f"-max_len={max(4096, 2 * max(map(len, seeds)))}", str(corpus)]
    atheris.Setup([sys.argv[0], *options], call, custom_mutator=change)
    atheris.Fuzz()


def start(name: str, options: argparse.Namespace) -> bool:
    """Fuzz one target in a process of its own; whether it came to its end without a finding."""
    command = [sys.executable, __file__, name, "--here", "--findings", str(options.findings)]
    command += ["--seconds", str(options.seconds), "--seed", str(options.seed)]
    command += ["--inputs", str(options.inputs)]
    command += ["--plain"] if options.plain else []
    log = options.findings / f"{name}.log"
    with log.open("w") as file, TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            env={"EDIFICE_TT_PLUGINS": "", "PYTHONHASHSEED": "0", **os.environ, "TMPDIR": folder},
        )
        try:
            status = process.wait(options.seconds + GRACE)
        except subprocess.TimeoutExpired:  # in C, where no alarm is heard
            process.kill()
            status = process.wait()
    last = options.findings / f"{name}.last"
    if status:
        given = last.read_bytes() if last.exists() else b""  # it ended before the first
        end = log.read_text(errors="replace")[-4000:]
        what = f"the process ended with {status}; the end of {log}:\n{end}"
        _write(options.findings, name, given, what)
    last.unlink(missing_ok=True)
    found = sorted(options.findings.glob(f"{name}-??????????.txt"))
    print(f"{name}: {len(found)} findings{f', see {log}' if found else ''}", flush=True)
    for one in found:
        print(f"{one.with_suffix('.bin').read_bytes()[:2000]!r}\n{one.read_text()}", flush=True)
    return not found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--seconds", type=int, default=20, help="for each target (default: 20)")
    parser.add_argument("--inputs", type=int, default=0, help="end after so many, too")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    parser.add_argument("--jobs", type=int, default=1, help="targets at once (default: 1)")
    parser.add_argument("--findings", type=Path, default=HERE / "findings")
    parser.add_argument("--plain", action="store_true", help="without atheris, though it is there")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="give NAME this input, alone")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        fuzz(options.names[0], options)
        return 0
    from targets import targets

    with TemporaryDirectory() as home:
        known = targets(Path(home))
        if unknown := set(options.names) - known.keys():
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        if options.replay:
            folder = Path(home, "input")
            folder.mkdir()
            print(known[options.names[0]].run(options.replay.read_bytes(), folder))
            return 0
    options.findings.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        fine = list(pool.map(lambda name: start(name, options), options.names or known))
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
