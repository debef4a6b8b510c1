"""Plurality voting: by hand, against every subset, and against whole numbers of any size."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from brute import heaviest, over_subsets
from hypothesis import given, settings
from hypothesis import strategies as st

import edifice_tt as et
from edifice_tt.study.voting import majority_at_ks

few = settings(max_examples=30, derandomize=True)


def in_whole_numbers(answers, right, k):
    """The chance that `right` wins: winning votes, then the others by size and by ties."""
    votes = Counter(answer for answer in answers if answer is not None)
    own, rest = votes.pop(right, 0), answers.count(None)
    total = Fraction(0)
    for most in range(1, own + 1):
        ways = {(j, 0): math.comb(rest, j) for j in range(min(rest, k - most) + 1)}
        for count in votes.values():
            fresh = Counter()
            for (size, ties), number in ways.items():
                for j in range(min(count, most, k - most - size) + 1):
                    fresh[size + j, ties + (j == most)] += number * math.comb(count, j)
            ways = fresh
        for (size, ties), number in ways.items():
            if size == k - most:
                total += Fraction(number * math.comb(own, most), ties + 1)
    return total / math.comb(len(answers), k)


def test_majority_by_hand():
    answers, correct = ["a", "a", "b", None], [True, True, False, False]
    assert et.majority_at_k(answers, correct, 1) == pytest.approx(2 / 4)
    # aa wins; ab ties, twice; a-none wins, twice; b-none loses
    assert et.majority_at_k(answers, correct, 2) == pytest.approx((1 + 2 / 2 + 2) / 6)
    # aab, aa-none win, ab-none ties, twice
    assert et.majority_at_k(answers, correct, 3) == pytest.approx((1 + 1 + 2 / 2) / 4)
    assert et.majority_at_k(answers, correct, 4) == 1.0


def test_a_tie_of_three_is_won_one_time_in_three():
    assert et.majority_at_k(["a", "b", "c"], [True, False, False], 3) == pytest.approx(1 / 3)
    assert et.majority_at_k(["a", "b", "c"], [True, True, False], 3) == pytest.approx(2 / 3)


def test_when_all_abstain_it_is_wrong():
    assert et.majority_at_k([None, None], [True, False], 2) == 0.0
    assert et.majority_at_k([None, "a"], [False, True], 1) == 0.5


def test_one_answer_only_and_one_candidate_only():
    assert [et.majority_at_k(["a"] * 5, [True] * 5, k) for k in (1, 3, 5)] == pytest.approx([1] * 3)
    assert [et.majority_at_k(["a"] * 5, [False] * 5, k) for k in (1, 3, 5)] == [0.0] * 3
    assert et.majority_at_k(["a"], [True], 1) == 1.0


def test_an_answer_of_mixed_correctness_counts_as_its_mean():
    assert et.majority_at_k(["a", "a", "b"], [True, False, False], 3) == pytest.approx(1 / 2)


given_answers = st.lists(
    st.tuples(st.sampled_from([None, "a", "b", "c", "d"]), st.booleans()), min_size=1, max_size=8
)


@few
@given(given_answers)
def test_majority_is_the_mean_over_every_subset(pairs):
    """Correctness is drawn for each candidate by itself, so most answers are mixed."""
    answers, correct = zip(*pairs, strict=True)
    ks = range(1, len(pairs) + 1)
    value = heaviest(answers, correct, len)
    brute = [over_subsets(len(pairs), k, value) for k in ks]
    assert [et.majority_at_k(answers, correct, k) for k in ks] == pytest.approx(brute, abs=1e-14)


@few
@given(given_answers, st.randoms(use_true_random=False))
def test_order_and_names_of_answers_do_not_matter(pairs, random):
    names = {"a": 3, "b": "d", "c": ("x",), "d": "a", None: None}
    shuffled = [(names[answer], right) for answer, right in random.sample(pairs, len(pairs))]
    for k in range(1, len(pairs) + 1):
        one = et.majority_at_k(*zip(*pairs, strict=True), k)
        assert et.majority_at_k(*zip(*shuffled, strict=True), k) == pytest.approx(one, abs=1e-14)


@few
@given(st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=8))
def test_the_chances_of_all_answers_add_to_the_chance_that_anybody_votes(answers):
    n, silent = len(answers), answers.count(None)
    for k in range(1, n + 1):
        chances = [et.majority_at_k(answers, [a == one for a in answers], k) for one in "abc"]
        assert sum(chances) == pytest.approx(1 - math.comb(silent, k) / math.comb(n, k), abs=1e-14)


@pytest.mark.parametrize("spread", [3, 8, 40, 64])
def test_64_candidates_are_exact_to_rounding(spread, rng):
    """C(64, 32) = 1.8e18 is no whole number in float64."""
    answers = [int(a) if a else None for a in (rng.random(64) ** 2 * spread).astype(int)]
    right = Counter(answer for answer in answers if answer is not None).most_common(2)[1][0]
    correct = [answer == right for answer in answers]
    ks = [1, 2, 5, 31, 32, 33, 63, 64]
    exact = [float(in_whole_numbers(answers, right, k)) for k in ks]
    assert majority_at_ks([(answers, correct)], ks)[0] == pytest.approx(exact, rel=1e-12, abs=0)


def test_a_thousand_candidates_stay_in_range(rng):
    answers = [int(a) for a in rng.integers(0, 3, 1000)]
    chances = [majority_at_ks([(answers, [a == one for a in answers])], [7]) for one in range(3)]
    assert np.sum(chances) == pytest.approx(1)
    one_answer = majority_at_ks([(["a"] * 1000, [True] * 1000)], [3])
    assert one_answer[0, 0] == pytest.approx(1)


def test_many_problems_at_once_are_each_by_itself(rng):
    problems = []
    for n in (3, 5, 8, 5, 3, 8):
        answers = [int(a) or None for a in rng.integers(0, 4, n)]
        problems.append((answers, [a == 1 for a in answers]))
    together = majority_at_ks(problems, [1, 2, 3])
    alone = [[et.majority_at_k(*problem, k) for k in (1, 2, 3)] for problem in problems]
    assert together == pytest.approx(np.array(alone), abs=1e-14)


@pytest.mark.parametrize(
    ("answers", "correct", "k", "message"),
    [
        (["a"], [True], 2, "k=2 must be between 1 and n=1"),
        (["a"], [True], 0, "k=0 must be between 1 and n=1"),
        ([], [], 1, "k=1 must be between 1 and n=0"),
        (["a", "b"], [True], 1, r"correct \(1,\) must be of the shape of answers \(2,\)"),
        (["a", "b"], [True, None], 1, "correct must be True or False for every candidate"),
        (["a"] * 1001, [True] * 1001, 1, "1001 candidates must be at most 1000"),
    ],
)
def test_unusable_votes_are_errors(answers, correct, k, message):
    with pytest.raises(ValueError, match=message):
        et.majority_at_k(answers, correct, k)
