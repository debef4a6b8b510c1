"""Each scorer is made once, for making one may load a model. Knows no model and no pool."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import RLock
from types import FunctionType
from typing import Any

from edifice_tt.contract.records import Scorer

_made: dict[tuple[str, str], tuple[Scorer, Any]] = {}
_lock = RLock()  # a factory may score by another scorer


def make_once(record: Scorer, make: Callable[[], Any], device: str = "") -> Any:
    """What `make` gives, kept while the scorer of that name is registered as it is now."""
    with _lock:
        known = _made.get((record.name, device))
        if known is None or not _same(known[0], record):
            known = _made[record.name, device] = record, make()
        return known[1]


def _same(one: Scorer, other: Scorer) -> bool:
    """Whether they were registered alike; by the same lines, if they are asked again each time."""
    alike = _parts(one.factory) == _parts(other.factory)
    return alike and one == replace(other, factory=one.factory)


def _parts(factory: Any) -> Any:
    if isinstance(factory, partial):
        return _parts(factory.func), factory.args, factory.keywords
    if isinstance(factory, FunctionType):
        defaults = factory.__defaults__, factory.__kwdefaults__
        return factory.__code__, id(factory.__globals__), defaults, factory.__closure__
    return factory
