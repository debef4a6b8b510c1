"""Dense layers whose products are taken in float16, on processors that compute in it.

A row of activations is brought below 2 by a power of two, and rounded to float16; so are weights. A
kernel sums runs of products in float16, and those in float32: `cpu/c/halves.c`. Faster
than float32, for another result: `load_pretrained` says what it costs. Knows no file and no model.
"""

from collections.abc import Callable
from functools import cache

from tinygrad import Tensor, dtypes

from edifice_tt.nn import ops
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu.formats import kind_as_halves
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.stored.blocks import QuantizedLinear

LARGEST = 64  # that a weight may be: 256 times that times 2 is within float16


def _to_halves(x: Tensor) -> Tensor:
    # Without the copy tinygrad leaves both casts out.
    return x.cast(dtypes.float16).contiguous().cast(dtypes.float32)


def round_halves(x: Tensor) -> Tensor:
    """Rows of the last axis, rounded to float16 as products take them; the gradient passes."""
    most = x.detach().abs().max(-1, keepdim=True)
    exponent = most.bitcast(dtypes.int32).rshift(23).clip(1, 253)
    up, down = (254 - exponent).lshift(23), exponent.lshift(23)
    scale, back = up.bitcast(dtypes.float32), down.bitcast(dtypes.float32)
    rounded = _to_halves(x * scale) * back
    return x + (rounded - x).detach()


@cache
def _formula_of(kind: str) -> Callable[..., Tensor]:
    def formula(x: Tensor, blocks: Tensor, bias: Tensor | None = None) -> Tensor:
        weight = _to_halves(FORMATS[kind].dequantize(blocks))
        return ops.linear_formula(round_halves(x), weight, bias)

    return formula


class Float16Linear(QuantizedLinear):
    """A dense layer whose weight stays in `blocks`, and whose products are taken in float16."""

    @property
    def formula(self) -> Callable[..., Tensor]:
        return _formula_of(self.kind)

    @property
    def packed(self) -> kernels.Weight:
        return kernels.Weight(self.blocks, kind_as_halves(self.kind), self.bias)

    def rounded(self, x: Tensor) -> Tensor:
        return round_halves(x)
