"""Calls a head and checks the form of its scores. Knows no order of candidates and no weight."""

from typing import Any

import numpy as np
from tinygrad import Tensor, dtypes

from edifice_tt.testing.promises import (
    HALF_TOLERANCE,
    TOLERANCE,
    Array,
    BrokenPromise,
    attempt,
    first_difference,
)


def draw(*shape: int, seed: int = 11) -> Array:
    """Random hidden states (B, T, D) with the scale of a final norm."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def read(who: str, head: Any, hidden: Array, device: str | None = None) -> Array:
    """Scores (B, T) of hidden states (B, T, D), with shape and dtype checked."""
    # A copy: a Tensor may share memory with its array.
    given = Tensor(hidden.copy(), device=device).realize()
    expected = (*hidden.shape[:2], 1)

    def call() -> Any:
        out = head(given)
        return out.realize() if isinstance(out, Tensor) else out

    out = attempt(who, f"on hidden states {hidden.shape} on {given.device}", call)
    if not isinstance(out, Tensor):
        raise BrokenPromise(f"{who} gives {type(out).__name__}, expected a Tensor {expected}")
    if out.shape != expected:
        raise BrokenPromise(
            f"{who} gives shape {out.shape} for hidden states {hidden.shape}, expected {expected}: "
            "one number per position"
        )
    if not dtypes.is_float(out.dtype):
        raise BrokenPromise(f"{who} gives {out.dtype}, expected floats")
    values: Array = out.numpy()[..., 0]
    return values


def check_input_kept(who: str, head: Any, hidden: Array) -> None:
    """Raise `BrokenPromise` if a head writes into its input."""
    given = Tensor(hidden.copy()).realize()
    head(given).realize()
    if (where := first_difference(hidden, after := given.numpy(), 0)) is not None:
        raise BrokenPromise(
            f"{who} changes its input: a hidden state was {hidden[where]:.6g} and is "
            f"{after[where]:.6g}; work on a copy"
        )


def check_values(who: str, values: Array, range: str) -> None:
    """Raise `BrokenPromise` for scores (B, T) that are not finite or leave the declared range."""
    if len(bad := np.argwhere(~np.isfinite(values))):
        raise BrokenPromise(
            f"{who} gives {values[tuple(bad[0])]} for {_place(bad[0])}, expected a finite number"
        )
    outside = np.argwhere((values < 0) | (values > 1))
    if range == "probability" and len(outside):
        raise BrokenPromise(
            f"{who} gives {values[tuple(outside[0])]:.6g} for {_place(outside[0])}, but declares "
            "range='probability': within 0 and 1"
        )


def compare(who: str, one: Array, other: Array, promise: str, tolerance: float = -1) -> None:
    """Raise `BrokenPromise` with the first two scores (B, T) that differ."""
    if tolerance < 0:
        tolerance = TOLERANCE if one.dtype.itemsize > 2 else HALF_TOLERANCE
    if (where := first_difference(one, other, tolerance)) is not None:
        found = promise.format(f"{one[where]:.6g}", f"{other[where]:.6g}")
        raise BrokenPromise(f"{who}: {found} ({_place(where)})")


def _place(where: Any) -> str:
    return f"sequence {where[0]}, position {where[1]}"
