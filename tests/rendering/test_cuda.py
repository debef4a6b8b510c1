"""Every CUDA kernel, compiled by NVRTC as tinygrad does it, for two generations of cards."""

from math import prod

import pytest

pytestmark = pytest.mark.slow

SOUND = """\
#include <cuda_fp16.h>
extern "C" __global__ void __launch_bounds__(4) sound(half* data0_4, half* data1_4) {
  __shared__ __align__(16) half buf0[4];
  int lidx0 = threadIdx.x; /* 4 */
  *(buf0+lidx0) = hexp2((*(data1_4+lidx0)));
  __syncthreads();
  *(data0_4+lidx0) = (*(buf0+(3-lidx0)));
}"""


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_every_kernel_compiles(render, nvrtc, arch):
    """In the 65536 registers of a multiprocessor; few kernels spill into memory."""
    kernels = render("CUDA")
    results = nvrtc([kernel["source"] for kernel in kernels], arch)
    for kernel, found in zip(kernels, results, strict=True):
        assert not found["error"], f"{found['error']}\n{kernel['source']}"
        assert bool(found["matrices"]) == bool(kernel["tensor_cores"]), kernel["name"]
        assert 0 < found["registers"] * prod(kernel["threads"]) <= 65536, kernel["name"]
        assert found["shared"] >= kernel["shared_bytes"], kernel["name"]
    spilling = [found["spilled"] for found in results if found["spilled"]]
    assert len(spilling) <= len(kernels) / 50
    assert max(spilling, default=0) <= 1024


def test_what_a_kernel_takes_is_read(nvrtc):
    """80 numbers that a thread holds at a time, with and without the registers for them."""
    held = "".join(f"float x{i} = x[{i} * n];" for i in range(80))
    used = "".join(f"s += x{i} * x[j + {i}];" for i in range(80))
    source = """\
extern "C" __global__ void __launch_bounds__(THREADS) held(float* out, const float* x, int n) {
  __shared__ float part[64];
  HELD
  float s = 0;
  for (int j = 0; j < n; j++) { USED }
  part[threadIdx.x % 64] = s;
  __syncthreads();
  out[threadIdx.x] = part[63 - threadIdx.x % 64];
}""".replace("HELD", held).replace("USED", used)
    few, many = nvrtc([source.replace("THREADS", threads) for threads in ("64", "1024")], "sm_80")
    assert few["registers"] > 80
    assert (few["spilled"], few["shared"], few["matrices"]) == (0, 256, 0)
    assert many["registers"] <= 64
    assert many["spilled"] > 0


def test_a_broken_kernel_is_refused(nvrtc):
    broken = [
        ("lidx0)));\n  __sync", "lidx0)))\n  __sync", 'expected a ";"'),
        ("3-lidx0", "3-lidx1", 'identifier "lidx1" is undefined'),
        ("hexp2", "gelu", 'identifier "gelu" is undefined'),
        ("half* data0_4", "half4* data0_4", 'identifier "half4" is undefined'),
        ("cuda_fp16.h", "cuda_fp32.h", 'cannot open source file "cuda_fp32.h"'),
        ("half buf0[4]", "half buf0[30000]", "too much shared data"),
    ]
    sources = [SOUND, *(SOUND.replace(old, new) for old, new, _ in broken)]
    sound, *others = nvrtc(sources, "sm_80")
    assert not sound["error"]
    for (_, _, message), found in zip(broken, others, strict=True):
        assert message in found["error"]
