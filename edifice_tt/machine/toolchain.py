"""Finds the device and the compiler, and says what to do without one. Changes no result.

tinygrad's CPU device compiles with clang only. It takes the compiler from `CC`, then from `PATH`.
Its worker processes keep the values of its first use, so both are set before.
"""

import ctypes
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from edifice_tt.contract.errors import ToolchainError, reason_of
from edifice_tt.machine.environment import check_environment
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.extras import require as require
from edifice_tt.machine.far_calls import reach_far

# Devices that tinygrad uses for files and for tests, not for computing.
NOT_FOR_COMPUTING = ("DISK", "NPY", "TINYFS")
_COMPILE_WHEN_OPENED = ("ClangRenderer",)


def offer_clang() -> None:
    """Add the folder of this Python to `PATH` if it holds the only clang.

    Wheels that carry clang put it there, but the folder is on `PATH` only in an activated
    environment. It goes last, so that it hides no other program.
    """
    folder = str(Path(sys.executable).parent)
    if shutil.which("clang") is None and shutil.which("clang", path=folder):
        os.environ["PATH"] = os.pathsep.join(filter(None, [os.environ.get("PATH"), folder]))


def find_clang() -> str | None:
    """The path of the clang to use: from `CC`, `PATH`, or beside this Python; None without one."""
    name = os.environ.get("CC", "")
    if "clang" in Path(name).name and (path := shutil.which(name)):
        return path
    offer_clang()
    return shutil.which("clang")


def how_to_get_clang() -> str:
    """The command that installs clang on this platform."""
    if sys.platform == "darwin":
        return "xcode-select --install"
    if sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64"):
        return f"{sys.executable} -m pip install 'edifice-tt[cpu]'"
    if sys.platform == "win32":
        return "winget install LLVM.LLVM"
    for command in ("apt-get install", "dnf install", "pacman -S", "apk add"):
        if shutil.which(command.split()[0]):
            return f"sudo {command} clang"
    return "install clang with your system's package manager"


def prepare_compiler() -> str:
    """Set `CC` so that tinygrad's CPU device finds clang; returns its path.

    Raises `ToolchainError` without a clang, with the command that installs one.
    """
    if (clang := find_clang()) is None:
        raise ToolchainError(
            "tinygrad's CPU device needs the compiler clang, and none was found in CC, on PATH or "
            f"beside {sys.executable}; run: {how_to_get_clang()}"
        )
    if "clang" not in Path(os.environ.get("CC", "clang")).name:
        os.environ["CC"] = clang
    return clang


@exclusive
def open_device(name: str | None = None) -> str:
    """Open a tinygrad device and return its name (default: the first that opens).

    The order is METAL, AMD, NV, CUDA, QCOM, CL, CPU; the environment variable `DEV` overrides it.
    Where clang is installed, an OpenCL device that is the processor itself (PoCL) is skipped: the
    CPU device does better there. Raises `ToolchainError` when the device does not open (listing
    those that do), or when only the CPU is left and there is no clang.
    """
    check_environment()
    from tinygrad import Device, device
    from tinygrad.helpers import BEAM, DEV, PARALLEL

    _prepare_cache()
    # PoCL would compile each kernel once more when it is first run: a third of a cold start.
    os.environ.setdefault("POCL_WORK_GROUP_SPECIALIZATION", "0")
    # tinygrad forbids its code generator to open devices by a switch that all threads share. A
    # thread that reads a Tensor meanwhile would fail.
    device.ALLOW_DEVICE_USAGE = True
    wanted = (name or DEV.device or _first_device()).upper()
    kind = wanted.split(":", maxsplit=1)[0]
    if kind == "CPU":
        prepare_compiler()
        reach_far()
        if not BEAM and "PARALLEL" not in os.environ:
            # There are few kernels: starting processes to compile them would take longer.
            PARALLEL.value = 0
    try:
        if kind in NOT_FOR_COMPUTING:
            raise ValueError(f"{kind} holds data and computes nothing")
        if type(Device[wanted].renderer).__name__ not in _COMPILE_WHEN_OPENED:
            _compute(wanted)
    # tinygrad raises whatever the driver library does: ImportError, OSError, RuntimeError, ...
    except Exception as error:
        present = ", ".join(list_devices()) or "none"
        by = f" with DEV={os.environ['DEV']}" if os.environ.get("DEV") else ""
        raise ToolchainError(
            f"device {wanted!r}{by} cannot be opened ({reason_of(error)}); devices here: {present}"
        ) from error
    return str(Device.canonicalize(wanted))


@lru_cache
def _compute(device: str) -> None:
    """Raise what a device raises that opens, yet compiles nothing or gives nothing back."""
    from tinygrad import Tensor

    ones = Tensor([1.0] * 64, device=device).reshape(8, 8)
    if (product := (ones @ ones).numpy()).min() != 8 or product.max() != 8:
        raise ValueError(f"eight times 1 is {product.flat[0]} there, expected 8")


def _prepare_cache() -> None:
    """Open tinygrad's cache of compiled kernels for all threads, or switch the cache off.

    tinygrad's own connection works only in the thread that opened it, and not after a fork.
    """
    from tinygrad import helpers

    global _cache_of
    if _cache_of == os.getpid() or helpers.CACHELEVEL < 1:
        return
    try:
        Path(helpers.CACHEDB).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            helpers.CACHEDB, timeout=60, isolation_level="IMMEDIATE", check_same_thread=False
        )
        with suppress(sqlite3.OperationalError):  # another process sets it
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA synchronous=NORMAL")
        helpers._db_connection = connection
        helpers.diskcache_put("edifice_tt", "written", 1)
    except (OSError, sqlite3.Error):  # each start compiles anew; CACHEDB can name another file
        helpers.CACHELEVEL.value = 0
    _cache_of = os.getpid()


_cache_of: int | None = None  # the id of the process that opened the cache


_most_cores: int | None = None


def limit_cores(cores: int | None) -> None:
    """From here on this process uses at most so many cores; None: all that it may."""
    global _most_cores
    _most_cores = cores


def devices_beside(device: str) -> list[str]:
    """The devices that can share the work of `device`: one per core for the CPU, else itself."""
    if device != "CPU":
        return [device]
    limited = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1
    cores = min(cores, _most_cores or cores)
    return ["CPU", *(f"CPU:{core}" for core in range(1, cores))]


def open_devices(names: Sequence[str], beside: str) -> list[str]:
    """Open several devices that share the work of a model on `beside`; returns their names.

    Raises `ToolchainError` as `open_device` does, and `ValueError` for an empty list, a duplicate,
    or a device of another kind than `beside`.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"devices={names!r} must be a list of devices, for example [{beside!r}]")
    devices = [open_device(name) for name in names]
    if len(set(devices)) < len(devices):
        raise ValueError(f"devices={devices} name one twice; give each once")
    kind = beside.split(":")[0]
    for name in devices:
        if name.split(":")[0] != kind:
            raise ValueError(
                f"device {name!r} is of another kind than {beside!r}, where the model is; give "
                f"devices of the kind {kind}"
            )
    return devices


@exclusive
def list_devices() -> list[str]:
    """The devices that open on this machine, in tinygrad's order of preference."""
    from tinygrad.device import ALL_DEVICES, Device

    _prepare_cache()
    with suppress(ToolchainError):
        prepare_compiler()
    devices = []
    for kind in ALL_DEVICES:
        if kind == "CPU" and find_clang() is None:
            continue
        with suppress(Exception):
            devices.append(Device[kind].device)
    return devices


def _first_device() -> str:
    from tinygrad.device import ALL_DEVICES, Device
    from tinygrad.helpers import DEV

    first = "CPU"
    for kind in ALL_DEVICES[: ALL_DEVICES.index("CPU")]:
        if kind not in _VENDORS or _has_card(*_VENDORS[kind]):
            with suppress(Exception):
                device = Device[kind]
                if kind == "CL" and is_processor(device) and find_clang():
                    continue
                first = str(device.device)
                break
    if not repr(DEV):
        DEV.value = first  # saves tinygrad the same search
    return first


def is_processor(device: Any) -> bool:
    """Whether an OpenCL device reports that it is a CPU."""
    from tinygrad.runtime.autogen import opencl

    kind = ctypes.c_uint64()
    opencl.clGetDeviceInfo(device.cl_dev, opencl.CL_DEVICE_TYPE, 8, ctypes.byref(kind), None)
    return bool(kind.value & opencl.CL_DEVICE_TYPE_CPU)


# These drivers take half a second to find no card. So first the PCI bus is asked for the vendor; a
# container may have the device file alone.
_VENDORS = {"AMD": ("0x1002", "/dev/kfd"), "NV": ("0x10de", "/dev/nvidiactl")}


def _has_card(vendor: str, device_file: str) -> bool:
    if sys.platform != "linux" or Path(device_file).exists():
        return True
    for card in Path("/sys/bus/pci/devices").glob("*/vendor"):
        with suppress(OSError):
            if card.read_text().strip() == vendor:
                return True
    return False
