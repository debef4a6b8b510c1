"""Reports broken promises and compares numbers. Knows no kind of plugin."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from edifice_tt.contract import registry
from edifice_tt.contract.errors import unknown_name
from edifice_tt.contract.factories import parameters
from edifice_tt.contract.tracing import named, one_line
from edifice_tt.machine.toolchain import list_devices

R = TypeVar("R")
Array = np.ndarray[Any, np.dtype[Any]]

# Another batch size runs other kernels, which round differently; half precision rounds more.
TOLERANCE, HALF_TOLERANCE = 1e-5, 1e-2


class BrokenPromise(AssertionError):
    """A plugin breaks its contract; the message names the promise and the values found."""


def attempt(who: str, when: str, call: Callable[[], R], do: str = "") -> R:
    """Call foreign code; if it raises, raise a `BrokenPromise` that says when and what.

    `do` ends the message. `SystemExit` counts too: it would end the tests.
    """
    try:
        return call()
    except BrokenPromise:
        raise
    except (Exception, SystemExit) as error:
        words = f"{who} raises {when}: {one_line(error)}" + f"; {do}" * bool(do)
        raise BrokenPromise(words) from error


def find(kind: str, plugin: Any, make: Callable[[str], Any], **expected: Any) -> tuple[str, Any]:
    """The subject and the record of a registered name, or of a function.

    `make` makes the record of a function from its name. Options that are `expected`, where they are
    not None, must be those of the registration.
    """
    if isinstance(plugin, str):
        record = registry.load_registry().find(kind, plugin)
    else:
        record = make(str(getattr(plugin, "__name__", type(plugin).__name__)))
    who = named(kind.split()[-1], record)
    for option, value in expected.items():
        if value not in (None, declared := getattr(record, option)):
            raise BrokenPromise(
                f"{who} is registered with {option}={declared!r}, expected {value!r}"
            )
    return who, record


def check_options(kind: str, name: str, function: Callable[..., Any], given: Any) -> None:
    """Raise `UnknownNameError` for an option that a function does not take, with the nearest."""
    known = parameters(function)
    for option in given:
        if option not in accepted(function, {option: None}):
            raise unknown_name(f"option of {kind} {name}", option, known)


def accepted(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options that a function accepts as parameters; all if it takes any."""
    known = parameters(function)
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return options
    return {name: value for name, value in options.items() if name in known}


def first_difference(one: Array, other: Array, tolerance: float) -> tuple[int, ...] | None:
    """The first index at which two arrays differ, or None; NaN differs from everything."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    allowed = tolerance * np.maximum(1, np.maximum(abs(one), abs(other)))
    apart = np.argwhere(~((abs(one - other) <= allowed) | (one == other)))
    return tuple(int(i) for i in apart[0]) if len(apart) else None


def compare(
    subject: str,
    one: Array,
    other: Array,
    promise: str,
    tolerance: float = TOLERANCE,
    place: Callable[[tuple[int, ...]], str] = lambda where: "",
) -> None:
    """Raise `BrokenPromise` with the first two numbers that differ, and their place.

    The message is the subject, then the promise with both numbers.
    """
    if (where := first_difference(one, other, tolerance)) is not None:
        numbers = promise.format(f"{one[where]:.6g}", f"{other[where]:.6g}")
        raise BrokenPromise(f"{subject} {numbers}{place(where)}")


def orders(count: int) -> list[list[int]]:
    """Two other orders of so many items: reversed, and rotated by one."""
    forwards = list(range(count))
    return [forwards[::-1], forwards[1:] + forwards[:1]]


def devices_to_try() -> list[str]:
    """Every device of this machine, and a second CPU, on which a Tensor of another device fails."""
    devices = list_devices()
    return devices + ["CPU:1"] * ("CPU" in devices)
