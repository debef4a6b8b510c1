"""How a head is asked, and what any answer of one must look like. Knows no order and no weight."""

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
    """Hidden states as a final norm leaves them."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def read(who: str, head: Any, hidden: Array, device: str | None = None) -> Array:
    """Scores (B, T) of hidden states (B, T, D), once their shape and dtype are right."""
    # A copy: a Tensor may share the memory of the array that it is made of.
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
            "one number a position"
        )
    if not dtypes.is_float(out.dtype):
        raise BrokenPromise(f"{who} gives {out.dtype}, expected floats")
    values: Array = out.numpy()[..., 0]
    return values


def check_input_kept(who: str, head: Any, hidden: Array) -> None:
    """Raise `BrokenPromise` for a head that writes into the hidden states that it is given."""
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
    """Raise `BrokenPromise` with the two numbers where scores (B, T) first differ."""
    if tolerance < 0:
        tolerance = TOLERANCE if one.dtype.itemsize > 2 else HALF_TOLERANCE
    if (where := first_difference(one, other, tolerance)) is not None:
        found = promise.format(f"{one[where]:.6g}", f"{other[where]:.6g}")
        raise BrokenPromise(f"{who}: {found} ({_place(where)})")


def _place(where: Any) -> str:
    return f"sequence {where[0]}, position {where[1]}"
