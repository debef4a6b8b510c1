"""Calibrated and combined scores of pools: what they are, what they keep, what is refused."""

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.training.held_out import Rated, hold_out, isotonic, platt


def pool_of(i, scores, right=None, ranges=None, **more):
    """A problem; `scores` are a list by scorer."""
    count = len(next(iter(scores.values())))
    marks = [None] * count if right is None else right
    made = tuple(
        et.Candidate(j, str(j), correct=marks[j], scores={n: s[j] for n, s in scores.items()})
        for j in range(count)
    )
    return et.Pool(f"what is {i}?", made, problem=f"p{i}", ranges=ranges or {}, **more)


def drawn(rng, problems=7, count=5, ranges=None):
    """Pools with the scorers `a` and `b`, where a higher `a` is right more often."""
    made = []
    for i in range(problems):
        a = rng.normal(size=count)
        right = (a + rng.normal(size=count) > 0).tolist()
        scores = {"a": a.tolist(), "b": rng.random(count).tolist()}
        made.append(pool_of(i, scores, right, {"b": "probability"} | (ranges or {})))
    return made


def column(pools, name):
    return [[one.scores[name] for one in pool] for pool in pools]


@pytest.mark.parametrize(("method", "fit"), [("platt", platt), ("isotonic", isotonic)])
def test_calibrated_scores_stand_beside_the_raw_ones_and_are_held_out(rng, method, fit):
    pools = drawn(rng)
    made = et.calibrate_scores(pools, "a", method, folds=3)
    assert column(made, "a") == column(pools, "a")
    rated = [
        Rated(p.problem, np.array([[c.scores["a"]] for c in p]), np.array([c.correct for c in p]))
        for p in pools
    ]
    expected, _ = hold_out(
        [one._replace(correct=one.correct.astype(float)) for one in rated], fit, 3, 0
    )
    assert column(made, f"a-{method}") == [expected[p.problem].tolist() for p in pools]
    assert all(pool.ranges[f"a-{method}"] == "probability" for pool in made)
    assert et.select(made[0], "weighted", scorer=f"a-{method}", answer="text")


def test_platt_keeps_the_order_of_the_candidates(rng):
    pools = drawn(rng)
    made = et.calibrate_scores(pools, "a", name="sure")
    for before, after in zip(column(pools, "a"), column(made, "sure"), strict=True):
        np.testing.assert_array_equal(np.argsort(after), np.argsort(before))


def test_a_probability_that_is_right_already_stays_as_it_is(rng):
    pools = []
    for i in range(50):
        chances = rng.random(101)
        right = (rng.random(101) < chances).tolist()
        pools.append(pool_of(i, {"a": chances.tolist()}, right, {"a": "probability"}))
    made = et.calibrate_scores(pools, "a")
    assert np.abs(np.subtract(column(made, "a-platt"), column(pools, "a"))).max() < 0.03


def test_zero_and_one_are_probabilities_too(rng):
    pools = [pool_of(i, {"a": [0.0, 1.0]}, [False, True], {"a": "probability"}) for i in range(5)]
    wrong, right = column(et.calibrate_scores(pools, "a"), "a-platt")[0]
    assert 0 < wrong < 0.5 < right < 1


def test_mean_and_min_are_those_of_the_candidate_and_need_no_labels():
    ranges = {"a": "probability", "b": "probability"}
    pools = [pool_of(0, {"a": [0.25, 1.0], "b": [0.75, 0.5]}, None, ranges)]
    assert column(et.combine_scores(pools, ["a", "b"]), "a+b-mean") == [[0.5, 0.75]]
    assert column(et.combine_scores(pools, ["a", "b"], "min", name="m"), "m") == [[0.25, 0.5]]


def test_fitted_weights_find_the_scorer_that_tells_something(rng):
    from edifice_tt.training.combining import new_scores

    pools = drawn(rng, problems=31, count=9)
    found = new_scores(pools, ["a", "b"], "fitted", 5, 0)
    assert len(found.weights) == 5
    for a, b in found.weights:
        assert a > 4 * abs(b)
    made = et.combine_scores(pools, ["a", "b"], "fitted")
    assert column(made, "a+b-fitted") == [found.scores[pool.problem].tolist() for pool in pools]
    assert made[0].ranges["a+b-fitted"] == "probability"


def test_what_a_scorer_was_trained_on_is_known_of_what_is_made_of_it(rng):
    pools = drawn(rng)
    pools[2] = et.Pool(**{**vars(pools[2]), "seen_by": frozenset({"a"})})
    made = et.combine_scores(pools, ["a", "b"], "fitted", name="both")
    assert [("both" in pool.seen_by) for pool in made] == [i == 2 for i in range(7)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: et.calibrate_scores(p, "a", "plat"), "method='plat' must be one of platt, iso"),
        (lambda p: et.calibrate_scores(p, "a", name="a"), "name='a' is that of the scorer itself"),
        (lambda p: et.calibrate_scores(p, "a", name=""), "name='' must be a name, in one line"),
        (lambda p: et.calibrate_scores(p, "c"), "'c'"),
        (lambda p: et.calibrate_scores([*p, p[0]], "a"), "problem 'p0' is there twice"),
        (lambda p: et.calibrate_scores([], "a"), "there are no candidates"),
        (lambda p: et.calibrate_scores(p[:4], "a"), "5 folds need as many problems, given 4"),
        (lambda p: et.combine_scores(p, ["a"]), "must be two or more different names"),
        (lambda p: et.combine_scores(p, "ab"), "must be two or more different names"),
        (lambda p: et.combine_scores(p, ["a", "a"]), "must be two or more different names"),
        (lambda p: et.combine_scores(p, ["a", "b"], "max"), "how='max' must be one of mean, min"),
        (lambda p: et.combine_scores(p, ["a", "b"]), "'a' are not within 0 and 1; calibrate them"),
    ],
)
def test_wrong_use_is_refused(rng, change, message):
    with pytest.raises((ValueError, et.EdificeError), match=message):
        change(drawn(rng))


def test_what_pools_cannot_be_fitted_to_is_refused(rng):
    scores = {"a": [0.5, 0.25], "b": [1.0, 2.0]}
    flat = [pool_of(i, {"a": [3.0, 3.0]}, [True, False]) for i in range(5)]
    with pytest.raises(ValueError, match="all scores of 'a' are the same"):
        et.calibrate_scores(flat, "a")
    with pytest.raises(ValueError, match="whether candidate 0 is right is not known; grade the p"):
        et.calibrate_scores([pool_of(i, scores) for i in range(5)], "a")
    logits = [pool_of(0, scores | {"b": [0.5, 0.5]}, None, {"a": "probability", "b": "logit"})]
    with pytest.raises(ValueError, match="'b' are logit; calibrate them first"):
        et.combine_scores(logits, ["a", "b"], "min")
