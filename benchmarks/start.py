"""Seconds of whole processes, from nothing compiled (cold) and after that (warm).

Cold is an empty compile cache; Python's own compiled modules and the model's file are there in
both. The ratio is to a Python that only imports pluggy, the lightest of the dependencies.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import machine
from timing import Report, Subject, arguments, take_turns

from edifice_tt.weights import catalog

SCORE = """
import edifice_tt as et
from tinygrad import Tensor
model = et.build("test_time_compute", embed_dim=256, seed=0)
print(model(Tensor.ones(1, 60, 256)).scores.numpy().mean())
"""
BEST_OF = ("best-of", "What is the capital of France?", "-n", "16", "--max-tokens", "64")


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report(
        "whole processes",
        machine.versions(),
        machine.limits(options.peers),
        options,
        "s",
        note="ratio: seconds / those of a warm `import pluggy`; smaller is better",
    )
    catalog.pull("smollm2-135m")
    python = (sys.executable, "-c")
    tool = (sys.executable, "-m", "edifice_tt")
    light = {
        "import pluggy": (*python, "import pluggy"),
        "import edifice_tt": (*python, "import edifice_tt"),
        "import tinygrad": (*python, "import tinygrad"),
        "edifice-tt list": (*tool, "list"),
    }
    heavy = {"first score at defaults": (*python, SCORE), "best-of -n 16": (*tool, *BEST_OF)}
    with tempfile.TemporaryDirectory() as folder:
        warm = {
            name: partial(run, command, environment(Path(folder, "warm")))
            for name, command in (light | heavy).items()
        }
        cold: dict[str, Subject] = {
            name: partial(run_cold, command) for name, command in heavy.items()
        }
        warm_s = take_turns(warm, options.repeats, warm_up=1)
        cold_s = take_turns(cold, min(options.repeats, 3), warm_up=0)
    for name, times in warm_s.items():
        both = {"warm": times} | ({"cold": cold_s[name]} if name in cold_s else {})
        report.add(name, both, base=warm_s["import pluggy"])
    report.show()


def environment(cache: Path) -> dict[str, str]:
    """The environment in which tinygrad keeps what it compiles in that folder."""
    cache.mkdir(exist_ok=True)
    moved = {"CACHEDB": str(cache / "cache.db"), "XDG_CACHE_HOME": str(cache)}
    # The models stay where they are, or one would be downloaded.
    return {**os.environ, **moved, "EDIFICE_TT_HOME": str(catalog.cache_folder())}


def run(command: tuple[str, ...], env: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def run_cold(command: tuple[str, ...]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return run(command, environment(Path(folder)))


if __name__ == "__main__":
    main()
