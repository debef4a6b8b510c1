"""How C enters tinygrad's CPU device; knows no formula.

tinygrad's generated code reaches a tenth of what a core can do in a matrix product, so `kernels`
holds the operations that take nearly all the time in C. They enter as programs from source
(`Tensor.custom_kernel`): tinygrad compiles them with its own clang, keeps them in its cache, orders
and captures them like its own. A gradient is that of the formula.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tinygrad import Device, Tensor, dtypes
from tinygrad.helpers import Context
from tinygrad.renderer.cstyle import ClangRenderer
from tinygrad.uop.ops import KernelInfo, Ops, ProgramInfo, UOp

Formula = Callable[..., Tensor]

# Vector width and register tile (rows x columns) by instruction set: as many accumulators as there
# are registers for, each a variable of its own, since clang keeps an array of them in memory.
_TILES = (("__AVX512F__", 16, 8, 3), ("__AVX2__", 8, 3, 3), ("__ARM_NEON", 4, 4, 4), ("1", 4, 2, 2))

_PRELUDE = """
#define WIDTH {width}
#define WIDE __attribute__((min_vector_width(512)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
typedef float vec __attribute__((ext_vector_type(WIDTH), aligned(4)));
typedef int ivec __attribute__((ext_vector_type(WIDTH), aligned(4)));
#define LOAD(p) (*(const vec*)(p))
#define STORE(p, v) (*(vec*)(p) = (v))
static inline WIDE float sum(vec v) {{
  float total[WIDTH];
  STORE(total, v);
  for (int half = WIDTH / 2; half; half /= 2)
    for (int i = 0; i < half; i++) total[i] += total[i + half];
  return total[0];
}}
"""


def for_each_width(write: Callable[..., str]) -> str:
    """One source for all processors: the preprocessor keeps the branch of the one at hand."""
    branches = [
        f"#{'el' if nth else ''}if {test}\n{_PRELUDE.format(width=width)}\n{write(width, *tile)}"
        for nth, (test, width, *tile) in enumerate(_TILES)
    ]
    return "\n".join([*branches, "#endif"])


@cache
def compiles_c(device: str) -> bool:
    """Whether a device is tinygrad's CPU device, with the compiler for C."""
    if device.split(":")[0] != "CPU":
        return False
    with Context(ALLOW_DEVICE_USAGE=1):
        return isinstance(Device[device].renderer, ClangRenderer)


def serves(*tensors: Tensor | None) -> bool:
    """Whether the kernels here can work on these tensors: float32, fixed shapes, compiled as C."""
    given = [tensor for tensor in tensors if tensor is not None]
    device = given[0].device
    return (
        isinstance(device, str)
        and all(tensor.device == device for tensor in given)
        and all(tensor.dtype == dtypes.float32 for tensor in given)
        and all(isinstance(size, int) and size for tensor in given for size in tensor.shape)
        and compiles_c(device)
    )


def signature(names: Sequence[str]) -> str:
    out, *inputs = names
    return ", ".join([f"float *restrict {out}", *(f"const float *restrict {n}" for n in inputs)])


def call(name: str, source: str, out: Tensor, inputs: Sequence[Tensor], formula: Formula) -> Tensor:
    def program(*parameters: UOp) -> UOp:
        sink = UOp.sink(*parameters, arg=KernelInfo(name=name))
        # tinygrad reads the signature from the linearised code, so that is all it holds.
        linear = UOp(Ops.LINEAR, src=(*(parameter.base for parameter in parameters), sink))
        slots = tuple(range(len(parameters)))
        info = ProgramInfo(name=name, globals=slots, outs=slots[:1], ins=slots[1:])
        return UOp(Ops.PROGRAM, src=(sink, linear, UOp(Ops.SOURCE, arg=source)), arg=info)

    results: list[Any] = out.custom_kernel(*inputs, fxn=program, grad_fxn=_gradient_of(formula))
    return results[0]


# One function a formula: tinygrad recognises a layer that it has scheduled before only if the
# gradient function is the same object.
@cache
def _gradient_of(formula: Formula) -> Callable[[UOp, UOp], tuple[UOp | None, ...]]:
    def gradient(of_out: UOp, call: UOp) -> tuple[UOp | None, ...]:
        given = [Tensor(uop) for uop in call.src[2:]]
        floats = [tensor for tensor in given if tensor.is_floating_point()]
        found = iter(formula(*given).gradient(*floats, gradient=Tensor(of_out)))
        return None, *(next(found).uop if t.is_floating_point() else None for t in given)

    return gradient
