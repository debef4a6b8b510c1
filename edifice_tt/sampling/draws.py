"""Logits -> the next token, on the host in float64; what a GPU is asked, to draw the same.

Knows no model and no device.

A draw is one number in [0, 1) from a counter-based generator. So the draw of candidate i at
position p depends only on (seed, i, p), not on the number of candidates or on the batch.
"""

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.options import check_seed, whole
from edifice_tt.nn.cpu import draws as compiled
from edifice_tt.nn.exponentials import log_of, total
from edifice_tt.nn.gpu.draws import Asked, Drawn

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
        drawing = compiled.drawing(logits)
        if drawing is not None:
            asked = drawing.request
            asked.temperature, asked.top_p, asked.top_k = self.temperature, self.top_p, self.top_k
            asked.seed, asked.index, asked.position = self.seed, int(index), int(position)
            drawing(logits)
            if asked.token >= 0:
                logit = float(logits[asked.token]) - asked.top
                return asked.token, logit - log_of(asked.high << 64 | asked.low)
        return self.draw_by_formula(logits, index, position)

    def ask(self, index: int, position: int) -> Asked:
        """What a GPU is asked, to draw as `draw` does."""
        number = uniform(self.seed, index, position) if self.temperature else 0.0
        return Asked(self.temperature, self.top_k, self.top_p, number)

    def draw_by_formula(
        self, logits: NDArray[np.floating], index: int, position: int
    ) -> tuple[int, float]:
        """As `draw`, in NumPy."""
        exact, weights = rooms(len(logits))
        top = logits.max()  # NaN if there is one
        if not np.isfinite(top):
            raise ValueError("the model's logits hold NaN or infinity, so no token can be drawn")
        np.copyto(exact, logits)
        exact -= top
        if self.temperature == 0:
            token = int(logits.argmax())
        else:
            token = _pick(self._weights(exact, weights), uniform(self.seed, index, position))
        return token, float(exact[token]) - log_of(total(exact))

    def _weights(self, logits: Floats, weights: Floats) -> Floats:
        """The unnormalised distribution, from logits with maximum 0, written to `weights`.

        Filtered tokens have weight 0.
        """
        filters = 0 < self.top_k < len(logits)
        near = _near(logits, self.top_k, self.temperature) if filters else None
        with np.errstate(over="ignore"):  # a tiny temperature gives -inf: weight 0, as it should
            if near is not None:
                some = np.exp(logits[near] / self.temperature)
                weights.fill(0)
                weights[near] = _keep_largest(some, self.top_k)
            else:
                np.exp(np.divide(logits, self.temperature, out=weights), out=weights)
                if filters:
                    _keep_largest(weights, self.top_k)
        if self.top_p < 1:
            _keep_nucleus(weights, near, self.top_p)
        return weights


def _near(logits: Floats, count: int, temperature: float) -> NDArray[np.intp] | None:
    """Tokens among which the `count` most likely are, or None where that is no less work.

    As many stretches have a maximum at least as high as theirs. What rounding could confuse with
    one of them is among the tokens as well.
    """
    stretch = len(logits) // (4 * count)
    if stretch < 8:
        return None
    highest = np.maximum.reduceat(logits, np.arange(0, len(logits), stretch))
    least = np.partition(highest, -count)[-count]
    if least < -600 * temperature:  # such weights are so small that many are equal
        return None
    return np.flatnonzero(logits >= least - 1e-9 * (temperature - least))


def _keep_largest(weights: Floats, count: int) -> Floats:
    """Set all but so many to 0; of equals at the edge the lowest ids stay."""
    least = np.partition(weights, -count)[-count]
    equal = np.flatnonzero(weights == least)
    weights[weights < least] = 0
    weights[equal[count - np.count_nonzero(weights > least) :]] = 0
    return weights


def _keep_nucleus(weights: Floats, near: NDArray[np.intp] | None, share: float) -> None:
    """Set all but the smallest set of the most likely that reaches this share of all to 0.

    Only those `near`, if given, have a weight; the largest is 1.
    """
    mass = weights.sum()
    # All tokens below this bound together hold less than the rest: no need to sort them.
    bound = (1 - share) * mass / len(weights)
    likely = np.flatnonzero(weights >= bound) if near is None else near[weights[near] >= bound]
    values = weights[likely]
    for bits in range(6, 30, 3):  # nor those that come when enough is reached
        some = values >= 2.0**-bits
        if values[some].sum() > share * mass * (1 + 1e-9):
            likely, values = likely[some], values[some]
            break
    # The token that crosses the line belongs to the set.
    size = int(np.searchsorted(np.sort(values)[::-1].cumsum(), share * mass)) + 1
    weights.fill(0)
    weights[likely] = _keep_largest(values, min(size, len(values)))


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


def as_told(drawn: Drawn) -> tuple[int, float]:
    """The token and the log-probability of what a GPU has drawn, as `Sampler.draw` gives them."""
    return drawn.token, drawn.logit - drawn.top - log_of(drawn.total)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
