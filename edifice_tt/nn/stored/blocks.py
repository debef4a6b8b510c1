"""Dense layers whose weights stay in the blocks of 4 or 8 bits that GGUF files store.

On tinygrad's CPU device a kernel unpacks them on the way into the product: a fifth of the memory
and of the traffic of float32, and the same bits as a result. Elsewhere the formula unpacks first.
"""

from functools import partial, reduce
from typing import Any, NamedTuple

from tinygrad import Tensor, dtypes
from tinygrad.llm.gguf import ggml_data_to_tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.nn import ops
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu.bridge import compiles_c

BLOCK = 32  # weights in a block


class Kind(NamedTuple):
    """A block format: its number in GGUF files and its size."""

    ggml_type: int
    block_bytes: int


KINDS = {
    "F16": Kind(1, 64),
    "BF16": Kind(30, 64),
    "Q4_0": Kind(2, 18),
    "Q4_1": Kind(3, 20),
    "Q8_0": Kind(8, 34),
}


def dequantize(blocks: Tensor, kind: str) -> Tensor:
    """Blocks (..., bytes) uint8 -> float32 (..., weights)."""
    *lead, row_bytes = blocks.shape
    weights = row_bytes // KINDS[kind].block_bytes * BLOCK
    count = blocks.numel() // row_bytes * weights
    flat = ggml_data_to_tensor(blocks.flatten(), count, KINDS[kind].ggml_type)
    return flat.reshape(*lead, weights).cast(dtypes.float32)


def _formula(kind: str, x: Tensor, blocks: Tensor) -> Tensor:
    return ops.linear_formula(x, dequantize(blocks, kind))


def _rows(kind: str, ids: Tensor, blocks: Tensor) -> Tensor:
    return dequantize(blocks[ids], kind)


_ROWS = {kind: partial(_rows, kind) for kind in KINDS}
_FORMULAS = {kind: partial(_formula, kind) for kind in KINDS}


class QuantizedLinear:
    """A dense layer without bias; `blocks` (out, bytes of a row) are its weight, for inference."""

    def __init__(self, blocks: Tensor, kind: str) -> None:
        self.kind = kind
        self.blocks = blocks
        self.formula, self.rows_formula = _FORMULAS[kind], _ROWS[kind]

    @property
    def packed(self) -> kernels.Weight:
        return kernels.Weight(self.blocks, self.kind)

    @property
    def in_size(self) -> int:
        return int(self.blocks.shape[1]) // KINDS[self.kind].block_bytes * BLOCK

    def floats(self) -> Tensor:
        """The weight that the blocks stand for: float32 (out, in)."""
        return dequantize(self.blocks, self.kind)

    def __call__(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        if cpu.serves(x) and self.blocks.device == x.device:
            return kernels.linear(x, self.packed, self.formula, rows)
        return self.formula(x, self.blocks)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the weight: ids (B, T) -> (B, T, in)."""
        if compiles_c(str(ids.device)) and self.blocks.device == ids.device:
            ids = ids.cast(dtypes.int32)
            return kernels.lookup(ids, self.packed, self.in_size, self.rows_formula)
        return self.rows_formula(ids, self.blocks)


def layer_at(model: Any, path: str) -> Any:
    """The layer of a model that a weight's name leads to: `backbone.blocks.0.attn`."""
    return reduce(
        lambda at, part: at[int(part)] if part.isdigit() else getattr(at, part),
        path.split("."),
        model,
    )


def float_state_dict(model: Any) -> dict[str, Tensor]:
    """The weights of a model, those in blocks as the float32 `weight` that they stand for."""
    weights = {}
    for name, tensor in get_state_dict(model).items():
        path, _, attribute = name.rpartition(".")
        if attribute == "blocks" and isinstance(layer := layer_at(model, path), QuantizedLinear):
            name, tensor = f"{path}.weight", layer.floats()
        weights[name] = tensor
    return weights
