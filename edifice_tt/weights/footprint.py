"""How much memory the weights of a file will take, said before one is read. Knows no format."""

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from edifice_tt.machine.memory import available_bytes, check_buffer, check_room
from edifice_tt.nn.stored.halves import narrows

# The bytes of work per number, with what tinygrad takes at its first use; the most numbers at once.
_WORK, _PART = 100, 1 << 19
_NARROW = ("float16", "bfloat16")


def check_weights(
    path: Path,
    shapes: Sequence[tuple[int, ...]],
    device: str,
    dtype: str | None = None,
    beside: int = 0,
    blocks: Mapping[str, int] | None = None,
) -> None:
    """Raise `EdificeError` when weights of these shapes are known not to fit on a device.

    Matrices are stored as `dtype`, all else and by default these too as float32; `beside` are bytes
    that loading takes beside these. `blocks` are the bytes of weights that stay in blocks, by name.
    """
    needed = needed_bytes(shapes, dtype, beside, device)
    available = available_bytes(device)
    half = needed_bytes(shapes, "float16", beside, device)
    if available is not None and half <= available:
        advice = "use dtype=float16 (--dtype float16)"
    else:
        advice = "use a smaller model, or a device with more memory"
    check_room(f"{path}: loading", needed, available, device, advice)
    sizes = {f"of {shape}": stored_bytes([shape], dtype, device) for shape in shapes}
    name, largest = max({**sizes, **(blocks or {})}.items(), key=itemgetter(1), default=("", 0))
    advice = "use a file with fewer bits a weight, or a device that allows more"
    if name in sizes and dtype not in _NARROW:
        advice = f"use dtype=float16 (--dtype float16), {advice.removeprefix('use ')}"
    check_buffer(f"{path}: the weight {name}", largest, device, advice)


def needed_bytes(
    shapes: Sequence[tuple[int, ...]], dtype: str | None, beside: int = 0, device: str = "CPU"
) -> int:
    """The bytes at the most, with the one matrix that is being rounded and the part in work."""
    largest = max(map(math.prod, shapes), default=0)
    rounding = 4 * largest if dtype in _NARROW else 0
    return stored_bytes(shapes, dtype, device) + beside + rounding + work_bytes(largest)


def stored_bytes(shapes: Iterable[tuple[int, ...]], dtype: str | None, device: str) -> int:
    """The bytes of the weights themselves."""
    narrow = dtype in _NARROW
    return sum(math.prod(s) * (2 if narrow and narrows(s, device) else 4) for s in shapes)


def work_bytes(largest: int) -> int:
    """The bytes that work on a weight of so many numbers takes, beside the weight."""
    return _WORK * min(largest, _PART)
