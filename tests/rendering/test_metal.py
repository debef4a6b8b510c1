"""Every kernel in the Metal Shading Language, read by clang against what Metal declares."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from dialects import DECLARES_SHARED
from player import HEADERS

pytestmark = pytest.mark.slow

OPTIONS = ["-x", "c++", "-std=c++14", "--target=arm64-apple-macos13", "-fsyntax-only"]
OPTIONS += [
    "-nostdinc",
    f"-I{HEADERS}",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused",
    "-Wno-missing-braces",
]
# The alignment of shared memory is written in casts too, where it says nothing.
OPTIONS += ["-Wno-ignored-attributes", "-Wno-parentheses-equality"]
# One that has a bit of everything.
SOUND = """\
#include <metal_stdlib>
using namespace metal;
float2 __WMMA_8_8_8_half_float(half2 a, half2 b, float2 c){
  simdgroup_half8x8 mat_a, mat_b; simdgroup_float8x8 mat_c;
  mat_a.thread_elements()[0] = a[0]; mat_b.thread_elements()[0] = b[0];
  mat_c.thread_elements()[0] = c[0];
  simdgroup_multiply_accumulate(mat_c, mat_a, mat_b, mat_c);
  return float2(mat_c.thread_elements()[0], mat_c.thread_elements()[1]);
}
kernel void sound(device float* data0_64, device half* data1_64, device bfloat* data2_8, \
constant int& start, uint3 gid [[threadgroup_position_in_grid]], \
uint3 lid [[thread_position_in_threadgroup]]) {
  threadgroup __attribute__((aligned(16))) float buf0[64];
  int gidx0 = gid.x; /* 4 */
  half2 val0 = (*((device half2*)((data1_64+(gidx0*2)))));
  float2 wmma0 = __WMMA_8_8_8_half_float(val0, half2(((half)(1.0f)),val0.x), float2(0.0f,1.0f));
  *((threadgroup __attribute__((aligned(16))) float2*)((buf0+4))) = wmma0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float alu0 = exp2(((*(buf0+start))*1.5f));
  unsigned short cast0 = as_type<unsigned short>((half)(val0.y));
  *(data0_64+(start+1)) = ((alu0<INFINITY)?precise::sin(alu0):((float)((*(data2_8+cast0)))));
}"""


def errors_of(clang, source):
    """What clang says against a kernel; nothing when it is sound."""
    # Metal has no storage of a thread's own in another address space; C++ has only static.
    # tinygrad's kernels say `threadgroup` where they declare it, ours `LOCAL`, and nowhere else.
    source = DECLARES_SHARED.sub(r"\1static threadgroup \2", source)
    source = source.replace("#define LOCAL ", "#define LOCAL static ")
    words = [clang, *OPTIONS, "-"]
    return subprocess.run(words, input=source, capture_output=True, text=True, check=False).stderr


def test_every_kernel_compiles(render, clang):
    sources = [kernel["source"] for kernel in render("METAL")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source, errors in zip(
            sources, pool.map(lambda source: errors_of(clang, source), sources), strict=True
        ):
            assert not errors, f"{errors}\n{source}"


@pytest.mark.parametrize(
    ("sound", "broken", "message"),
    [
        ("1.5f));", "1.5f))", "expected ';'"),
        ("+start)", "+end)", "undeclared identifier 'end'"),
        ("data1_64+(", "data3_64+(", "undeclared identifier 'data3_64'"),
        ("exp2(", "erf(", "undeclared identifier 'erf'"),
        ("exp2(", "std::exp2(", "undeclared identifier 'std'"),
        ("= exp2((", "= sqrt((bfloat)(", "deleted function"),
        ("float alu0", "double alu0", "poisoned"),
        ("(alu0<INFINITY)", "(alu0<(double)1)", "poisoned"),
        ("half2 val0", "float2 val0", "cannot initialize"),
        ("int gidx0", "half2 gidx0", "narrow|cannot"),
        (",val0.x), float2", ",val0.z), float2", "component access exceeds"),
        ("int gidx0", "device float* bidx0 = buf0; int gidx0", "'threadgroup|address_space"),
        ("as_type<unsigned short>", "as_type<unsigned int>", "two types of one size"),
        ("[[threadgroup_position_in_grid]]", "[[thread_position]]", "unknown attribute"),
        ("mem_flags::mem_threadgroup", "mem_flags::mem_all", "no member named 'mem_all'"),
        ("simdgroup_half8x8", "simdgroup_int8x8", "unknown type name"),
        ("half2 b, float2 c", "float2 b, float2 c", "no matching function|cannot"),
    ],
)
def test_a_broken_kernel_is_refused(clang, sound, broken, message):
    assert SOUND.count(sound) == 1
    assert not errors_of(clang, SOUND)
    assert re.search(message, errors_of(clang, SOUND.replace(sound, broken)))
