"""Draws of tokens in C. The formula is `sampling/draws.py`, what both compute alike `exponentials`.

Any device's logits are drawn from here, once they are in this process's memory.
"""

import ctypes
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.errors import ToolchainError, reason_of
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.far_calls import reach_far
from edifice_tt.machine.toolchain import prepare_compiler
from edifice_tt.nn import exponentials
from edifice_tt.nn.buffers import wrap, zeros
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu.instructions import tiles_in_c
from edifice_tt.nn.cpu.kernels import MEMBERS, MOST_COLUMNS
from edifice_tt.nn.cpu.replay import Capture, capture
from edifice_tt.nn.cpu.team import led

C_ROOMS = ("vectors", "team", "sums", "draws")
STRETCH = 256  # logits of which the highest, and the sum of the weights, are kept
PART = 16  # stretches that are worth a part of a team's job: microseconds
_BYTES = 17  # of room per token


class Request(ctypes.Structure):
    """What to draw, and what was drawn; as `request` in C."""

    _fields_ = (
        *(("logits", ctypes.c_void_p), ("size", ctypes.c_int64), ("room", ctypes.c_void_p)),
        *(("temperature", ctypes.c_double), ("top_p", ctypes.c_double), ("top_k", ctypes.c_int64)),
        *(("seed", ctypes.c_uint64), ("index", ctypes.c_uint64), ("position", ctypes.c_uint64)),
        *(("token", ctypes.c_int64), ("low", ctypes.c_uint64), ("high", ctypes.c_uint64)),
        *(("top", ctypes.c_double), ("team", ctypes.c_void_p)),
    )


class Drawing:
    """Draws of one thread from logits of one size."""

    def __init__(self, size: int, program: Callable[[ctypes.c_uint64], object]) -> None:
        self._program = program
        self._room = zeros(_BYTES * (size + 2 * STRETCH), dtype=np.uint8)
        self.request = Request(size=size, room=self._room.ctypes.data)
        self._address = ctypes.c_uint64(ctypes.addressof(self.request))

    def __call__(self, logits: NDArray[np.float32]) -> None:
        team = led()
        self.request.logits = logits.ctypes.data
        self.request.team = team.pointer if team else None
        self._program(self._address)


_of_thread = threading.local()


def drawing(logits: NDArray[Any]) -> Drawing | None:
    """What draws from such logits in C; None where the formula must."""
    if logits.dtype != np.float32 or not logits.flags.c_contiguous or not len(logits):
        return None
    found: Drawing | None = getattr(_of_thread, "drawing", None)
    if found is None or found.request.size != len(logits):
        if (program := _program()) is None:
            return None
        found = _of_thread.drawing = Drawing(len(logits), program.calls[0][0])
    return found


def source() -> str:
    """The C of a draw."""
    sizes: dict[str, object] = {"MOST_COLUMNS": MOST_COLUMNS, "MEMBERS": MEMBERS}
    sizes |= {"STRETCH": STRETCH, "PART": PART}
    sizes |= {
        "BITS": exponentials.BITS,
        "SHIFT": exponentials.SHIFT,
        "OCTAVES": exponentials.OCTAVES,
    }
    sizes["LEAST"] = exponentials.LEAST
    sizes |= {f"C{i}": factor for i, factor in enumerate(exponentials.POLYNOMIAL, 1)}
    sizes["SIXTEENTHS"] = ", ".join(f"{n}UL" for n in exponentials.POWERS.view(np.uint64))
    folder = Path(__file__).with_name("c")
    rooms = [(folder / f"{room}.c").read_text(encoding="utf-8") for room in C_ROOMS]
    defines = [f"#define {name} {size}" for name, size in sizes.items()]
    return "\n".join([*defines, tiles_in_c(), *rooms])


@cache
def _program() -> Capture | None:
    """The compiled draw; None without a compiler for C."""

    def draw(own: Any) -> Any:
        return cpu.call("draws", source(), "draw_one((request *)own);", {"own": own}, {})[0]

    with exclusive:
        try:
            prepare_compiler()
            reach_far()
            if cpu.compiles_c("CPU"):
                nothing = np.zeros(ctypes.sizeof(Request) // 4, np.int32)
                return capture(draw, wrap(nothing, "CPU"))
        except ToolchainError:
            pass
        except Exception as error:  # whatever a compiler raises: no draw needs one
            warnings.warn(
                f"draws are not compiled, and slower so: {reason_of(error)}",
                RuntimeWarning,
                stacklevel=2,
            )
    return None
