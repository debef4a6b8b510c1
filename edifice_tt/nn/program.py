"""How source enters tinygrad's graph; knows no language and no formula.

Kernels enter as programs from source (`Tensor.custom_kernel`): tinygrad compiles them with the
device's own compiler, keeps them in its cache, orders and captures them like its own. A gradient is
that of the formula.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tinygrad import Tensor
from tinygrad.uop.ops import KernelInfo, Ops, ProgramInfo, UOp

Gradient = Callable[[UOp, UOp], tuple[UOp | None, ...]]
Size = tuple[int, int, int]


def enter(
    name: str,
    source: str,
    tensors: Sequence[Tensor],
    written: int,
    gradient: Gradient | None = None,
    groups: Size = (1, 1, 1),
    threads: Size = (1, 1, 1),
) -> list[Tensor]:
    """Call a function of the source with these tensors; returns those that it writes, the first."""

    def program(*slots: UOp) -> UOp:
        sink = UOp.sink(*slots, arg=KernelInfo(name=name))
        # tinygrad reads the signature from the linearised code, so that is all it holds.
        linear = UOp(Ops.LINEAR, src=(*(slot.base for slot in slots), sink))
        numbers = tuple(range(len(slots)))
        # What is written may be read as well: it is only ours to change in place.
        info = ProgramInfo(
            name=name,
            global_size=groups,
            globals=numbers,
            outs=numbers[:written],
            ins=numbers[1:],
            local_size=threads,  # or tinygrad would search for one, on its default device
        )
        return UOp(Ops.PROGRAM, src=(sink, linear, UOp(Ops.SOURCE, arg=source)), arg=info)

    results: list[Any] = tensors[0].custom_kernel(*tensors[1:], fxn=program, grad_fxn=gradient)
    return results[:written]


# One function a formula: tinygrad recognises a layer that it has scheduled before only if the
# gradient function is the same object.
@cache
def gradient_of(formula: Callable[..., Tensor], written: int = 1) -> Gradient:
    """The gradient of a kernel through the formula of what it reads.

    Of the Tensors that it writes only the first is read by anybody else.
    """

    def gradient(of_out: UOp, call: UOp) -> tuple[UOp | None, ...]:
        given = [Tensor(uop) for uop in call.src[1 + written :]]
        floats = [tensor for tensor in given if tensor.is_floating_point()]
        found = iter(formula(*given).gradient(*floats, gradient=Tensor(of_out)))
        of_given = (next(found).uop if t.is_floating_point() else None for t in given)
        return *[None] * written, *of_given

    return gradient
