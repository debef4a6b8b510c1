"""Rows of a weight brought together in C, since NumPy takes two to five times as long.

What they are then is `nn/stored/int8.py`'s to say; this knows no format.
"""

import ctypes
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor

from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import wrap
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu.replay import Capture, capture

C_ROOM = "grouping"
ROWS = 16  # that stand together
_FIELDS = 3


class _Request(ctypes.Structure):
    """As `request` in C."""

    _fields_ = (
        *(("rows", ctypes.c_void_p), ("grouped", ctypes.c_void_p)),
        *(("count", ctypes.c_int64), ("blocks", ctypes.c_int64), ("bytes", ctypes.c_int64)),
        ("fields", ctypes.c_int64 * (3 * _FIELDS)),
    )


def group(
    grouped: NDArray[np.uint8],
    rows: NDArray[np.uint8],
    block: int,
    fields: Iterable[tuple[int, int, int]],
) -> None:
    """Bring rows (out, bytes of a row) of blocks of so many bytes together, in `grouped`.

    `fields` are where numbers of one size begin and end in a block, and their size, all in bytes.
    """
    rows = np.ascontiguousarray(rows)
    count, row_bytes = rows.shape
    flat = [number for field in fields for number in field]
    request = _Request(rows.ctypes.data, grouped.ctypes.data, count, row_bytes // block, block)
    request.fields[: len(flat)] = flat
    _program().calls[0][0](ctypes.c_uint64(ctypes.addressof(request)))


@cache
def _program() -> Capture:
    room = Path(__file__).with_name("c").joinpath(f"{C_ROOM}.c")
    sizes = f"#define WIDE\n#define TOGETHER {ROWS}\n"
    library = sizes + room.read_text(encoding="utf-8")

    def bring(own: Tensor) -> Tensor:
        return cpu.call("group_rows", library, "group((const request *)own);", {"own": own}, {})[0]

    with exclusive:
        nothing = np.zeros(ctypes.sizeof(_Request) // 4, np.int32)
        found = capture(bring, wrap(nothing, "CPU"))
    assert found is not None
    return found
