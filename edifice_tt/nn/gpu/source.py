"""One source for three languages: what a kernel is, and how it is written in each.

The bodies in `c` are the same text everywhere, but for matrices that hardware multiplies. Where the
languages differ they use the macros that stand here. Local memory is declared at the top of a
kernel, and no pointer to it is passed on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from edifice_tt.nn.program import Size

OPENCL = """\
#define GLOBAL __global
#define LOCAL __local __attribute__((aligned(16)))
#define FUNCTION static
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE)
#define GROUP(axis) ((int)get_group_id(axis))
#define THREAD ((int)get_local_id(0))
#define AS_FLOAT(bits) as_float((uint)(bits))
#define AS_UINT(x) as_uint(x)
#define FLOAT4(a, b, c, d) (float4)(a, b, c, d)
#define ADD_PRODUCT(sum, a, b) sum += (a) * (b)
#define TIMES(a, b) ((a) * (b))
#define EXP(x) exp(x)
#define TANH(x) tanh(x)
#define SQRT(x) sqrt(x)"""

# OpenCL on a processor: with its vectors, and its own conversion of halves.
OPENCL_CPU = f"""\
{OPENCL}
#define HALF_AT(at) vload_half(0, (const GLOBAL half *)((const GLOBAL uchar *)p + (at)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
static float sum_of(float16 x) {{
  const float8 eight = x.lo + x.hi;
  const float4 four = eight.lo + eight.hi;
  return (four.x + four.y) + (four.z + four.w);
}}"""

METAL = """\
#include <metal_stdlib>
using namespace metal;
#define GLOBAL device
#define LOCAL threadgroup __attribute__((aligned(16)))
#define FUNCTION static inline
#define BARRIER threadgroup_barrier(mem_flags::mem_threadgroup)
#define GROUP(axis) ((int)gid[axis])
#define THREAD ((int)lid.x)
#define AS_FLOAT(bits) as_type<float>((uint)(bits))
#define AS_UINT(x) as_type<uint>(x)
#define FLOAT4(a, b, c, d) float4(a, b, c, d)
#define ADD_PRODUCT(sum, a, b) sum += (a) * (b)
#define TIMES(a, b) ((a) * (b))
#define EXP(x) exp(x)
#define TANH(x) tanh(x)
#define SQRT(x) sqrt(x)"""

CUDA = """\
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long long ulong;
#define GLOBAL
#define LOCAL __shared__ __align__(16)
#define FUNCTION __device__ __forceinline__
#define BARRIER __syncthreads()
#define GROUP(axis) ((int)((axis) == 0 ? blockIdx.x : blockIdx.y))
#define THREAD ((int)threadIdx.x)
#define AS_FLOAT(bits) __uint_as_float((uint)(bits))
#define AS_UINT(x) __float_as_uint(x)
#define FLOAT4(a, b, c, d) make_float4(a, b, c, d)
#define ADD_PRODUCT(sum, a, b) add_product(&sum, a, b)
#define TIMES(a, b) product_of(a, b)
#define EXP(x) expf(x)
#define TANH(x) tanhf(x)
#define SQRT(x) sqrtf(x)
__device__ __forceinline__ void add_product(float4 *sum, float4 a, float4 b) {
  sum->x += a.x * b.x;
  sum->y += a.y * b.y;
  sum->z += a.z * b.z;
  sum->w += a.w * b.w;
}
__device__ __forceinline__ float4 product_of(float4 a, float4 b) {
  return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}"""


class Dialect(NamedTuple):
    """How a language begins, and how it writes the head of a kernel."""

    macros: str
    head: str  # of its name and its threads in a group
    pointer: str  # behind GLOBAL and the type of a parameter
    also: tuple[str, ...] = ()  # parameters that every kernel has


_OPENCL = Dialect(
    OPENCL,
    "__kernel __attribute__((reqd_work_group_size({threads}, 1, 1))) void {name}",
    "*restrict",
)
DIALECTS = {
    "opencl": _OPENCL,
    "opencl_cpu": _OPENCL._replace(macros=OPENCL_CPU),
    "metal": Dialect(
        METAL,
        "kernel void {name}",
        "*",
        (
            "uint3 gid [[threadgroup_position_in_grid]]",
            "uint3 lid [[thread_position_in_threadgroup]]",
        ),
    ),
    "cuda": Dialect(
        CUDA,
        'extern "C" __global__ void __launch_bounds__({threads}) {name}',
        "*__restrict__",
    ),
}


class Parameter(NamedTuple):
    """A buffer that a kernel is given, and what its numbers are in the source."""

    name: str
    type: str


@dataclass(frozen=True)
class Kernel:
    """A kernel in no language yet. Its groups of `threads` threads are counted in x, y and z."""

    name: str
    written: tuple[Parameter, ...]
    read: tuple[Parameter, ...]
    groups: Size
    threads: int
    body: str
    library: str = ""
    sizes: Mapping[str, int | str] = field(default_factory=dict)  # that are compiled in


def render(dialect: str, kernel: Kernel) -> str:
    """The whole source of a kernel, in one of `DIALECTS`."""
    of = DIALECTS[dialect]
    parameters = [f"GLOBAL {one.type} {of.pointer} {one.name}" for one in kernel.written]
    parameters += [f"const GLOBAL {one.type} {of.pointer} {one.name}" for one in kernel.read]
    head = of.head.format(name=kernel.name, threads=kernel.threads)
    sizes = {"THREADS": kernel.threads, **kernel.sizes}
    return "\n".join(
        [
            of.macros,
            *(f"#define {name} {size}" for name, size in sizes.items()),
            kernel.library,
            f"{head}({', '.join([*parameters, *of.also])}) {{",
            kernel.body,
            "}\n",
        ]
    )


def section(text: str, sizes: Mapping[str, int | str]) -> str:
    """A text with sizes of its own, which end with it."""
    begin = [f"#define {name} {size}" for name, size in sizes.items()]
    # A macro with parameters is named without them.
    return "\n".join([*begin, text, *(f"#undef {name.split('(')[0]}" for name in sizes)])


@cache
def text(room: str) -> str:
    """A file of `c`."""
    return Path(__file__).with_name("c").joinpath(f"{room}.c").read_text(encoding="utf-8")
