"""Dense layers whose products are taken in bfloat16, by a processor's unit for matrices.

Activations and weights are rounded to bfloat16, and the unit sums their products in float32:
`cpu/c/bfloats.c`. Nearer to float32 than whole numbers, and as fast for many rows:
`load_pretrained` says what it costs. Knows no file and no model.
"""

from collections.abc import Callable
from functools import cache

from tinygrad import Tensor, dtypes

from edifice_tt.nn import ops
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu.formats import kind_as_bfloats
from edifice_tt.nn.stored.int8 import Int8Linear, floats_of


def _to_bfloats(x: Tensor) -> Tensor:
    # Without the copy tinygrad leaves both casts out.
    return x.cast(dtypes.bfloat16).contiguous().cast(dtypes.float32)


def round_bfloats(x: Tensor) -> Tensor:
    """Numbers, rounded to bfloat16; the gradient passes."""
    return x + (_to_bfloats(x) - x).detach()


@cache
def _formula_of(kind: str, out: int) -> Callable[..., Tensor]:
    def formula(x: Tensor, grouped: Tensor, bias: Tensor | None = None) -> Tensor:
        weight = _to_bfloats(floats_of(grouped, kind, out))
        return ops.linear_formula(round_bfloats(x), weight, bias)

    return formula


class Bfloat16Linear(Int8Linear):
    """A dense layer whose products are taken in bfloat16; `blocks` are those of `Int8Linear`."""

    @property
    def formula(self) -> Callable[..., Tensor]:
        return _formula_of(self.kind, self.out_size)

    @property
    def packed(self) -> kernels.Weight:
        kind = kind_as_bfloats(self.kind)
        return kernels.Weight(self.blocks, kind, self.bias, self.out_size)

    def rounded(self, x: Tensor) -> Tensor:
        return round_bfloats(x)
