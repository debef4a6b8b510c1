"""How these kernels enter tinygrad's graph on a GPU; knows no formula.

They enter as programs from source (`Tensor.custom_kernel`), as those of the CPU device do.
"""

from collections.abc import Callable, Sequence
from functools import cache

from tinygrad import Device, Tensor, dtypes
from tinygrad.renderer.cstyle import CUDARenderer, MetalRenderer, OpenCLRenderer

from edifice_tt.machine.toolchain import is_processor
from edifice_tt.nn.gpu.source import Kernel, render
from edifice_tt.nn.program import enter, gradient_of

_DIALECTS = {OpenCLRenderer: "opencl", MetalRenderer: "metal", CUDARenderer: "cuda"}


@cache
def dialect_of(device: str) -> str | None:
    """The language that a device compiles, of those that kernels are written in here."""
    opened = Device[device]
    dialect = _DIALECTS.get(type(opened.renderer))
    return "opencl_cpu" if dialect == "opencl" and is_processor(opened) else dialect


@cache
def has_matrices(device: str) -> bool:
    """Whether a device multiplies matrices in hardware, in the dtype that its kernels here use.

    Apple's GPUs do in float32, from the M1 on, and NVIDIA's in bfloat16, from capability 8.0 on.
    """
    kind = {"metal": dtypes.float32, "cuda": dtypes.bfloat16}.get(str(dialect_of(device)))
    return any(core.dtype_in == kind for core in Device[device].renderer.tensor_cores)


def serves(blocks: Tensor, *tensors: Tensor | None) -> bool:
    """Whether a kernel here can work on these blocks and tensors: of one GPU, of fixed shapes."""
    given = [blocks, *(tensor for tensor in tensors if tensor is not None)]
    device = blocks.device
    return (
        isinstance(device, str)
        and all(tensor.device == device for tensor in given)
        and all(tensor.dtype in (dtypes.float32, dtypes.int32) for tensor in given[1:])
        and all(isinstance(size, int) and size for tensor in given for size in tensor.shape)
        and dialect_of(device) is not None
    )


def call(
    kernel: Kernel,
    written: Sequence[Tensor],
    read: Sequence[Tensor],
    formula: Callable[..., Tensor] | None = None,
) -> list[Tensor]:
    """What a kernel writes to; with a formula of what it reads the gradient is that of it."""
    source = render(str(dialect_of(str(written[0].device))), kernel)
    size, gradient = (kernel.threads, 1, 1), formula and gradient_of(formula)
    tensors = [*written, *read]
    return enter(kernel.name, source, tensors, len(written), gradient, kernel.groups, size)
