"""The estimators by their definition: every subset of k candidates, one after the other."""

from itertools import combinations
from statistics import fmean


def over_subsets(n, k, value):
    """The mean of `value(subset)` over all subsets of k of the numbers 0..n-1."""
    return fmean(value(subset) for subset in combinations(range(n), k))


def best(scores, correct):
    """subset -> expected correctness of its best-scored, ties broken at random."""

    def value(subset):
        top = max(scores[i] for i in subset)
        return fmean(correct[i] for i in subset if scores[i] == top)

    return value


def heaviest(answers, correct, weigh):
    """subset -> expected correctness of the answer of the greatest weight; `weigh(indices)`."""

    def value(subset):
        groups = {}
        for i in subset:
            if answers[i] is not None:
                groups.setdefault(answers[i], []).append(i)
        if not groups:
            return 0.0
        weights = {answer: weigh(group) for answer, group in groups.items()}
        tied = [groups[a] for a, w in weights.items() if w >= max(weights.values()) - 1e-9]
        return fmean(fmean(correct[i] for i in group) for group in tied)

    return value
