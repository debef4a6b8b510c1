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
    compare,
)


def draw(*shape: int, seed: int = 11) -> Array:
    """Random hidden states (B, T, D) with the scale of a final norm."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def read(who: str, head: Any, hidden: Array, device: str | None = None) -> Array:
    """Scores (B, T) of hidden states (B, T, D), with shape and dtype checked."""
    # A copy: a Tensor may share memory with its array.
    x = Tensor(hidden.copy(), device=device).realize()
    expected = (*hidden.shape[:2], 1)

    def call() -> Any:
        out = head(x)
        return out.realize() if isinstance(out, Tensor) else out

    out = attempt(who, f"on hidden states {hidden.shape} on {x.device}", call)
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
    x = Tensor(hidden.copy()).realize()
    head(x).realize()
    words = "a hidden state was {} and is {}; work on a copy"
    compare(f"{who} changes its input:", hidden, x.numpy(), words, 0)


def check_values(who: str, values: Array, range: str) -> None:
    """Raise `BrokenPromise` for scores (B, T) that are not finite or leave the declared range."""
    for where, value in np.ndenumerate(values):
        check_value(f"{who} gives {value:.6g} for {_place(where)}", value, range)


def check_value(gives: str, value: float, range: str) -> None:
    """Raise `BrokenPromise` for a score that is not finite or leaves the declared range."""
    if not np.isfinite(value):
        raise BrokenPromise(f"{gives}, expected a finite number")
    if range == "probability" and not 0 <= value <= 1:
        raise BrokenPromise(f"{gives}, but declares range='probability': within 0 and 1")


def compare_scores(
    who: str, one: Array, other: Array, promise: str, tolerance: float | None = None
) -> None:
    """`promises.compare` of scores (B, T), with a tolerance for their precision."""
    if tolerance is None:
        tolerance = TOLERANCE if one.dtype.itemsize > 2 else HALF_TOLERANCE
    compare(f"{who}:", one, other, promise, tolerance, lambda where: f" ({_place(where)})")


def _place(where: Any) -> str:
    return f"sequence {where[0]}, position {where[1]}"
