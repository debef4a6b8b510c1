"""Drawn subsets: all of them where they are few, honest errors where they are not."""

import numpy as np
import pytest
from brute import heaviest
from brute import over_subsets as brute_force
from hypothesis import given, settings
from hypothesis import strategies as st

from edifice_tt.study.subsets import over_subsets, weighted_vote

few = settings(max_examples=30, derandomize=True)


def total(sums, counts):
    return sums


def vote(scores, answers, correct, weigh=total):
    arrays = np.array(scores, float), np.array(answers), np.array(correct, float)
    return weighted_vote(weigh, *arrays)


def test_weighted_vote_by_hand():
    value = vote([0.9, 0.5, 0.5, 0.3], [0, 1, 1, -1], [True, False, False, False])
    masks = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 1]], bool)
    assert value(masks).tolist() == [0.0, 1.0, 0.0, 1.0]  # 1.0 beats 0.9; 0.9 beats 0.5; nobody


def test_sums_that_are_equal_on_paper_tie():
    """0.1 + 0.2 is not 0.3 in float64."""
    assert 0.1 + 0.2 > 0.3
    value = vote([0.1, 0.2, 0.3], [0, 0, 1], [True, True, False])
    assert value(np.ones((1, 3), bool)).tolist() == [0.5]


def test_an_answer_that_weighs_nothing_or_less_can_still_win():
    value = vote([0.0, -1.0, -2.0], [0, 1, 2], [True, True, False])
    assert value(np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)).tolist() == [1.0, 1.0, 0.0]


def test_of_a_mixed_answer_the_candidates_in_the_subset_count():
    value = vote([1.0, 1.0, 0.1], [0, 0, 1], [True, False, False])
    assert value(np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1]], bool)).tolist() == [0.5, 1.0, 0.0]


def test_all_abstain():
    assert vote([1.0, 1.0], [-1, -1], [True, True])(np.ones((1, 2), bool)).tolist() == [0.0]


candidates = st.lists(
    st.tuples(st.integers(0, 8).map(lambda i: i / 8), st.integers(-1, 3), st.booleans()),
    min_size=1,
    max_size=8,
)


@few
@given(candidates)
def test_where_subsets_are_few_it_is_the_mean_over_every_one(rows):
    scores, answers, correct = zip(*rows, strict=True)
    names = [None if a < 0 else a for a in answers]
    brute = heaviest(names, correct, lambda group: sum(scores[i] for i in group))
    ks = range(1, len(rows) + 1)
    found = over_subsets(vote(scores, answers, correct), len(rows), ks, 70, [0])
    expected = [brute_force(len(rows), k, brute) for k in ks]
    assert found.accuracy == pytest.approx(expected, abs=1e-14)
    assert not found.variance.any()


@few
@given(candidates)
def test_scores_that_are_all_one_are_a_majority(rows):
    _, answers, correct = zip(*rows, strict=True)
    value = vote([1.0] * len(rows), answers, correct)
    names = [None if a < 0 else a for a in answers]
    k = (len(rows) + 1) // 2
    found = over_subsets(value, len(rows), [k], 70, [0])
    expected = brute_force(len(rows), k, heaviest(names, correct, len))
    assert found.accuracy[0] == pytest.approx(expected, abs=1e-14)


def test_drawn_subsets_miss_by_what_they_say(rng):
    n, k = 12, 5  # 792 subsets
    value = vote(rng.random(n), [1, 2, 3, 1, 3, 0, 1, 3, 0, 2, 1, 2], [0] * 5 + [1] + [0] * 6)
    exact = over_subsets(value, n, [k], 792, [0])
    assert 0.2 < exact.accuracy[0] < 0.4
    assert exact.variance[0] == 0
    drawn = [over_subsets(value, n, [k], 300, [seed]) for seed in range(300)]
    misses = [(one.accuracy - exact.accuracy)[0] for one in drawn]
    stated = np.mean([one.variance[0] for one in drawn])
    assert np.var(misses) == pytest.approx(stated, rel=0.25)
    assert abs(np.mean(misses)) < 3 * (stated / 300) ** 0.5


def test_same_seed_gives_same_subsets_and_they_have_k_members():
    seen = []

    def value(masks):
        seen.append(masks.copy())
        return masks[:, 0].astype(float)

    for seed in (1, 1, 2):
        over_subsets(value, 20, [3, 7], 50, [seed])
    once, again, other = seen  # one call for all sizes
    threes, sevens = once[:50], once[50:]
    assert (set(threes.sum(axis=1)), set(sevens.sum(axis=1))) == ({3}, {7})
    assert (threes <= sevens).all()  # those of 3 are parts of those of 7
    assert (once == again).all()
    assert (once != other).any()


def test_the_variance_is_that_of_the_mean_of_the_draws():
    """Sizes with all subsets (1 of 7: nothing left to chance) and with drawn ones side by side."""
    seen = []

    def value(masks):
        seen.append(masks @ np.array([1.0, 2.0, 3.0, 5.0, 7.0, 11.0, 13.0]))
        return seen[0]

    found = over_subsets(value, 7, [1, 3], 20, [4])
    drawn = seen[0][7:]
    assert found.accuracy == pytest.approx([6.0, drawn.mean()])
    assert found.variance == pytest.approx([0.0, drawn.var(ddof=1) / 20])


def test_one_draw_is_an_error():
    with pytest.raises(ValueError, match="draws=1 must be at least 2"):
        over_subsets(vote([1.0], [0], [True]), 1, [1], 1, [0])
    with pytest.raises(ValueError, match="k=2 must be between 1 and n=1"):
        over_subsets(vote([1.0], [0], [True]), 1, [2], 9, [0])
