"""How far scorers agree about the candidates of one problem. Knows scores; no label, no rule."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edifice_tt.pools.given import check_pools
from edifice_tt.pools.pool import Pool
from edifice_tt.study.intervals import bootstrap_means, check_level, interval_of_means
from edifice_tt.study.problems import scores_of
from edifice_tt.study.quality import spearman
from edifice_tt.study.statistics import Floats


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its interval, which is None for one problem."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Agreement:
    """How far two scorers agree: means over problems, with intervals.

    `rank` is Spearman's correlation of their scores within a problem, over the `ranked` problems in
    which neither gives all candidates the same score. It is None without one. `same_best` is the
    chance that both give the same candidate the highest score, over all `problems` with two
    candidates or more. Of equal scores each is taken equally often.
    """

    one: str
    other: str
    problems: int
    ranked: int
    rank: Estimate | None
    same_best: Estimate


def compare_scorers(
    pools: Iterable[Pool],
    scorers: Sequence[str] | None = None,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[Agreement, ...]:
    """How far each two scorers agree on pools; needs no labels.

    `scorers` are all of the pools unless named. The intervals are over problems, as those of
    `scaling_curve`. Raises `ValueError` for fewer than two scorers, for pools without a problem of
    two candidates, and for a score that is missing or not finite.
    """
    check_level(level)
    if scorers is not None and len({*scorers}) < 2:
        raise ValueError(f"scorers={scorers!r:.60} must be two or more different names")
    names, rows = None if scorers is None else [*dict.fromkeys(scorers)], list[Floats]()
    for pool in check_pools(pools):
        if names is None:
            names = sorted({name for candidate in pool for name in candidate.scores})
            if len(names) < 2:
                raise ValueError(
                    f"two scorers are needed to compare, and problem {pool.problem!r} has scores "
                    f"of {', '.join(names) or 'none'}; score the pool with another"
                )
        if len(pool) > 1:
            rows.append(_compared([scores_of(pool, name) for name in names]))
    if names is None or not rows:
        raise ValueError("no problem has two candidates to compare; sample more of each")
    table = np.stack(rows)  # (problems, pairs, 2)
    return tuple(
        _agreement(one, other, table[:, i], level, bootstrap, seed)
        for i, (one, other) in enumerate(combinations(names, 2))
    )


def _compared(scores: Sequence[Floats]) -> Floats:
    """Rank correlation, NaN where there is none, and the chance of the same best: (pairs, 2)."""
    best = [(one == one.max()) / (one == one.max()).sum() for one in scores]
    pairs = combinations(range(len(scores)), 2)
    return np.array([(_rank(scores[i], scores[j]), best[i] @ best[j]) for i, j in pairs])


def _rank(one: Floats, other: Floats) -> float:
    found = spearman(one, other)
    return np.nan if found is None else found


def _agreement(
    one: str, other: str, table: Floats, level: float, bootstrap: int, seed: int
) -> Agreement:
    ranked = table[~np.isnan(table[:, 0]), :1]
    rank = _mean(ranked, level, bootstrap, seed, -1.0) if len(ranked) else None
    same_best = _mean(table[:, 1:], level, bootstrap, seed, 0.0)
    return Agreement(one, other, len(table), len(ranked), rank, same_best)


def _mean(values: Floats, level: float, bootstrap: int, seed: int, least: float) -> Estimate:
    means = bootstrap_means(values, bootstrap, seed)
    low, high = (
        None if np.isnan(bound[0]) else float(bound[0])
        for bound in interval_of_means(values, means, level, (least, 1.0))
    )
    return Estimate(float(values.mean()), low, high)
