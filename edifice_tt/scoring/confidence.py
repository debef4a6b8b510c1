"""How sure the model was of an answer's tokens -> one number per answer. Knows numbers only.

Each function makes a scorer: a list of numbers per candidate -> a score per candidate. Higher is
surer.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

from edifice_tt.contract.options import check_count

Scorer = Callable[[list[list[float]]], list[float]]

WINDOW = 2048
PARTS = ("lowest", "tail", "bottom")
# In nats. No float32 but 0 is smaller than 2^-149, so no probability that a model computes is.
LARGEST = 149 * math.log(2)


def perplexity() -> Scorer:
    """Of log-probabilities: 1 / perplexity, the geometric mean of the tokens' probabilities.

    >>> perplexity()([[math.log(0.5), math.log(0.125)]])
    [0.25]
    """
    return _each(lambda values: math.exp(mean(values)))


def entropy() -> Scorer:
    """Of entropies H: exp(-mean H), which is 1 over the number of tokens in question."""
    return _each(lambda values: math.exp(-mean(values)))


def self_certainty() -> Scorer:
    """The mean over the tokens. Source: Kang et al., 2025, arXiv:2502.18581."""
    return _each(mean)


def self_certainty_weight() -> Scorer:
    """`self_certainty` as a weight in [0, 1], in proportion to it."""
    return _each(lambda values: _weight(mean(values)))


def deepconf(part: str = PARTS[0], window: int = WINDOW) -> Scorer:
    """The confidence of groups of tokens; a group is the mean of `window` tokens in a row.

    `part` is `lowest` (the lowest group), `tail` (the last group) or `bottom` (the mean of the
    lowest tenth of the groups, at least of one). An answer shorter than `window` is one group.
    Raises `ValueError` for another part and for a window that is no whole number from 1 on.
    Source: Fu et al., 2025, arXiv:2508.15260.

    >>> [deepconf(part, window=2)([[4.0, 6.0, 8.0, 6.0]]) for part in PARTS]
    [[5.0], [7.0], [5.0]]
    """
    return _each(_part(part, window))


def deepconf_weight(part: str = PARTS[0], window: int = WINDOW) -> Scorer:
    """`deepconf` as a weight in [0, 1], in proportion to it, so that votes are as by `deepconf`."""
    of = _part(part, window)
    return _each(lambda values: _weight(of(values)))


def _part(part: str, window: int) -> Callable[[Sequence[float]], float]:
    if part not in PARTS:
        raise ValueError(f"part={part!r} must be one of {', '.join(PARTS)}")
    return partial(_of_groups, part, check_count("window", window))


def _of_groups(part: str, window: int, values: Sequence[float]) -> float:
    import numpy as np  # here, since listing names shall be quick
    from numpy.lib.stride_tricks import sliding_window_view

    row = np.array(values)
    groups = sliding_window_view(row, min(window, len(row))).mean(axis=1)
    if part == "tail":
        return float(groups[-1])
    count = max(1, len(groups) // 10) if part == "bottom" else 1
    return fmean(np.sort(groups)[:count].tolist())


def mean(values: Sequence[float]) -> float:
    """The mean, whose sum is exact before it is rounded."""
    return math.fsum(values) / len(values)


def _weight(confidence: float) -> float:
    return min(1.0, confidence / LARGEST)


def _each(score: Callable[[Sequence[float]], float]) -> Scorer:
    return lambda candidates: [score(values) for values in candidates]
