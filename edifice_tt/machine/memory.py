"""How much memory a device has left, and a one-line error for what does not fit.

Asks the operating system and the drivers. Where they do not tell, the size is None and nothing is
refused. Knows no model.
"""

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine.toolchain import is_processor


def available_bytes(device: str) -> int | None:
    """The bytes that can still be allocated on a tinygrad device; None if unknown."""
    kind = device.split(":")[0]
    if kind in ("CPU", "PYTHON"):
        return host_bytes()
    size = None
    with suppress(Exception):  # a driver may raise anything; then the size is unknown
        from tinygrad import Device

        if kind in _ASK:
            size = _ASK[kind](Device[device])
    return size


def check_room(what: str, needed: int, available: int | None, device: str, advice: str) -> None:
    """Raise `EdificeError` if `needed` bytes do not fit; `available=None` means unknown."""
    if available is not None and needed > available:
        raise EdificeError(
            f"{what} needs {in_words(needed)} of {in_words(available)} free on {device}; {advice}"
        )


def check_buffer(what: str, needed: int, device: str, advice: str) -> None:
    """Raise `EdificeError` if `needed` bytes are more than a device allows one buffer to have."""
    largest = largest_buffer(device)
    if largest is not None and needed > largest:
        raise EdificeError(
            f"{what} needs a buffer of {in_words(needed)}, and {device} allows at most "
            f"{in_words(largest)} for one; {advice}"
        )


def largest_buffer(device: str) -> int | None:
    """The bytes of the largest buffer that a tinygrad device allows; None if it names none."""
    size = None
    with suppress(Exception):  # as above
        from tinygrad import Device
        from tinygrad.runtime.autogen import opencl as cl

        if device.split(":")[0] == "CL":
            size = _opencl_size(Device[device], cl.CL_DEVICE_MAX_MEM_ALLOC_SIZE)
    return size


def in_words(size: int) -> str:
    """A number of bytes in MB or GB.

    >>> in_words(1_100_000_000), in_words(48_000_000)
    ('1.1 GB', '48 MB')
    """
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.2f} MB"


def host_bytes(root: Path = Path("/")) -> int | None:
    """The bytes that this process may still allocate, limited by its container; None if unknown."""
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            return _macos(subprocess.run(["vm_stat"], capture_output=True, text=True, timeout=5))
        meminfo = (root / "proc/meminfo").read_text(encoding="ascii")
        if match := re.search(r"^MemAvailable: +(\d+) kB$", meminfo, re.MULTILINE):
            return min([int(match[1]) * 1024, *_control_groups(root)])
    return None


def _macos(done: "subprocess.CompletedProcess[str]") -> int:
    """The bytes of free pages and of those that the system can reclaim."""
    pages = {name: int(n) for name, n in re.findall(r"^Pages (\w+): +(\d+)\.", done.stdout, re.M)}
    size = int(re.findall(r"page size of (\d+) bytes", done.stdout)[0])
    return size * sum(pages.get(name, 0) for name in ("free", "inactive", "speculative"))


def _control_groups(root: Path) -> Iterator[int]:
    """The bytes left in each control group (version 1 or 2) of this process."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                bases, names = ["", "unified"], ("memory.max", "memory.current", "")
            elif "memory" in controllers.split(","):
                bases = ["memory"]
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            else:
                continue
            for base in bases:
                top = root / "sys/fs/cgroup" / base
                folder = top / path.lstrip("/")
                # A container may see its own group at the top, whatever the path says.
                for group in (folder, *folder.parents):
                    if group != top and top not in group.parents:
                        break
                    with suppress(OSError, ValueError):
                        yield _left(group, *names)


def _left(group: Path, limit: str, usage: str, prefix: str) -> int:
    most = int((group / limit).read_text())  # "max", no limit, is a ValueError
    used = int((group / usage).read_text())
    # The kernel frees its file cache before it refuses an allocation.
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    cached = sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
    return max(0, most - used + cached)


def _cached(device: Any) -> int:
    """The bytes that tinygrad has freed but keeps for the next allocation."""
    cache = getattr(device.allocator, "cache", {})
    return sum(size * len(buffers) for (size, _), buffers in list(cache.items()))


def _cuda(device: Any) -> int:
    from tinygrad.runtime.autogen import cuda
    from tinygrad.runtime.ops_cuda import check

    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    check(cuda.cuCtxSetCurrent(device.context))
    check(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    return free.value + _cached(device)


def _metal(device: Any) -> int | None:
    gpu = device.sysdevice
    left = int(gpu.recommendedMaxWorkingSetSize()) - int(gpu.currentAllocatedSize())
    host = host_bytes()  # which the GPU shares
    return left + _cached(device) if host is None else min(left, host) + _cached(device)


def _opencl(device: Any) -> int | None:
    from tinygrad.helpers import GlobalCounters
    from tinygrad.runtime.autogen import opencl as cl

    if is_processor(device):
        return host_bytes()
    size = _opencl_size(device, cl.CL_DEVICE_GLOBAL_MEM_SIZE)
    # The driver does not tell what other programs use.
    return size - int(GlobalCounters.mem_used_per_device[device.device])


def _opencl_size(device: Any, what: int) -> int:
    from tinygrad.runtime.autogen import opencl as cl
    from tinygrad.runtime.ops_cl import check

    size = ctypes.c_uint64()
    check(cl.clGetDeviceInfo(device.cl_dev, what, 8, ctypes.byref(size), None))
    return size.value


_ASK: dict[str, Callable[[Any], int | None]] = {"CUDA": _cuda, "METAL": _metal, "CL": _opencl}
