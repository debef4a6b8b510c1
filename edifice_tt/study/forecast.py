"""Forecasts coverage for more candidates than were sampled. Knows only counts of right answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edifice_tt.study.statistics import Floats, check_ks

_LARGEST = 1e6  # alpha + beta: at this size all problems are equally hard
_DOUBLINGS = 4  # beyond the largest n: how far a forecast reaches


@dataclass(frozen=True)
class Forecast:
    """Coverage at `ks` if each problem's chance of a right answer is Beta(alpha, beta)."""

    ks: tuple[int, ...]
    coverage: tuple[float, ...]
    alpha: float
    beta: float


def forecast_coverage(
    n: ArrayLike, c: ArrayLike, ks: Sequence[int] | None = None
) -> Forecast | None:
    """pass@k for k beyond n, from a beta-binomial fit to the counts of right answers.

    `n` and `c` (problems) count the candidates and the right ones. `ks` defaults to the next powers
    of two beyond the largest n. E[1 - (1-p)^k] = 1 - B(a, b+k) / B(a, b). None when the counts do
    not determine the spread of p: fewer than two problems, or no problem with both right and wrong
    answers. Source: Kazdan et al., 2025, arXiv:2510.05197.

    >>> round(forecast_coverage([4] * 5, [0, 1, 2, 3, 4], [1]).coverage[0], 6)
    0.5
    """
    if ks is None:
        beyond = int(np.max(n)).bit_length()
        ks = [2 ** (beyond + i) for i in range(_DOUBLINGS)]
    check_ks(ks, max(ks, default=0))
    fit = fit_beta_binomial(n, c)
    if fit is None:
        return None
    alpha, beta = fit
    i = np.arange(max(ks))
    none_right = np.cumsum(np.log1p(-alpha / (alpha + beta + i)))
    coverage = -np.expm1(none_right[np.asarray(ks) - 1])
    return Forecast(tuple(ks), tuple(coverage.tolist()), alpha, beta)


def fit_beta_binomial(n: ArrayLike, c: ArrayLike) -> tuple[float, float] | None:
    """The most likely (alpha, beta) for c right of n candidates, both (problems), or None.

    For a given alpha + beta the log-likelihood is concave in the mean, so bisection finds it. For a
    given mean it has one peak in alpha + beta, so a refined grid finds it. Counts that vary less
    than binomial ones give alpha + beta = 1e6. Source: Levin and Reeds, 1977, Annals of Statistics
    5, 79-87.
    """
    num, right = np.asarray(n, np.int64), np.asarray(c, np.int64)
    if num.shape != right.shape or num.ndim != 1 or (right < 0).any() or (right > num).any():
        raise ValueError(f"c {right.shape} must be counts between 0 and n {num.shape}")
    if len(num) < 2 or not ((right > 0) & (right < num)).any():
        return None
    i = np.arange(num.max())
    # The likelihood is a product of powers of a + i, b + i and a + b + i; these are the exponents.
    ups, downs, alls = (
        (counts[:, None] > i).sum(axis=0).astype(np.float64) for counts in (right, num - right, num)
    )
    low, high = np.log(1e-4), np.log(_LARGEST)
    for _ in range(12):
        grid = np.linspace(low, high, 33)
        size = np.exp(grid)[:, None]
        mean = _likeliest_mean(size, ups, downs, i)
        fit = np.log(size * mean + i) @ ups + np.log(size * (1 - mean) + i) @ downs
        best = int(np.argmax(fit - np.log(size + i) @ alls))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 32)]
    return float(size[best, 0] * mean[best, 0]), float(size[best, 0] * (1 - mean[best, 0]))


def _likeliest_mean(size: Floats, ups: Floats, downs: Floats, i: Floats) -> Floats:
    """The mean at which the log-likelihood peaks, for each alpha + beta (sizes, 1)."""
    low, high = np.zeros_like(size), np.ones_like(size)
    for _ in range(50):  # halvings of 0..1: precise to the last bit
        mean = (low + high) / 2
        slope = (1 / (size * mean + i)) @ ups - (1 / (size * (1 - mean) + i)) @ downs
        rising = slope[:, None] > 0
        low, high = np.where(rising, mean, low), np.where(rising, high, mean)
    return mean
