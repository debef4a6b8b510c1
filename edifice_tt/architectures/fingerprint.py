"""A short text that identifies a model. Knows weights and a config; no architecture, no file."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import fields
from threading import Thread
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary, ref

from tinygrad import UOp, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import buffers_of, numbers

# Per weight: its name, shape and dtype, and its bytes, or an iterator of them.
Stored: TypeAlias = Iterable[tuple[list[Any], Any]]


class _State(NamedTuple):
    """The state of a model when it was hashed. Weak references, since an id may be reused."""

    weights: list[ref[UOp]]
    config: Any

    @classmethod
    def of(cls, model: Any) -> "_State":
        return cls([ref(uop) for uop in buffers_of(model)], model.config)

    def holds(self, model: Any) -> bool:
        """Whether the model is still in this state."""
        uops = buffers_of(model)
        same = len(uops) == len(self.weights) and self.config == model.config
        return same and all(weight() is uop for weight, uop in zip(self.weights, uops, strict=True))


_known: WeakKeyDictionary[Any, tuple[_State, str]] = WeakKeyDictionary()
_origins: WeakKeyDictionary[Any, tuple[_State, Callable[[], str]]] = WeakKeyDictionary()


@exclusive
def fingerprint(model: Any) -> str:
    """A hash of a model's weights as stored and of its options that differ from the defaults.

    Computed on first use, and again after weights or the config were replaced. Numbers overwritten
    in place are not noticed. A change of dtype changes the fingerprint, unless the model's file
    identifies it: see `set_origin`.
    """
    entry = _known.get(model)
    if entry is None or not entry[0].holds(model):
        origin = origin_of(model)
        digest = origin() if origin else _hash(model.architecture, model.config, _weights(model))
        entry = _known[model] = (_State.of(model), digest)
    return entry[1]


def identify(model: Any, weights: Callable[[], Stored]) -> None:
    """Identify a model by the weights in its file, however a device stores and rounds them.

    Replacing a weight ends this.
    """
    architecture, config = model.architecture, model.config
    set_origin(model, lambda: _hash(architecture, config, weights()))


def begin_hash(model: Any, weights: Stored) -> Callable[[], str]:
    """Hash a model's file on a thread while the model is loaded; returns what waits for the hash.

    Given to `set_origin`, it does what `identify` does, and less is left to do at the first use.
    """
    result: Future[str] = Future()
    parts = model.architecture, model.config, weights

    def work() -> None:
        try:
            result.set_result(_hash(*parts))
        except BaseException as error:  # whoever asks is told
            result.set_exception(error)

    Thread(target=work, daemon=True).start()
    return result.result


def origin_of(model: Any) -> Callable[[], str] | None:
    """The function that computes the fingerprint from the model's file; None without a file."""
    origin = _origins.get(model)
    return origin[1] if origin is not None and origin[0].holds(model) else None


def set_origin(model: Any, origin: Callable[[], str] | None) -> None:
    """Identify a model by what it was loaded or copied from, until a weight is replaced."""
    if origin is not None:
        _origins[model] = _State.of(model), origin


def _hash(architecture: str, config: Any, weights: Stored) -> str:
    # Defaults are left out, so that a new option changes no fingerprint.
    options = {
        field.name: value
        for field in fields(config)
        if (value := getattr(config, field.name)) != field.default
    }
    digest = hashlib.sha256(json.dumps([architecture, options], sort_keys=True).encode())
    for stored, data in weights:
        digest.update(json.dumps(stored).encode())
        for part in data if isinstance(data, Iterator) else (data,):
            digest.update(part)
    return digest.hexdigest()[:32]


def _weights(model: Any) -> Stored:
    for name, weight in sorted(get_state_dict(model).items()):
        # As bytes, since Python 3.11 has no memory view of 16-bit floats.
        plain = weight.dtype in (dtypes.float32, dtypes.uint8)
        stored = weight if plain else weight.contiguous().bitcast(dtypes.uint8)
        array = numbers(stored)
        data = stored.data() if array is None else array.data
        yield [name, list(weight.shape), str(weight.dtype)], data
