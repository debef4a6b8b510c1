"""How C enters tinygrad's CPU device; knows no formula.

tinygrad's generated code reaches a tenth of what a core can do in a matrix product, so `kernels`
holds the operations that take nearly all the time in C. They enter as programs from source
(`Tensor.custom_kernel`): tinygrad compiles them with its own clang, keeps them in its cache, orders
and captures them like its own. A gradient is that of the formula.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from tinygrad import Device, Tensor, dtypes
from tinygrad.renderer.cstyle import ClangRenderer
from tinygrad.uop.ops import KernelInfo, Ops, ProgramInfo, UOp

Gradient = Callable[[UOp, UOp], tuple[UOp | None, ...]]

ROW = 32  # numbers of 16 bits are unpacked so many at a time, so a row is a multiple

_HALVES = (dtypes.float16, dtypes.bfloat16)
_C_TYPES = {dtypes.float32: "float", dtypes.int32: "int", dtypes.uint8: "unsigned char"}
_C_TYPES |= dict.fromkeys(_HALVES, "unsigned short")


@cache
def compiles_c(device: str) -> bool:
    """Whether a device is tinygrad's CPU device, with the compiler for C."""
    if device.split(":")[0] != "CPU":
        return False
    return isinstance(Device[device].renderer, ClangRenderer)


def serves(*tensors: Tensor | None, weights: Sequence[Tensor] = ()) -> bool:
    """Whether the kernels here can work on these tensors: float32, fixed shapes, compiled as C.

    Of the `weights` matrices may be of 16 bits.
    """
    floats = [tensor for tensor in tensors if tensor is not None]
    given = [*floats, *weights]
    device = given[0].device
    return (
        isinstance(device, str)
        and all(tensor.device == device for tensor in given)
        and all(tensor.dtype == dtypes.float32 for tensor in floats)
        and all(weight.dtype == dtypes.float32 or _is_of_halves(weight) for weight in weights)
        and all(isinstance(size, int) and size for tensor in given for size in tensor.shape)
        and compiles_c(device)
    )


def _is_of_halves(weight: Tensor) -> bool:
    return weight.dtype in _HALVES and weight.ndim == 2 and weight.shape[1] % ROW == 0


def write(
    name: str, library: str, body: str, written: Mapping[str, Tensor], read: Mapping[str, Tensor]
) -> str:
    """The C source of a function with that body, behind what the library holds."""
    parameters = [f"{_C_TYPES[t.dtype]} *restrict {of}" for of, t in written.items()]
    parameters += [f"const {_C_TYPES[t.dtype]} *restrict {of}" for of, t in read.items()]
    return f"{library}\nWIDE void {name}({', '.join(parameters)}) {{\n{body}\n}}\n"


def call(
    name: str,
    library: str,
    body: str,
    written: Mapping[str, Tensor],
    read: Mapping[str, Tensor],
    gradient: Gradient | None = None,
) -> list[Tensor]:
    """Call `body`, C that knows each Tensor by its name here; returns those that it writes."""
    tensors = [*written.values(), *read.values()]
    source = write(name, library, body, written, read)

    def program(*slots: UOp) -> UOp:
        sink = UOp.sink(*slots, arg=KernelInfo(name=name))
        # tinygrad reads the signature from the linearised code, so that is all it holds.
        linear = UOp(Ops.LINEAR, src=(*(slot.base for slot in slots), sink))
        numbers = tuple(range(len(slots)))
        # What is written may be read as well: it is only ours to change in place.
        info = ProgramInfo(
            name=name,
            globals=numbers,
            outs=numbers[: len(written)],
            ins=numbers[1:],
            local_size=(1, 1, 1),  # or tinygrad would search for one, on its default device
        )
        return UOp(Ops.PROGRAM, src=(sink, linear, UOp(Ops.SOURCE, arg=source)), arg=info)

    results: list[Any] = tensors[0].custom_kernel(*tensors[1:], fxn=program, grad_fxn=gradient)
    return results[: len(written)]


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
