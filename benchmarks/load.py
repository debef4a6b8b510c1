"""Seconds and memory of loading files of published models' shapes, with random weights.

`peak` and `kept` are what memory the process takes more than before, as a share of the file.
A tiny model is loaded first, so that compilers and libraries are there.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
from random_model import MIXES, SHAPES, write_model
from timing import OURS, Report, arguments

LOAD = r"""
import gc, json, re, sys, time
from pathlib import Path
import edifice_tt as et

def memory(kind):
    status = Path("/proc/self/status").read_text()
    return int(re.search(kind + r":\s+(\d+)", status)[1]) * 1024

tiny, path, activations = sys.argv[1:]
et.load_pretrained(tiny, device="CPU", activations=activations)
gc.collect()
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
start = time.perf_counter()
lm = et.load_pretrained(path, device="CPU", activations=activations)
seconds = time.perf_counter() - start
print(json.dumps([seconds, memory("VmHWM") - before, memory("VmRSS") - before]))
"""


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("loading", machine.versions(), {}, options.json, "s", note="on Linux")
    with tempfile.TemporaryDirectory() as folder:
        for shape in ("tiny",) if options.quick else SHAPES:
            for mix in MIXES:
                tiny = write_model(Path(folder, "tiny.gguf"), "tiny", mix)
                path = write_model(Path(folder, "model.gguf"), shape, mix)
                for activations in ("float32", "int8"):
                    runs = [load(tiny, path, activations) for _ in range(options.repeats)]
                    case = f"{shape} {mix}, {activations}"
                    report.add(case, {OURS: [seconds for seconds, *_ in runs]})
                    size = path.stat().st_size
                    report.rows[-1] |= {
                        "file": size / 1e6,
                        "peak": max(peak for _, peak, _ in runs) / size,
                        "kept": max(kept for *_, kept in runs) / size,
                    }
    report.show(
        {"": "case", "s, best": "best", "MB": "file", "peak / file": "peak", "kept / file": "kept"}
    )


def load(tiny: Path, path: Path, activations: str) -> tuple[float, float, float]:
    """Seconds, and bytes at the peak and after it, of a process of its own."""
    command = [sys.executable, "-c", LOAD, str(tiny), str(path), activations]
    env = os.environ | {"EDIFICE_TT_PLUGINS": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, peak, kept = json.loads(done.stdout)
    return seconds, peak, kept


if __name__ == "__main__":
    main()
