"""Matrix products and memory traffic as fast as others have them: torch's MKL, or NumPy's BLAS.

NumPy's number of threads is that of the process: start it with OPENBLAS_NUM_THREADS and the like.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

try:
    import torch
except ModuleNotFoundError:
    torch = None

_SHARE = "torch" if torch else "NumPy"
VERSIONS = {"sgemm": f"{_SHARE} {(torch or np).__version__}"}
_operands: dict[tuple[int | str, ...], list[Any]] = {}


def sgemm(
    rows: int,
    columns: int,
    depth: int,
    calls: int,
    threads: int,
    device: str = "cpu",
    dtype: str = "float32",
) -> float:
    """Seconds for one x W^T: x (rows, depth), W (columns, depth); each call another x.

    On another device than the processor, and in another dtype, only torch can.
    """
    if (shape := (rows, columns, depth, calls, device, dtype)) not in _operands:
        _operands.clear()
        rng = np.random.default_rng(0)
        sizes = [(columns, depth), *[(rows, depth)] * calls]
        arrays = [rng.standard_normal(size, dtype=np.float32) for size in sizes]
        if torch:
            arrays = [torch.from_numpy(a).to(device, getattr(torch, dtype)) for a in arrays]
            arrays[1] @ arrays[0].T  # a driver's libraries are opened at their first use
        _operands[shape] = arrays
    weight, *inputs = _operands[shape]
    if torch:
        torch.set_num_threads(threads)
    weight = weight.T
    wait(device)
    start = time.perf_counter()
    for x in inputs:
        x @ weight
    wait(device)
    return (time.perf_counter() - start) / calls


def wait(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def read(megabytes: int, threads: int) -> float:
    """Seconds to sum squares over an array, a share for each thread."""
    a = np.ones(megabytes * 250_000, dtype=np.float32)
    return _in_shares(lambda part: np.dot(part, part), np.array_split(a, threads * 8), threads)


def copy(megabytes: int, threads: int) -> float:
    """Seconds to copy half the megabytes to the other half."""
    a = np.ones((2, megabytes * 125_000), dtype=np.float32)
    parts = np.array_split(a, threads * 8, axis=1)
    return _in_shares(lambda part: np.copyto(part[1], part[0]), parts, threads)


def _in_shares(work: Any, parts: list[Any], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))
        start = time.perf_counter()
        list(pool.map(work, parts))
        return time.perf_counter() - start
