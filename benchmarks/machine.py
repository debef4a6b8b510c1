"""What this machine can do at most: matrix products and memory traffic, on one core and on all.

Every other script prints these beside its times. With `--device` it is a GPU's: as its driver says,
and as a copy and a product reach. The product is torch's, where the peers have it.
"""

import ctypes
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import record
from peer import Peer, start_peers
from timing import arguments, cores
from tinygrad import Device, Tensor, TinyJit

import edifice_tt
from edifice_tt.machine.toolchain import is_processor, open_device

SIDE = 2048
MEGABYTES = 512


def limits(pythons: Iterable[str], repeats: int = 5) -> dict[str, float]:
    """GFLOPS of sgemm and GB/s of reading and copying: the best of some tries, by name.

    Of NumPy here and torch in `pythons`, whichever multiplies faster stands for the machine.
    """
    found: dict[str, float] = {}
    for threads in sorted({1, cores()}):
        on = f"{threads} core{'s' if threads > 1 else ''}"
        names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
        fixed = {name: str(threads) for name in names}
        square = dict.fromkeys(("rows", "columns", "depth"), SIDE)
        for library in dict.fromkeys((sys.executable, *pythons)):
            for blas in start_peers([library], ["blas"], **fixed).values():
                tries = [blas("sgemm", **square, calls=1, threads=threads) for _ in range(repeats)]
                name = f"sgemm GFLOPS on {on}"
                found[name] = max(found.get(name, 0), 2e-9 * SIDE**3 / min(tries))
                blas.close()
        memory = Peer(sys.executable, "blas", OPENBLAS_NUM_THREADS="1")
        for way in ("read", "copy"):
            tries = [memory(way, megabytes=MEGABYTES, threads=threads) for _ in range(repeats)]
            found[f"{way} GB/s on {on}"] = MEGABYTES / 1e3 / min(tries)
        memory.close()
    return found


def limits_of(device: str, options: Any) -> dict[str, float]:
    """Those of a device; where this script is part of a run that has them, as it has them."""
    held = record.read(Path(options.keep[0])) if options.keep else {}
    known: dict[str, float] | None = held.get("limits", {}).get("limits")
    return known or device_limits(device, options.peers, options.repeats)


def device_limits(device: str, pythons: Iterable[str], repeats: int) -> dict[str, float]:
    """GB/s and TFLOPS of a GPU; of an OpenCL device that is the processor, the processor's."""
    kind = device.split(":")[0]
    if kind == "CPU" or (kind == "CL" and is_processor(Device[device])):
        return limits(pythons, repeats)
    copied = min(_copy_seconds(device) for _ in range(repeats))
    found = {"copy GB/s": 2 * MEGABYTES / 1e3 / copied}
    if kind in ("CUDA", "NV"):
        with suppress(Exception):  # a driver may raise anything; then it does not tell
            found |= _told_by_cuda()
        for torch in start_peers(pythons, ["blas"]).values():
            if torch.versions["sgemm"].startswith("torch"):
                size = dict.fromkeys(("rows", "columns", "depth"), 2 * SIDE)
                for dtype in ("float16", "float32"):
                    on = {"device": "cuda", "dtype": dtype, "threads": 1}
                    took = min(torch("sgemm", **size, **on, calls=8) for _ in range(repeats))
                    found[f"torch {dtype} TFLOPS"] = 2e-12 * (2 * SIDE) ** 3 / took
            torch.close()
    return found


def memory_limit(found: dict[str, float]) -> float | None:
    """The GB/s that a share is told of: the driver's, else the most that was measured."""
    rates = {name: rate for name, rate in found.items() if "GB/s" in name}
    return rates.get(BY_CLOCK) or max(rates.values(), default=None)


def _copy_seconds(device: str) -> float:
    """Seconds to read and write the megabytes once each."""
    if device not in _copies:
        add = TinyJit(lambda x: (x + 1).realize())
        _copies[device] = add, Tensor.ones(MEGABYTES * 250_000, device=device).contiguous()
        for _ in range(3):  # until it is captured
            add(_copies[device][1].realize())
    add, given = _copies[device]
    Device[device].synchronize()
    start = time.perf_counter()
    add(given)
    Device[device].synchronize()
    return time.perf_counter() - start


_copies: dict[str, tuple[TinyJit, Tensor]] = {}
BY_CLOCK = "memory GB/s by its clock"
# A multiprocessor's float32 sums and products each cycle, by compute capability; elsewhere 128.
_FLOAT32 = {(7, 0): 64, (7, 5): 64, (8, 0): 64}


def _told_by_cuda() -> dict[str, float]:
    """What the driver says of the first GPU: what its clocks allow."""
    from tinygrad.runtime.autogen import cuda

    def told(name: str) -> int:
        value, what = ctypes.c_int(), getattr(cuda, f"CU_DEVICE_ATTRIBUTE_{name}")
        if cuda.cuDeviceGetAttribute(ctypes.byref(value), what, 0):
            raise OSError(f"the driver does not tell {name}")
        return value.value

    cuda.cuInit(0)
    capability = told("COMPUTE_CAPABILITY_MAJOR"), told("COMPUTE_CAPABILITY_MINOR")
    each_cycle = 2 * told("MULTIPROCESSOR_COUNT") * _FLOAT32.get(capability, 128)
    return {
        # Two transfers a cycle; clocks are in kHz, the bus in bits.
        BY_CLOCK: 2 * told("MEMORY_CLOCK_RATE") * told("GLOBAL_MEMORY_BUS_WIDTH") / 8e6,
        "float32 TFLOPS by its clock": each_cycle * told("CLOCK_RATE") / 1e9,
    }


def versions() -> dict[str, str]:
    """What is measured, and the load that others make at the moment."""
    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "Python": platform.python_version(),
        "edifice_tt": f"{edifice_tt.__version__}{_commit()}",
        "tinygrad": version("tinygrad"),
        "load average": load,
    }


def _commit() -> str:
    """The last commit of the library that was imported, and whether it was changed since."""
    git = ("git", "-C", str(Path(edifice_tt.__file__).parent))
    with suppress(OSError, subprocess.CalledProcessError):
        last, changed = (
            subprocess.run([*git, *command, "--", "."], capture_output=True, text=True, check=True)
            for command in (("log", "-1", "--format=%h"), ("status", "--porcelain"))
        )
        if last.stdout:
            return f" ({last.stdout.strip()}{', changed' if changed.stdout else ''})"
    return ""  # a release, or somebody else's repository


def main() -> None:
    options = arguments(__doc__ or "", device={"help": "tinygrad device (default: the processor)"})
    if options.device:
        found = device_limits(open_device(options.device), options.peers, options.repeats)
    else:
        found = limits(options.peers, options.repeats)
    if options.keep:
        record.keep(Path(options.keep[0]), options.keep[1], {"limits": found})
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"{name:<24} {value:8.1f}")


if __name__ == "__main__":
    main()
