"""Estimates the accuracy of any rule on k of n candidates from drawn subsets. Knows no pool.

For rules without an exact estimator. If there are no more subsets than draws, each is used once and
the result is exact.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edifice_tt.study.statistics import Floats, check_ks

Masks = NDArray[np.bool_]
Weigh = Callable[[Floats, Floats], Floats]


class Estimate(NamedTuple):
    """The mean accuracy per subset size (ks) and the variance of that estimate (ks), 0 if exact."""

    accuracy: Floats
    variance: Floats


def over_subsets(
    value: Callable[[Masks], Floats], n: int, ks: Sequence[int], draws: int, seed: Sequence[int]
) -> Estimate:
    """The mean of `value` over subsets of k of n candidates, for each k.

    `value` maps subsets (draws, n) to their correctness (draws). The same seed, n and draws give
    the same subsets, so that rules can be compared. The subsets of a smaller k are contained in
    those of a larger.
    """
    check_ks(ks, n)
    if draws < 2:
        raise ValueError(f"draws={draws} must be at least 2: one draw does not tell its own error")
    place = np.random.default_rng(list(seed)).random((draws, n)).argsort(axis=1)
    whole = [comb(n, k) <= draws for k in ks]
    masks = [_all_subsets(n, k) if all_ else place < k for k, all_ in zip(ks, whole, strict=True)]
    # One call for all sizes: a few subsets take as long as thousands.
    worth = value(np.concatenate(masks))
    counts = np.array([len(mask) for mask in masks])
    starts = counts.cumsum() - counts
    accuracy = np.add.reduceat(worth, starts) / counts
    squares = np.add.reduceat((worth - accuracy.repeat(counts)) ** 2, starts)
    variance = np.where(whole, 0, squares / (counts - 1).clip(1) / draws)
    return Estimate(accuracy, variance)


@lru_cache(maxsize=128)
def _all_subsets(n: int, k: int) -> Masks:
    chosen = np.array(list(combinations(range(n), k)))
    masks = np.zeros((len(chosen), n), bool)
    np.put_along_axis(masks, chosen, True, axis=1)
    return masks


def weighted_vote(
    weigh: Weigh, scores: Floats, answers: NDArray[np.int64], correct: Floats
) -> Callable[[Masks], Floats]:
    """A function from subsets (draws, N) to the expected correctness of a weighted vote (draws).

    `scores`, `answers` and `correct` have shape (N); answer -1 abstains. `weigh` maps the sum of an
    answer's scores and the number of its candidates to its weight. Tied answers win equally often.
    The winning answer counts as the mean correctness of its candidates.
    """
    voting = np.flatnonzero(answers >= 0)
    ids = answers[voting]
    table = np.zeros((len(answers), 3, max(ids, default=0) + 1))
    table[voting, 0, ids] = scores[voting]
    table[voting, 1, ids] = 1
    table[voting, 2, ids] = correct[voting]

    def value(masks: Masks) -> Floats:
        flat = masks.astype(np.float64) @ table.reshape(len(answers), -1)
        total, count, right = flat.reshape(len(masks), 3, -1).swapaxes(0, 1)  # (draws, answers)
        there = count > 0
        weight = np.where(there, weigh(total, count.clip(1)), -np.inf)
        best = weight.max(axis=1, keepdims=True)
        # Sums that are mathematically equal may differ by rounding.
        winners = there & (weight >= best - 1e-12 * np.abs(best).clip(1))
        worth = np.where(winners, right / count.clip(1), 0).sum(axis=1)
        result: Floats = worth / winners.sum(axis=1).clip(1)
        return result

    return value
