"""What is left of a machine's memory, read as Linux, macOS and the drivers say it."""

import ctypes
import sys
from collections import defaultdict
from types import SimpleNamespace

import pytest
import tinygrad
from tinygrad.helpers import GlobalCounters

from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine import memory

MEMINFO = "MemTotal:       24000000 kB\nMemFree:         9000000 kB\nMemAvailable:    8000 kB\n"
FREE = 8000 * 1024


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Writes the files that Linux would show, and says what is left by them."""
    monkeypatch.setattr(sys, "platform", "linux")

    def show(**files):
        for name, text in {"proc/meminfo": MEMINFO, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return memory.host_bytes(tmp_path)

    return show


def group(folder, limit, used, cached, version=2):
    top = "sys/fs/cgroup" + ("" if version == 2 else "/memory")
    names = ("memory.max", "memory.current", "")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
    stat = f"anon 5\n{names[2]}inactive_file {cached - 1}\n{names[2]}active_file 1\n"
    texts = (str(limit), f"{used}\n", stat)
    places = (names[0], names[1], "memory.stat")
    return {f"{top}{folder}/{name}": text for name, text in zip(places, texts, strict=True)}


def test_without_a_container_it_is_what_the_kernel_calls_available(machine):
    assert machine() == FREE
    assert machine(**{"proc/self/cgroup": "0::/\n"}) == FREE


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("folder", ["", "/a/b"])
def test_a_container_has_its_limit_less_what_it_uses_but_for_cached_files(machine, version, folder):
    line = f"0::{folder or '/'}\n" if version == 2 else f"4:cpu,memory:{folder or '/'}\n"
    files = group(folder, 3_000_000, 1_200_000, 200_000, version)
    assert machine(**{"proc/self/cgroup": line}, **files) == 2_000_000


def test_the_tightest_of_all_groups_counts(machine):
    files = group("/a", 3_000_000, 1_000_000, 1) | group("/a/b", "max", 1, 1)
    assert machine(**{"proc/self/cgroup": "0::/a/b\n"}, **files) == 2_000_001


def test_a_group_of_the_host_that_is_not_seen_inside_leads_to_the_top(machine):
    files = group("", 2_000_000, 500_000, 500_000)
    assert machine(**{"proc/self/cgroup": "0::/docker/0123\n"}, **files) == 2_000_000


def test_a_group_that_says_no_limit_is_none(machine):
    files = group("", 9223372036854771712, 1, 1, version=1)
    assert machine(**{"proc/self/cgroup": "4:memory:/\n"}, **files) == FREE


def test_a_system_that_says_nothing_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert memory.host_bytes(tmp_path) is None


def test_macos_counts_the_pages_that_it_gives_up(monkeypatch):
    said = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               1000.\nPages active:           700.\n"
        "Pages inactive:                            200.\nPages speculative:       30.\n"
        "Pages wired down:                          500.\n"
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    done = SimpleNamespace(stdout=said)
    monkeypatch.setattr(memory.subprocess, "run", lambda command, **_: done)
    assert memory.host_bytes() == 1230 * 16384


# --- devices, whose drivers are played


@pytest.fixture
def device(monkeypatch):
    """A device of a kind that this machine need not have."""
    held = SimpleNamespace(allocator=SimpleNamespace(cache={(1000, None): [1, 2]}), device="GPU")
    monkeypatch.setattr(tinygrad, "Device", defaultdict(lambda: held))
    return held


def test_cuda_asks_the_driver_and_counts_what_tinygrad_keeps(device, monkeypatch):
    pytest.importorskip("tinygrad.runtime.ops_cuda")
    from tinygrad.runtime.autogen import cuda

    def ask(free, total):
        free._obj.value, total._obj.value = 5_000_000, 8_000_000
        return 0

    device.context = 7
    monkeypatch.setattr(cuda, "cuCtxSetCurrent", lambda context: int(context != 7))
    monkeypatch.setattr(cuda, "cuMemGetInfo_v2", ask)
    assert memory.available_bytes("CUDA:1") == 5_002_000


def test_metal_shares_the_machines_memory(device, monkeypatch):
    device.sysdevice = SimpleNamespace(
        recommendedMaxWorkingSetSize=lambda: 9_000, currentAllocatedSize=lambda: 2_000
    )
    for host, expected in ((None, 9_000), (8_000, 9_000), (4_000, 6_000)):
        monkeypatch.setattr(memory, "host_bytes", lambda host=host: host)
        assert memory.available_bytes("METAL") == expected


@pytest.mark.parametrize(("is_cpu", "expected"), [(True, 77), (False, 9_000)])
def test_opencl_says_what_a_device_has_in_all(device, monkeypatch, is_cpu, expected):
    pytest.importorskip("tinygrad.runtime.ops_cl")
    from tinygrad.runtime.autogen import opencl as cl

    answers = {
        cl.CL_DEVICE_TYPE: cl.CL_DEVICE_TYPE_CPU if is_cpu else cl.CL_DEVICE_TYPE_GPU,
        cl.CL_DEVICE_GLOBAL_MEM_SIZE: 10_000,
        cl.CL_DEVICE_MAX_MEM_ALLOC_SIZE: 2_500,
    }

    def ask(of, what, size, value, _):
        value._obj.value = answers[what]
        return 0

    device.cl_dev = None
    monkeypatch.setattr(cl, "clGetDeviceInfo", ask)
    monkeypatch.setattr(memory, "host_bytes", lambda: 77)
    monkeypatch.setattr(GlobalCounters, "mem_used_per_device", defaultdict(int, GPU=1_000))
    assert memory.available_bytes("CL") == expected
    assert memory.largest_buffer("CL:1") == 2_500
    assert memory.largest_buffer("CUDA") is None


@pytest.mark.parametrize("kind", ["NV", "AMD", "WEBGPU", "CUDA"])
def test_a_driver_that_does_not_tell_or_fails_is_unknown(device, kind):
    assert memory.available_bytes(kind) is None  # of CUDA there is no context here


def test_the_cpu_and_the_interpreter_have_the_machines(monkeypatch):
    monkeypatch.setattr(memory, "host_bytes", lambda: 77)
    assert [memory.available_bytes(d) for d in ("CPU", "CPU:3", "PYTHON")] == [77] * 3


def test_what_does_not_fit_is_one_line_with_both_numbers_and_advice():
    with pytest.raises(EdificeError) as caught:
        memory.check_room("sampling", 1_100_000_000, 900_000_000, "CUDA", "use n=8")
    assert str(caught.value) == "sampling needs 1.1 GB of 900 MB free on CUDA; use n=8"
    memory.check_room("sampling", 900, 900, "CUDA", "use n=8")
    memory.check_room("sampling", 10**18, None, "CUDA", "use n=8")


def test_a_buffer_that_a_device_does_not_allow_is_one_line_with_both_sizes(monkeypatch):
    monkeypatch.setattr(memory, "largest_buffer", {"CL": 2_000_000_000}.get)
    with pytest.raises(EdificeError) as caught:
        memory.check_buffer("m.gguf: the weight w", 2_100_000_000, "CL", "use fewer bits")
    assert str(caught.value) == (
        "m.gguf: the weight w needs a buffer of 2.1 GB, and CL allows at most 2.0 GB for one; use "
        "fewer bits"
    )
    memory.check_buffer("m.gguf: the weight w", 2_000_000_000, "CL", "use fewer bits")
    memory.check_buffer("m.gguf: the weight w", 10**18, "CPU", "use fewer bits")


def test_a_pointer_is_passed_to_the_driver():
    """The played drivers above write through `_obj`, as ctypes.byref keeps it."""
    value = ctypes.c_uint64(3)
    ctypes.byref(value)._obj.value = 4
    assert value.value == 4
