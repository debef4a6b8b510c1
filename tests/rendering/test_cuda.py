"""Every CUDA kernel, compiled by NVRTC as tinygrad does it, for two generations of cards."""

import pytest
from programs import finish, locate, start

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


@pytest.fixture(scope="session")
def nvrtc():
    """(sources, architecture) -> a pair each: the error, and how many matrix instructions."""
    places = {
        "NVRTC_PATH": locate("nvidia-cuda-nvrtc-cu12", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"),
        "CUDA_PATH": locate("nvidia-cuda-runtime-cu12", "nvidia/cuda_runtime"),
    }

    def compile_all(sources, arch):
        return finish(start("compile_cuda.py", "PYTHON", arch, **places), sources)

    return compile_all


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_every_kernel_compiles(render, nvrtc, arch):
    kernels = render("CUDA")
    results = nvrtc([kernel["source"] for kernel in kernels], arch)
    for kernel, (error, matrices) in zip(kernels, results, strict=True):
        assert not error, f"{error}\n{kernel['source']}"
        assert bool(matrices) == bool(kernel["tensor_cores"]), kernel["name"]


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
    (error, _), *errors = nvrtc(sources, "sm_80")
    assert not error
    for (_, _, message), (error, _) in zip(broken, errors, strict=True):
        assert message in error
