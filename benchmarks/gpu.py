"""A step of decoding on a GPU: kernels of the library, which read blocks, beside tinygrad's code.

Both decode the same file; tinygrad's code reads its weights unpacked to float32. `cold` is the time
from a loaded model to its first step in a process that finds nothing compiled. Where OpenCL runs on
a processor (PoCL), the ratio tells that the kernels are no worse there, and no more.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import machine
import numpy as np
from language_model import model_file
from numpy.typing import NDArray
from random_model import MIXES, SHAPES, write_model
from timing import OURS, Report, arguments, take_turns
from tinygrad import Device
from tinygrad.helpers import GlobalCounters

import edifice_tt as et
from edifice_tt.engine.decoder import Decoder
from edifice_tt.machine.toolchain import open_device

THEIRS = "tinygrad, float32"
PROMPT, STEPS = 64, 8


class Steps:
    """One model that decodes N rows behind a prompt; a call makes some steps, and gives seconds."""

    def __init__(self, path: Path, device: str, dtype: str | None, rows: int, steps: int) -> None:
        self.device, self.steps = device, steps
        lm = et.load_pretrained(path, device=device, dtype=dtype)
        begun = time.perf_counter()
        self.decoder = Decoder(lambda: lm)
        self.decoder.read_prompt([7 * t % lm.config.vocab_size for t in range(PROMPT)])
        self.rows = range(rows)
        self.cache = self.decoder.cache_for(rows, steps)
        self.given = np.full((self.cache.batch, 1), 5, np.int32)
        self.step(0)
        self.first = time.perf_counter() - begun
        for _ in range(3):  # until it is captured
            self.logits = self.step(0)
        before = GlobalCounters.kernel_count
        self.step(0)
        self.kernels = GlobalCounters.kernel_count - before

    def step(self, position: int) -> NDArray[np.float32]:
        behind = self.cache.holding(position, self.decoder.prefix)
        logits = self.decoder.step(self.given, behind, self.rows)[1]
        Device[self.device].synchronize()
        return logits[: len(self.rows)].copy()

    def __call__(self) -> float:
        begun = time.perf_counter()
        for position in range(self.steps):
            self.step(position)
        return (time.perf_counter() - begun) / self.steps


def cold_seconds(path: Path, device: str, dtype: str | None, rows: int) -> float:
    """The time to a first step in a process of its own, where nothing is compiled yet."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"CACHEDB": f"{folder}/tinygrad.db", "POCL_CACHE_DIR": f"{folder}/pocl"}
        words = [sys.executable, __file__, "--cold", str(path), device, dtype or "", str(rows)]
        done = subprocess.run(words, env=os.environ | caches, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def print_cold(path: str, device: str, dtype: str, rows: str) -> None:
    """What `cold_seconds` reads."""
    print(Steps(Path(path), device, dtype or None, int(rows), STEPS).first)


def check_same(models: Mapping[str, Steps]) -> None:
    """End the program where the logits of a step differ by more than 1e-3 of the largest."""
    ours, theirs = (model.logits for model in models.values())
    if not np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max():
        raise SystemExit("the logits of a step differ")


def main() -> None:
    if sys.argv[1:2] == ["--cold"]:
        print_cold(*sys.argv[2:])
        return
    options = arguments(
        __doc__ or "",
        device={"help": "tinygrad device (default: the first that opens)"},
        shape={"choices": sorted(SHAPES), "help": "random weights (default: SmolLM2-135M)"},
        mix={"choices": MIXES, "default": "Q4_K_M", "help": "of random weights"},
        rows={"type": int, "nargs": "+", "default": [1, 16], "help": "candidates"},
    )
    device = open_device(options.device)
    shape = options.shape or ("tiny" if options.quick else None)
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name, "m.gguf")
    path = write_model(path, shape, options.mix) if shape else Path(model_file())
    name = f"{shape} {options.mix}" if shape else "SmolLM2-135M"
    report = Report(
        f"a step of decoding on {device}, {name}, behind a prompt of {PROMPT} tokens",
        machine.versions(),
        {},
        options.json,
    )
    for rows in options.rows:
        steps = 2 if options.quick else STEPS
        ways = {OURS: None, THEIRS: "float32"}
        colds = [cold_seconds(path, device, dtype, rows) for dtype in ways.values()]
        models = {way: Steps(path, device, dtype, rows, steps) for way, dtype in ways.items()}
        check_same(models)
        report.add(f"N = {rows}", take_turns(models, options.repeats, warm_up=1))
        added = report.rows[-len(models) :]
        for row, model, cold in zip(added, models.values(), colds, strict=True):
            row |= {"kernels": float(model.kernels), "cold": cold}
    report.show(
        {
            "": "case",
            " ": "subject",
            "ms, best": "best",
            "median": "median",
            "ratio, best": "ratio",
            "kernels": "kernels",
            "s, cold": "cold",
        }
    )


if __name__ == "__main__":
    main()
