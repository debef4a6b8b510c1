"""The interval of the pooled AUROC: a bootstrap over problems, held against one by hand."""

import numpy as np
import pytest

from edifice_tt.study.intervals import resamples_of
from edifice_tt.study.pooled import pooled_interval
from edifice_tt.study.quality import assess_scorer, auroc


def by_hand(scores, correct, level):
    """Percentiles of the AUROCs of all candidates of the drawn problems, each as often as drawn."""
    found = []
    for times in np.concatenate(list(resamples_of(len(scores)))):
        drawn = np.repeat(np.arange(len(scores)), times)
        score, right = (np.concatenate([x[i] for i in drawn])[None] for x in (scores, correct))
        found.append(auroc(score, right)[0])
    return np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])


def test_whole_problems_are_drawn_ties_count_half_and_what_has_no_auroc_is_left_out(rng):
    """Scores of few values tie; in some resamples all candidates are right."""
    sizes = [2, 3, 5, 7, 11, 13] * 5
    scores = [rng.integers(0, 5, size).astype(float) for size in sizes]
    correct = [
        rng.random(size) < 0.3 + 0.1 * score for size, score in zip(sizes, scores, strict=True)
    ]
    for few in (2, 30):
        kept = scores[:few], correct[:few]
        expected = by_hand(*kept, 0.8)
        low, high = pooled_interval(*kept, float(np.mean(expected)), 0.8)
        assert low <= expected[0] + 1e-12
        assert high >= expected[1] - 1e-12
        if few == 30:  # where problems are many, nothing widens it
            assert (low, high) == pytest.approx(tuple(expected))


def test_few_problems_that_agree_have_an_interval_with_a_width_and_one_has_none():
    scores, correct = [[0.9, 0.1]] * 3, [[True, False]] * 3
    found = assess_scorer("s", scores, correct)
    assert (found.auroc_pooled, found.pooled_high) == (1.0, 1.0)
    assert found.pooled_low == pytest.approx(found.auroc_low)  # of three, Wilson's 0.44
    alone = assess_scorer("s", scores[:1], correct[:1])
    assert (alone.auroc_pooled, alone.pooled_low, alone.pooled_high) == (1.0, None, None)
    all_right = assess_scorer("s", scores, [[True, True]] * 3)
    assert (all_right.auroc_pooled, all_right.pooled_low) == (None, None)


def test_problems_that_differ_widen_the_pooled_interval_beyond_that_of_single_candidates(rng):
    """Candidates of a problem are alike: as many that stand alone would tell more."""
    level = rng.normal(size=40)
    scores = [np.full(25, one) for one in level]
    correct = [np.arange(25) < 25 / (1 + np.exp(-one)) for one in level]
    together = assess_scorer("s", scores, correct)
    alone = assess_scorer(
        "s", *([[x] for one in column for x in one] for column in (scores, correct))
    )
    assert together.auroc_pooled == alone.auroc_pooled
    width, narrow = (one.pooled_high - one.pooled_low for one in (together, alone))
    assert width > 1.2 * narrow > 0
