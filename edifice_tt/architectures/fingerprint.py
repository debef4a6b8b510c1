"""Which model this is, as a short text. Knows weights and a config; no architecture, no file."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary, ref

from tinygrad import UOp, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import buffers_of, numbers

# What a weight is called and how it is stored, and its bytes.
Stored: TypeAlias = Iterable[tuple[list[Any], Any]]


class _State(NamedTuple):
    """What a model was. Weights by weak references: an address may be given out again."""

    weights: list[ref[UOp]]
    config: Any

    @classmethod
    def of(cls, model: Any) -> "_State":
        return cls([ref(uop) for uop in buffers_of(model)], model.config)

    def holds(self, model: Any) -> bool:
        """Whether the model still is so."""
        uops = buffers_of(model)
        same = len(uops) == len(self.weights) and self.config == model.config
        return same and all(held() is uop for held, uop in zip(self.weights, uops, strict=True))


_known: WeakKeyDictionary[Any, tuple[_State, str]] = WeakKeyDictionary()
_origins: WeakKeyDictionary[Any, tuple[_State, Callable[[], str]]] = WeakKeyDictionary()


@exclusive
def fingerprint(model: Any) -> str:
    """A hash over a model's weights, as they are stored, and the options that are no defaults.

    Computed at first use and again when weights or the config were replaced; numbers that are
    written over in place are not noticed. The same weights in another dtype are another model, but
    for those of a file that is known by its own bytes: see `identify`.
    """
    held = _known.get(model)
    if held is None or not held[0].holds(model):
        origin = origin_of(model)
        found = origin() if origin else _hash(model.architecture, model.config, _weights(model))
        held = _known[model] = (_State.of(model), found)
    return held[1]


def identify(model: Any, weights: Callable[[], Stored]) -> None:
    """Let a model be known by the weights in its file, however a device stores and rounds them.

    Until one is replaced: then by what it holds.
    """
    architecture, config = model.architecture, model.config
    set_origin(model, lambda: _hash(architecture, config, weights()))


def origin_of(model: Any) -> Callable[[], str] | None:
    """What gives the fingerprint of a model that is known by its file; None for others."""
    origin = _origins.get(model)
    return origin[1] if origin is not None and origin[0].holds(model) else None


def set_origin(model: Any, origin: Callable[[], str] | None) -> None:
    """Let a copy be known as the model that it is a copy of, until a weight is replaced."""
    if origin is not None:
        _origins[model] = _State.of(model), origin


def known_as(model: Any) -> str | None:
    """The fingerprint of a model that is known by its file; None for others."""
    return None if origin_of(model) is None else fingerprint(model)


def _hash(architecture: str, config: Any, weights: Stored) -> str:
    # Defaults are left out, so that an option that comes later changes no fingerprint.
    given = {
        field.name: value
        for field in fields(config)
        if (value := getattr(config, field.name)) != field.default
    }
    digest = hashlib.sha256(json.dumps([architecture, given], sort_keys=True).encode())
    for stored, data in weights:
        digest.update(json.dumps(stored).encode())
        digest.update(data)
    return digest.hexdigest()[:32]


def _weights(model: Any) -> Stored:
    for name, weight in sorted(get_state_dict(model).items()):
        # As bytes where Python 3.11 has no memory view: of 16-bit floats.
        plain = weight.dtype in (dtypes.float32, dtypes.uint8)
        stored = weight if plain else weight.contiguous().bitcast(dtypes.uint8)
        held = numbers(stored)
        data = stored.data() if held is None else held.data
        yield [name, list(weight.shape), str(weight.dtype)], data
