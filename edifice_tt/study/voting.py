"""Exact plurality voting on k of n candidates. Knows answers and counts; no pool.

A subset's winner is the answer with the most votes; tied answers win equally often. Candidates
without an answer are drawn like any other but do not vote. A subset without votes is wrong.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import index

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edifice_tt.study.statistics import Floats, check_ks

MOST = 1000  # candidates per problem: C(n, k) fits a float64 up to n = 1029
_CHUNK = 1 << 15  # numbers processed at once: few enough for a cache


def majority_at_k(answers: Sequence[Hashable], correct: ArrayLike, k: int) -> float:
    """The expected correctness of a plurality vote among k candidates drawn from N.

    `answers` (N) hold None for an abstention, `correct` (N) right or wrong. An answer with right
    and wrong candidates counts as their mean, as if one were chosen at random. Raises `ValueError`
    unless 1 <= k <= N <= 1000. Source: self-consistency, Wang et al., 2022, arXiv:2203.11171; all
    subsets are counted by generating functions.

    >>> majority_at_k(["7", "7", "8", None], [True, True, False, False], 2)
    0.6666666666666666
    """
    return float(majority_at_ks([(answers, correct)], [index(k)])[0, 0])


def majority_at_ks(
    problems: Iterable[tuple[Sequence[Hashable], ArrayLike]], ks: Sequence[int]
) -> Floats:
    """`majority_at_k` for many problems, each (answers, correct), and many ks: (problems, ks).

    The relative error is below 1e-12.
    """
    tallies = [_tally(answers, correct) for answers, correct in problems]
    for num, *_ in tallies:
        check_ks(ks, num)
        if num > MOST:
            raise ValueError(f"{num} candidates must be at most {MOST}; leave some out")
    # Many problems have the same counts: each tally is computed once.
    unique = {tally: at for at, tally in enumerate(dict.fromkeys(tallies))}
    total = np.array([tally[0] for tally in unique], np.int64)
    wrong = _padded([tally[1] for tally in unique]).astype(np.int64)
    right = _padded([tally[2] for tally in unique]).astype(np.int64)
    quality = _padded([tally[3] for tally in unique])
    won = np.zeros((len(unique), max(ks) + 1))
    for votes in range(1, min(max(ks), right.max(initial=0)) + 1):
        for rows, rivals, friends in _alike(wrong, right, votes, max(ks)):
            groups = wrong[rows, :rivals], right[rows, :friends], quality[rows, :friends]
            won[rows] += _won_with(votes, total[rows], *groups, max(ks))
    subsets = _binomials(int(total.max()), max(ks))[total]
    share: Floats = won[:, ks] / subsets[:, ks]
    return share[[unique[tally] for tally in tallies]]


Tally = tuple[int, tuple[int, ...], tuple[int, ...], tuple[float, ...]]


def _tally(answers: Sequence[Hashable], correct: ArrayLike) -> Tally:
    """The number of candidates, votes of wrong and of right answers, and the latter's quality."""
    marks = np.asarray(correct, np.float64)
    if marks.shape != (len(answers),):
        raise ValueError(
            f"correct {marks.shape} must be of the shape of answers ({len(answers)},); "
            "give one of each per candidate"
        )
    if not ((marks >= 0) & (marks <= 1)).all():
        raise ValueError("correct must be True or False for every candidate; mark the others first")
    votes: dict[Hashable, list[float]] = {}
    for answer, mark in zip(answers, marks.tolist(), strict=True):
        if answer is not None:
            votes.setdefault(answer, []).append(mark)
    wrong = sorted((len(group) for group in votes.values() if not any(group)), reverse=True)
    right = [(len(group), sum(group) / len(group)) for group in votes.values() if any(group)]
    right.sort(reverse=True)
    return len(answers), tuple(wrong), tuple(n for n, _ in right), tuple(q for _, q in right)


def _padded(rows: Sequence[Sequence[float]]) -> Floats:
    """Rows of different lengths as one array, padded with zeros."""
    table = np.zeros((len(rows), max(map(len, rows), default=0)))
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def _alike(
    wrong: NDArray[np.int64], right: NDArray[np.int64], votes: int, size: int
) -> Iterator[tuple[NDArray[np.int64], int, int]]:
    """Chunks of rows in which as many wrong and as many right answers can get `votes`."""
    rivals, friends = (wrong >= votes).sum(axis=1), (right >= votes).sum(axis=1)
    keys = rivals * (MOST + 1) + friends
    for key in np.unique(keys[friends > 0]).tolist():
        rivals_of_all, friends_of_all = divmod(key, MOST + 1)
        rows = np.flatnonzero(keys == key)
        step = max(1, 2 * _CHUNK // (size * (rivals_of_all + friends_of_all)))
        for first in range(0, len(rows), step):
            yield rows[first : first + step], rivals_of_all, friends_of_all


def _won_with(
    votes: int,
    num: NDArray[np.int64],
    wrong: NDArray[np.int64],
    right: NDArray[np.int64],
    quality: Floats,
    most: int,
) -> Floats:
    """Correctness summed over the subsets whose winner has exactly `votes`: (rows, most + 1).

    A polynomial in x counts subsets by size. An answer with c candidates contributes sum C(c, j)
    x^j over j < votes, plus y C(c, votes) x^votes when it ties. An answer that ties with t others
    wins once in t + 1 times, which is the integral of y^t over 0..1. Gauss-Legendre quadrature is
    exact for polynomials. No term is negative, so nothing cancels.
    """
    nodes, weights = _quadrature((wrong.shape[1] + right.shape[1] + 1) // 2)
    table = _binomials(int(num.max()), most)
    rest = num - wrong.sum(axis=1) - right.sum(axis=1)  # too few to matter, or abstaining
    none = table[rest][:, None]  # (rows, 1, most + 1)
    for c in wrong.T:
        none = _times(none, table[c], votes, nodes)
    won = np.zeros_like(none)
    for c, right_share in zip(right.T, quality.T, strict=True):
        won = _times(won, table[c], votes, nodes)
        first = right_share * table[c, votes]
        won[..., votes:] += first[:, None, None] * none[..., : most + 1 - votes]
        none = _times(none, table[c], votes, nodes)
    result: Floats = (weights[:, None] * won).sum(axis=1)
    return result


def _times(counts: Floats, ways: Floats, votes: int, nodes: Floats) -> Floats:
    """Multiply the polynomials `counts` (rows, nodes, sizes) by one more answer."""
    size = counts.shape[-1]
    product = counts + np.zeros((len(nodes), 1))  # no votes for this answer
    for j in range(1, votes):
        product[..., j:] += ways[:, j, None, None] * counts[..., : size - j]
    tie = ways[:, votes, None] * nodes
    product[..., votes:] += tie[..., None] * counts[..., : size - votes]
    return product


@lru_cache(maxsize=64)
def _quadrature(size: int) -> tuple[Floats, Floats]:
    """Nodes and weights on 0..1, exact for polynomials of degree 2 * size - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(size)
    return (nodes + 1) / 2, weights / 2


@lru_cache(maxsize=8)
def _binomials(n: int, k: int) -> Floats:
    """C(i, j) for i up to n and j up to k, by Pascal's rule: exact up to 2^53."""
    table = np.zeros((n + 1, k + 1))
    table[:, 0] = 1
    for i in range(1, n + 1):
        table[i, 1:] = table[i - 1, 1:] + table[i - 1, :-1]
    return table
