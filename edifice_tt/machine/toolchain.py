"""Which device and which compiler; says what to do when there is none. Changes no number.

tinygrad's CPU device compiles with clang and nothing else. It takes the compiler from `CC`, then
from `PATH`; its worker processes keep what they saw at its first use, so both are settled before.
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
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from edifice_tt.contract.errors import ToolchainError, reason_of
from edifice_tt.machine.environment import check_environment
from edifice_tt.machine.exclusive import exclusive

# Devices that tinygrad opens for files and for tests; nobody computes on them by choice.
NOT_FOR_COMPUTING = ("DISK", "NPY", "TINYFS")
_COMPILE_WHEN_OPENED = ("ClangRenderer",)


def offer_clang() -> None:
    """Let a clang that is installed beside this Python be found, as in an activated environment.

    Wheels that carry clang put it there, and a Python that is called by its path has that folder
    not on `PATH`. Last on `PATH`, so that nothing else is found there first.
    """
    folder = str(Path(sys.executable).parent)
    if shutil.which("clang") is None and shutil.which("clang", path=folder):
        os.environ["PATH"] = os.pathsep.join(filter(None, [os.environ.get("PATH"), folder]))


def find_clang() -> str | None:
    """The clang that tinygrad's CPU device should run: from `CC`, `PATH`, or beside this Python."""
    given = os.environ.get("CC", "")
    if "clang" in Path(given).name and (found := shutil.which(given)):
        return found
    offer_clang()
    return shutil.which("clang")


def how_to_get_clang() -> str:
    """The one command that brings a clang to this platform."""
    if sys.platform == "darwin":
        return "xcode-select --install"
    if sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64"):
        return f"{sys.executable} -m pip install 'edifice-tt[cpu]'"
    if sys.platform == "win32":
        return "winget install LLVM.LLVM"
    return next(
        (
            command
            for manager, command in (
                ("apt-get", "sudo apt-get install clang"),
                ("dnf", "sudo dnf install clang"),
                ("pacman", "sudo pacman -S clang"),
                ("apk", "sudo apk add clang"),
            )
            if shutil.which(manager)
        ),
        "install clang with your system's package manager",
    )


def prepare_compiler() -> str:
    """Make tinygrad's CPU device find its clang; returns the path.

    Raises `ToolchainError` when there is no clang, with the command that brings one.
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
    """Open a tinygrad device and return its name; by default the first of tinygrad's order.

    The order is METAL, AMD, NV, CUDA, QCOM, CL, CPU; the environment variable `DEV` overrides it.
    An OpenCL device that is the processor itself (PoCL) is passed over where there is a clang: the
    CPU device does better there.
    Raises `ToolchainError` when the device asked for is not there (listing those that are), or
    when only the CPU is left and it has no clang.
    """
    check_environment()
    from tinygrad import Device
    from tinygrad.helpers import BEAM, DEV, PARALLEL

    _prepare_cache()
    _let_threads_compute()
    wanted = (name or DEV.device or _first_device()).upper()
    kind = wanted.split(":", maxsplit=1)[0]
    if kind == "CPU":
        prepare_compiler()
        if not BEAM and "PARALLEL" not in os.environ:
            # Ours are a handful of kernels: processes to compile them would take longer to start.
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
    if (found := (ones @ ones).numpy()).min() != 8 or found.max() != 8:
        raise ValueError(f"eight times 1 is {found.flat[0]} there, expected 8")


def _prepare_cache() -> None:
    """Let every thread use tinygrad's cache of compiled kernels, or go without it.

    tinygrad's own connection serves the thread alone that opened it, and survives no fork.
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
        with suppress(sqlite3.OperationalError):  # another process has set it, or is about to
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA synchronous=NORMAL")
        helpers._db_connection = connection
        helpers.diskcache_put("edifice_tt", "written", 1)
    except (OSError, sqlite3.Error):  # each start compiles anew; CACHEDB names another place
        helpers.CACHELEVEL.value = 0
    _cache_of = os.getpid()


_cache_of: int | None = None  # the process


def _let_threads_compute() -> None:
    """Let other threads use a device while one compiles.

    tinygrad asserts that its code generator opens no device, by a switch that all threads see: who
    reads a Tensor meanwhile would fail by it.
    """
    from tinygrad import device

    device.ALLOW_DEVICE_USAGE = True


def devices_beside(device: str) -> list[str]:
    """A device and those that can share its work: one a core for the CPU, else itself alone."""
    if device != "CPU":
        return [device]
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return ["CPU", *(f"CPU:{core}" for core in range(1, cores))]


def open_devices(names: Sequence[str], beside: str) -> list[str]:
    """Open several devices that share the work of a model on `beside`; returns their names.

    Raises `ToolchainError` as `open_device` does, and `ValueError` for none, for one that is there
    twice and for another kind than that of `beside`.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"devices={names!r} must be a list of devices, for example [{beside!r}]")
    opened = [open_device(name) for name in names]
    if len(set(opened)) < len(opened):
        raise ValueError(f"devices={opened} name one twice; give each once")
    kind = beside.split(":")[0]
    for name in opened:
        if name.split(":")[0] != kind:
            raise ValueError(
                f"device {name!r} is of another kind than {beside!r}, where the model is; give "
                f"devices of the kind {kind}"
            )
    return opened


@exclusive
def list_devices() -> list[str]:
    """The devices that open on this machine, in tinygrad's order of preference."""
    from tinygrad.device import ALL_DEVICES, Device

    _prepare_cache()
    with suppress(ToolchainError):
        prepare_compiler()
    opened = []
    for kind in ALL_DEVICES:
        if kind == "CPU" and find_clang() is None:
            continue
        with suppress(Exception):
            opened.append(Device[kind].device)
    return opened


def _first_device() -> str:
    from tinygrad.device import ALL_DEVICES, Device
    from tinygrad.helpers import DEV

    found = "CPU"
    for kind in ALL_DEVICES[: ALL_DEVICES.index("CPU")]:
        if kind not in _VENDORS or _has_card(*_VENDORS[kind]):
            with suppress(Exception):
                device = Device[kind]
                if kind == "CL" and _is_processor(device) and find_clang():
                    continue
                found = str(device.device)
                break
    if not repr(DEV):
        DEV.value = found  # or tinygrad would search once more for the same
    return found


def _is_processor(device: Any) -> bool:
    """Whether an OpenCL device says of itself that it is a CPU."""
    from tinygrad.runtime.autogen import opencl

    kind = ctypes.c_uint64()
    opencl.clGetDeviceInfo(device.cl_dev, opencl.CL_DEVICE_TYPE, 8, ctypes.byref(kind), None)
    return bool(kind.value & opencl.CL_DEVICE_TYPE_CPU)


# Drivers that take half a second to find that there is no card: its vendor on the PCI bus, and the
# file by which a container sees it.
_VENDORS = {"AMD": ("0x1002", "/dev/kfd"), "NV": ("0x10de", "/dev/nvidiactl")}


def _has_card(vendor: str, device_file: str) -> bool:
    if sys.platform != "linux" or Path(device_file).exists():
        return True
    for card in Path("/sys/bus/pci/devices").glob("*/vendor"):
        with suppress(OSError):
            if card.read_text().strip() == vendor:
                return True
    return False


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library, or raise `ToolchainError` naming the extra that brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".", maxsplit=1)[0]:
            raise
        raise ToolchainError(
            f"this needs the library {module!r}, which is not installed; run: "
            f"{sys.executable} -m pip install 'edifice-tt[{extra}]'"
        ) from error
