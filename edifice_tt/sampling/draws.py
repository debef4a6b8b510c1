"""Logits -> the next token, on the host in float64. Knows no model and no device.

A draw is one number in [0, 1) from a counter-based generator. So the draw of candidate i at
position p depends only on (seed, i, p), not on the number of candidates or on the batch.
"""

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.options import check_seed, whole

Floats = NDArray[np.float64]

STRETCH = 256

_reused = threading.local()


@dataclass(frozen=True)
class Sampler:
    """Sampling settings: temperature, then the `top_k` most likely (0: all), then `top_p`.

    `temperature=0` takes the most likely token. Raises `ValueError` for invalid values. Source:
    nucleus sampling, Holtzman et al., 2020, arXiv:1904.09751.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not _is_number(self.temperature) or not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature} must be a number, at least 0")
        top_k = whole(self.top_k)
        if top_k is None or top_k < 0:
            raise ValueError(f"top_k={self.top_k} must be a whole number, at least 0 (0: all)")
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} must be above 0 and at most 1 (1: all)")
        object.__setattr__(self, "top_k", top_k)
        object.__setattr__(self, "seed", check_seed(self.seed))

    def draw(self, logits: NDArray[np.floating], index: int, position: int) -> tuple[int, float]:
        """Draw the token of candidate `index` at `position` from logits (V,).

        Returns the token and its log-probability under the untempered, unfiltered model.
        """
        exact, scratch = rooms(len(logits))
        top = logits.max()  # NaN if there is one
        if not np.isfinite(top):
            raise ValueError("the model's logits hold NaN or infinity, so no token can be drawn")
        np.copyto(exact, logits)
        exact -= top
        if self.temperature == 0:
            token = int(exact.argmax())
        else:
            token = _pick(self._weights(exact, scratch), uniform(self.seed, index, position))
        return token, float(exact[token] - np.log(np.exp(exact, out=scratch).sum()))

    def _weights(self, logits: Floats, weights: Floats) -> Floats:
        """The unnormalised distribution, from logits with maximum 0; written into `weights`.

        Filtered tokens have weight 0.
        """
        with np.errstate(over="ignore"):  # a tiny temperature gives -inf: weight 0, as it should
            np.divide(logits, self.temperature, out=weights)
        np.exp(weights, out=weights)
        if self.top_k and self.top_k < len(weights):
            least = np.partition(weights, -self.top_k)[-self.top_k]
            equal = np.flatnonzero(weights == least)
            weights[weights < least] = 0
            # Of equally likely tokens at the edge the lowest ids stay.
            weights[equal[self.top_k - np.count_nonzero(weights > least) :]] = 0
        if self.top_p < 1:
            mass = weights.sum()
            # All tokens below this bound together hold less than 1 - top_p: no need to sort them.
            likely = np.flatnonzero(weights >= (1 - self.top_p) * mass / len(weights))
            order = likely[np.argsort(-weights[likely], kind="stable")]
            # The smallest set that reaches top_p: the token that crosses the line belongs to it.
            size = int(np.searchsorted(weights[order].cumsum(), self.top_p * mass)) + 1
            nucleus = np.zeros_like(weights)
            nucleus[order[:size]] = weights[order[:size]]
            weights = nucleus
        return weights


def rooms(size: int) -> tuple[Floats, Floats]:
    """Two arrays of this size that this thread reuses.

    Fresh arrays of a whole vocabulary are slow: the system allocates them page by page, and threads
    wait for each other.
    """
    if getattr(_reused, "size", None) != size:
        _reused.size, _reused.rooms = size, (np.empty(size), np.empty(size))
    rooms: tuple[Floats, Floats] = _reused.rooms
    return rooms


def _pick(weights: Floats, number: float) -> int:
    """The index at which the cumulative weight passes `number` times the total."""
    # Stretch by stretch: a running sum over the whole vocabulary takes longer than all the rest.
    starts = np.arange(0, len(weights), STRETCH)
    sums = np.add.reduceat(weights, starts).cumsum()
    sought = number * sums[-1]
    stretch = min(int(np.searchsorted(sums, sought, side="right")), len(sums) - 1)
    before = sums[stretch - 1] if stretch else 0.0
    near = weights[starts[stretch] : starts[stretch] + STRETCH]
    index = int(starts[stretch] + np.searchsorted(near.cumsum(), sought - before, side="right"))
    if index >= len(weights) or not weights[index]:  # a sum was rounded up beyond the last one
        index = int(np.flatnonzero(weights[: index + 1])[-1])
    return index


def uniform(seed: int, index: int, position: int) -> float:
    """One number in [0, 1) that depends only on its three arguments.

    Source: Philox, Salmon et al., 2011, doi:10.1145/2063384.2063405.

    >>> uniform(0, 3, 5) == uniform(0, 3, 5) != uniform(0, 5, 3)
    True
    """
    # As a list, NumPy would read a seed from 2^63 on as a float and lose its last bits.
    key = np.array([seed, index], dtype=np.uint64)
    bits = np.random.Philox(key=key, counter=position)
    return float(np.random.Generator(bits).random())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
