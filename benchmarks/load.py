"""Seconds and memory of loading files of published models' shapes, with random weights.

`first token` are the seconds from opening the file to one token after a prompt of 16, beside
llama.cpp. `peak` and `kept` are what memory loading takes more than there was before, as a share of
the file. `sampling` is the peak of N answers of 32 tokens behind a prompt of 128, as a share of
file, keys and values; `process` is the peak of all. A tiny model is read first, so that compilers
and libraries are there.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
from language_model import ACTIVATIONS
from peer import start_peers
from random_model import MIXES, SHAPES, USUAL, write_model
from timing import OURS, Report, arguments

LOAD = r"""
import gc, json, re, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from language_model import load_endless, prompts
import edifice_tt as et

def memory(kind):
    status = Path("/proc/self/status").read_text()
    return int(re.search(kind + r":\s+(\d+)", status)[1]) * 1024

tiny, path, activations, rows = *sys.argv[2:5], int(sys.argv[5])
lm = load_endless(activations, tiny)
et.generate(lm, next(prompts(lm, 16)), n=rows or 1, max_tokens=2)
del lm
gc.collect()
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
start = time.perf_counter()
lm = load_endless(activations, path)
loaded, peak, kept = time.perf_counter() - start, memory("VmHWM"), memory("VmRSS")
first = []
if rows:
    told = lambda _: first.append(time.perf_counter() - start)
    et.generate(lm, next(prompts(lm, 16)), n=1, max_tokens=1, on_token=told)
if rows:
    et.generate(lm, next(prompts(lm, 128)), n=rows, max_tokens=32)
b = lm.config.backbone
number = {"float16": 2, "float32": 4}[lm.kv_dtype]
cells = 2 * b.num_layers * b.num_kv_heads * b.head_dim * number * (128 + rows * 32)
shares = [memory("VmHWM") - before, Path(path).stat().st_size + cells]
first = first or [loaded]
print(json.dumps([loaded, *first, peak - before, kept - before, shares[0] / shares[1], peak]))
"""


def main() -> None:
    options = arguments(
        __doc__ or "",
        shapes={"nargs": "+", "choices": list(SHAPES), "help": "default: those of up to 1B"},
        mixes={"nargs": "+", "choices": MIXES, "default": MIXES, "help": "default: all"},
        rows={"type": int, "default": 64, "help": "answers; 0: only load (default 64)"},
        activations=ACTIVATIONS,
    )
    shapes = options.shapes or (["tiny"] if options.quick else ["tiny", *USUAL])
    report = Report("loading", machine.versions(), {}, options, "s", note="memory on Linux")
    with tempfile.TemporaryDirectory() as folder:
        for shape in shapes:
            for mix in options.mixes:
                tiny = write_model(Path(folder, "tiny.gguf"), "tiny", mix)
                path = write_model(Path(folder, "model.gguf"), shape, mix)
                theirs = first_tokens(options, path) if options.rows else {}
                for activations in options.activations:
                    runs = [
                        load(tiny, path, activations, options.rows) for _ in range(options.repeats)
                    ]
                    size = path.stat().st_size
                    known = {
                        "file": size / 1e6,
                        "loaded": min(loaded for loaded, *_ in runs),
                        "peak": max(run[2] for run in runs) / size,
                        "kept": max(run[3] for run in runs) / size,
                        "sampling": max(run[4] for run in runs),
                        "process": max(run[5] for run in runs) / 1e6,
                    }
                    firsts = {OURS: [first for _, first, *_ in runs], **theirs}
                    report.add(f"{shape} {mix}, {activations}", firsts, more={OURS: known})
    columns = {"": "case", " ": "subject", "MB": "file", "s, loaded": "loaded"}
    columns |= {"s, first token": "best", "ratio": "ratio"}
    columns |= {"peak": "peak", "kept": "kept", "sampling": "sampling"}
    report.show(columns | {"MB, process": "process"})


def load(tiny: Path, path: Path, activations: str, rows: int) -> list[float]:
    """What `LOAD` prints, run as a process of its own."""
    folder = str(Path(__file__).parent)
    words = [folder, str(tiny), str(path), activations, str(rows)]
    command = [sys.executable, "-c", LOAD, *words]
    env = os.environ | {"EDIFICE_TT_PLUGINS": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(done.stderr)
    return list(json.loads(done.stdout.splitlines()[-1]))


def first_tokens(options: Any, path: Path) -> dict[str, list[float]]:
    """The same of llama.cpp, where it is."""
    times: list[float] = []
    for _ in range(options.repeats):
        for peer in start_peers(options.peers, ["llama_cpp_lm"]).values():
            start = time.perf_counter()
            peer("load", file=str(path), threads=options.threads, rows=1, prompt=64, new=1)
            peer("prefill", ids=list(range(16)))
            times.append(time.perf_counter() - start)
            peer.close()
    return {"llama.cpp": times} if times else {}


if __name__ == "__main__":
    main()
