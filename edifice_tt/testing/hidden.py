"""Finds all Tensors and arrays reachable from an object. Calls nothing, changes nothing."""

import functools
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from tinygrad import Tensor


def hidden_arrays(thing: Any) -> list[tuple[str, Any]]:
    """Every Tensor and array reachable from an object, with a description of its path.

    Follows attributes, slots, the class, lists, dicts and sets, and the closures, defaults and
    named globals of functions.

    >>> limit = np.array([3.0])
    >>> [where for where, _ in hidden_arrays(lambda x, y=limit: [x, y])]
    ["default 0 of '<lambda>'"]
    """
    arrays: list[tuple[str, Any]] = []
    seen: set[int] = set()
    # Kept alive: the id of a deleted object may be reused.
    todo: list[tuple[str, Any]] = [("", thing)]
    for where, one in todo:
        if id(one) in seen or isinstance(one, str | bytes | int | float | ModuleType):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor | np.ndarray):
            arrays.append((where, one))
        else:
            todo += _inside(one)
    return arrays


def _inside(one: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(one, dict):
        yield from ((f"item {key!r:.30} of a dict", value) for key, value in one.items())
    elif isinstance(one, list | tuple | set | frozenset):
        kind = type(one).__name__
        yield from ((f"item {i} of a {kind}", value) for i, value in enumerate(one))
    elif isinstance(one, MethodType):
        yield from (("a bound method", one.__self__), ("a method", one.__func__))
    elif isinstance(one, functools.partial):
        yield from (("a partial", part) for part in (one.func, one.args, one.keywords))
    elif isinstance(one, FunctionType):
        yield from _of_function(one)
    elif not isinstance(one, type):
        yield from _of_object(one)


def _of_function(one: FunctionType) -> Iterator[tuple[str, Any]]:
    of = f"of {one.__name__!r}"
    for name, cell in zip(one.__code__.co_freevars, one.__closure__ or (), strict=True):
        try:
            yield f"closure variable {name!r} {of}", cell.cell_contents
        except ValueError:
            continue  # an empty cell
    for i, value in enumerate((*(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values())):
        yield f"default {i} {of}", value
    for name in one.__code__.co_names:
        # Only objects that hold numbers: classes and modules reach everything.
        if isinstance(value := one.__globals__.get(name), Tensor | np.ndarray | list | dict):
            yield f"global variable {name!r}", value


def _of_object(one: Any) -> Iterator[tuple[str, Any]]:
    kind = type(one)
    for name, value in getattr(one, "__dict__", {}).items():
        yield f"attribute {name!r} of {kind.__name__}", value
    for base in kind.__mro__:
        if base.__module__ in ("builtins", "functools", "tinygrad.engine.jit"):
            continue
        for name, value in vars(base).items():
            if type(value).__name__ == "member_descriptor":
                yield f"slot {name!r} of {base.__name__}", getattr(one, name, None)
            elif isinstance(value, Tensor | np.ndarray | list | FunctionType):
                yield f"class attribute {name!r} of {base.__name__}", value
