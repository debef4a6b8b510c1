"""Dense layers whose activations are rounded to 8 bits, so that products are of whole numbers.

Each row is taken in blocks of 32 numbers, rounded to -127 .. 127 times the block's largest
magnitude / 127. With weights of 2 to 8 bits, sums within a block are then exact integers. The
scales of both are applied in float32. Faster than float32, for another result: `load_pretrained`
says what it costs. Knows no file and no model.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor

from edifice_tt.nn import ops
from edifice_tt.nn.buffers import room
from edifice_tt.nn.cpu import grouping, kernels
from edifice_tt.nn.cpu.formats import grouped_kind
from edifice_tt.nn.cpu.grouping import ROWS
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.kept import rounded
from edifice_tt.nn.stored.blocks import QuantizedLinear

# The formats whose weights are multiplied as whole numbers.
KINDS = tuple(name for name, form in FORMATS.items() if form.whole_numbers)


def grouped_room(out: int, row_bytes: int) -> NDArray[np.uint8]:
    """Room for as many rows that stand together: (groups, bytes of a group)."""
    return room(-(-out // ROWS), ROWS * row_bytes, dtype=np.uint8)


def group_rows(rows: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """A weight's rows (out, bytes of a row) as the kernel reads them: (groups, bytes of a group).

    16 rows stand together, block by block: of these first the first number of each row, then the
    second, and so on, as in the file. The last group is filled up with zeros.
    """
    grouped = grouped_room(*rows.shape)
    group_into(grouped, rows, kind)
    return grouped


def group_into(grouped: NDArray[np.uint8], rows: NDArray[np.uint8], kind: str) -> None:
    """Write what `group_rows` gives."""
    form = FORMATS[kind]
    grouping.group(grouped, rows, form.bytes, form.fields)


def floats_of(grouped: Tensor, kind: str, out: int) -> Tensor:
    """What `group_rows` gave -> float32 (out, in)."""
    form = FORMATS[kind]
    groups = grouped.reshape(grouped.shape[0], -1, ROWS * form.bytes)  # (groups, blocks, bytes)
    fields = []
    for start, stop, size in form.fields:
        field = groups[:, :, ROWS * start : ROWS * stop].reshape(*groups.shape[:2], -1, ROWS, size)
        fields.append(field.permute(0, 3, 1, 2, 4).flatten(3))  # (groups, 16, blocks, bytes)
    rows = Tensor.cat(*fields, dim=3) if len(fields) > 1 else fields[0]
    return form.dequantize(rows.reshape(-1, grouped.shape[1] // ROWS)[:out])


def round_blocks(x: Tensor) -> Tensor:
    """Each 32 numbers of the last axis, rounded to 8 bits. The gradient is that of no rounding."""
    return x + (rounded(x) - x).detach()


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

    is_grouped = True

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
        kind = grouped_kind(self.kind)
        return kernels.Weight(self.blocks, kind, self.bias, self.out_size)

    @property
    def in_size(self) -> int:
        return super().in_size // ROWS

    def rounded(self, x: Tensor) -> Tensor:
        return round_blocks(x)

    def floats(self) -> Tensor:
        return floats_of(self.blocks, self.kind, self.out_size)
