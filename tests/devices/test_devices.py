"""The same numbers on every device: what a machine has it runs, of the rest it plays some.

CL is PoCL, which runs kernels made for a GPU, with workgroups and local memory, on a CPU. "METAL,
played" and "CUDA, played" are what a Mac's GPU and an A100 are given, executed by the player of
tests/rendering. METAL and CUDA are the hardware, where it is.
"""

import ctypes.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import mistakes
import pytest
from tolerances import tolerance

from edifice_tt.machine.toolchain import find_clang
from edifice_tt.nn.formats import FORMATS

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent
MISTAKES = ("rope", "tile", "causal")
IN_BLOCKS = (*mistakes.IN_BLOCKS, *mistakes.IN_LAYERS)
HAVE_BLOCKS = ("CL", "METAL", "CUDA")  # devices with kernels for products in blocks

# What each runs, where it is not all: each kernel takes long to compile.
ONLY = {
    device: [
        "logits float32",
        "logits float16",
        "logits bfloat16",
        "golden mixvar",
        "golden odd_floor",
        "golden tiny",
        "jit float32",
        "generate float32",
        "greedy float32",
        "two_devices float32",
        "hidden float32",
        "forks float32",
        "kept float16",
        "recurrent float32",
        "recurrent_forks float32",
        *(f"quantized {kind}" for kind in FORMATS),
        "logits Q4_K",
        "generate Q8_0",
        "experts Q8_0",
        "read_gguf",
        "save",
        "select",
        "extremes float32",
        "extremes float16",
        "train",
        "random",
    ]
    for device in ("CPU", "CL")
}
# Kernels of the library's own, whose source is that of METAL and CUDA.
ONLY["CL"] += [
    "layers",
    "generate Q4_K",
    "drawn",
    "draws float32",
    *(f"groups {kind}" for kind in ("F16", "Q4_0", "Q6_K", "MXFP4")),
]
# Of a chunk PoCL compiles each level of an inverse.
ONLY["CL"] = [check for check in ONLY["CL"] if not check.startswith("recurrent")]
PLAYED = ("METAL, played", "CUDA, played")
ONLY |= {
    device: [
        "logits float32",
        "logits float16",
        "logits bfloat16",
        "golden tiny",
        "generate float32",
        "hidden float32",
        "forks float32",
        "kept float16",
        "logits Q4_K",
        "generate Q8_0",
        "experts Q8_0",
        "read_gguf",
        "select",
        "extremes float32",
        "extremes float16",
        "extremes bfloat16",
        "train",
        "random",
        "draws float32",
    ]
    for device in PLAYED
}
DEVICES = ("CPU", "CL", "METAL", "CUDA", *PLAYED)
# A layer's q; k and v; o; gate and up; down; and the logits.
PRODUCTS = 6


def command(device):
    only = ["--only", *ONLY[device]] if device in ONLY else []
    parity = [
        sys.executable,
        str(FOLDER / "parity.py"),
        *(["--played"] if device in PLAYED else []),
    ]
    broken = [*MISTAKES, *(IN_BLOCKS if device in HAVE_BLOCKS else ())]
    return [*parity, *only, "--break", *broken]


def why_absent(device):
    """Why this machine cannot have the device; None where it may."""
    if device in PLAYED and (sys.platform != "linux" or platform.machine() != "x86_64"):
        return "the player needs Linux on x86-64"
    if device in PLAYED and find_clang() is None:
        return "the player needs clang"
    if device == "METAL" and sys.platform != "darwin":
        return "METAL is a Mac's"
    if device == "CUDA" and ctypes.util.find_library("cuda") is None:
        return "no CUDA driver"
    return None


@pytest.fixture(scope="module")
def processes(request):
    """A process for each device that is asked for, all at once."""
    wanted = {item.callspec.params["device"] for item in request.session.items if is_ours(item)}
    started = {}
    for device in DEVICES:
        if device in wanted and not why_absent(device):
            # Without optimising OpenCL compiles in half the time.
            env = os.environ | {
                "DEV": device.split(",")[0],
                "POCL_EXTRA_BUILD_FLAGS": "-cl-opt-disable",
            }
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started[device] = subprocess.Popen(command(device), env=env, **pipes)
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


def is_ours(item):
    callspec = getattr(item, "callspec", None)
    return item.path == Path(__file__) and callspec is not None and "device" in callspec.params


@pytest.fixture(scope="module")
def results(processes):
    return {}


@pytest.fixture
def found(device, processes, results):
    """What the device's process says; skipped where there is no such device."""
    if reason := why_absent(device):
        pytest.skip(reason)
    if device not in results:
        output, errors = processes[device].communicate(timeout=1800)
        results[device] = (processes[device].returncode, output, errors)
    status, output, errors = results[device]
    if "cannot be opened" in errors and device in ("CL", "CUDA"):
        pytest.skip(errors.strip().splitlines()[-1])
    assert status == 0, errors
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize("device", DEVICES)
def test_every_number_is_the_reference_s(device, found):
    honest = {
        name: error
        for name, error in found["errors"].items()
        if name not in (*MISTAKES, *IN_BLOCKS)
    }
    assert set(honest) == set(ONLY.get(device, found["all"]))
    wrong = {name: error for name, error in honest.items() if not error <= tolerance(name)}
    assert not wrong


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("device", DEVICES)
def test_a_wrong_kernel_would_be_seen(device, mistake, found):
    """By far: not because it happens to be a little worse."""
    assert found["errors"][mistake] > 10 * tolerance("logits float32")


@pytest.mark.parametrize("mistake", IN_BLOCKS)
@pytest.mark.parametrize("device", HAVE_BLOCKS)
def test_a_wrong_product_with_blocks_would_be_seen(device, mistake, found):
    assert found["errors"][mistake] > 10 * tolerance("groups")


@pytest.mark.parametrize("device", PLAYED)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_product_with_weights_of_16_bits_is_of_a_tensor_core(device, dtype, found):
    assert found["tensor_cores"][f"logits {dtype}"] == PRODUCTS


@pytest.mark.parametrize(("device", "count"), [(PLAYED[0], PRODUCTS), (PLAYED[1], 0)])
def test_tensor_cores_of_float32_are_metal_s_alone(device, count, found):
    """Those of CUDA round the inputs to 11 bits, so tinygrad asks for ALLOW_TF32 first."""
    assert found["tensor_cores"]["logits float32"] == count


@pytest.mark.parametrize("device", DEVICES)
def test_no_number_of_64_bits_reaches_the_device(device, found):
    """Metal has no float64. tinygrad's own kernels for random numbers are among those looked at."""
    assert found["kernels"] > 30
    assert found["wide"] == []
