"""How much memory the weights of a file will take, said before one is read. Knows no format."""

import math
from collections.abc import Sequence
from pathlib import Path

from edifice_tt.memory import available_bytes, check_room


def check_weights(
    path: Path,
    shapes: Sequence[tuple[int, ...]],
    device: str,
    dtype: str | None = None,
    copies: int = 1,
    beside: int = 0,
) -> None:
    """Raise `EdificeError` when weights of these shapes are known not to fit on a device.

    Matrices are stored as `dtype`, all else and by default these too as float32; `copies` of them
    are there at once, and `beside` are bytes that the file takes as it is.
    """
    needed = needed_bytes(shapes, dtype, copies, beside)
    available = available_bytes(device)
    half = needed_bytes(shapes, "float16", copies, beside)
    if available is not None and half <= available:
        advice = "use dtype=float16 (--dtype float16)"
    else:
        advice = "use a smaller model, or a device with more memory"
    check_room(f"{path}: loading", needed, available, device, advice)


def needed_bytes(
    shapes: Sequence[tuple[int, ...]], dtype: str | None, copies: int = 1, beside: int = 0
) -> int:
    """The bytes at the most, with the one matrix that is being rounded."""
    narrow = dtype in ("float16", "bfloat16")
    sizes = [math.prod(s) * (2 if narrow and len(s) == 2 else 4) for s in shapes]
    rounding = 4 * max(map(math.prod, shapes), default=0) if narrow else 0
    return copies * sum(sizes) + beside + rounding
