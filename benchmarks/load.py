"""Seconds and memory of loading files of published models' shapes, with random weights.

`first token` are the seconds from opening the file to one token after a prompt of 16, beside
llama.cpp. `peak` and `kept` are what memory loading takes more than there was before, as a share of
the file. `sampling` is the peak of 64 answers of 32 tokens behind a prompt of 128, as a share of
file, keys and values. A tiny model is read first, so that compilers and libraries are there.
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
from peer import start_peers
from random_model import MIXES, SHAPES, write_model
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

tiny, path, activations = sys.argv[2:]
lm = load_endless(activations, tiny)
et.generate(lm, next(prompts(lm, 16)), n=64, max_tokens=2)
del lm
gc.collect()
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
start = time.perf_counter()
lm = load_endless(activations, path)
loaded, peak, kept = time.perf_counter() - start, memory("VmHWM"), memory("VmRSS")
texts = prompts(lm, 16)
et.generate(lm, next(texts), n=1, max_tokens=1)
first = time.perf_counter() - start
et.generate(lm, next(prompts(lm, 128)), n=64, max_tokens=32)
b = lm.config.backbone
cells = 2 * b.num_layers * b.num_kv_heads * b.head_dim * 4 * (128 + 64 * 32)
shares = [memory("VmHWM") - before, Path(path).stat().st_size + cells]
print(json.dumps([loaded, first, peak - before, kept - before, shares[0] / shares[1]]))
"""


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("loading", machine.versions(), {}, options.json, "s", note="memory on Linux")
    with tempfile.TemporaryDirectory() as folder:
        for shape in ("tiny",) if options.quick else SHAPES:
            for mix in MIXES:
                tiny = write_model(Path(folder, "tiny.gguf"), "tiny", mix)
                path = write_model(Path(folder, "model.gguf"), shape, mix)
                theirs = first_tokens(options, path)
                for activations in ("float32", "int8"):
                    runs = [load(tiny, path, activations) for _ in range(options.repeats)]
                    case = f"{shape} {mix}, {activations}"
                    report.add(case, {OURS: [first for _, first, *_ in runs], **theirs})
                    size = path.stat().st_size
                    [row] = [r for r in report.rows if (r["case"], r["subject"]) == (case, OURS)]
                    row |= {
                        "file": size / 1e6,
                        "loaded": min(loaded for loaded, *_ in runs),
                        "peak": max(run[2] for run in runs) / size,
                        "kept": max(run[3] for run in runs) / size,
                        "sampling": max(run[4] for run in runs),
                    }
    columns = {"": "case", " ": "subject", "MB": "file", "s, loaded": "loaded"}
    columns |= {"s, first token": "best", "ratio": "ratio"}
    report.show(columns | {"peak": "peak", "kept": "kept", "sampling": "sampling"})


def load(tiny: Path, path: Path, activations: str) -> list[float]:
    """What `LOAD` prints, run as a process of its own."""
    folder = str(Path(__file__).parent)
    command = [sys.executable, "-c", LOAD, folder, str(tiny), str(path), activations]
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
            peer("load", gguf=str(path), threads=options.threads, rows=1, prompt=64, new=1)
            peer("prefill", ids=list(range(16)))
            times.append(time.perf_counter() - start)
            peer.close()
    return {"llama.cpp": times} if times else {}


if __name__ == "__main__":
    main()
