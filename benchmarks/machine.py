"""What this machine can do at most: matrix products and memory traffic, on one core and on all.

Every other script prints these beside its times.
"""

import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from peer import Peer, start_peers
from timing import arguments, cores

import edifice_tt

SIDE = 2048
MEGABYTES = 512


def limits(python: str, repeats: int = 5) -> dict[str, float]:
    """GFLOPS of sgemm and GB/s of reading and copying: the best of some tries, by name.

    Of NumPy here and torch in `python`, whichever multiplies faster stands for the machine.
    """
    found: dict[str, float] = {}
    for threads in sorted({1, cores()}):
        on = f"{threads} core{'s' if threads > 1 else ''}"
        names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
        fixed = {name: str(threads) for name in names}
        square = dict.fromkeys(("rows", "columns", "depth"), SIDE)
        for library in dict.fromkeys((sys.executable, python)):
            for blas in start_peers(library, ["blas"], **fixed).values():
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
    options = arguments(__doc__ or "")
    found = limits(options.peers, options.repeats)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"{name:<24} {value:8.1f}")


if __name__ == "__main__":
    main()
