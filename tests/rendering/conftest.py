"""The kernels of devices that are not here, rendered once for all tests of this folder."""

import platform
import sys
from functools import cache

import pytest
from player import Player
from programs import DTYPES, finish, locate, start

from edifice_tt.machine.toolchain import find_clang
from edifice_tt.nn.gpu import source


@pytest.fixture(scope="session")
def clang():
    found = find_clang()
    return found or pytest.skip("there is no clang to compile kernels with")


@pytest.fixture(scope="session")
def player(clang, tmp_path_factory):
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the player's fibers are for Linux on x86-64")
    return Player(clang, tmp_path_factory.mktemp("played"))


@pytest.fixture(scope="session")
def render():
    """device -> what `kernels.py` writes for it."""
    locate("dawn-python", "")
    running = {device: start("kernels.py", device, *names) for device, names in DTYPES.items()}
    yield cache(lambda device: finish(running[device]))
    for process, answers in running.values():
        with process:  # its pipes are closed, where nobody asked for its answers
            process.kill()
        answers.close()


@pytest.fixture(scope="session")
def nvrtc():
    """(sources, architecture) -> what `compile_cuda.py` says of each."""
    places = {
        "NVRTC_PATH": locate("nvidia-cuda-nvrtc-cu12", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"),
        "CUDA_PATH": locate("nvidia-cuda-runtime-cu12", "nvidia/cuda_runtime"),
    }

    def compile_all(sources, arch):
        return finish(start("compile_cuda.py", "PYTHON", arch, **places), sources)

    return compile_all


@pytest.fixture
def run(player, dialect):
    """Play a kernel of a GPU: what it writes to."""

    def run(kernel, written, read):
        program = getattr(player, dialect)(source.render(dialect, kernel))
        size = kernel.threads, 1, 1
        arrays = program.play(kernel.name, *written, *read, groups=kernel.groups, threads=size)
        return arrays[: len(written)]

    return run
