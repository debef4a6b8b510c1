"""Measures how good a scorer is. Knows scores and correctness; no pool, no rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edifice_tt.contract.shown import Shown, Table, number
from edifice_tt.study.intervals import interval_over_problems
from edifice_tt.study.pooled import pooled_interval
from edifice_tt.study.statistics import Floats, best_of_ks, check_pair, stacks, tie_bounds

NUM_BINS = 10  # of a reliability diagram
_HISTOGRAM_BINS = 20
_LARGEST_K = 1000


@dataclass(frozen=True)
class Bin:
    """Candidates whose score lies in low <= score < high, or <= high in the last bin.

    Holds their count, mean score and accuracy; None in an empty bin.
    """

    low: float
    high: float
    count: int
    mean_score: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Histogram:
    """Right and wrong candidates by score: bin i lies between edges i and i + 1."""

    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class ScorerQuality(Shown):
    """The result of `assess_scorer`; None where a number is undefined.

    `auroc_pooled` compares candidates across problems, from `pooled_low` to `pooled_high` is its
    interval. `auroc_within` compares those of one problem, as selection does, and averages over
    the `mixed_problems` (with right and wrong candidates). From `auroc_low` to `auroc_high` is its
    interval over these. Intervals are None for fewer than two problems.
    `ece`, `brier` and `reliability` need scores that all lie in [0, 1].
    `length_correlation` is Spearman's between score and number of tokens, over all candidates.
    `best_k` is the smallest k with the highest mean best-of-k, for k up to 1000 and the smallest
    problem; `peak_accuracy` is that mean. Beyond it, wrong candidates with high scores win more
    often. `trained_on` counts the problems that the scorer was trained on; on these its scores are
    too optimistic. `tokens_per_candidate` were read by a model for its scores, which took
    `seconds_per_candidate`; None where a pool does not tell.
    """

    scorer: str
    range: str | None
    auroc_pooled: float | None
    auroc_within: float | None
    mixed_problems: int
    ece: float | None
    brier: float | None
    reliability: tuple[Bin, ...]
    histogram: Histogram
    length_correlation: float | None
    best_k: int
    peak_accuracy: float
    trained_on: int = 0
    tokens_per_candidate: float | None = None
    seconds_per_candidate: float | None = None
    auroc_low: float | None = None
    auroc_high: float | None = None
    pooled_low: float | None = None
    pooled_high: float | None = None

    @property
    def auroc_interval(self) -> str:
        """The interval of `auroc_within` in words."""
        if self.auroc_low is None:
            return "no interval"
        return f"{self.auroc_low:.2f} to {self.auroc_high:.2f}"

    def _line(self) -> str:
        within = number(self.auroc_within) or "unknown"
        return f"of {self.scorer}: right above wrong {within} in {self.mixed_problems} problems"

    def _table(self) -> Table:
        names = (
            *("auroc_within", "auroc_low", "auroc_high"),
            *("auroc_pooled", "pooled_low", "pooled_high"),
            *("ece", "brier", "length_correlation"),
            *("tokens_per_candidate", "seconds_per_candidate"),
        )
        return (), ((name, number(getattr(self, name))) for name in names)


def assess_scorer(
    scorer: str,
    scores: Sequence[ArrayLike],
    correct: Sequence[ArrayLike],
    num_tokens: Sequence[ArrayLike] | None = None,
    score_range: str | None = None,
    trained_on: int = 0,
    level: float = 0.95,
) -> ScorerQuality:
    """Measure a scorer by its scores and which candidates are right.

    `scores`, `correct` and `num_tokens` hold one array (N) per problem; N may differ. `level` is
    that of the interval. Raises `ValueError` for scores that are not finite numbers.
    """
    if not len(scores):
        raise ValueError("scores must hold at least one problem")
    ks = range(1, min(_LARGEST_K, *(len(np.atleast_1d(one)) for one in scores)) + 1)
    curve, aurocs = np.zeros(len(ks)), []
    for _, (score, right) in stacks(scores, correct):
        curve += best_of_ks(score, right, ks).sum(axis=0) / len(scores)
        aurocs.append(auroc(score, right))
    within = np.concatenate(aurocs)
    mixed = within[~np.isnan(within)]
    low, high = interval_over_problems(mixed, level) if len(mixed) else (None, None)
    score, right = (
        np.concatenate([*map(np.asarray, column)]).astype(np.float64)
        for column in (scores, correct)
    )
    if not np.isfinite(score).all():
        raise ValueError(f"scores of {scorer!r} must be finite; leave the others out")
    pooled = auroc(score[None], right[None])[0]
    around: Any = (None, None)
    if not np.isnan(pooled):
        around = pooled_interval(scores, correct, float(pooled), level)
    lengths = None if num_tokens is None else np.concatenate([*map(np.asarray, num_tokens)])
    best = int(np.argmax(curve >= curve.max() - 1e-12))
    probability = bool(((score >= 0) & (score <= 1)).all())
    bins = reliability(score, right) if probability else ()
    return ScorerQuality(
        scorer=scorer,
        range=score_range,
        auroc_pooled=None if np.isnan(pooled) else float(pooled),
        auroc_within=float(mixed.mean()) if len(mixed) else None,
        mixed_problems=len(mixed),
        ece=expected_calibration_error(bins) if probability else None,
        brier=float(np.mean((score - right) ** 2)) if probability else None,
        reliability=bins,
        histogram=_histogram(score, right, probability),
        length_correlation=None if lengths is None else spearman(score, lengths),
        best_k=ks[best],
        peak_accuracy=float(curve[best]),
        trained_on=trained_on,
        auroc_low=low,
        auroc_high=high,
        pooled_low=around[0],
        pooled_high=around[1],
    )


def auroc(scores: ArrayLike, correct: ArrayLike) -> Floats:
    """The probability that a right candidate scores above a wrong one of its row; ties count half.

    Both (problems, N) -> (problems), NaN where all are right or all are wrong. Source: Mann and
    Whitney, 1947.

    >>> auroc([[0.9, 0.5, 0.5]], [[True, True, False]]).tolist()
    [0.75]
    """
    scores, right = check_pair(scores, correct)
    num_right = right.sum(axis=1)
    num_wrong = right.shape[1] - num_right
    above = (ranks(scores) * right).sum(axis=1) - num_right * (num_right + 1) / 2
    pairs = num_right * num_wrong
    result: Floats = np.divide(above, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return result


def ranks(values: Floats) -> Floats:
    """Ranks in ascending order from 1, row by row; ties share their mean rank."""
    order = np.argsort(values, axis=1)
    start, end = tie_bounds(np.take_along_axis(values, order, axis=1))
    result = np.empty(values.shape)
    np.put_along_axis(result, order, (start + end + 1) / 2, axis=1)
    return result


def spearman(one: ArrayLike, other: ArrayLike) -> float | None:
    """Spearman's rank correlation of two arrays (N), or None where one of them is constant.

    >>> round(spearman([1, 2, 3, 4], [1, 10, 5, 20]), 3)
    0.8
    """
    first, second = (ranks(np.asarray(x, np.float64)[None])[0] for x in (one, other))
    first, second = first - first.mean(), second - second.mean()
    size = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / size) if size > 0 else None


def reliability(scores: Floats, correct: Floats) -> tuple[Bin, ...]:
    """Reliability of scores (N) in [0, 1] with correctness (N): ten bins of equal width."""
    place = np.minimum((scores * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    sums = (np.bincount(place, of, NUM_BINS).tolist() for of in (None, scores, correct))
    return tuple(
        Bin(i / NUM_BINS, (i + 1) / NUM_BINS, n, s / n if n else None, r / n if n else None)
        for i, (n, s, r) in enumerate(zip(*sums, strict=True))
    )


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance between score and accuracy, weighted by the bins' counts.

    Source: Guo et al., 2017, arXiv:1706.04599.
    """
    off = [
        one.count * abs(one.accuracy - one.mean_score)
        for one in bins
        if one.accuracy is not None and one.mean_score is not None
    ]
    return sum(off) / sum(one.count for one in bins)


def _histogram(scores: Floats, correct: Floats, probability: bool) -> Histogram:
    edges = np.histogram_bin_edges(scores, _HISTOGRAM_BINS)
    if probability:
        edges = np.arange(_HISTOGRAM_BINS + 1) / _HISTOGRAM_BINS

    def counts(weights: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(np.histogram(scores[weights], edges)[0].tolist())

    return Histogram(tuple(edges.tolist()), counts(correct > 0.5), counts(correct <= 0.5))
