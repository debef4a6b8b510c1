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
    `number` are their bytes: with 8 bits signed, with fewer not, and then less `offset`.
    """

    number: str
    bits: int
    scale: str = "HALF_AT(0)"
    minimum: str = "0"
    offset: int = 0
    run: int = 32  # weights that share a scale, or 16
    head: tuple[int, int] | None = None  # bytes in numbers smaller than 4 bytes; else the scales


@dataclass(frozen=True)
class Format:
    """A block format of GGUF files. What stands here stands nowhere else.

    `scales` are the bytes of a block that hold numbers of `scale_dtype`: what can be NaN. Weights
    are `whole_numbers`, or `c` are the statements that write them to `float *y` from
    `const unsigned char *q`. `formula` is the same for tinygrad: blocks (N, bytes) uint8 ->
    (N, weights); by default its own.
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
        count = int(blocks.numel()) // self.bytes * self.weights
        if self.formula is None:
            flat = ggml_data_to_tensor(blocks.flatten(), count, self.ggml_type)
        else:
            flat = self.formula(blocks.reshape(-1, self.bytes))
        return flat.reshape(*lead, row_bytes // self.bytes * self.weights).cast(dtypes.float32)

    def scales_of(self, raw: NDArray[np.uint8]) -> NDArray[Any]:
        """What can be NaN or infinite in the blocks (bytes) of a weight."""
        scales = np.ascontiguousarray(raw.reshape(-1, self.bytes)[:, slice(*self.scales)])
        if self.scale_dtype == "float8_e8m0":  # from 253 on, times 12 is beyond float32
            return np.where(scales < 253, np.float32(1), np.float32(np.nan))
        if self.scale_dtype == "bfloat16":
            return (scales.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return scales.view(np.float16)
