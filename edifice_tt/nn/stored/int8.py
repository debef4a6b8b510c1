"""Dense layers whose activations are rounded to 8 bits, so that products are of whole numbers.

Each row is taken in blocks of 32 numbers, rounded to -127 .. 127 times the block's largest
magnitude / 127. With weights of 4 or 8 bits, sums within a block are then exact integers. The
scales of both are applied in float32. Faster than float32, for another result: `load_pretrained`
says what it costs. Knows no file and no model.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes

from edifice_tt.nn import ops
from edifice_tt.nn.buffers import zeros
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.formats.format import WholeNumbers
from edifice_tt.nn.stored.blocks import QuantizedLinear

ROWS = 16  # of a weight, that stand together
_SCALES = 64  # bytes of the scales of a block of so many rows
_NEGLIGIBLE = 1e-30  # activations below are zero; the reciprocal of the smallest float is infinite

BLOCK = 32  # activations that are rounded together

# The formats whose weights are multiplied as whole numbers.
KINDS = tuple(name for name, form in FORMATS.items() if form.whole_numbers)


def _whole_numbers(kind: str) -> WholeNumbers:
    whole = FORMATS[kind].whole_numbers
    assert whole is not None
    return whole


def group_bytes(kind: str) -> int:
    """The bytes of a block of so many rows."""
    return _SCALES + ROWS * BLOCK * _whole_numbers(kind).bits // 8


def group_rows(rows: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """A weight's rows (out, bytes of a row) as the kernel reads them: (groups, bytes of a group).

    16 rows stand together, block by block: 16 scales (float32; of Q4_1 halves, then 16 minima), and
    of each row in turn 4 bytes, as in the file. The last group is filled up with zeros.
    """
    out, size, whole = rows.shape[0], FORMATS[kind].bytes, _whole_numbers(kind)
    head = FORMATS[kind].scales[1]
    if out % ROWS:
        rows = np.pad(rows, ((0, -out % ROWS), (0, 0)))
    blocks = rows.reshape(-1, ROWS, rows.shape[1] // size, size).swapaxes(1, 2)
    groups, count = blocks.shape[:2]
    grouped = zeros(groups, count, group_bytes(kind), dtype=np.uint8)
    scales = np.ascontiguousarray(blocks[..., :head]).view(np.float16).swapaxes(2, 3)
    wanted = np.float16 if whole.has_minimum else np.float32
    grouped[..., :_SCALES].view(wanted)[:] = scales.reshape(groups, count, -1)
    fours = np.ascontiguousarray(blocks[..., head:]).view(np.uint32).swapaxes(2, 3)
    grouped[..., _SCALES:].view(np.uint32)[:] = fours.reshape(groups, count, -1)
    return grouped.reshape(groups, -1)


def floats_of(grouped: Tensor, kind: str, out: int) -> Tensor:
    """What `group_rows` gave -> float32 (out, in)."""
    whole = _whole_numbers(kind)
    blocks = grouped.reshape(grouped.shape[0], -1, group_bytes(kind))  # (groups, blocks, bytes)
    scales = blocks[:, :, :_SCALES].bitcast(dtypes.half if whole.has_minimum else dtypes.float32)
    d = scales[:, :, :ROWS].float().transpose(1, 2).unsqueeze(3)  # (groups, 16, blocks, 1)
    q = blocks[:, :, _SCALES:].reshape(*blocks.shape[:2], -1, ROWS, 4).permute(0, 3, 1, 2, 4)
    q = q.flatten(3)  # (groups, 16, blocks, bytes)
    q = q.bitcast(dtypes.int8) if whole.bits == 8 else (q & 15).cat(q >> 4, dim=3)
    w = (q.float() - whole.offset) * d  # (groups, 16, blocks, 32)
    if whole.has_minimum:
        w = w + scales[:, :, ROWS:].float().transpose(1, 2).unsqueeze(3)
    return w.reshape(-1, blocks.shape[1] * BLOCK)[:out]


def round_blocks(x: Tensor) -> Tensor:
    """Each 32 numbers of the last axis, rounded to 8 bits. The gradient is that of no rounding."""
    blocks = x.reshape(*x.shape[:-1], -1, BLOCK)
    most = blocks.abs().max(-1, keepdim=True)
    inverse = (most > _NEGLIGIBLE).where(127 / most, 0)
    rounded = ((blocks * inverse).round() * (most / 127)).reshape(x.shape)
    return x + (rounded - x).detach()


@cache
def _formula_of(kind: str, out: int) -> Callable[..., Tensor]:
    def formula(x: Tensor, grouped: Tensor, bias: Tensor | None = None) -> Tensor:
        return ops.linear_formula(round_blocks(x), floats_of(grouped, kind, out), bias)

    return formula


@cache
def _rows_of(kind: str, out: int) -> Callable[..., Tensor]:
    return lambda ids, grouped: floats_of(grouped, kind, out)[ids]


class Int8Linear(QuantizedLinear):
    """A dense layer whose `blocks` are what `group_rows` gave: (groups, bytes)."""

    def __init__(
        self, blocks: Tensor, kind: str, out_size: int, bias: Tensor | None = None
    ) -> None:
        super().__init__(blocks, kind, bias)
        self.out_size = out_size

    @property
    def formula(self) -> Callable[..., Tensor]:
        return _formula_of(self.kind, self.out_size)

    @property
    def rows_formula(self) -> Callable[..., Tensor]:
        return _rows_of(self.kind, self.out_size)

    @property
    def packed(self) -> kernels.Weight:
        kind = kernels.grouped_kind(self.kind)
        return kernels.Weight(self.blocks, kind, self.bias, self.out_size)

    @property
    def in_size(self) -> int:
        return int(self.blocks.shape[1]) // group_bytes(self.kind) * BLOCK

    def floats(self) -> Tensor:
        return floats_of(self.blocks, self.kind, self.out_size)
