"""Scores -> probabilities of being right, each from other problems' labels. Knows arrays; no pool.

A fit reads the scores (M, scorers) of many candidates and which of them are right.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from edifice_tt.contract.options import check_seed, whole
from edifice_tt.study.statistics import Floats
from edifice_tt.training.calibration import calibrate, fit_logistic


class Rated(NamedTuple):
    """One problem: the scores of its candidates (N, scorers), and which of them are right (N)."""

    problem: str
    scores: Floats
    correct: Floats


class Fitted(NamedTuple):
    """Scores (N, scorers) -> probabilities (N), and the weight of each scorer, if there is one."""

    predict: Callable[[Floats], Floats]
    weights: tuple[float, ...] = ()


Fit = Callable[[Floats, Floats], Fitted]


def hold_out(
    problems: Sequence[Rated], fit: Fit, folds: int, seed: int
) -> tuple[dict[str, Floats], list[Fitted]]:
    """Each problem's probabilities, by a fit that has not seen it, and the fits.

    The folds depend on the problems' ids and the seed, not on the order of the problems. Raises
    `ValueError` for fewer problems than folds, and where only right or only wrong candidates are
    left to fit to. Source: out-of-fold predictions, Stone, 1974.
    """
    if (count := whole(folds)) is None or count < 2:
        raise ValueError(f"folds={folds!r:.40} must be a whole number from 2; 5 is usual")
    if len(problems) < count:
        raise ValueError(
            f"{count} folds need as many problems, given {len(problems)}; take fewer folds, or "
            "sample more problems"
        )
    ordered = sorted(problems, key=lambda one: one.problem)
    parts = np.array_split(np.random.default_rng(check_seed(seed)).permutation(len(ordered)), count)
    found, fits = dict[str, Floats](), list[Fitted]()
    for part in parts:
        out = {int(i) for i in part}
        rest = [one for i, one in enumerate(ordered) if i not in out]
        scores, correct = (np.concatenate([one[i] for one in rest]) for i in (1, 2))
        _check_both(correct, len(rest), len(ordered))
        fits.append(fit(scores, correct))
        found |= {ordered[i].problem: fits[-1].predict(ordered[i].scores) for i in sorted(out)}
    return found, fits


def _check_both(correct: Floats, fitted: int, problems: int) -> None:
    """Raise `ValueError` unless some are right and some are wrong."""
    if 0 < correct.sum() < len(correct):
        return
    every = "all candidates are" if len(correct) and correct.all() else "no candidate is"
    raise ValueError(
        f"{every} right in {fitted} of {problems} problems, so nothing can be fitted to them; "
        "sample more problems"
    )


def platt(scores: Floats, correct: Floats) -> Fitted:
    """A sigmoid of one scorer's scores that keeps their order. Source: Platt, 1999."""
    scaled = _scaling(scores)
    slope, offset = calibrate(scaled(scores)[:, 0], correct, "platt")
    return Fitted(lambda given: _sigmoid(slope * scaled(given)[:, 0] + offset))


def logistic(scores: Floats, correct: Floats) -> Fitted:
    """A sigmoid of a weighted sum; the weights are per standard deviation. Source: Platt, 1999."""
    scaled = _scaling(scores)
    *weights, offset = map(float, fit_logistic(scaled(scores), correct))
    return Fitted(
        lambda given: _sigmoid(scaled(given) @ np.array(weights) + offset), tuple(weights)
    )


def isotonic(scores: Floats, correct: Floats) -> Fitted:
    """The nearest step function of one scorer's scores that never falls, straight between steps.

    By pooling adjacent violators. Source: Zadrozny and Elkan, 2002; Ayer et al., 1955.
    """
    known, places = np.unique(scores[:, 0], return_inverse=True)
    blocks = list[tuple[float, int, int]]()  # how many are right, of how many, at how many scores
    for right, count in zip(np.bincount(places, correct), np.bincount(places), strict=True):
        blocks.append((float(right), int(count), 1))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            r, c, width = (a + b for a, b in zip(blocks.pop(), last, strict=True))
            blocks.append((r, int(c), int(width)))
    shares = np.repeat([r / c for r, c, _ in blocks], [width for *_, width in blocks])
    return Fitted(lambda given: np.interp(given[:, 0], known, shares))


def _scaling(scores: Floats) -> Callable[[Floats], Floats]:
    """Scores in standard deviations from their mean; those that never differ are 0."""
    size = np.abs(scores).max(axis=0)
    size = np.where(size > 0, size, 1.0)  # so that no square is too large for a float
    small = scores / size
    mean, deviation = small.mean(axis=0), np.where(np.ptp(small, axis=0) > 0, small.std(axis=0), 1)
    return lambda given: (given / size - mean) / deviation


def _sigmoid(x: Floats) -> Floats:
    result: Floats = np.exp(-np.logaddexp(0.0, -x))
    return result
