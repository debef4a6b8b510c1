"""Which model this is, as a short text. Knows weights and a config; no architecture, no file."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from tinygrad import UOp, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.exclusive import exclusive
from edifice_tt.nn.init import numbers

# What a weight is called and how it is stored, and its bytes.
Stored: TypeAlias = Iterable[tuple[list[Any], Any]]

_known: WeakKeyDictionary[Any, tuple[list[UOp], str]] = WeakKeyDictionary()
_files: WeakKeyDictionary[Any, tuple[list[UOp], Callable[[], Stored]]] = WeakKeyDictionary()


@exclusive
def fingerprint(model: Any) -> str:
    """A hash over a model's weights, as they are stored, and the options that are no defaults.

    Computed at first use and again when weights were replaced. The same weights in another dtype
    are another model, but for those of a file that is known by its own bytes: see `identify`.
    """
    buffers = _buffers(model)
    held = _known.get(model)
    if held is None or held[0] != buffers:
        file = _files.get(model)
        of_file = file is not None and file[0] == buffers
        weights = file[1] if file is not None and of_file else partial(_weights, model)
        held = _known[model] = (buffers, _hash(model, weights()))
    return held[1]


def identify(model: Any, weights: Callable[[], Stored]) -> None:
    """Let a model be known by the weights in its file, however a device stores and rounds them.

    Until one is replaced: then by what it holds.
    """
    _files[model] = _buffers(model), weights


def _buffers(model: Any) -> list[UOp]:
    return [weight.uop for weight in get_state_dict(model).values()]


def _hash(model: Any, weights: Stored) -> str:
    config = model.config
    # Defaults are left out, so that an option that comes later changes no fingerprint.
    given = {
        field.name: value
        for field in fields(config)
        if (value := getattr(config, field.name)) != field.default
    }
    digest = hashlib.sha256(json.dumps([model.architecture, given], sort_keys=True).encode())
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
