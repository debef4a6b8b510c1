"""What a block format is: its size, its scales, and how a block becomes numbers. Knows no file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.llm.gguf import ggml_data_to_tensor


@dataclass(frozen=True)
class WholeNumbers:
    """How a product with rounded activations reads a format, in which the scales come first.

    A weight is a number of `bits` bits, less `offset`, times the block's scale. With a minimum the
    block has a second scale, which is added.
    """

    bits: int  # 4 or 8
    offset: int = 0
    has_minimum: bool = False


@dataclass(frozen=True)
class Format:
    """A block format of GGUF files. What stands here stands nowhere else.

    `scales` are the bytes of a block that hold numbers of `scale_dtype`: what can be NaN. `c` are
    the statements that write the block's weights to `float *y` from `const unsigned char *q`.
    `formula` is the same for tinygrad: blocks (N, bytes) uint8 -> (N, weights); by default its own.
    """

    name: str
    ggml_type: int
    weights: int  # of a block
    bytes: int  # of a block
    scales: tuple[int, int]
    c: str
    scale_dtype: str = "float16"  # or bfloat16
    formula: Callable[[Tensor], Tensor] | None = None
    whole_numbers: WholeNumbers | None = None

    @property
    def dtype(self) -> str | None:
        """The dtype of formats that are nothing but numbers; None for blocks with scales."""
        return self.scale_dtype if self.scales == (0, self.bytes) else None

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
        if self.scale_dtype == "bfloat16":
            return (scales.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return scales.view(np.float16)
