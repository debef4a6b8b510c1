"""The exact mean of a search that stops by counts of answers, over all orders of the rows.

Knows how often each answer was given; no pool and no method. Nothing is drawn: states are counts,
and each is reached with a probability that a recursion over the rows gives.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from math import fsum
from statistics import fmean
from typing import NamedTuple

import numpy as np

from edifice_tt.study.statistics import Floats

MOST_STATES = 5_000  # at one number of rows; beyond, orders are drawn
Rule = Callable[[Sequence[int], int], bool]
# Answers with equally many rows are alike: per such size, how many of them were drawn how often.
State = tuple[tuple[int, ...], ...]


class Stopped(NamedTuple):
    """Means over all orders: rows counted and run, their tokens, correctness, how many early."""

    counted: float
    rows: float
    tokens: float
    correct: float
    early: float


def mean_over_orders(
    answers: Sequence[Hashable],
    correct: Floats,
    tokens: Floats,
    stops: Rule,
    upto: Callable[[int], int],
    n: int | None = None,
) -> Stopped | None:
    """What a vote of at most `n` rows that stops by `stops(counts, rows)` spends and gains.

    `answers` (N) hold None for an abstention. `upto(told)` is how many rows are run before the next
    look: those behind the stop are paid for, and do not vote. Ties are shared. None where there are
    too many states.

    >>> first_two = lambda counts, rows: rows == 2
    >>> right, cost = np.array([1.0, 1.0, 0.0]), np.ones(3)
    >>> mean_over_orders(["7", "7", "8"], right, cost, first_two, lambda told: told + 1)
    Stopped(counted=2.0, rows=2.0, tokens=2.0, correct=0.6666666666666666, early=1.0)
    """
    groups: dict[Hashable, list[int]] = {}
    for place, answer in enumerate(answers):
        if answer is not None:
            groups.setdefault(answer, []).append(place)
    silent = [place for place, answer in enumerate(answers) if answer is None]
    sizes = sorted({len(group) for group in groups.values()})
    alike = [[group for group in groups.values() if len(group) == size] for size in sizes]
    # Per size the means of those groups, which take each other's place in as many orders.
    quality = [fmean(correct[group].mean() for group in several) for several in alike]
    cost = [fmean(tokens[group].mean() for group in several) for several in alike]
    sizes = [len(silent), *sizes]
    cost = [float(tokens[silent].mean()) if silent else 0.0, *cost]
    start: State = ((0,), *((0,) * len(several) for several in alike))
    total, n = len(answers), len(answers) if n is None else n
    ends = np.zeros(5)
    states = {start: 1.0}
    for drawn in range(1, n + 1):
        after: dict[State, float] = defaultdict(float)
        for state, probability in states.items():
            for following, ways in _draws(state, sizes):
                after[following] += probability * ways / (total - drawn + 1)
        if len(after) > MOST_STATES:
            return None
        states = {}
        for state, probability in after.items():
            counts = sorted((c for several in state[1:] for c in several if c), reverse=True)
            if drawn < n and not stops(counts, drawn):
                states[state] = probability
                continue
            run = min(_looked_at(upto, drawn), n)
            pairs = list(zip(cost, sizes, state, strict=True))
            spent = fsum(each * sum(several) for each, _, several in pairs)
            if run > drawn:
                wasted = fsum(each * (size * len(s) - sum(s)) for each, size, s in pairs)
                spent += (run - drawn) * wasted / (total - drawn)
            won = _won(state, quality, counts[0]) if counts else 0.0
            ends += probability * np.array([drawn, run, spent, won, drawn < n])
    return Stopped(*ends.tolist())


def _draws(state: State, sizes: Sequence[int]) -> Iterator[tuple[State, int]]:
    """The states after one more row, and in how many ways each comes about."""
    for place, (several, size) in enumerate(zip(state, sizes, strict=True)):
        for count, times in Counter(several).items():
            if count < size:
                more = list(several)
                more[more.index(count)] += 1
                following = (*state[:place], tuple(sorted(more)), *state[place + 1 :])
                yield following, times * (size - count)


def _looked_at(upto: Callable[[int], int], drawn: int) -> int:
    """How many rows were run when so many are counted."""
    told = 0
    while told < drawn:
        told = upto(told)
    return told


def _won(state: State, quality: Sequence[float], most: int) -> float:
    """The correctness of the leading answers, a tie shared."""
    ties = [several.count(most) for several in state[1:]]
    return float(np.dot(ties, quality) / sum(ties))
