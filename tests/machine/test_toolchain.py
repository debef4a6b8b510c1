"""Finding the compiler and the device, and what is said when there is none."""

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import tinygrad.device
from tinygrad.helpers import DEV, Target
from tinygrad.runtime.autogen import opencl

from edifice_tt.contract.errors import ToolchainError
from edifice_tt.machine import toolchain


def program(folder, name):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with nothing on PATH and no CC; the interpreter lives in `python/`."""
    # Set before it is deleted, so that what `prepare_compiler` sets is undone: a fake clang that
    # outlives its test compiles to nothing, and tinygrad would keep that nothing in its cache.
    monkeypatch.setenv("CC", "")
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python" / "python3"))
    return tmp_path


def test_clang_beside_the_interpreter_is_used_when_path_has_none(bare):
    clang = program(bare / "python", "clang")
    assert toolchain.prepare_compiler() == clang
    assert shutil.which("clang") == clang
    assert "CC" not in os.environ


def test_clang_on_path_comes_first(bare):
    program(bare / "python", "clang")
    on_path = program(bare / "path", "clang")
    assert toolchain.find_clang() == on_path


def test_a_clang_named_in_cc_comes_before_all(bare, monkeypatch):
    program(bare / "path", "clang")
    chosen = program(bare, "clang-19")
    monkeypatch.setenv("CC", chosen)
    assert toolchain.find_clang() == chosen


def test_a_gcc_in_cc_does_not_serve(bare, monkeypatch):
    gcc, clang = program(bare, "gcc"), program(bare / "path", "clang")
    monkeypatch.setenv("CC", gcc)
    assert toolchain.prepare_compiler() == clang
    assert os.environ["CC"] == clang


@pytest.mark.parametrize(
    ("system", "machine", "managers", "command"),
    [
        ("linux", "x86_64", [], "-m pip install 'edifice-tt[cpu]'"),
        ("linux", "aarch64", ["apt-get"], "sudo apt-get install clang"),
        ("linux", "aarch64", ["dnf"], "sudo dnf install clang"),
        ("linux", "riscv64", [], "install clang with your system's package manager"),
        ("darwin", "arm64", [], "xcode-select --install"),
        ("win32", "AMD64", [], "winget install LLVM.LLVM"),
    ],
)
def test_without_clang_the_error_says_the_one_command(
    bare, monkeypatch, system, machine, managers, command
):
    for manager in managers:
        program(bare / "path", manager)
    # Of this room alone: `shutil.which` asks the system's own modules on Windows.
    here = SimpleNamespace(platform=system, executable=sys.executable)
    monkeypatch.setattr(toolchain, "sys", here)
    monkeypatch.setattr(toolchain.platform, "machine", lambda: machine)
    with pytest.raises(ToolchainError, match="needs the compiler clang, and none was") as caught:
        toolchain.prepare_compiler()
    assert str(caught.value).endswith(command)
    assert "\n" not in str(caught.value)


def run(code, tmp_path, **env):
    """Run code in a process of its own that finds no clang, and cannot reach the compile cache."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            "PATH": str(tmp_path),
            "HOME": str(tmp_path),
            "CACHEDB": str(tmp_path / "cache.db"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OCL_ICD_VENDORS": str(tmp_path),  # nor an OpenCL driver
            **env,
        },
        check=False,
    )


NO_CLANG = "from edifice_tt.machine import toolchain; toolchain.find_clang = lambda: None\n"


@pytest.mark.slow
def test_no_compiler_is_one_line_and_not_tinygrad_s_page_of_traceback(tmp_path):
    code = NO_CLANG + "from edifice_tt.cli import main; raise SystemExit(main(['doctor']))"
    done = run(code, tmp_path, DEV="CPU")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "needs the compiler clang" in done.stdout


@pytest.mark.slow
def test_a_device_that_needs_no_clang_builds_without_one(tmp_path):
    code = NO_CLANG + (
        "import edifice_tt as et\n"
        "print(et.list_architectures())\n"
        "model = et.build('test_time_compute', embed_dim=4, hidden_size=4, num_layers=1,"
        " num_heads=2, num_kv_heads=1, scorer_hidden=2)\n"
        "print(model.device)"
    )
    done = run(code, tmp_path, DEV="PYTHON")
    assert done.stdout.splitlines() == ["['causal_lm', 'test_time_compute']", "PYTHON"], done.stderr


@pytest.mark.parametrize("name", ["METAL", "NONSENSE", "DISK", "CUDA:7", "NULL"])
def test_a_device_that_is_not_there_names_those_that_are(name):
    with pytest.raises(ToolchainError, match="cannot be opened") as caught:
        toolchain.open_device(name)
    assert str(caught.value).startswith(f"device {name!r}")
    assert "devices here: " in str(caught.value)
    assert "CPU" in str(caught.value).rpartition("devices here: ")[2]
    assert "\n" not in str(caught.value)


def test_a_device_that_opens_and_cannot_compute_is_refused_with_the_variable_that_named_it(
    monkeypatch,
):
    monkeypatch.setenv("DEV", "NULL")  # it compiles, and gives nothing back
    with pytest.raises(ToolchainError, match="device 'NULL' with DEV=NULL cannot be opened"):
        toolchain.open_device("NULL")


def test_a_device_that_computes_wrong_numbers_is_refused(monkeypatch):
    from tinygrad import Tensor

    monkeypatch.setattr(Tensor, "__matmul__", lambda one, other: one)
    with pytest.raises(ValueError, match=r"eight times 1 is 1\.0 there, expected 8"):
        toolchain._compute.__wrapped__("CPU")


def test_devices_are_named_as_tinygrad_names_them():
    assert toolchain.open_device("cpu") == "CPU"
    assert toolchain.open_device("CPU:0") == "CPU"
    assert toolchain.open_device("CPU:1") == "CPU:1"


CPU_TYPE, GPU_TYPE = 2, 4  # of OpenCL devices, by its specification


@pytest.mark.parametrize(
    ("kind", "clang", "chosen"),
    [(GPU_TYPE, "clang", "CL"), (CPU_TYPE, "clang", "CPU"), (CPU_TYPE, None, "CL")],
)
def test_an_opencl_device_that_is_the_processor_is_chosen_only_without_clang(
    monkeypatch, kind, clang, chosen
):
    def answer(device, name, size, place, _):
        assert (device, name, size) == ("the device", 0x1000, 8)  # CL_DEVICE_TYPE
        ctypes.cast(place, ctypes.POINTER(ctypes.c_uint64))[0] = kind

    devices = {"CL": SimpleNamespace(device="CL", cl_dev="the device")}
    monkeypatch.setattr(tinygrad.device, "Device", devices)
    monkeypatch.setattr(opencl, "clGetDeviceInfo", answer)
    monkeypatch.setattr(toolchain, "find_clang", lambda: clang)
    monkeypatch.setattr(DEV, "_value", [Target()])
    assert toolchain._first_device() == chosen
    assert DEV.device == chosen  # for the Tensors that are made next


@pytest.mark.slow
@pytest.mark.parametrize("said", [None, "1"])
def test_pocl_is_told_to_compile_a_kernel_once_unless_told_otherwise(said, monkeypatch):
    monkeypatch.setenv("POCL_WORK_GROUP_SPECIALIZATION", said or "")
    if said is None:
        monkeypatch.delenv("POCL_WORK_GROUP_SPECIALIZATION")
    toolchain.open_device("CPU")
    assert os.environ["POCL_WORK_GROUP_SPECIALIZATION"] == (said or "0")


@pytest.mark.slow
def test_a_tensor_may_be_made_before_the_first_call(tmp_path):
    """In an environment that is not activated: PATH has no clang, the folder of Python has."""
    code = "import edifice_tt; from tinygrad import Tensor; print((Tensor([1.0]) + 1).tolist())"
    done = run(code, tmp_path)
    assert done.stdout.strip() == "[2.0]", done.stderr


def test_a_missing_library_names_the_extra_that_brings_it():
    with pytest.raises(ToolchainError, match=r"'not_there'.*pip install 'edifice-tt\[lm\]'"):
        toolchain.require("not_there", "lm")


def test_a_library_that_breaks_on_import_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import not_there_either\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_either"):
        toolchain.require("half_there", "lm")


def test_a_device_may_be_used_while_another_thread_compiles():
    """tinygrad's generator switches off the use of devices, for all threads."""
    from tinygrad import Device
    from tinygrad.helpers import Context

    assert toolchain.open_device("CPU") == "CPU"
    with Context(ALLOW_DEVICE_USAGE=0):
        assert Device["CPU"].device == "CPU"


def test_the_cache_of_kernels_serves_every_thread():
    """tinygrad's own connection serves the thread alone that opened it."""
    from tinygrad.helpers import diskcache_get, diskcache_put

    toolchain.open_device("CPU")
    found = []

    def compile_there():
        diskcache_put("edifice_tt_test", "kernel", 7)
        found.append(diskcache_get("edifice_tt_test", "kernel"))

    thread = threading.Thread(target=compile_there)
    thread.start()
    thread.join()
    assert found == [diskcache_get("edifice_tt_test", "kernel")] == [7]
