"""Accuracy of any rule on k of n candidates, by drawing subsets. Knows arrays and chance; no pool.

For rules that have no exact estimator. Where there are no more subsets than draws, each is taken
once and nothing is left to chance.
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
    """What each subset size gives (ks), and the variance of that estimate, 0 when exact (ks)."""

    accuracy: Floats
    variance: Floats


def over_subsets(
    value: Callable[[Masks], Floats], n: int, ks: Sequence[int], draws: int, seed: Sequence[int]
) -> Estimate:
    """The mean of `value` over subsets of k of n candidates, for each k.

    `value` maps subsets (draws, n) to their worth (draws). The same seed, n and draws give the same
    subsets, so that rules can be compared on them; those of a smaller k are parts of those of a
    larger.
    """
    check_ks(ks, n)
    if draws < 2:
        raise ValueError(f"draws={draws} must be at least 2: one draw does not tell its own error")
    place = np.random.default_rng(list(seed)).random((draws, n)).argsort(axis=1)
    whole = [comb(n, k) <= draws for k in ks]
    masks = [_all_subsets(n, k) if all_ else place < k for k, all_ in zip(ks, whole, strict=True)]
    # All sizes in one call: a vote on a few subsets takes as long as one on thousands.
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
    """subsets (draws, N) -> expected correctness of the answer of the greatest weight (draws).

    `scores`, `answers` and `correct` are of (N); answer -1 abstains. `weigh` maps the sum of the
    scores and the number of the candidates that gave an answer to its weight. Equal weights win
    equally often; of the winner's candidates any one is taken.
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
        # Sums that are equal on paper differ by their rounding, which depends on the order.
        winners = there & (weight >= best - 1e-12 * np.abs(best).clip(1))
        worth = np.where(winners, right / count.clip(1), 0).sum(axis=1)
        result: Floats = worth / winners.sum(axis=1).clip(1)
        return result

    return value
