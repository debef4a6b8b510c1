"""Every WGSL kernel, checked by Dawn; and models run on WebGPU where Vulkan has a device, be it the
CPU (Mesa's lavapipe)."""

import platform
import sys

import numpy as np
import pytest
from programs import finish, locate, start

pytestmark = pytest.mark.slow

SOUND = """\
@group(0) @binding(0) var<uniform> INFINITY : f32;
@group(0) @binding(1) var<storage,read_write> data0_4: array<f32>;
@group(0) @binding(2) var<uniform> start: i32;
var<workgroup> buf0: array<f32,4>;
@compute @workgroup_size(4) fn sound(@builtin(local_invocation_id) lindex: vec3<u32>) {
  var lidx0 = i32(lindex.x);
  buf0[lidx0] = exp2(data0_4[lidx0]);
  workgroupBarrier();
  data0_4[lidx0] = select(0.0f,buf0[(3-lidx0)],(start<4));
}"""


@pytest.fixture(scope="session")
def dawn():
    ending = "dylib" if sys.platform == "darwin" else "so"
    library = f"pydawn/lib/libwebgpu_dawn_{platform.machine()}.{ending}"
    return {"WEBGPU_PATH": locate("dawn-python", library)}


@pytest.fixture(scope="session")
def check(dawn):
    """kernels (source, name, buffers, variables) -> what Dawn says against each, or nothing."""

    def check_all(kernels):
        null = {"WEBGPU_BACKEND": "WGPUBackendType_Null"}
        return finish(start("compile_webgpu.py", "WEBGPU", **null, **dawn), kernels)

    return check_all


def test_every_kernel_becomes_a_pipeline(render, check):
    kernels = render("WEBGPU")
    given = [(k["source"], k["name"], len(k["buffers"]), k["variables"]) for k in kernels]
    for kernel, error in zip(kernels, check(given), strict=True):
        assert not error, f"{error}\n{kernel['source']}"


def test_a_broken_kernel_is_refused(check):
    broken = [
        ("(start<4));", "(start<4))", "expected ';'"),
        ("buf0[(3", "buf1[(3", "unresolved value 'buf1'"),
        ("exp2(", "erf(", "unresolved call target 'erf'"),
        ("array<f32>", "array<f64>", "unresolved type 'f64'"),
        ("array<f32>", "array<i32>", "no matching call to 'exp2(i32)'"),
        ("array<f32>", "array<f16>", "'f16' extension"),
        ("workgroup_size(4)", "workgroup_size(512)", "exceeds the maximum"),
        ("array<f32,4>", "array<f32,60000>", "workgroup storage"),
        ("@binding(2)", "@binding(3)", "Binding doesn't exist"),
    ]
    sources = [SOUND, *(SOUND.replace(old, new) for old, new, _ in broken)]
    sound, *errors = check([(source, "sound", 1, 1) for source in sources])
    assert not sound
    for (_, _, message), error in zip(broken, errors, strict=True):
        assert message in error


def test_models_give_the_numbers_of_the_cpu(dawn):
    """Scores, hidden states, sampled tokens and their log-probabilities."""
    # By name: where there is no device Dawn would fall back on its Null backend.
    backend = "WGPUBackendType_Metal" if sys.platform == "darwin" else "WGPUBackendType_Vulkan"
    running = start("run_models.py", "WEBGPU", WEBGPU_BACKEND=backend, **dawn)
    (here,) = finish(start("run_models.py", "CPU"))
    (there,) = finish(running)
    if there is None:
        pytest.skip("Vulkan has no device here; Mesa's lavapipe is one: mesa-vulkan-drivers")
    assert there["best"] == here["best"]
    assert there["tokens"] == here["tokens"]
    assert len({tuple(tokens) for tokens in here["tokens"]}) > 1
    for name in ("scores", "logprobs", "states"):
        for ours, theirs in zip(here[name], there[name], strict=True):
            assert np.allclose(ours, theirs, atol=2e-5), name
