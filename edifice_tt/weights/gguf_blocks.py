"""Weights of a GGUF file that stay in its blocks: where they are mapped, or grouped for int8."""

from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from edifice_tt.nn.buffers import all_finite
from edifice_tt.nn.cpu.grouping import ROWS
from edifice_tt.nn.formats import BY_TYPE
from edifice_tt.nn.formats.format import Format
from edifice_tt.nn.stored.int8 import group_into, grouped_room
from edifice_tt.weights.families.family import Place, reorder_rows
from edifice_tt.weights.gguf_parts import Header

_PART = 1 << 22  # bytes that are grouped at a time


class BlockRows:
    """Some rows of a file's tensor (out, bytes of a row). Those of `num_heads` are reordered."""

    def __init__(self, header: Header, where: Place, num_heads: int) -> None:
        self.header, self.where, self.num_heads = header, where, num_heads
        self.entry = header.entries[where.name]
        self.row_bytes = (self.entry.stop - self.entry.start) // prod(self.entry.shape[:-1])

    @cached_property
    def form(self) -> Format | None:
        """The format that they can stay in, if there is one."""
        form, shape = BY_TYPE.get(self.entry.ggml_type), self.entry.shape
        if form is None or len(shape) < 2 or shape[-1] % form.weights:
            return None
        return form

    @property
    def count(self) -> int:
        return int(self.where.rows.stop - self.where.rows.start)

    @property
    def stored_bytes(self) -> int:
        return self.count * self.row_bytes

    @property
    def copied_bytes(self) -> int:
        """What `mapped` takes: those that are reordered are copied, and then there twice."""
        return self.stored_bytes * (2 if self.num_heads else 1)

    @property
    def grouped_bytes(self) -> int:
        return -(-self.count // ROWS) * ROWS * self.row_bytes

    @property
    def part_bytes(self) -> int:
        """What `grouped` takes beside its result."""
        return 2 * self._step * self.row_bytes

    def mapped(self) -> NDArray[np.uint8]:
        """Where they are mapped, or a copy, reordered."""
        if self.num_heads:
            return self.read()
        return self._checked(self.header.mapped(*self._span(0, self.count)))

    def read(self) -> NDArray[np.uint8]:
        """In memory of their own, for a device that will hold a copy."""
        return self._checked(self.header.read(*self._span(0, self.count)))

    def grouped(self) -> NDArray[np.uint8]:
        """As `group_rows` gives them. Of the file's own little is in memory at a time."""
        assert self.form is not None
        grouped = grouped_room(self.count, self.row_bytes)
        for first in range(0, self.count, self._step):
            last = min(first + self._step, self.count)
            with self.header.borrowed(*self._span(first, last)) as raw:
                rows = self._checked(raw.copy() if self.num_heads else raw)
                group_into(grouped[first // ROWS : -(-last // ROWS)], rows, self.form.name)
        return grouped

    @property
    def _step(self) -> int:
        """How many rows are read, checked and grouped together: of heads all."""
        return self.count if self.num_heads else max(1, _PART // (ROWS * self.row_bytes)) * ROWS

    def _span(self, first: int, last: int) -> tuple[int, int]:
        start = self.entry.start + self.where.rows.start * self.row_bytes
        return start + first * self.row_bytes, start + last * self.row_bytes

    def _checked(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert self.form is not None
        if not all_finite(self.form.scales_of(raw)):
            raise self.header.error(
                f"weight {self.where.name!r} holds NaN or infinity; the file is damaged"
            )
        rows = raw.reshape(-1, self.row_bytes)
        if self.num_heads:
            reorder_rows(rows, self.num_heads)
        return rows
