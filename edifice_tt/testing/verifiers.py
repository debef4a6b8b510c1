"""Checks a registered verifier on random hidden states.

Knows the contract of a verifier; its model is not needed.
"""

import numpy as np

from edifice_tt.contract import registry
from edifice_tt.scoring.verifier import Verifier, open_verifier
from edifice_tt.testing.promises import Array, attempt, compare
from edifice_tt.testing.reading import check_value, draw

# Lengths of answers: equal and different, below and above the batch sizes.
LENGTHS = (3, 1, 7, 41, 3)


def check_verifier(who: str, record: registry.Scorer) -> None:
    """Raise `BrokenPromise` unless the file is valid and each answer's score is its own.

    Scores must be finite, the same when the file is read again, and the same alone as in a batch.
    """
    verifier = attempt(who, "when it is opened", lambda: open_verifier(record))
    states = [draw(length, verifier.hidden_size, seed=i) for i, length in enumerate(LENGTHS)]
    together = _last(who, verifier, states)
    for value in together:
        check_value(f"{who} gives {value}", value, "unbounded")
    again = attempt(who, "when it is opened again", lambda: open_verifier(record))
    changed = f"{who}: the same answer gets another score:"
    compare(changed, together, _last(who, again, states), "{} at first and, opened again, {}")
    alone = np.concatenate([_last(who, verifier, [one]) for one in states])
    compare(changed, together, alone, "{} among others and {} alone")


def _last(who: str, verifier: Verifier, states: list[Array]) -> Array:
    logits = attempt(who, "on hidden states", lambda: verifier.logits(states))
    return np.array([values[-1] for values in logits])
