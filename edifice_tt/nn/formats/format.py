"""What a block format is: its size, its scales, and how a block becomes numbers. Knows no file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.llm.gguf import ggml_data_to_tensor


@dataclass(frozen=True)
class WholeNumbers:
    """Weights that are whole numbers of 1 to 8 bits, times a scale, plus a minimum.

    These are expressions of C, in terms of `c/weights.c`, for the 16 weights number `s` of a block.
    `number` are their bytes: with 8 bits signed, with fewer not, and then less `offset`. If there
    are `values`, it chooses one of these 16.
    """

    number: str
    bits: int
    scale: str = "HALF_AT(0)"
    minimum: str = "0"
    offset: int = 0
    run: int = 32  # weights that share a scale, or 16
    head: tuple[int, int] | None = None  # bytes in numbers smaller than 4 bytes; else the scales
    values: tuple[int, ...] = ()

    @property
    def chosen(self) -> str:
        """The bytes of the weights, by way of their values if there are any."""
        if not self.values:
            return self.number
        return f"CHOSEN({self.number}, {', '.join(map(str, self.values))})"


@dataclass(frozen=True)
class Format:
    """A block format of GGUF files. What stands here stands nowhere else.

    `scales` are the bytes of a block that hold numbers of `scale_dtype`: what can be NaN. Weights
    are `whole_numbers`, or `c` is an expression of C for the 16 number `s` of the block at `p`.
    `formula` is the same for tinygrad: blocks (N, bytes) uint8 -> (N, weights); by default its own.
    """

    name: str
    ggml_type: int
    weights: int  # of a block
    bytes: int  # of a block
    scales: tuple[int, int]
    c: str = ""
    scale_dtype: str = "float16"  # or bfloat16, or float8_e8m0: an exponent
    formula: Callable[[Tensor], Tensor] | None = None
    whole_numbers: WholeNumbers | None = None

    @property
    def dtype(self) -> str | None:
        """The dtype of formats that are nothing but numbers; None for blocks with scales."""
        return self.scale_dtype if self.scales == (0, self.bytes) else None

    @property
    def nibbles(self) -> bool:
        """Whether the number of a weight is told by four bits."""
        whole = self.whole_numbers
        return whole is not None and (whole.bits == 4 or bool(whole.values))

    @property
    def fives(self) -> bool:
        """Whether weights are numbers of five bits."""
        return self.whole_numbers is not None and self.whole_numbers.bits == 5

    @property
    def head(self) -> tuple[int, int, int]:
        """Where the numbers of a block begin and end that are smaller than 4 bytes; their size."""
        start, stop = (self.whole_numbers and self.whole_numbers.head) or self.scales
        return start, stop, 1 if self.scale_dtype == "float8_e8m0" else 2

    @property
    def fields(self) -> Iterator[tuple[int, int, int]]:
        """Where a block's numbers of one size begin and end, and their size."""
        start, stop, size = self.head
        for field in ((0, start, 4), (start, stop, size), (stop, self.bytes, 4)):
            if field[0] < field[1]:
                yield field

    def dequantize(self, blocks: Tensor) -> Tensor:
        """Blocks (..., bytes) uint8 -> float32 (..., weights)."""
        *lead, row_bytes = blocks.shape
        rows = blocks.reshape(-1, self.bytes)
        if self.dtype or self.scale_dtype != "float16":
            flat = self._numbers(rows)
        else:  # the numbers are a sum over the scales, each times what one scale of 1 leaves
            places = range(*self.scales, 2)
            parts = [
                _exact(rows[:, at : at + 2]) * self._numbers(self._only(rows, at)) for at in places
            ]
            flat = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return flat.reshape(*lead, row_bytes // self.bytes * self.weights).cast(dtypes.float32)

    def _numbers(self, rows: Tensor) -> Tensor:
        """Blocks (N, bytes) -> (N, weights), by the formula."""
        if self.formula is not None:
            return self.formula(rows).reshape(-1, self.weights)
        count = int(rows.shape[0]) * self.weights
        return ggml_data_to_tensor(rows.flatten(), count, self.ggml_type).reshape(-1, self.weights)

    def _only(self, rows: Tensor, at: int) -> Tensor:
        """The blocks with the scale at that byte 1, and the others 0."""
        start, stop = self.scales
        one = [0x3C if byte == at + 1 else 0 for byte in range(start, stop)]
        ones = Tensor(one, dtype=dtypes.uint8, device=rows.device).expand(rows.shape[0], -1)
        return rows[:, :start].cat(ones, rows[:, stop:], dim=1)

    def scales_of(self, raw: NDArray[np.uint8]) -> NDArray[Any]:
        """What can be NaN or infinite in the blocks (bytes) of a weight."""
        scales = np.ascontiguousarray(raw.reshape(-1, self.bytes)[:, slice(*self.scales)])
        if self.scale_dtype == "float8_e8m0":  # from 253 on, times 12 is beyond float32
            return np.where(scales < 253, np.float32(1), np.float32(np.nan))
        if self.scale_dtype == "bfloat16":
            return (scales.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return scales.view(np.float16)


def _exact(halves: Tensor) -> Tensor:
    """Floats of 16 bits (N, 2) uint8 -> float32 (N, 1).

    Where a device has no such floats tinygrad takes those below 2^-14 for 0: most scales of Q4_K.
    """
    bits = halves[:, :1].cast(dtypes.uint32) + halves[:, 1:].cast(dtypes.uint32) * 256
    size = bits & 0x7FFF
    small = size.cast(dtypes.float32) * 2.0**-24
    number = (size < 0x400).where(small, (size * 0x2000 + 0x38000000).bitcast(dtypes.float32))
    finite = (size < 0x7C00).where(number, float("nan"))  # of infinity, too: either is refused
    return (bits < 0x8000).where(finite, -finite)
