"""Lets tinygrad take a GPU for present that is not here: it writes the same kernels. Who keeps the
memory and executes them is the caller's to say.
"""

import sys
from types import ModuleType

from tinygrad.device import Allocator, Compiled, Compiler, Program
from tinygrad.renderer.cstyle import CUDARenderer, MetalRenderer
from tinygrad.renderer.wgsl import WGSLRenderer


class NoCompiler(Compiler):
    """In place of one that needs a library of the device's own: a kernel stays its source."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__(None)


def pretend(device: str, allocator: type[Allocator], program: type[Program]) -> None:
    """Let tinygrad take a device for present. It has not been looked for yet."""
    _stand_in("runtime.support.compiler_cuda", NVRTCCompiler=NoCompiler, NVCCCompiler=NoCompiler)
    _stand_in("runtime.ops_metal", MetalCompiler=NoCompiler)
    renderer, arch = {
        "METAL": (MetalRenderer, "Apple7"),
        "CUDA": (CUDARenderer, "sm_80"),
        "WEBGPU": (WGSLRenderer, "shader-f16"),
    }[device]

    class Absent(Compiled):
        def __init__(self, name: str) -> None:
            super().__init__(name, allocator(self), [renderer], program, arch=arch)

    _stand_in(f"runtime.ops_{device.lower()}", **{f"{device}Device": Absent})


def _stand_in(module: str, **classes: type) -> None:
    found = sys.modules.setdefault(f"tinygrad.{module}", ModuleType(module))
    for name, given in classes.items():
        setattr(found, name, type(name, (given,), {}))
