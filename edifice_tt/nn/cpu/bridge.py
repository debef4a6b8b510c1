"""How C enters tinygrad's CPU device; knows no formula.

tinygrad's generated code reaches a tenth of what a core can do in a matrix product, so `kernels`
holds the operations that take nearly all the time in C. tinygrad compiles it with its own clang.
"""

from collections.abc import Mapping, Sequence
from functools import cache

from tinygrad import Device, Tensor, dtypes
from tinygrad.renderer.cstyle import ClangRenderer

from edifice_tt.nn.cpu.instructions import allows_amx
from edifice_tt.nn.program import Gradient, enter

ROW = 32  # numbers of 16 bits are unpacked so many at a time, so a row is a multiple

_HALVES = (dtypes.float16, dtypes.bfloat16)
_KEPT = {dtypes.float32, dtypes.float16, dtypes.int8}
_C_TYPES = {dtypes.float32: "float", dtypes.int32: "int", dtypes.uint8: "unsigned char"}
_C_TYPES |= {dtypes.int8: "signed char"}
_C_TYPES |= dict.fromkeys(_HALVES, "unsigned short")


@cache
def compiles_c(device: str) -> bool:
    """Whether a device is tinygrad's CPU device, with the compiler for C."""
    if device.split(":")[0] != "CPU":
        return False
    return isinstance(Device[device].renderer, ClangRenderer)


@cache
def computes_halves(device: str) -> bool:
    """Whether the C of a device can compute in float16, as its processor does."""
    return _has("halves", "__AVX512FP16__) || defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC", device)


@cache
def multiplies_bfloats(device: str) -> bool:
    """Whether the C of a device can multiply matrices in bfloat16: Intel's AMX does.

    Its system has to let this process use it, too.
    """
    return allows_amx() and _has("bfloats", "__AMX_BF16__) && defined(__AVX512FP16__", device)


def _has(what: str, macros: str, device: str) -> bool:
    if not compiles_c(device):
        return False
    body = f"""
#if defined({macros})
    *out = 1;
#else
    *out = 0;
#endif"""
    out = Tensor.invalids(1, dtype=dtypes.int32, device=device)
    return bool(call(f"has_{what}", "#define WIDE", body, {"out": out}, {})[0].item())


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


def keeps(q: Tensor, *memories: Tensor) -> bool:
    """Whether attention of such queries can read keys and values as these Tensors hold them."""
    kept = {memory.dtype for memory in memories}
    alike = all(memory.device == q.device for memory in memories)
    fixed = all(isinstance(size, int) and size for memory in memories for size in memory.shape)
    # The last keys of 8 bits are read to beyond their end, in the room of the values.
    roomy = all(memory.numel() >= 32 for memory in memories)
    return alike and fixed and roomy and len(kept) == 1 and kept <= _KEPT


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

    return enter(name, source, tensors, len(written), gradient)
