"""Who has how many children: pure functions of scores. Knows no row and no state.

A parent is named by its place in the list; the children of one stand together.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, exp, fsum, log

CLIP = 1e-7  # probabilities of 0 and 1 have no odds
_ROUNDING = 1e-9


def odds_weights(probabilities: Sequence[float], temperature: float = 1.0) -> list[float]:
    """The odds p / (1 - p) to the power 1 / temperature, as shares of their sum.

    >>> [round(weight, 2) for weight in odds_weights([0.9, 0.5, 0.1, 0.5])]
    [0.81, 0.09, 0.01, 0.09]
    """
    clipped = [min(max(p, CLIP), 1 - CLIP) for p in probabilities]
    return softmax([log(p) - log(1 - p) for p in clipped], temperature)


def softmax(scores: Sequence[float], temperature: float) -> list[float]:
    """The shares e^(score / temperature), of which the largest is taken first: no overflow."""
    most = max(scores)
    powers = [exp((score - most) / temperature) for score in scores]
    total = fsum(powers)
    return [power / total for power in powers]


def effective_size(weights: Sequence[float]) -> float:
    """How many equal weights are worth as much as these: 1 / the sum of their squares."""
    return 1 / fsum(weight * weight for weight in weights)


def systematic(weights: Sequence[float], n: int, u: float) -> list[int]:
    """Systematic resampling: the parents at the places (i + u) / n of the summed weights.

    >>> systematic([0.81, 0.09, 0.01, 0.09], 4, 0.5)
    [0, 0, 0, 1]
    """
    edges = list(accumulate(weights))
    places = ((i + u) / n * edges[-1] + _ROUNDING for i in range(n))
    return [min(bisect_right(edges, place), len(edges) - 1) for place in places]


def balanced(scores: Sequence[float], n: int, temperature: float) -> list[int]:
    """REBASE: how many of `n` children each has, by falling score, of equal ones the first.

    Each gets ceil(left * share) of those that are left, its share being among the rows not yet
    served. So ties never give more than `n` in all.

    >>> balanced([0.9, 0.5, 0.1], 8, 0.2), balanced([0.5, 0.5, 0.5], 4, 0.2)
    ([7, 1, 0], [2, 1, 1])
    """
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    children, left = [0] * len(scores), n
    for served, i in enumerate(order):
        share = softmax([scores[j] for j in order[served:]], temperature)[0]
        children[i] = min(left, ceil(left * share - _ROUNDING))
        left -= children[i]
    return children


def top(scores: Sequence[float], width: int) -> list[int]:
    """The places of the best `width`, by falling score, of equal ones the first.

    >>> top([0.5, 0.9, 0.5], 2)
    [1, 0]
    """
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:width]
