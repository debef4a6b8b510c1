"""Vector instructions of processors, and the sizes of tiles that go with them. Knows no format.

The compiler chooses a line of the table by what the processor has. So sizes change no result but by
the width: in how many lanes a row is summed. `tuning` may know better ones of this processor.
"""

import ctypes
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from edifice_tt.contract.errors import ToolchainError
from edifice_tt.machine.toolchain import prepare_compiler


class Vectors(NamedTuple):
    """A line of the table: as large a tile as there are registers for."""

    name: str
    macro: str  # that the compiler defines where the processor has these instructions
    width: int  # floats of a vector
    tile_rows: int  # of products in floats
    tile_columns: int
    most_rows: int  # of products in whole numbers
    far: int  # bytes from what is read of a weight to what is brought nearer


TABLE = (
    Vectors("AVX-512", "__AVX512F__", 16, 3, 8, 8, 8192),
    Vectors("AVX2", "__AVX2__", 8, 3, 4, 4, 8192),
    Vectors("NEON", "__ARM_NEON", 4, 4, 4, 8, 8192),
)
PLAIN = Vectors("no vectors of its own", "", 4, 1, 4, 1, 8192)
LINES = (*TABLE, PLAIN)

# What adds products of bytes, beside these.
_OF_BYTES = {"VNNI": "__AVX512VNNI__", "dot products": "__ARM_FEATURE_DOTPROD"}
_OF_TILES = "__AMX_INT8__"
_MODEL = ("model name", "CPU implementer", "CPU part")  # Linux names Arm's by numbers

_ARCH_PRCTL, _ASK, _TILES = 158, 0x1023, 18  # of Linux on x86-64: ARCH_REQ_XCOMP_PERM


@cache
def allows_amx() -> bool:
    """Ask for Intel's matrix unit, for all threads of this process; whether it is to be had.

    What it can do the compiler knows.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ASK, _TILES) == 0)
    except (AttributeError, OSError):
        return False


def tiles_in_c(table: Sequence[Vectors] = LINES) -> str:
    """A table as C."""
    lines = []
    for i, way in enumerate(table):
        lines.append(f"#{'el' * bool(i)}if defined({way.macro})" if way.macro else "#else")
        sizes = {"WIDTH": way.width, "TILE_ROWS": way.tile_rows}
        sizes |= {"TILE_COLUMNS": way.tile_columns, "MOST_ROWS": way.most_rows, "FAR": way.far}
        lines += [f"#define {name} {size}" for name, size in sizes.items()]
    return "\n".join([*lines, "#endif"])


@cache
def in_use() -> tuple[str, ...]:
    """What the kernels compute with on this processor.

    Raises `ToolchainError` without a clang, or with one that does not know this processor.
    """
    native = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
    command = [prepare_compiler(), native, "-dM", "-E", "-x", "c", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolchainError(f"{command[0]} {native} fails: {done.stderr.strip()[-200:]}")
    has = {line.split()[1] for line in done.stdout.splitlines()}
    vectors = next((way for way in TABLE if way.macro in has), PLAIN)
    more = [name for name, macro in _OF_BYTES.items() if macro in has]
    more += ["AMX"] if _OF_TILES in has and vectors.width == 16 and allows_amx() else []
    return (vectors.name, *more)


def processor() -> str:
    """The model of this processor, as its system tells it."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        told = [re.search(rf"^{name}\s*: (.+)$", text, re.MULTILINE) for name in _MODEL]
        if found := " ".join(one[1].strip() for one in told if one):
            return found
    if sys.platform == "darwin":
        with suppress(OSError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if found := done.stdout.strip():
                return found
    return platform.processor() or platform.machine()
