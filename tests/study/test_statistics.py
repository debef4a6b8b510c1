"""Exact estimators: by hand, against every subset, and what they promise of any input."""

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from brute import best, over_subsets
from hypothesis import given, settings
from hypothesis import strategies as st

import edifice_tt as et
from edifice_tt.study.statistics import best_of_ks, kl_best_of_n

few = settings(max_examples=30, derandomize=True)
NAN = float("nan")


# --- pass@k


def test_pass_at_k_by_hand():
    assert et.pass_at_k(5, 2, 1) == pytest.approx(2 / 5)
    assert et.pass_at_k(5, 2, 2) == pytest.approx(7 / 10)  # 3 of the 10 pairs hold no right one
    assert et.pass_at_k(5, 2, 4) == 1.0
    assert [et.pass_at_k(1, c, 1) for c in (0, 1)] == [0.0, 1.0]


def test_pass_at_k_is_the_quotient_of_binomials():
    for n in (1, 2, 7, 64):
        for c in range(n + 1):
            for k in range(1, n + 1):
                exact = float(1 - Fraction(math.comb(n - c, k), math.comb(n, k)))
                assert et.pass_at_k(n, c, k) == pytest.approx(exact, rel=1e-13)


def test_pass_at_k_of_a_million_candidates():
    """The binomials themselves would overflow, and so would their logarithms' difference cancel."""
    assert et.pass_at_k(10**6, 1, 10) == pytest.approx(1e-5, rel=1e-10)
    assert et.pass_at_k(10**6, 500_000, 2) == pytest.approx(1 - 0.5 * 499_999 / 999_999)


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (4, 1, 5, "k=5 must be between 1 and n=4"),
        (4, 1, 0, "k=0 must be between 1 and n=4"),
        (4, 5, 2, "c=5 must be between 0 and n=4"),
        (4, -1, 2, "c=-1 must be between 0 and n=4"),
        (0, 0, 1, "k=1 must be between 1 and n=0"),
    ],
)
def test_counts_that_cannot_be_are_errors(n, c, k, message):
    with pytest.raises(ValueError, match=message):
        et.pass_at_k(n, c, k)


# --- best of k


def test_best_of_k_by_hand():
    scores, correct = [1.0, 4.0, 2.0, 3.0], [True, False, False, True]
    assert et.best_of_k(scores, correct, 1) == pytest.approx(1 / 2)
    assert et.best_of_k(scores, correct, 2) == pytest.approx(
        2 / 6
    )  # 3 beats 1 and 2; 4 wins thrice
    assert et.best_of_k(scores, correct, 3) == pytest.approx(1 / 4)  # only without the 4
    assert et.best_of_k(scores, correct, 4) == 0.0


def test_of_equal_scores_each_is_taken_equally_often():
    assert et.best_of_k([7.0, 7.0, 1.0], [True, False, False], 3) == 0.5
    assert et.best_of_k([7.0, 7.0, 1.0], [True, False, False], 2) == pytest.approx(1.5 / 3)
    assert et.best_of_k([2.0] * 5, [1, 1, 0, 0, 0], 4) == pytest.approx(2 / 5)


def test_infinite_scores_have_their_place():
    assert et.best_of_k([-math.inf, 0.0], [True, False], 2) == 0.0
    assert et.best_of_k([math.inf, math.inf, 0.0], [True, True, False], 2) == 1.0


marked = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=7)


@few
@given(marked)
def test_best_of_k_is_the_mean_over_every_subset(pairs):
    scores, correct = zip(*pairs, strict=True)
    ks = range(1, len(pairs) + 1)
    brute = [over_subsets(len(pairs), k, best(scores, correct)) for k in ks]
    assert [et.best_of_k(scores, correct, k) for k in ks] == pytest.approx(brute, abs=1e-14)
    assert best_of_ks([scores] * 3, [correct] * 3, ks) == pytest.approx(np.array([brute] * 3))


@few
@given(marked, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for k in range(1, len(pairs) + 1):
        one = et.best_of_k(*zip(*pairs, strict=True), k)
        assert et.best_of_k(*zip(*shuffled, strict=True), k) == pytest.approx(one, abs=1e-14)


@few
@given(marked)
def test_a_scorer_that_knows_the_truth_reaches_pass_at_k(pairs):
    correct = [right for _, right in pairs]
    for k in range(1, len(pairs) + 1):
        coverage = et.pass_at_k(len(pairs), sum(correct), k)
        assert et.best_of_k(correct, correct, k) == pytest.approx(coverage, abs=1e-14)
        assert et.best_of_k(*zip(*pairs, strict=True), k) <= coverage + 1e-14


def test_64_candidates_are_exact_to_rounding(rng):
    scores, correct = rng.permutation(64), rng.random(64) < 0.3
    for k in (1, 2, 31, 32, 33, 63, 64):
        exact = sum(
            Fraction(math.comb(int(score), k - 1), math.comb(64, k))
            for score, right in zip(scores, correct, strict=True)
            if right
        )
        assert et.best_of_k(scores, correct, k) == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize(
    ("scores", "correct", "k", "message"),
    [
        ([1.0, NAN], [True, False], 1, "scores must be numbers, but some are NaN"),
        ([1.0, 2.0], [True, None], 1, "correct must be True or False for every candidate"),
        ([1.0, 2.0], [True], 1, r"scores \(1, 2\) and correct \(1, 1\) must be of one shape"),
        ([], [], 1, "not empty"),
        ([1.0, 2.0], [True, False], 3, "k=3 must be between 1 and n=2"),
        ([1.0, 2.0], [True, False], 0, "k=0 must be between 1 and n=2"),
    ],
)
def test_unusable_scores_are_errors(scores, correct, k, message):
    with pytest.raises(ValueError, match=message):
        et.best_of_k(scores, correct, k)


def test_no_subset_size_is_an_error():
    with pytest.raises(ValueError, match="ks must hold at least one subset size"):
        best_of_ks([[1.0]], [[True]], [])


# --- why exact: the first k candidates are one subset of many


def test_over_permutations_the_first_k_vary_and_the_exact_value_does_not():
    scores, correct, k = [0.3, 0.9, 0.5, 0.7, 0.1], [1, 0, 1, 0, 0], 2
    value = best(scores, correct)
    first = [value(order[:k]) for order in permutations(range(5))]
    exact = {
        round(et.best_of_k([scores[i] for i in order], [correct[i] for i in order], k), 12)
        for order in permutations(range(5))
    }
    assert exact == {round(float(np.mean(first)), 12)}
    assert np.var(first) > 0.1


def test_over_fresh_pools_pass_at_1_varies_n_times_less_than_the_first_candidate(rng):
    p, n, pools = 0.3, 16, 20_000
    correct = rng.random((pools, n)) < p
    exact = [et.pass_at_k(n, c, 1) for c in correct.sum(axis=1).tolist()]
    assert np.var(correct[:, 0]) == pytest.approx(p * (1 - p), rel=0.05)
    assert np.var(exact) == pytest.approx(p * (1 - p) / n, rel=0.05)


# --- divergence


def test_kl_by_hand():
    assert kl_best_of_n(1) == 0.0
    assert kl_best_of_n(2) == pytest.approx(math.log(2) - 0.5)
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        kl_best_of_n(0)


def test_kl_is_that_of_the_highest_of_n_uniform_draws():
    """Its density is n u^(n-1) against 1; the midpoint rule integrates f log f."""
    u = (np.arange(200_000) + 0.5) / 200_000
    for n in (2, 5, 16):
        density = n * u ** (n - 1)
        assert kl_best_of_n(n) == pytest.approx(np.mean(density * np.log(density)), abs=1e-6)
