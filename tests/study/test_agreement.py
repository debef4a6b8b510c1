"""How far scorers agree, against counts by hand."""

from itertools import product

import numpy as np
import pytest

import edifice_tt as et


def pool_of(i, **scores):
    count = len(next(iter(scores.values())))
    made = tuple(
        et.Candidate(j, str(j), scores={n: s[j] for n, s in scores.items()}) for j in range(count)
    )
    return et.Pool("?", made, problem=f"p{i}")


def test_rank_correlation_is_that_of_each_problem_and_not_of_the_scale():
    pools = [
        pool_of(0, a=[1, 2, 3, 4], b=[10, 20, 30, 40]),  # 1
        pool_of(1, a=[100, 200, 300], b=[-1, -2, -3]),  # -1
        pool_of(2, a=[1, 2, 3, 4], b=[1, 10, 5, 20]),  # 1 - 6 * 2 / (4 * 15)
    ]
    (found,) = et.compare_scorers(pools)
    assert (found.one, found.other, found.problems, found.ranked) == ("a", "b", 3, 3)
    assert found.rank.mean == pytest.approx((1 - 1 + 0.8) / 3)
    assert found.rank.low <= found.rank.mean <= found.rank.high
    assert found.same_best.mean == pytest.approx(2 / 3)


def test_the_same_best_is_a_mean_over_ties(rng):
    for _ in range(20):
        one, other = rng.integers(0, 3, (2, 5)).astype(float)
        best = [[i for i, x in enumerate(row) if x == max(row)] for row in (one, other)]
        pairs = [*product(*best)]
        (found,) = et.compare_scorers([pool_of(0, a=one, b=other)])
        assert found.same_best.mean == pytest.approx(sum(i == j for i, j in pairs) / len(pairs))


def test_a_problem_without_an_order_counts_for_the_best_alone():
    pools = [
        pool_of(0, a=[1, 1], b=[1, 2]),
        pool_of(1, a=[1, 2], b=[1, 2]),
        pool_of(2, a=[1], b=[1]),
    ]
    (found,) = et.compare_scorers(pools)
    assert (found.problems, found.ranked) == (2, 1)
    assert found.rank.mean == pytest.approx(1)
    assert found.rank.low is None
    assert found.same_best.mean == 0.75
    (never,) = et.compare_scorers(pools[:1])
    assert (never.rank, never.same_best.low) == (None, None)


def test_the_interval_is_one_over_problems(rng):
    pools = []
    for i in range(200):
        a = rng.normal(size=5)
        pools.append(pool_of(i, a=a, b=a + rng.normal(size=5)))
    (found,) = et.compare_scorers(pools, ["b", "a"], level=0.95, seed=3)
    from edifice_tt.study.quality import spearman

    each = [spearman(*([c.scores[n] for c in pool] for n in "ab")) for pool in pools]
    reach = 1.96 * np.std(each) / np.sqrt(len(each))
    assert found.rank.low == pytest.approx(np.mean(each) - reach, abs=0.03)
    assert found.rank.high == pytest.approx(np.mean(each) + reach, abs=0.03)
    assert et.compare_scorers(pools, ["b", "a"], seed=3) == (found,)
    (narrow,) = et.compare_scorers(pools, ["b", "a"], level=0.5, seed=3)
    assert narrow.rank.high - narrow.rank.low < found.rank.high - found.rank.low


def test_problems_that_are_all_the_same_bound_the_mean_as_far_as_they_are_many():
    pools = [pool_of(i, a=[1, 2], b=[1, 2]) for i in range(3)]
    (found,) = et.compare_scorers(pools)
    share = 1.96**2 / (3 + 1.96**2)  # by Wilson, of other problems
    assert (found.rank.high, found.same_best.high) == pytest.approx((1, 1))
    assert found.rank.low == pytest.approx(1 - 2 * share, abs=1e-4)
    assert found.same_best.low == pytest.approx(1 - share, abs=1e-4)


def test_each_two_scorers_are_compared_and_labels_are_not_needed():
    found = et.compare_scorers([pool_of(0, c=[1, 2], a=[2, 1], b=[1, 2])])
    assert [(one.one, one.other) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.same_best.mean for one in found] == [0, 0, 1]


@pytest.mark.parametrize(
    ("pools", "scorers", "message"),
    [
        (
            [pool_of(0, a=[1, 2])],
            None,
            "two scorers are needed to compare, and problem 'p0' has sc",
        ),
        ([pool_of(0, a=[1, 2])], ["a", "a"], "must be two or more different names"),
        ([pool_of(0, a=[1], b=[2])], None, "no problem has two candidates"),
        ([], None, "no problem has two candidates"),
        ([pool_of(0, a=[1, np.nan], b=[1, 2])], None, "must be a finite number"),
        ([pool_of(0, a=[1, 2], b=[1, 2])], ["a", "c"], "'c'"),
    ],
)
def test_what_cannot_be_compared_is_refused(pools, scorers, message):
    with pytest.raises((ValueError, et.EdificeError), match=message):
        et.compare_scorers(pools, scorers)
