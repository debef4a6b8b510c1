"""The products of `linear`, dense and in 4-bit blocks, on one core, beside a BLAS on one thread.

Those in blocks also with activations rounded to 8 bits, and in float16 where the processor computes
in it.
x (rows, depth) times W (columns, depth): the sizes of the default scorer at 16 x 60 tokens, of a
decode step's feed-forward at 16 rows, and of a vocabulary at 8.
"""

import os
import time
from functools import partial
from typing import Any

import machine
import numpy as np
from peer import start_peers
from timing import OURS, Report, Subject, arguments, take_turns
from tinygrad import Device, Tensor, TinyJit

from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.blocks import Linear
from edifice_tt.nn.buffers import wrap
from edifice_tt.nn.cpu.bridge import computes_halves
from edifice_tt.nn.kept import SCALED as BLOCK
from edifice_tt.nn.stored.blocks import QuantizedLinear
from edifice_tt.nn.stored.float16 import Float16Linear
from edifice_tt.nn.stored.int8 import Int8Linear, group_rows

SIZES = ((960, 256, 688), (16, 576, 1536), (8, 49152, 576))  # rows, columns, depth
TOLERANCE = 2e-3  # of the largest value; sums run in different orders
ROUNDED_TOLERANCE = 2e-2


def main() -> None:
    options = arguments(__doc__ or "")
    open_device()  # the library's choice, which the Tensors below follow
    report = Report(
        "products on one core",
        machine.versions(),
        machine.limits(options.peers),
        options,
        "GFLOPS",
    )
    if hasattr(os, "sched_setaffinity"):  # inherited by the peer
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    one = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    peers = start_peers(options.peers, ["blas"], **one)
    for size in SIZES:
        flops = 2.0 * size[0] * size[1] * size[2]
        # Enough products in one captured graph that its dispatch does not count.
        calls = max(4, min(64, round((2e8 if options.quick else 2e9) / flops)))
        subjects: dict[str, Subject] = {OURS: dense(*size, calls)}
        for peer in peers.values():
            report.versions |= peer.versions
            subjects[peer.versions["sgemm"]] = partial(blas, peer, *size, calls)
        case = "x".join(map(str, size))
        report.add(f"{case} float32", take_turns(subjects, options.repeats, 3), flops * 1e-9)
        if size[2] % BLOCK:
            continue  # no GGUF file holds such rows in blocks
        halves = ["float16"] if computes_halves(Device.DEFAULT) else []
        for activations in ("float32", *halves, "int8"):
            subjects[OURS] = in_blocks(*size, calls, activations)
            times = take_turns(subjects, options.repeats, 3)
            report.add(f"{case} Q4_1, {activations}", times, flops * 1e-9)
    report.show()


def blas(peer: Any, rows: int, columns: int, depth: int, calls: int) -> float:
    size = {"rows": rows, "columns": columns, "depth": depth}
    return float(peer("sgemm", calls=calls, threads=1, **size))


def dense(rows: int, columns: int, depth: int, calls: int) -> Subject:
    layer = Linear(depth, columns, bias=False, rng=np.random.default_rng(0))
    return captured(layer, layer.weight.numpy(), rows, calls)


def in_blocks(rows: int, columns: int, depth: int, calls: int, activations: str) -> Subject:
    rng = np.random.default_rng(0)
    blocks_a_row = depth // BLOCK
    scales = rng.uniform(0.001, 0.002, (columns, blocks_a_row, 2)).astype(np.float16)
    nibbles = rng.integers(0, 256, (columns, blocks_a_row, BLOCK // 2), dtype=np.uint8)
    blocks = np.concatenate((scales.view(np.uint8), nibbles), axis=-1).reshape(columns, -1)
    low_then_high = np.concatenate((nibbles & 15, nibbles >> 4), axis=-1).astype(np.float32)
    weight = low_then_high * scales[..., :1].astype(np.float32) + scales[..., 1:]
    weight = weight.reshape(columns, depth)
    if activations == "int8":
        grouped = wrap(group_rows(blocks, "Q4_1"), Device.DEFAULT)
        return captured(
            Int8Linear(grouped, "Q4_1", columns), weight, rows, calls, ROUNDED_TOLERANCE
        )
    kind = Float16Linear if activations == "float16" else QuantizedLinear
    return captured(kind(Tensor(blocks).realize(), "Q4_1"), weight, rows, calls)


def captured(
    layer: Any, weight: np.ndarray, rows: int, calls: int, tolerance: float = TOLERANCE
) -> Subject:
    """A subject: `calls` products in one captured graph, compared with NumPy's first."""
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((rows, weight.shape[1]), np.float32) for _ in range(calls)]
    inputs = [Tensor(array).realize() for array in arrays]
    products = TinyJit(lambda *given: [layer(x).realize() for x in given])
    for array, out in zip(arrays[:2], products(*inputs)[:2], strict=True):
        expected = array @ weight.T
        off = np.abs(out.numpy() - expected).max() / np.abs(expected).max()
        if not off < tolerance:
            raise SystemExit(f"linear differs from NumPy by {off}, expected < {tolerance}")

    def run() -> float:
        start = time.perf_counter()
        products(*inputs)
        Device[Device.DEFAULT].synchronize()
        return (time.perf_counter() - start) / calls

    return run


if __name__ == "__main__":
    main()
