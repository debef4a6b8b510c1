"""Confidence intervals for means over problems. Knows one number per problem; no pool, no rule."""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edifice_tt.study.statistics import Floats

_POWER = 0.8
_CHUNK = 1 << 22  # problems drawn at once, over all resamples


def bootstrap_means(values: ArrayLike, resamples: int = 1000, seed: int = 0) -> Floats:
    """Means over problems drawn with replacement: (problems, columns) -> (resamples, columns).

    All columns share each resample, so the difference of two columns is a paired comparison.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not len(table) or not np.isfinite(table).all():
        raise ValueError(f"values {table.shape} must be finite numbers of (problems, columns)")
    drawn = resamples_of(len(table), resamples, seed)
    return np.concatenate([times @ table / len(table) for times in drawn])


def resamples_of(
    num: int, resamples: int = 1000, seed: int = 0, largest: int | None = None
) -> Iterator[NDArray[np.intp]]:
    """How often each of `num` problems is drawn: (rows, num), with at most `largest` rows each."""
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be at least 1; 1000 is usual")
    rng, step = np.random.default_rng(seed), max(1, _CHUNK // num)
    step = min(step, largest or step)
    for first in range(0, resamples, step):
        rows = min(step, resamples - first)
        draws = rng.integers(0, num, (rows, num)) + num * np.arange(rows)[:, None]
        yield np.bincount(draws.ravel(), minlength=rows * num).reshape(rows, num)


def percentile_interval(means: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """The central `level` of resampled means: (resamples, columns) -> low and high (columns).

    >>> low, high = percentile_interval(np.arange(101.0)[:, None], level=0.9)
    >>> low.round(9).tolist(), high.round(9).tolist()
    ([5.0], [95.0])
    """
    check_level(level)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def interval_of_means(
    values: Floats, means: Floats, level: float, limits: tuple[float, float] = (0.0, 1.0)
) -> tuple[Floats, Floats]:
    """Low and high (columns) for `values` (problems, columns) and their resampled means.

    A percentile bootstrap. A share q of all problems may be of a kind that no sampled problem
    shows. So it always covers a share q of the way from the mean to each of `limits`. q is the
    upper limit of Wilson's score interval for 0 of n problems. So it is his interval if all values
    are 0 or all are 1. With one problem the bounds are NaN. Source: Wilson, 1927, Journal of the
    American Statistical Association 22, 209-212.

    >>> ones = np.ones((3, 1))
    >>> [round(float(bound[0]), 3) for bound in interval_of_means(ones, ones, 0.95)]
    [0.439, 1.0]
    """
    return interval_around(values.mean(axis=0), len(values), means, level, limits)


def interval_around(
    value: Floats,
    num: int,
    resampled: Floats,
    level: float,
    limits: tuple[float, float] = (0.0, 1.0),
) -> tuple[Floats, Floats]:
    """`interval_of_means` for any figure of `num` problems: `value` (columns) and resamples."""
    low, high = percentile_interval(resampled, level)
    if num == 1:
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    square = NormalDist().inv_cdf((1 + level) / 2) ** 2
    share = square / (num + square)
    least, most = (value + share * (limit - value) for limit in limits)
    return np.minimum(low, least), np.maximum(high, most)


def interval_over_problems(
    values: ArrayLike, level: float = 0.95
) -> tuple[float, float] | tuple[None, None]:
    """Low and high for the mean of one value per problem, as in a curve; None for one problem.

    >>> [round(bound, 3) for bound in interval_over_problems([1, 1, 1])]
    [0.439, 1.0]
    """
    column = np.asarray(values, np.float64)[:, None]
    if len(column) == 1:
        return None, None
    low, high = interval_of_means(column, bootstrap_means(column), level)
    return float(low[0]), float(high[0])


def problems_needed(variance: float, difference: float, level: float = 0.95) -> int | None:
    """How many problems show a difference of two rules: a paired interval that excludes zero.

    `variance` is that of the difference per problem, as observed; the number is for an interval of
    `level` and succeeds with probability 0.8. None for a variance of 0, which tells no number. The
    normal approximation; source: Miller, 2024, arXiv:2411.00640.

    >>> problems_needed(0.09, 0.02)
    1766
    """
    check_level(level)
    if difference <= 0:
        raise ValueError(f"difference={difference} must be above 0, in accuracy: 0.02 is 2 points")
    if variance <= 0:
        return None
    normal = NormalDist()
    reach = normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(_POWER)
    return max(2, math.ceil(variance * (reach / difference) ** 2))


def check_level(level: float) -> None:
    """Raise `ValueError` unless it is a probability between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be between 0 and 1; 0.95 is usual")
