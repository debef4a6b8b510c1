"""Reports broken promises and compares numbers. Knows no kind of plugin."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from edifice_tt.contract.tracing import one_line
from edifice_tt.machine.toolchain import list_devices

R = TypeVar("R")
Array = np.ndarray[Any, np.dtype[Any]]

# Another batch size runs other kernels, which round differently; half precision rounds more.
TOLERANCE, HALF_TOLERANCE = 1e-5, 1e-2


class BrokenPromise(AssertionError):
    """A plugin breaks its contract; the message names the promise and the values found."""


def attempt(who: str, when: str, call: Callable[[], R]) -> R:
    """Call foreign code; if it raises, raise a `BrokenPromise` that says when and what."""
    try:
        return call()
    except BrokenPromise:
        raise
    except Exception as error:
        raise BrokenPromise(f"{who} raises {when}: {one_line(error)}") from error


def describe(kind: str, name: str, owner: str) -> str:
    """The subject of every sentence: `scorer 'mlp' of edifice-tt 0.1`."""
    return f"{kind} {name!r}" + (f" of {owner}" if owner else "")


def name_of(function: Any) -> str:
    """The name of an unregistered function."""
    return str(getattr(function, "__name__", type(function).__name__))


def accepted(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options that a function accepts as parameters; all if it takes any."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}


def first_difference(one: Array, other: Array, tolerance: float) -> tuple[int, ...] | None:
    """The first index at which two arrays differ, or None; NaN differs from everything."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    allowed = tolerance * np.maximum(1, np.maximum(abs(one), abs(other)))
    apart = np.argwhere(~((abs(one - other) <= allowed) | (one == other)))
    return tuple(int(i) for i in apart[0]) if len(apart) else None


def orders(count: int) -> list[list[int]]:
    """Two other orders of so many items: reversed, and rotated by one."""
    forwards = list(range(count))
    return [forwards[::-1], forwards[1:] + forwards[:1]]


def devices_to_try() -> list[str]:
    """Every device of this machine, and a second CPU, on which a Tensor of another device fails."""
    found = list_devices()
    return found + ["CPU:1"] * ("CPU" in found)
