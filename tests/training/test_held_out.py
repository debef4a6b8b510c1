"""Fits in folds, against brute force and neighbours of the optimum; no label is in its own fit."""

import numpy as np
import pytest

from edifice_tt.training.held_out import Rated, hold_out, isotonic, logistic, platt

FITS = {"platt": platt, "isotonic": isotonic, "logistic": logistic}


def drawn(rng, problems=7, scorers=1):
    """Problems of 2 to 6 candidates, whose higher scores are right more often."""
    made = []
    for i in range(problems):
        scores = rng.normal(size=(int(rng.integers(2, 7)), scorers)).round(1)
        right = rng.random(len(scores)) < 1 / (1 + np.exp(-2 * scores.sum(axis=1)))
        made.append(Rated(f"p{i}", scores, right.astype(float)))
    return made


def flipped(problem):
    return problem._replace(correct=1 - problem.correct)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_a_problem_s_own_labels_do_not_reach_its_numbers(rng, fit):
    problems = drawn(rng)
    before, _ = hold_out(problems, fit, 3, 0)
    for i, problem in enumerate(problems):
        after, _ = hold_out([*problems[:i], flipped(problem), *problems[i + 1 :]], fit, 3, 0)
        np.testing.assert_array_equal(after[problem.problem], before[problem.problem])
        others = [one.problem for one in problems if one is not problem]
        assert any((after[one] != before[one]).any() for one in others)


def test_each_fold_is_fitted_to_all_other_problems(rng):
    problems, seen = drawn(rng), []

    def fit(scores, correct):
        seen.append((scores, correct))
        return isotonic(scores, correct)

    found, fits = hold_out(problems, fit, 7, 0)
    assert len(fits) == 7
    assert found.keys() == {one.problem for one in problems}
    sizes = sorted(sum(map(len, (o.correct for o in problems))) - len(p.correct) for p in problems)
    assert sorted(len(correct) for _, correct in seen) == sizes
    by_hand = isotonic(*(np.concatenate([one[i] for one in problems[1:]]) for i in (1, 2)))
    np.testing.assert_allclose(found["p0"], by_hand.predict(problems[0].scores), atol=1e-12)


def test_the_order_of_problems_changes_nothing_and_the_seed_changes_the_folds(rng):
    problems = drawn(rng)
    found, _ = hold_out(problems, platt, 3, 0)
    turned, _ = hold_out(problems[::-1], platt, 3, 0)
    assert all((found[name] == turned[name]).all() for name in found)
    other, _ = hold_out(problems, platt, 3, 1)
    assert any((found[name] != other[name]).any() for name in found)


def test_isotonic_is_the_largest_of_the_smallest_means(rng):
    """The closed form: at i the largest over a <= i of the smallest over b >= i of mean(a..b)."""
    for _ in range(40):
        scores = rng.integers(0, 6, int(rng.integers(2, 12))).astype(float)
        right = rng.integers(0, 2, len(scores)).astype(float)
        known = np.unique(scores)
        inside = [
            [right[(scores >= a) & (scores <= b)].mean() for b in known if b >= a] for a in known
        ]
        expected = [max(min(inside[a][i - a :]) for a in range(i + 1)) for i in range(len(known))]
        found = isotonic(scores[:, None], right).predict(known[:, None])
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_isotonic_is_straight_between_scores_and_level_beyond():
    fitted = isotonic(np.array([[1.0], [1.0], [3.0]]), np.array([0.0, 1.0, 1.0]))
    given = np.array([[-9.0], [1.0], [2.0], [3.0], [9.0]])
    assert fitted.predict(given).tolist() == [0.5, 0.5, 0.75, 1.0, 1.0]


def loss(weights, scores, correct):
    right, wrong = correct.sum(), (1 - correct).sum()
    targets = np.where(correct == 1, (right + 1) / (right + 2), 1 / (wrong + 2))
    z = scores @ weights[:-1] + weights[-1]
    return (np.logaddexp(0, z) - targets * z).sum()


@pytest.mark.parametrize("scorers", [1, 3])
def test_no_neighbour_of_the_fitted_weights_is_better(rng, scorers):
    scores = 50 + 9 * rng.normal(size=(211, scorers))
    chance = 1 / (1 + np.exp(-(scores - 50).sum(axis=1) / 9))
    correct = (rng.random(211) < chance).astype(float)
    fitted = logistic(scores, correct)
    p = fitted.predict(scores)
    z = np.log(p) - np.log1p(-p)
    scaled = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    weights = np.array([*fitted.weights, (z - scaled @ fitted.weights).mean()])
    np.testing.assert_allclose(scaled @ weights[:-1] + weights[-1], z, atol=1e-9)
    best = loss(weights, scaled, correct)
    for near in 1e-3 * np.concatenate([np.eye(scorers + 1), -np.eye(scorers + 1)]):
        assert loss(weights + near, scaled, correct) > best
    if scorers == 1:
        np.testing.assert_allclose(platt(scores, correct).predict(scores), p, atol=1e-9)


@pytest.mark.parametrize("size", [1e6, 1e-9, 1e200])
def test_the_size_of_scores_does_not_matter(rng, size):
    scores = rng.normal(size=(97, 1))
    correct = (scores[:, 0] + rng.normal(size=97) > 0).astype(float)
    small = platt(scores, correct).predict(scores)
    moved = size * (scores + 3)
    large = platt(moved, correct).predict(moved)
    np.testing.assert_allclose(small, large, atol=1e-9)


def test_two_scorers_that_say_the_same_share_the_weight(rng):
    scores = rng.normal(size=(101, 1))
    correct = (scores[:, 0] + rng.normal(size=101) > 0).astype(float)
    alone, both = logistic(scores, correct), logistic(np.hstack([scores, scores]), correct)
    assert both.weights == pytest.approx([alone.weights[0] / 2] * 2, abs=1e-4)


def test_scores_that_never_differ_have_no_weight(rng):
    scores = np.column_stack([np.full(31, 0.1), rng.normal(size=31)])
    correct = (rng.random(31) < 0.5).astype(float)
    fitted = logistic(scores, correct)
    assert fitted.weights[0] == pytest.approx(0, abs=1e-6)
    moved = scores + np.array([0.2, 0.0])
    np.testing.assert_allclose(fitted.predict(moved), fitted.predict(scores), atol=1e-6)


@pytest.mark.parametrize(
    ("folds", "correct", "message"),
    [
        (1, [0, 1], "folds=1 must be a whole number from 2"),
        (2.5, [0, 1], r"folds=2.5 must be a whole number"),
        (9, [0, 1], "9 folds need as many problems, given 4; take fewer folds"),
        (2, [1, 1], "all candidates are right in 2 of 4 problems, so nothing can be fitted"),
        (2, [0, 0], "no candidate is right in 2 of 4 problems"),
    ],
)
def test_what_cannot_be_fitted_is_refused(folds, correct, message):
    problems = [Rated(str(i), np.array([[0.0], [1.0]]), np.array(correct, float)) for i in range(4)]
    with pytest.raises(ValueError, match=message):
        hold_out(problems, platt, folds, 0)
