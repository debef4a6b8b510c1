"""Checks a head on hidden states, called as a model calls it.

Knows the contract of a head for any batch and on any device; knows no model.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tinygrad.nn.state import get_state_dict

from edifice_tt.contract import registry
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import place
from edifice_tt.testing import weights
from edifice_tt.testing.promises import (
    TOLERANCE,
    Array,
    accepted,
    attempt,
    devices_to_try,
    first_difference,
    orders,
)
from edifice_tt.testing.reading import check_input_kept, check_values, compare_scores, draw, read

# B and T differ, and T is prime, so that swapped axes show.
B, T, PADDING, HIDDEN_SIZE = 5, 7, 4, 16
# A batch of realistic size: a head may behave differently for large or long ones.
MANY, LONG = 37, 41
# The options that a model passes to a factory; a high dropout shows if it acts in inference.
OFFERED = {"scorer_hidden": 8, "dropout": 0.5, "seed": 0}
# Devices add in different orders.
DEVICE_TOLERANCE = 1e-4


def check_head(
    who: str, record: registry.Scorer, name: str | None, options: dict[str, Any]
) -> None:
    """Check every promise of a head; `name` is None for an unregistered factory."""
    size = options.get("hidden_size", HIDDEN_SIZE)
    options = {key: value for key, value in options.items() if key != "hidden_size"}

    def make(device: str | None = None, **changed: Any) -> Any:
        def call() -> Any:
            offered = accepted(record.factory, {**OFFERED, **changed})
            return record.factory(size, **offered | options)

        head = attempt(who, f"when it is made with hidden_size={size}", call)
        weights.check_attributes(who, head)
        opened = open_device(device)
        return weights.steady(place(head, opened)) if get_state_dict(head) else head

    head = make()
    names = list(get_state_dict(head))
    hidden = draw(B, T, size)
    for scale in (1, 30):
        check_values(who, read(who, head, hidden * np.float32(scale)), record.range)
    check_input_kept(who, head, hidden)
    weights.check_complete(who, names, head)
    _check_neighbours(who, head, hidden)
    weights.check_gradients(who, head, hidden)
    weights.check_seed(who, head, make())
    _check_first_call(who, head, make(), hidden)
    _check_devices(who, make, read(who, head, hidden), hidden)
    with TemporaryDirectory() as folder:
        weights.check_file(who, head, lambda: make(seed=1), hidden, Path(folder))
        if name is not None:
            weights.check_model_file(who, name, hidden, Path(folder))


def _check_neighbours(who: str, head: Any, hidden: Array) -> None:
    """A score depends only on its sequence up to its position."""

    def scores(states: Array) -> Array:
        return read(who, head, states)

    def same(
        expected: Array, actual: Array, cause: str, advice: str = "read each sequence by itself"
    ) -> None:
        compare_scores(who, expected, actual, f"the score depends on {cause}; {advice}")

    together = scores(hidden)
    noise = "the same hidden states get {} at first and then {}; draw nothing unless TRAINING is 1"
    compare_scores(who, together, scores(hidden), noise)
    for order in orders(B):
        moved = scores(hidden[order])[np.argsort(order)]
        same(together, moved, "the order of the batch: {} in one order, {} in another")
    # First the checks that need no new shape: compiling for one takes seconds.
    others = draw(*hidden.shape, seed=12) * np.float32(10)
    for i in (0, B - 1):
        beside = scores(np.concatenate([others[:i], hidden[i : i + 1], others[i + 1 :]]))
        cause = "its neighbours in the batch: {} beside some, {} beside others"
        same(together[i : i + 1], beside[i : i + 1], cause)
    for t in (1, T - 1):
        before = scores(np.concatenate([hidden[:, :t], others[:, t:]], axis=1))
        cause = "the positions to its right: {} before some, {} before others"
        same(together[:, :t], before[:, :t], cause, "read none of them")
    padded = np.concatenate([hidden, others[:, :PADDING]], axis=1)
    both = scores(padded[:1])[:, :T]
    if first_difference(together[:1], both, TOLERANCE) is not None:  # which of the two is it?
        alone = f"{{}} among {B}, {{}} alone"
        same(together[:1], scores(hidden[:1]), f"the size of the batch: {alone}")
        cause = f"the padding to its right: {{}} without, {{}} before {PADDING} positions of it"
        same(together, scores(padded)[:, :T], cause, "read none of them")
        cause = f"the shape of the batch: {alone} before {PADDING} positions of padding"
        same(together[:1], both, cause)
    cause = f"the number of positions: {{}} as the first of {T}, {{}} as the only one"
    same(together[:1, :1], scores(hidden[:1, :1]), cause, "read none to its right")

    rows = np.resize(others, (MANY, T, hidden.shape[2]))
    long = np.concatenate([rows, np.resize(others, (MANY, LONG - T, hidden.shape[2]))], axis=1)
    long[-1, :T] = hidden[0]
    cause = f"the shape of the batch: {{}} among {B}, {{}} among {MANY} of {LONG} positions"
    same(together[:1], scores(long)[-1:, :T], cause)


def _check_first_call(who: str, head: Any, same: Any, hidden: Array) -> None:
    """A head's scores do not depend on the inputs of its first call."""
    read(who, same, draw(*hidden.shape, seed=12) * np.float32(10))
    promise = (
        "the score depends on earlier calls: {} from one head, {} from one that read something "
        "else first; keep nothing between calls"
    )
    compare_scores(who, read(who, head, hidden), read(who, same, hidden), promise)


def _check_devices(who: str, make: Any, expected: Array, hidden: Array) -> None:
    first = open_device()
    for device in devices_to_try():
        if device != first:
            scores = read(who, make(device), hidden, device)
            promise = f"the devices disagree: {{}} on {first}, {{}} on {device}"
            compare_scores(who, expected, scores, promise, DEVICE_TOLERANCE)
