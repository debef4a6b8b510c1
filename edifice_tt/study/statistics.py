"""Exact accuracy of a rule on k of n candidates. Knows arrays; no pool, no tensor.

Each estimator is the mean over all subsets of k candidates, computed without drawing any. So it is
unbiased, independent of the candidates' order, and has the least variance possible with n.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from operator import index

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def pass_at_k(n: int, c: int, k: int) -> float:
    """The probability that k of n candidates include a right one, if c of the n are right.

    Raises `ValueError` unless 0 <= c <= n and 1 <= k <= n. Source: Chen et al., 2021,
    arXiv:2107.03374, 1 - C(n-c, k) / C(n, k), as a product of short quotients.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    n, c, k = index(n), index(c), index(k)
    check_ks([k], n)
    if not 0 <= c <= n:
        raise ValueError(f"c={c} must be between 0 and n={n}; it counts the right ones of the n")
    fewer, more = sorted((c, k))
    return 1.0 - math.prod((n - more - i) / (n - i) for i in range(fewer))


def best_of_k(scores: ArrayLike, correct: ArrayLike, k: int) -> float:
    """The expected correctness of the best-scored among k candidates drawn from N.

    `scores` (N) are numbers, `correct` (N) right or wrong. Tied best scores in a subset win equally
    often. Raises `ValueError` for NaN scores and unless 1 <= k <= N. Source: Nakano et al., 2021,
    arXiv:2112.09332, appendix I: the j-th lowest is the best of C(j-1, k-1) subsets.

    >>> best_of_k([0.1, 0.9, 0.5], [False, False, True], 2) == 1 / 3
    True
    """
    pair = np.asarray(scores, np.float64)[None], np.asarray(correct, np.float64)[None]
    return float(best_of_ks(*pair, [index(k)])[0, 0])


def between(of: Callable[[int], float], k: float, n: int) -> float:
    """An accuracy at k of n candidates; of a fraction, that share of k + 1 and of k."""
    low, high = min(math.floor(k), n), min(math.ceil(k), n)
    below = of(low)
    return below if low == high else below + (of(high) - below) * (k - low)


def best_of_ks(scores: ArrayLike, correct: ArrayLike, ks: Sequence[int]) -> Floats:
    """`best_of_k` of many problems: both (problems, N) -> (problems, ks)."""
    scores, right = check_pair(scores, correct)
    num = scores.shape[1]
    check_ks(ks, num)
    order = np.argsort(scores, axis=1)
    start, end = tie_bounds(np.take_along_axis(scores, order, axis=1))
    # A subset takes each of its equal best equally often, so a tie is as good as its mean.
    total = np.cumsum(np.take_along_axis(right, order, axis=1), axis=1)
    total = np.concatenate([np.zeros((len(total), 1)), total], axis=1)  # (problems, N + 1)
    mean = np.take_along_axis(total, end, 1) - np.take_along_axis(total, start, 1)
    result: Floats = (mean / (end - start)) @ _rank_weights(num, ks)
    return result


def _rank_weights(n: int, ks: Sequence[int]) -> Floats:
    """The probability C(j-1, k-1) / C(n, k) that the j-th lowest of n is the best of k: (n, ks)."""
    j = np.arange(1, n + 1)
    weight, by_k = np.full(n, 1 / n), {}
    for k in range(1, max(ks) + 1):
        if k > 1:
            weight = weight * ((j - k + 1) / (k - 1) * (k / (n - k + 1)))
        if k in ks:
            by_k[k] = weight
    return np.stack([by_k[k] for k in ks], axis=1)


def stacks(*columns: Sequence[ArrayLike]) -> Iterator[tuple[NDArray[np.int64], list[Floats]]]:
    """Group problems by their number of candidates, for vectorised computation.

    Each column holds one array (N) per problem. Yields the problems' positions (rows) and, per
    column, an array (rows, N).

    >>> [(which.tolist(), one.shape) for which, (one,) in stacks([[1.0], [2.0, 3.0], [4.0]])]
    [([0, 2], (2, 1)), ([1], (1, 2))]
    """
    arrays = [[np.asarray(one, np.float64) for one in column] for column in columns]
    sizes = np.array([len(one) for one in arrays[0]])
    for size in np.unique(sizes):
        which = np.flatnonzero(sizes == size)
        yield which, [np.stack([column[i] for i in which]) for column in arrays]


def tie_bounds(ranked: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For ascending rows, where the values equal to each value begin and end (exclusive).

    >>> [bounds.tolist() for bounds in tie_bounds(np.array([[1.0, 2.0, 2.0]]))]
    [[[0, 1, 1]], [[1, 3, 3]]]
    """
    num = ranked.shape[1]
    new = ranked[:, 1:] != ranked[:, :-1]
    edge = np.ones((len(ranked), 1), bool)
    at = np.arange(num)
    start = np.maximum.accumulate(np.where(np.hstack([edge, new]), at, 0), axis=1)
    last = np.where(np.hstack([new, edge]), at + 1, num)
    return start, np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]


def kl_best_of_n(n: int) -> float:
    """The KL divergence of best-of-n from the sampled distribution in nats: log n - (n-1) / n.

    Exact for scores without ties over continuous outcomes, an upper bound otherwise. Source:
    Stiennon et al., 2020, arXiv:2009.01325, appendix G.3; the bound: Beirami et al., 2024,
    arXiv:2401.01879.

    >>> kl_best_of_n(1), round(kl_best_of_n(16), 3)
    (0.0, 1.835)
    """
    if n < 1:
        raise ValueError(f"n={n} must be at least 1")
    return math.log(n) - (n - 1) / n


def check_ks(ks: Sequence[int], n: int) -> None:
    """Raise `ValueError` unless every k can be drawn from n candidates."""
    if not len(ks):
        raise ValueError("ks must hold at least one subset size")
    for k in ks:
        if not 1 <= k <= n:
            raise ValueError(f"k={k} must be between 1 and n={n}; draw more candidates or lower k")


def check_pair(scores: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 (problems, N); raises `ValueError` for NaN scores or different shapes."""
    values, right = np.asarray(scores, np.float64), np.asarray(correct, np.float64)
    if values.shape != right.shape or values.ndim != 2 or not values.size:
        raise ValueError(
            f"scores {values.shape} and correct {right.shape} must be of one shape, not empty; "
            "give one of each per candidate"
        )
    if np.isnan(values).any():
        raise ValueError("scores must be numbers, but some are NaN; leave those candidates out")
    if not ((right >= 0) & (right <= 1)).all():  # NaN, which None becomes, fails this too
        raise ValueError("correct must be True or False for every candidate; mark the others first")
    return values, right
