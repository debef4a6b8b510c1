"""Logits -> how sure the model is of the next token, on the host in float64. Knows no draw.

Every measure is of the model's own distribution p over all V tokens: temperature 1, none left out.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edifice_tt.sampling.draws import STRETCH, Floats, rooms

TOP = 20  # the most likely tokens that `deepconf` looks at


def measure(names: Sequence[str], logits: NDArray[np.floating]) -> tuple[float, ...]:
    """These measures of the distribution of logits (V,), in nats; 0 or more.

    - `entropy`: -sum p log p.
    - `self_certainty`: -mean log(V p), which is KL(uniform || p).
    - `deepconf`: minus the mean log p of the 20 most likely tokens (of all, if there are fewer).

    Raises `ValueError` for a measure that is infinite, since a token has the probability 0.

    >>> [round(x, 4) for x in measure(["entropy", "self_certainty"], np.log([0.5, 0.25, 0.25]))]
    [1.0397, 0.0589]
    """
    shifted, weights = rooms(len(logits))
    np.copyto(shifted, logits)
    shifted -= shifted.max()
    total = np.exp(shifted, out=weights).sum()
    # Entropy comes last, for it writes into the weights.
    found = {n: f(shifted, weights, total) for n, f in _MEASURES.items() if n in names}
    for name, value in found.items():
        if not np.isfinite(value):
            raise ValueError(
                f"the {name} of a token is infinite, since the model gives another the probability "
                f"0; leave {name} out of confidence"
            )
    # Rounding may put a distribution without doubt, or a uniform one, below 0.
    return tuple(max(0.0, float(value)) for value in map(found.__getitem__, names))


def _entropy(shifted: Floats, weights: Floats, total: float) -> float:
    # A token of weight 0 adds nothing, also where its logarithm is -inf.
    np.multiply(weights, shifted, out=weights, where=weights > 0)
    return float(np.log(total) - weights.sum() / total)


def _self_certainty(shifted: Floats, weights: Floats, total: float) -> float:
    return float(np.log(total) - shifted.mean() - np.log(len(shifted)))


def _deepconf(shifted: Floats, weights: Floats, total: float) -> float:
    # At least so many tokens are as likely as the most likely ones of so many stretches.
    highest = np.maximum.reduceat(shifted, np.arange(0, len(shifted), STRETCH))
    least = np.partition(highest, -TOP)[-TOP] if len(highest) >= TOP else -np.inf
    return float(np.log(total) - np.sort(shifted[shifted >= least])[-TOP:].mean())


_MEASURES: dict[str, Callable[[Floats, Floats, float], float]] = {
    "self_certainty": _self_certainty,
    "deepconf": _deepconf,
    "entropy": _entropy,
}
