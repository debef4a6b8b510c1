"""What every kernel needs beside what a device offers at least; nothing is compiled here."""

import re
from math import prod

import pytest
from programs import DTYPES, HERE

pytestmark = pytest.mark.slow

KiB = 1024
# Storage that a kernel is given, threads of a work group, memory that they share, and the groups.
# Metal: Feature Set Tables, Apple7; a number beside the buffers takes the place of one. CUDA: C++
# Programming Guide, technical specifications. WebGPU: its default limits.
LIMITS = {
    "METAL": {"arguments": 31, "shared_bytes": 32 * KiB, "threads": (1024, (1024,) * 3)},
    "CUDA": {"shared_bytes": 48 * KiB, "threads": (1024, (1024, 1024, 64))},
    "WEBGPU": {"buffers": 8, "uniforms": 12, "shared_bytes": 16 * KiB},
}
LIMITS["WEBGPU"]["threads"] = 256, (256, 256, 64)
GROUPS = {"METAL": (2**31 - 1,) * 3, "CUDA": (2**31 - 1, 65535, 65535), "WEBGPU": (65535,) * 3}
ENTRY = {"METAL": "kernel void ", "CUDA": "__global__ void ", "WEBGPU": "@compute "}
PATHS = {"scoring", "prefill", "decode", "hidden states", "training", "loading"}

devices = pytest.mark.parametrize("device", DTYPES)


@devices
def test_every_path_of_the_library_is_rendered(render, device):
    found = {(kernel["dtype"], kernel["path"]) for kernel in render(device)}
    wanted = {(dtype, path) for dtype in DTYPES[device] for path in PATHS}
    # A head is trained in float32, and that is what files are read into.
    only = {(dtype, path) for dtype in DTYPES[device][1:] for path in ("training", "loading")}
    assert found == wanted - only


@devices
def test_every_kernel_is_the_renderers(render, device):
    """None is the C that serves a CPU."""
    for kernel in render(device):
        assert ENTRY[device] in kernel["source"], kernel["name"]


@devices
def test_a_kernel_takes_no_more_than_a_device_gives(render, device):
    limits = LIMITS[device]
    most, sizes = limits["threads"]
    for kernel in render(device):
        buffers, variables = len(kernel["buffers"]), kernel["variables"]
        assert buffers <= limits.get("buffers", buffers), kernel["name"]
        assert buffers + variables <= limits.get("arguments", buffers + variables), kernel["name"]
        # tinygrad hands WGSL its infinity as one more.
        assert variables + 1 <= limits.get("uniforms", variables + 1), kernel["name"]
        assert kernel["shared_bytes"] <= limits["shared_bytes"], kernel["name"]
        assert prod(kernel["threads"]) <= most, kernel["name"]
        assert all(a <= b for a, b in zip(kernel["threads"], sizes, strict=True)), kernel["name"]
        groups = zip(kernel["groups"], GROUPS[device], strict=True)
        assert all(a <= b for a, b in groups), kernel["name"]


@pytest.mark.parametrize("device", ["METAL", "WEBGPU"])
def test_no_buffer_holds_numbers_of_64_bits(render, device):
    wide = {"double", "long", "unsigned long"}
    for kernel in render(device):
        assert not wide & set(kernel["buffers"]), kernel["name"]


@pytest.mark.parametrize(
    ("device", "instruction"),
    [("METAL", "simdgroup_multiply_accumulate("), ("CUDA", "mma.sync.aligned.")],
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scoring_in_half_precision_multiplies_on_tensor_cores(render, device, dtype, instruction):
    """All matrix products of the model: into it, q, k with v, o, gate with up, down."""
    found = [k for k in render(device) if (k["dtype"], k["path"]) == (dtype, "scoring")]
    using = [kernel for kernel in found if kernel["tensor_cores"]]
    assert len(using) >= 5
    assert all(instruction in kernel["source"] for kernel in using)


def test_float32_is_not_rounded_to_tf32(render):
    assert not any("tf32" in kernel["source"] for kernel in render("CUDA"))


@devices
def test_the_page_about_devices_counts_the_kernels(render, device):
    """To a tenth: tinygrad's next release may fuse otherwise."""
    page = (HERE.parent.parent / "docs" / "devices.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {device} "))
    said = int(re.search(r"(\d+) kernels", row)[1])
    assert len(render(device)) == pytest.approx(said, rel=0.1)
