"""Dense layers whose activations are rounded to 8 bits, so that products are of whole numbers.

Each row is taken in blocks of 32 numbers, rounded to -127 .. 127 times the block's largest
magnitude / 127; with weights of 4 or 8 bits, sums within a block are then exact integers, and the
scales of both are applied in float32. Faster than float32, for another result: `load_pretrained`
says what it costs. Knows no file and no model.
"""

from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes

from edifice_tt.nn import ops
from edifice_tt.nn.buffers import zeros
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.stored.blocks import BLOCK, KINDS, QuantizedLinear

ROWS = 16  # of a weight, that stand together
_SCALES = 64  # bytes of the scales of a block of so many rows
_NEGLIGIBLE = 1e-30  # activations below are zero; the reciprocal of the smallest float is infinite

GROUP_BYTES = {"Q4_0": 320, "Q4_1": 320, "Q8_0": 576}  # of a block of so many rows


def group_rows(rows: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """A weight's rows (out, bytes of a row) as the kernel reads them: (groups, bytes of a group).

    16 rows stand together, block by block: 16 scales (float32; of Q4_1 halves, then 16 minima), and
    of each row in turn 4 bytes, as in the file. The last group is filled up with zeros.
    """
    out, size, head = rows.shape[0], KINDS[kind].block_bytes, 4 if kind == "Q4_1" else 2
    if out % ROWS:
        rows = np.pad(rows, ((0, -out % ROWS), (0, 0)))
    blocks = rows.reshape(-1, ROWS, rows.shape[1] // size, size).swapaxes(1, 2)
    groups, count = blocks.shape[:2]
    grouped = zeros(groups, count, GROUP_BYTES[kind], dtype=np.uint8)
    scales = np.ascontiguousarray(blocks[..., :head]).view(np.float16).swapaxes(2, 3)
    wanted = np.float16 if kind == "Q4_1" else np.float32
    grouped[..., :_SCALES].view(wanted)[:] = scales.reshape(groups, count, -1)
    fours = np.ascontiguousarray(blocks[..., head:]).view(np.uint32).swapaxes(2, 3)
    grouped[..., _SCALES:].view(np.uint32)[:] = fours.reshape(groups, count, -1)
    return grouped.reshape(groups, -1)


def floats_of(grouped: Tensor, kind: str, out: int) -> Tensor:
    """What `group_rows` gave -> float32 (out, in)."""
    blocks = grouped.reshape(grouped.shape[0], -1, GROUP_BYTES[kind])  # (groups, blocks, bytes)
    scales = blocks[:, :, :_SCALES].bitcast(dtypes.half if kind == "Q4_1" else dtypes.float32)
    d = scales[:, :, :ROWS].float().transpose(1, 2).unsqueeze(3)  # (groups, 16, blocks, 1)
    q = blocks[:, :, _SCALES:].reshape(*blocks.shape[:2], -1, ROWS, 4).permute(0, 3, 1, 2, 4)
    q = q.flatten(3)  # (groups, 16, blocks, bytes)
    if kind == "Q8_0":
        w = q.bitcast(dtypes.int8).float() * d
    else:
        nibbles = (q & 15).cat(q >> 4, dim=3).float()  # (groups, 16, blocks, 32)
        m = scales[:, :, ROWS:].float().transpose(1, 2).unsqueeze(3)
        w = (nibbles - 8) * d if kind == "Q4_0" else nibbles * d + m
    return w.reshape(-1, blocks.shape[1] * BLOCK)[:out]


def round_blocks(x: Tensor) -> Tensor:
    """Each 32 numbers of the last axis, rounded to 8 bits. The gradient is that of no rounding."""
    blocks = x.reshape(*x.shape[:-1], -1, BLOCK)
    most = blocks.abs().max(-1, keepdim=True)
    inverse = (most > _NEGLIGIBLE).where(127 / most, 0)
    rounded = ((blocks * inverse).round() * (most / 127)).reshape(x.shape)
    return x + (rounded - x).detach()


def _formula(kind: str, out: int, x: Tensor, grouped: Tensor) -> Tensor:
    return ops.linear_formula(round_blocks(x), floats_of(grouped, kind, out))


def _rows(kind: str, out: int, ids: Tensor, grouped: Tensor) -> Tensor:
    return floats_of(grouped, kind, out)[ids]


_formula_of, _rows_of = (cache(partial(partial, formula)) for formula in (_formula, _rows))


class Int8Linear(QuantizedLinear):
    """A dense layer without bias; its `blocks` are what `group_rows` gave: (groups, bytes)."""

    def __init__(self, blocks: Tensor, kind: str, out_size: int) -> None:
        super().__init__(blocks, kind)
        self.out_size = out_size
        self.formula, self.rows_formula = _formula_of(kind, out_size), _rows_of(kind, out_size)

    @property
    def packed(self) -> kernels.Weight:
        return kernels.Weight(self.blocks, f"{self.kind}x{ROWS}", out=self.out_size)

    @property
    def in_size(self) -> int:
        return int(self.blocks.shape[1]) // GROUP_BYTES[self.kind] * BLOCK

    def floats(self) -> Tensor:
        return floats_of(self.blocks, self.kind, self.out_size)
