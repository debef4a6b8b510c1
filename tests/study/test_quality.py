"""Scorer quality: by hand, against every pair, and what each number may not depend on."""

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edifice_tt as et
from edifice_tt.study.intervals import interval_over_problems
from edifice_tt.study.quality import assess_scorer, auroc, ranks, reliability, spearman

few = settings(max_examples=30, derandomize=True)
NAN = float("nan")


def test_auroc_by_hand():
    # right: 3 and 1; wrong: 2 and 1. Pairs: 3>2, 3>1, 1<2, 1=1
    assert auroc([[3.0, 1.0, 2.0, 1.0]], [[True, True, False, False]]).tolist() == [2.5 / 4]


marked = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=9)


@few
@given(marked)
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs):
    right = [score for score, mark in pairs if mark]
    wrong = [score for score, mark in pairs if not mark]
    found = auroc(*([column] for column in zip(*pairs, strict=True)))
    if right and wrong:
        brute = fmean((r > w) + 0.5 * (r == w) for r in right for w in wrong)
        assert found[0] == pytest.approx(brute, abs=1e-14)
    else:
        assert np.isnan(found[0])


@few
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_a_rank_counts_those_below_and_half_of_the_equals(values):
    found = ranks(np.array([values], float))[0]
    brute = [sum(v < one for v in values) + (values.count(one) + 1) / 2 for one in values]
    assert found.tolist() == brute


def test_spearman_sees_order_only():
    assert spearman([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3], [9, 4, 1]) == pytest.approx(-1)
    # ranks 1, 2.5, 2.5, 4 and 1..4: covariance 4.5, variances 4.5 and 5
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert spearman([1, 2, 3], [5, 5, 5]) is None


def test_a_bin_begins_at_its_edge_and_the_last_holds_1():
    scores = np.array([0.0, 0.0999, 0.1, 0.3, 0.6, 0.7, 0.95, 1.0])
    bins = reliability(scores, np.ones(8))
    assert [one.count for one in bins] == [2, 1, 0, 1, 0, 0, 1, 1, 0, 2]
    assert (bins[9].low, bins[9].high) == (0.9, 1.0)
    assert (bins[2].mean_score, bins[2].accuracy) == (None, None)


def test_calibration_by_hand():
    # bin 0: mean 0.05, all wrong; bin 8: mean 0.85, half right; bin 9: 1.0, right
    found = assess_scorer("s", [[0.0, 0.1 - 1e-9, 0.8], [0.9 - 1e-9, 1.0]], [[0, 0, 1], [0, 1]])
    assert [one.count for one in found.reliability] == [2, 0, 0, 0, 0, 0, 0, 0, 2, 1]
    assert found.ece == pytest.approx((2 * 0.05 + 2 * 0.35) / 5)
    assert found.brier == pytest.approx((0 + 0.01 + 0.04 + 0.81 + 0) / 5)


@pytest.mark.slow
def test_calibrated_scores_have_a_small_error_and_overconfident_ones_do_not(rng):
    scores = rng.random((500, 100))
    correct = rng.random((500, 100)) < scores
    assert assess_scorer("s", scores, correct).ece < 0.01
    assert assess_scorer("s", scores**0.25, correct).ece > 0.2


def test_within_a_problem_only_its_own_candidates_are_compared():
    """Easy problems score high throughout: pooled that looks like skill, within it is none."""
    scores = [[0.9, 0.8, 0.7], [0.3, 0.2, 0.1], [0.6, 0.6, 0.6, 0.6]]
    correct = [[1, 0, 1], [0, 1, 0], [1, 1, 1, 1]]
    found = assess_scorer("s", scores, correct)
    assert found.mixed_problems == 2
    assert found.auroc_within == pytest.approx((0.5 + 0.5) / 2)
    # above the wrong 0.8, 0.3, 0.1: of 0.9 3, of 0.7 2, of 0.2 1, of each 0.6 2
    assert found.auroc_pooled == pytest.approx((3 + 2 + 1 + 4 * 2) / 21)


def test_the_auroc_within_has_the_interval_of_a_mean_over_mixed_problems():
    scores = [[2.0, 1.0], [1.0, 2.0], [2.0, 1.0], [2.0, 1.0], [2.0, 1.0]]
    correct = [[1, 0], [1, 0], [1, 0], [1, 1], [0, 0]]
    found = assess_scorer("s", scores, correct, level=0.9)
    assert (found.auroc_within, found.mixed_problems) == (pytest.approx(2 / 3), 3)
    assert (found.auroc_low, found.auroc_high) == interval_over_problems([1, 0, 1], 0.9)
    assert found.auroc_low < 0.5 < found.auroc_high
    assert found.auroc_interval == "0.33 to 1.00"
    alone = assess_scorer("s", scores[:1], correct[:1])
    assert (alone.auroc_within, alone.auroc_low, alone.auroc_high) == (1.0, None, None)
    assert alone.auroc_interval == "no interval"
    none = assess_scorer("s", scores[3:], correct[3:])
    assert (none.auroc_within, none.auroc_low) == (None, None)


def test_the_peak_is_where_more_candidates_stop_helping():
    """The highest score is wrong: the more are drawn, the likelier it is among them."""
    scores, correct = [[1.0, 2.0, 3.0, 4.0, 9.0]], [[0, 0, 1, 1, 0]]
    found = assess_scorer("s", scores, correct)
    curve = [et.best_of_k(scores[0], correct[0], k) for k in range(1, 6)]
    assert curve.index(max(curve)) + 1 == found.best_k == 2
    assert found.peak_accuracy == pytest.approx(max(curve))
    assert assess_scorer("s", [[1.0, 2.0]], [[0, 0]]).best_k == 1
    assert assess_scorer("s", [[1.0, 2.0], [2.0, 1.0, 0.0]], [[0, 1], [1, 0, 0]]).best_k == 2


def test_histograms_count_every_candidate_once():
    found = assess_scorer("s", [[0.0, 0.5, 1.0], [0.5, 0.99]], [[0, 1, 1], [0, 1]]).histogram
    assert len(found.edges) == len(found.right) + 1 == len(found.wrong) + 1 == 21
    assert (found.edges[0], found.edges[3], found.edges[-1]) == (0.0, 0.15, 1.0)
    assert (found.right[10], found.right[19], found.wrong[0], found.wrong[10]) == (1, 2, 1, 1)
    assert (sum(found.right), sum(found.wrong)) == (3, 2)
    wide = assess_scorer("s", [[-3.0, 5.0, 7.0]], [[0, 1, 1]]).histogram
    assert (wide.edges[0], wide.edges[-1]) == (-3.0, 7.0)
    assert (sum(wide.right), sum(wide.wrong)) == (2, 1)


def test_what_cannot_be_known_is_none():
    logits = assess_scorer("s", [[-1.0, 2.0]], [[0, 0]], [[7, 7]], "logit")
    assert (logits.ece, logits.brier, logits.reliability) == (None, None, ())
    assert (logits.auroc_pooled, logits.auroc_within, logits.mixed_problems) == (None, None, 0)
    assert logits.length_correlation is None
    assert (logits.scorer, logits.range) == ("s", "logit")
    assert assess_scorer("s", [[-1.0, 2.0]], [[0, 1]]).length_correlation is None
    longer = assess_scorer("s", [[-1.0, 2.0]], [[0, 1]], [[3, 5]])
    assert longer.length_correlation == pytest.approx(1)


@pytest.mark.parametrize(
    ("scores", "correct", "message"),
    [
        ([[1.0, NAN]], [[True, False]], "scores must be numbers, but some are NaN"),
        ([[1.0, float("inf")]], [[True, False]], "scores of 's' must be finite"),
        ([[1.0, 2.0]], [[True, None]], "correct must be True or False"),
        ([], [], "at least one problem"),
    ],
)
def test_unusable_scores_are_errors(scores, correct, message):
    with pytest.raises(ValueError, match=message):
        assess_scorer("s", scores, correct)
