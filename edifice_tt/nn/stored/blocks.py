"""Dense layers whose weights stay in the blocks of 2 to 8 bits that GGUF files store.

A kernel unpacks them on the way into the product, on tinygrad's CPU device and on GPUs. That takes
a fifth of the memory and traffic of float32, and on the CPU gives the same bits. On devices that
have no such kernel the formula unpacks first.
"""

from collections.abc import Callable
from functools import cache, reduce
from typing import Any

from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.nn import ops
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu.bridge import compiles_c
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.gpu import bridge as gpu
from edifice_tt.nn.gpu import kernels as gpu_kernels


def keeps_blocks(device: str) -> bool:
    """Whether a device has kernels that read blocks as they are."""
    return compiles_c(device) or gpu.dialect_of(device) is not None


@cache
def _formula_of(kind: str) -> Callable[..., Tensor]:
    """The product of x and blocks, with a bias if there is one. The same object for each layer."""

    def formula(x: Tensor, blocks: Tensor, bias: Tensor | None = None) -> Tensor:
        return ops.linear_formula(x, FORMATS[kind].dequantize(blocks), bias)

    return formula


@cache
def _parts_formula_of(kind: str, parts: int) -> Callable[..., Tensor]:
    return lambda x, blocks: ops.sum_of_parts(x, FORMATS[kind].dequantize(blocks), parts)


@cache
def _rows_of(kind: str) -> Callable[..., Tensor]:
    return lambda ids, blocks: FORMATS[kind].dequantize(blocks[ids])


class QuantizedLinear:
    """A dense layer whose weight is `blocks` (out, bytes of a row), for inference."""

    is_grouped = False  # whether rows stand together, as only kernels of the CPU read them

    def __init__(self, blocks: Tensor, kind: str, bias: Tensor | None = None) -> None:
        self.kind = kind
        self.blocks = blocks
        self.bias = bias

    @property
    def formula(self) -> Callable[..., Tensor]:
        """The layer in tinygrad operations, from x, the blocks and the bias."""
        return _formula_of(self.kind)

    @property
    def rows_formula(self) -> Callable[..., Tensor]:
        """`rows` in tinygrad operations, from the ids and the blocks."""
        return _rows_of(self.kind)

    @property
    def packed(self) -> kernels.Weight:
        return kernels.Weight(self.blocks, self.kind, self.bias)

    @property
    def in_size(self) -> int:
        form = FORMATS[self.kind]
        return int(self.blocks.shape[1]) // form.bytes * form.weights

    def rounded(self, x: Tensor) -> Tensor:
        """What the product is taken of: here x itself."""
        return x

    def floats(self) -> Tensor:
        """The weight that the blocks stand for: float32 (out, in)."""
        return FORMATS[self.kind].dequantize(self.blocks)

    def __call__(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        if cpu.serves(x, self.bias) and self.blocks.device == x.device:
            return kernels.linear(x, self.packed, self.formula, rows)
        if self._is_on_gpu(x, self.bias):
            return gpu_kernels.multiply(x, [self.packed], formula=self.formula)
        return self.formula(x, self.blocks, self.bias)

    def sum_of_parts(self, x: Tensor, parts: int) -> Tensor:
        """As `Linear.sum_of_parts`."""
        formula = _parts_formula_of(self.kind, parts)
        if self._is_on_gpu(x):
            return gpu_kernels.multiply(x, [self.packed], parts=parts, formula=formula)
        return ops.sum_of_parts(x, self.floats(), parts)

    def _is_on_gpu(self, *given: Tensor | None) -> bool:
        return not self.is_grouped and gpu.serves(self.blocks, *given)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the weight: ids (B, T) -> (B, T, in)."""
        if compiles_c(str(ids.device)) and self.blocks.device == ids.device:
            ids = ids.cast(dtypes.int32)
            return kernels.lookup(ids, self.packed, self.in_size, self.rows_formula)
        if self._is_on_gpu(ids := ids.cast(dtypes.int32)):
            return gpu_kernels.lookup(ids, self.blocks, self.kind, self.rows_formula)
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
