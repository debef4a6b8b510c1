"""`EDIFICE_TT_TRACE_PLUGINS=1` prints one line per action of a plugin to stderr. Knows no hook."""

import functools
import os
import reprlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeVar

import pluggy

from edifice_tt.contract.errors import EdificeError, PluginError
from edifice_tt.contract.places import place_of

R = TypeVar("R")
OWN_NAME = "edifice-tt"  # the owner of what the library registers
TRACE = "EDIFICE_TT_TRACE_PLUGINS"

# Foreign objects may have a repr of any length, or one that raises.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


def is_tracing() -> bool:
    return os.environ.get(TRACE, "") not in ("", "0")


def message_of(error: BaseException) -> str:
    """The message of an error; empty if its own `__str__` fails."""
    try:
        return f"{error}"
    except KeyboardInterrupt:
        raise
    except BaseException:
        return ""


def one_line(error: BaseException) -> str:
    """An error in one line: its type and message; our own errors need no type."""
    message = " ".join(message_of(error).split())
    if isinstance(error, EdificeError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def with_place(error: BaseException) -> str:
    """An error in one line, and where foreign code raised it; our own errors need no place."""
    place = "" if isinstance(error, EdificeError) else place_of(error)
    return one_line(error) + f" ({place})" * bool(place)


def named(kind: str, record: Any) -> str:
    """What something registered is called in errors: `scorer 'mlp' of edifice-tt`."""
    return f"{kind} {record.name!r}" + (f" of {record.owner}" if record.owner else "")


def subject_of(kind: str, record: Any) -> str:
    """How an error of a plugin's own begins; of the library's own, with nothing."""
    return "" if record.owner == OWN_NAME else named(kind, record)


@contextmanager
def blamed(
    who: str, own: tuple[type[BaseException], ...] = (), subject: str = ""
) -> Iterator[None]:
    """Foreign code: whatever it raises becomes a `PluginError` that tells whose it is.

    Its `own` errors pass, which are its answer. They begin with the `subject`, if there is one.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if not isinstance(error, own):
            raise PluginError(f"{who}: {with_place(error)}") from error
        if not subject:
            raise
        ours = type(error).__module__.startswith("edifice_tt.")
        kind: type[Exception] = EdificeError if isinstance(error, EdificeError) else ValueError
        raise (type(error) if ours else kind)(f"{subject}: {message_of(error)}") from error


def timed(what: str, call: Callable[[], R]) -> R:
    """Return the result of `call`; when tracing, print how long it took."""
    started = time.perf_counter()
    result = call()
    if is_tracing():
        _print(what, f"{time.perf_counter() - started:.3f} s")
    return result


def watch(manager: pluggy.PluginManager) -> None:
    """When tracing, print each hook call of `manager` with its result."""
    if is_tracing():
        manager.add_hookcall_monitoring(lambda *call: None, _print_call)


def traced(plugin: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a hook; when tracing, functions among them print each call."""

    def trace(name: str, function: FunctionType) -> Any:
        @functools.wraps(function)
        def call(*values: Any, **options: Any) -> Any:
            result = function(*values, **options)
            _print(f"{plugin}: {name}{_show_arguments(values, options)}", show(result))
            return result

        return call

    if not is_tracing():
        return arguments
    functions = {name: one for name, one in arguments.items() if isinstance(one, FunctionType)}
    return arguments | {name: trace(name, function) for name, function in functions.items()}


def _print(call: str, result: str) -> None:
    print(f"edifice-tt trace: {call} -> {result}", file=sys.stderr)


def _print_call(
    outcome: pluggy.Result[Any], hook: str, impls: Any, arguments: Mapping[str, object]
) -> None:
    if impls:  # without implementations nothing is called
        error = outcome.exception
        result = f"raised {one_line(error)}" if error else show(outcome.get_result())
        # In call order: the last registered comes first.
        names = ", ".join(impl.plugin_name for impl in reversed(impls))
        _print(f"{names}: {hook}{_show_arguments((), arguments)}", result)
        if error:
            traceback.print_exception(error)


def _show_arguments(values: tuple[Any, ...], options: Mapping[str, object]) -> str:
    shown = [show(value) for value in values]
    return f"({', '.join(shown + [f'{key}={show(value)}' for key, value in options.items()])})"


def show(value: object) -> str:
    """A foreign value in one line, truncated; only its type if its `repr` fails."""
    if isinstance(value, FunctionType | type):
        return value.__name__
    try:
        return " ".join(_REPR.repr(value).split())
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"a {type(value).__name__}"
