"""The interval of the AUROC over all candidates. Knows scores and marks by problem; no pool."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from edifice_tt.study.intervals import interval_around, resamples_of
from edifice_tt.study.statistics import Floats

_CHUNK = 1 << 20  # candidates weighed at once, over all resamples
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")  # ties count half


def pooled_interval(
    scores: Sequence[ArrayLike], correct: Sequence[ArrayLike], value: float, level: float = 0.95
) -> tuple[float, float] | tuple[None, None]:
    """Low and high for the pooled AUROC `value`, by a bootstrap over problems.

    Resamples in which all candidates are right, or all are wrong, have no AUROC and are left out.
    None for one problem.
    """
    if len(scores) == 1:
        return None, None
    resampled = np.concatenate(list(_resampled(scores, correct)))
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        return None, None
    around = np.array([value]), len(scores), defined[:, None]
    low, high = interval_around(*around, level)
    return float(low[0]), float(high[0])


def _resampled(scores: Sequence[ArrayLike], correct: Sequence[ArrayLike]) -> Iterator[Floats]:
    """The AUROC of resamples, NaN where it is undefined."""
    sizes = [len(np.atleast_1d(one)) for one in scores]
    score, right = (np.concatenate([*map(np.atleast_1d, one)]) for one in (scores, correct))
    order = np.argsort(score, kind="stable")
    problem = np.repeat(np.arange(len(sizes)), sizes)[order]
    score, is_right = score[order], right[order] > 0.5
    rights, wrongs = problem[is_right], problem[~is_right]
    # How many wrong candidates score below each right one, and how many not above it.
    bounds = [np.searchsorted(score[~is_right], score[is_right], side) for side in _SIDES]
    for times in resamples_of(len(sizes), largest=max(16, _CHUNK // len(score))):
        drawn = times.T.astype(np.float64)  # (problems, resamples)
        below = np.zeros((len(wrongs) + 1, len(times)))
        np.cumsum(drawn[wrongs], axis=0, out=below[1:])
        num_right = drawn[rights]
        above = sum(np.einsum("cr,cr->r", num_right, below[bound]) for bound in bounds) / 2
        pairs = num_right.sum(axis=0) * below[-1]
        yield np.divide(above, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
