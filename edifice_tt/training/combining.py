"""Scores of a pool -> another score of range `probability`: calibrated, or made of several.

What is fitted is fitted in folds over problems: no problem's labels are in its own fit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edifice_tt.pools.given import check_pools
from edifice_tt.pools.pool import Pool
from edifice_tt.study.problems import check_marked, scores_of
from edifice_tt.study.statistics import Floats
from edifice_tt.training.held_out import Fit, Rated, hold_out, isotonic, logistic, platt

FITS: dict[str, Fit] = {"platt": platt, "isotonic": isotonic, "fitted": logistic}
_PLAIN: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda scores: scores.mean(axis=1),
    "min": lambda scores: scores.min(axis=1),
}
METHODS, HOW = ("platt", "isotonic"), ("mean", "min", "fitted")
_LEAST = 2.0**-23  # what float32 can tell from 0 beside 1


@dataclass(frozen=True)
class NewScores:
    """A new score of each candidate by problem, and each fold's weights of the scorers, if any."""

    scores: dict[str, Floats]
    weights: tuple[tuple[float, ...], ...] = ()


def calibrate_scores(
    pools: Iterable[Pool],
    scorer: str,
    method: str = "platt",
    folds: int = 5,
    seed: int = 0,
    name: str | None = None,
) -> list[Pool]:
    """Pools with a score more: the probability of being right that a scorer's score means.

    `method` is `platt` (a sigmoid, which keeps the order) or `isotonic` (a function that never
    falls, for many candidates). The problems are cut in `folds`; each fold's numbers are fitted to
    the others. The new scorer is called `name`, by default the scorer's with the method behind it.

    Raises `ValueError` for candidates that are not marked right or wrong, for too few problems, and
    where all candidates are right or none is.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r:.40} must be one of {', '.join(METHODS)}")
    named = f"{scorer}-{method}" if name is None else name
    return _with_new(pools, [scorer], method, folds, seed, named)


def combine_scores(
    pools: Iterable[Pool],
    scorers: Sequence[str],
    how: str = "mean",
    folds: int = 5,
    seed: int = 0,
    name: str | None = None,
) -> list[Pool]:
    """Pools with a score more, made of the probabilities or scores of several scorers.

    `how` is `mean` or `min`, of probabilities alone, or `fitted`: the probability of being right by
    a weighted sum, fitted in `folds` as `calibrate_scores` does. The new scorer is called `name`,
    by default the scorers' names with `how` behind them. Raises `ValueError` as that does, for
    fewer than two scorers, and for a mean of what are no probabilities.
    """
    if how not in HOW:
        raise ValueError(f"how={how!r:.40} must be one of {', '.join(HOW)}")
    if isinstance(scorers, str) or len(set(scorers)) < 2 or len(set(scorers)) < len(scorers):
        raise ValueError(f"scorers={scorers!r:.60} must be two or more different names")
    named = f"{'+'.join(scorers)}-{how}" if name is None else name
    return _with_new(pools, scorers, how, folds, seed, named)


def _with_new(
    pools: Iterable[Pool], scorers: Sequence[str], how: str, folds: int, seed: int, name: str
) -> list[Pool]:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError(f"name={name!r:.60} must be a name, in one line")
    if name in scorers:
        raise ValueError(f"name={name!r:.60} is that of the scorer itself; take another")
    pools = list(check_pools(pools))
    found = new_scores(pools, scorers, how, folds, seed).scores
    return [add_to(pool, name, found[pool.problem], scorers) for pool in pools]


def add_to(pool: Pool, name: str, scores: Floats, scorers: Sequence[str]) -> Pool:
    """The pool with the new scores, which know of a problem what the scorers know of it."""
    seen = bool(pool.seen_by & {*scorers})
    return pool.with_scores(name, scores.tolist(), range="probability", seen=seen)


def new_scores(
    pools: Iterable[Pool], scorers: Sequence[str], how: str, folds: int = 5, seed: int = 0
) -> NewScores:
    """The new scores of each problem; the pools are read once, one at a time."""
    fit, known = FITS.get(how), dict[str, Rated]()
    for pool in pools:
        rated = _rated(pool, scorers, how, fit is not None)
        if known.setdefault(rated.problem, rated) is not rated:
            raise ValueError(f"problem {rated.problem!r:.60} is there twice; leave one out")
    problems = [*known.values()]
    if not any(len(one.correct) for one in problems):
        raise ValueError("there are no candidates; sample some first")
    if fit is None:
        return NewScores({one.problem: _PLAIN[how](one.scores) for one in problems})
    for i, scorer in enumerate(scorers):
        if not np.ptp(np.concatenate([one.scores[:, i] for one in problems])):
            raise ValueError(f"all scores of {scorer!r} are the same, so they tell nothing apart")
    found, fits = hold_out(problems, fit, folds, seed)
    return NewScores(found, tuple(one.weights for one in fits if one.weights))


def _rated(pool: Pool, scorers: Sequence[str], how: str, marked: bool) -> Rated:
    if not len(pool):
        return Rated(pool.problem, np.zeros((0, len(scorers))), np.zeros(0))
    if marked:
        check_marked(pool, "grade the pool, so that there is something to fit to")
    columns = []
    for scorer in scorers:
        scores, range = scores_of(pool, scorer), pool.ranges.get(scorer)
        if marked:
            columns.append(_log_odds(scores) if range == "probability" else scores)
            continue
        if range not in ("probability", None) or not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(
                f"the {how} of scores needs probabilities, and those of {scorer!r} are "
                f"{range or 'not within 0 and 1'}; calibrate them first (edifice-tt calibrate)"
            )
        columns.append(scores)
    correct = np.array([candidate.correct or False for candidate in pool], np.float64)
    return Rated(pool.problem, np.stack(columns, axis=1), correct)


def _log_odds(probabilities: Floats) -> Floats:
    """So that a probability that is right already fits as it is."""
    inside = np.clip(probabilities, _LEAST, 1 - _LEAST)
    result: Floats = np.log(inside) - np.log1p(-inside)
    return result
