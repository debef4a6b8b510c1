"""Which model this is, as a short text. Knows weights and a config; no architecture, no file."""

import hashlib
import json
from dataclasses import fields
from typing import Any
from weakref import WeakKeyDictionary

from tinygrad import Tensor, UOp, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.nn.init import numbers

_known: WeakKeyDictionary[Any, tuple[list[UOp], str]] = WeakKeyDictionary()


def fingerprint(model: Any) -> str:
    """A hash over a model's weights, as they are stored, and the options that are no defaults.

    Computed at first use and again when weights were replaced. The same weights in another dtype,
    or unpacked from their blocks for another device, are another model: its numbers differ too.
    """
    weights = get_state_dict(model)
    buffers = [weight.uop for weight in weights.values()]
    held = _known.get(model)
    if held is None or held[0] != buffers:
        held = _known[model] = (buffers, _hash(model, weights))
    return held[1]


def _hash(model: Any, weights: dict[str, Tensor]) -> str:
    config = model.config
    # Defaults are left out, so that an option that comes later changes no fingerprint.
    given = {
        field.name: value
        for field in fields(config)
        if (value := getattr(config, field.name)) != field.default
    }
    digest = hashlib.sha256(json.dumps([model.architecture, given], sort_keys=True).encode())
    for name, weight in sorted(weights.items()):
        digest.update(json.dumps([name, list(weight.shape), str(weight.dtype)]).encode())
        # As bytes where Python 3.11 has no memory view: of 16-bit floats.
        plain = weight.dtype in (dtypes.float32, dtypes.uint8)
        stored = weight if plain else weight.contiguous().bitcast(dtypes.uint8)
        held = numbers(stored)
        digest.update(stored.data() if held is None else held.data)
    return digest.hexdigest()[:32]
