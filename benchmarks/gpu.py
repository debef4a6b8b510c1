"""A step of decoding on a GPU: kernels of the library, which read blocks, beside tinygrad's code.

Both decode the same file; tinygrad's code reads its weights unpacked to float32. A step tells the
host all logits, or what was drawn where the device draws: the bytes of both are counted. `cold` is
the time from a loaded model to its first step in a process that finds nothing compiled. Where
OpenCL runs on a processor (PoCL), the ratio tells that the kernels are no worse there, and no more.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import machine
import numpy as np
from formats import PEER_DEVICE
from language_model import file_of, reached
from numpy.typing import NDArray
from peer import start_peers
from random_model import MIXES, SHAPES
from timing import OURS, Report, arguments, take_turns
from tinygrad import Device, Tensor
from tinygrad.helpers import GlobalCounters

import edifice_tt as et
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.draws import asked_of, draw
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.gpu.bridge import dialect_of, has_matrices
from edifice_tt.nn.gpu.table import product_for
from edifice_tt.sampling.draws import Sampler

THEIRS = "tinygrad, float32"
PROMPT, STEPS = 64, 8


class Steps:
    """One model that decodes N rows behind a prompt; a call makes some steps, and gives seconds."""

    def __init__(self, lm: Any, rows: int, steps: int) -> None:
        self.lm, self.steps = lm, steps
        begun = time.perf_counter()
        self.decoder = Decoder(lambda: lm)
        self.decoder.read_prompt(prompt(lm))
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
        self.told, self.told_drawn = bytes_told(lambda: self.step(0)), bytes_told(self.draw)

    def step(self, position: int) -> NDArray[np.float32]:
        behind = self.cache.holding(position, self.decoder.prefix)
        logits = self.decoder.step(self.given, behind, self.rows)[1]
        Device[self.lm.device].synchronize()
        return logits[: len(self.rows)].copy()

    def draw(self) -> None:
        """A step of which the device draws the tokens, if it does; else logits cross again."""
        behind = self.cache.holding(0, self.decoder.prefix)
        asked = asked_of(self.decoder, Sampler().ask, dict(enumerate(self.rows)), 1)
        draw(self.decoder, self.given, behind, asked)

    def __call__(self) -> float:
        begun = time.perf_counter()
        for position in range(self.steps):
            self.step(position)
        return (time.perf_counter() - begun) / self.steps


def bytes_told(call: Callable[[], object]) -> int:
    """The bytes that cross from a device to the host in a call."""
    crossed = []

    def counted(tensor: Tensor) -> Any:
        crossed.append(array := read(tensor))
        return array

    read, Tensor.numpy = Tensor.numpy, counted  # type: ignore[method-assign]
    try:
        call()
    finally:
        Tensor.numpy = read  # type: ignore[method-assign]
    return sum(array.nbytes for array in crossed)


def way_of(device: str, rows: int) -> str:
    """The room of `nn/gpu` that multiplies so many rows there, as `table.Way` has it."""
    dialect = dialect_of(device)
    return product_for(dialect, rows, has_matrices(device)).room if dialect else ""


def prompt(lm: Any) -> list[int]:
    return [7 * t % lm.config.vocab_size for t in range(PROMPT)]


def cold_seconds(path: Path, device: str, dtype: str | None, rows: int) -> float:
    """The time to a first step in a process of its own, where nothing is compiled yet."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {
            "CACHEDB": f"{folder}/tinygrad.db",
            "POCL_CACHE_DIR": f"{folder}/pocl",
            "CUDA_CACHE_PATH": f"{folder}/cuda",
        }
        words = [sys.executable, __file__, "--cold", str(path), device, dtype or "", str(rows)]
        done = subprocess.run(words, env=os.environ | caches, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def print_cold(path: str, device: str, dtype: str, rows: str) -> None:
    """What `cold_seconds` reads."""
    lm = et.load_pretrained(path, device=device, dtype=dtype or None)
    print(Steps(lm, int(rows), STEPS).first)


def check_same(models: Mapping[str, Steps]) -> None:
    """End the program where the logits of a step differ by more than 1e-3 of the largest."""
    ours, *others = (model.logits for model in models.values())
    for theirs in others:
        if not np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max():
            raise SystemExit("the logits of a step differ")


def sizes_of(lm: Any) -> dict[str, int]:
    """A Llama's sizes, as transformers calls them."""
    of = lm.config.backbone
    return {
        "vocab_size": lm.config.vocab_size,
        "hidden_size": of.hidden_size,
        "num_hidden_layers": of.num_layers,
        "num_attention_heads": of.num_heads,
        "num_key_value_heads": of.num_kv_heads,
        "head_dim": of.head_dim,
        "intermediate_size": of.ffn_size,
    }


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
        cold={"type": int, "nargs": "*", "help": "of these rows (default: of all)"},
        alone={"action": "store_true", "help": "without tinygrad's code, whose weights are large"},
        peer_device=PEER_DEVICE | {"choices": ["cuda", "none"], "default": "none"},
    )
    device = open_device(options.device)
    shape = options.shape or ("tiny" if options.quick else None)
    name = f"{shape} {options.mix}" if shape else "SmolLM2-135M"
    with file_of(shape, options.mix) as path:
        measure(options, device, Path(path), name, has_random_weights=shape is not None)


def measure(options: Any, device: str, path: Path, name: str, has_random_weights: bool) -> None:
    limits = machine.limits_of(device, options)
    report = Report(
        f"a step of decoding on {device}, {name}, behind a prompt of {PROMPT} tokens",
        machine.versions(),
        limits,
        options,
    )
    dtypes = {OURS: None} | ({} if options.alone else {THEIRS: "float32"})
    begun = time.perf_counter()
    lms = {way: et.load_pretrained(path, device=device, dtype=d) for way, d in dtypes.items()}
    loaded = time.perf_counter() - begun
    modules = ["transformers_lm"] if options.peer_device == "cuda" else []
    peers = start_peers(options.peers, modules)
    on: dict[str, Any] = {"device": "cuda", "dtype": "float16"}
    if has_random_weights:
        on["sizes"] = sizes_of(lms[OURS])
    fastest = machine.memory_limit(limits)
    for rows in options.rows:
        steps = 2 if options.quick else STEPS
        models = {way: Steps(lm, rows, steps) for way, lm in lms.items()}
        check_same(models)
        subjects: dict[str, Any] = dict(models)
        for peer in peers.values():
            size = {"threads": options.threads, "rows": rows, "prompt": PROMPT, "new": steps}
            peer("load", file=str(path), **size, **on)
            report.versions |= peer.versions
            subjects["transformers float16"] = their_steps(peer, prompt(lms[OURS]), rows, steps)
        times = take_turns(subjects, options.repeats, warm_up=1)
        more: dict[str, dict[str, Any]] = {}
        for way, model in models.items():
            more[way] = {"kernels": float(model.kernels), "loaded": loaded}
            more[way] |= {"told": model.told / 1e3, "drawn": model.told_drawn / 1e3}
            more[way] |= (speed := reached(lms[way], min(times[way]), 1, rows))
            if way == OURS:
                more[way]["products"] = way_of(device, models[way].cache.batch)
            if fastest:
                more[way]["share"] = 100 * speed["GB/s"] / fastest
            if options.cold is None or rows in options.cold:
                more[way]["cold"] = cold_seconds(path, device, dtypes[way], rows)
        report.add(f"N = {rows}", times, more=more)
    report.show(
        {
            "": "case",
            " ": "subject",
            "ms, best": "best",
            "median": "median",
            "ratio, best": "ratio",
            "GB/s": "GB/s",
            "% of memory": "share",
            "TFLOPS": "TFLOPS",
            "kernels": "kernels",
            "KB to the host": "told",
            "KB, drawn": "drawn",
            "products": "products",
            "s, cold": "cold",
        }
    )


def their_steps(peer: Any, ids: list[int], rows: int, steps: int) -> Any:
    return lambda: peer("decode", ids=ids, rows=rows, steps=steps) / steps


if __name__ == "__main__":
    main()
