"""Intervals over problems and the number of problems that a difference needs."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edifice_tt.study.intervals import (
    bootstrap_means,
    interval_of_means,
    percentile_interval,
    problems_needed,
)

few = settings(max_examples=30, derandomize=True)


def test_a_resample_of_two_problems_is_one_of_three_means():
    means = bootstrap_means([[0.0], [1.0]], 4000, seed=3)[:, 0]
    assert set(means) == {0.0, 0.5, 1.0}
    assert np.mean(means == 0.5) == pytest.approx(0.5, abs=0.03)  # 2 of the 4 ways to draw twice


def test_resampled_means_spread_as_the_standard_error_says(rng):
    values = rng.random((50, 1))
    spread = bootstrap_means(values, 4000).std()
    assert spread == pytest.approx(values.std() / 50**0.5, rel=0.05)


def test_same_seed_gives_same_resamples_for_every_column(rng):
    values = rng.random((7, 1))
    means = bootstrap_means(np.hstack([values, values + 1]), 20, seed=5)
    assert means[:, 1] - means[:, 0] == pytest.approx(np.ones(20))
    assert (means == bootstrap_means(np.hstack([values, values + 1]), 20, seed=5)).all()
    assert (means != bootstrap_means(np.hstack([values, values + 1]), 20, seed=6)).any()


def test_resamples_in_parts_are_as_many_as_asked(monkeypatch, rng):
    values = rng.random((5, 2))
    whole = bootstrap_means(values, 7)
    monkeypatch.setattr("edifice_tt.study.intervals._CHUNK", 10)
    assert (bootstrap_means(values, 7) == whole).all()


def test_two_rules_that_differ_a_little_everywhere_are_told_apart_only_in_pairs(rng):
    """Problems differ far more than rules do; apart, the intervals overlap."""
    one = rng.random((40, 1))
    low, high = percentile_interval(bootstrap_means(np.hstack([one, one + 0.02])))
    assert low[1] < high[0]
    means = bootstrap_means(np.hstack([one, one + 0.02]))
    low, high = percentile_interval((means[:, 1] - means[:, 0])[:, None])
    assert (low[0], high[0]) == pytest.approx((0.02, 0.02))


def test_a_95_percent_interval_covers_the_truth_about_95_times_in_100(rng):
    covered = 0
    for seed in range(300):
        low, high = percentile_interval(bootstrap_means(rng.random((60, 1)), 400, seed))
        covered += low[0] <= 0.5 <= high[0]
    assert 0.90 <= covered / 300 <= 0.98


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.5, 0.99))
def test_an_interval_lies_within_the_values_and_a_higher_level_is_wider(values, level):
    means = bootstrap_means(np.array(values)[:, None], 50)
    low, high = percentile_interval(means, level)
    assert min(values) - 1e-12 <= low[0] <= high[0] <= max(values) + 1e-12
    wide = percentile_interval(means, (1 + level) / 2)
    assert wide[0][0] <= low[0]
    assert high[0] <= wide[1][0]


def test_one_problem_gives_an_interval_of_no_width():
    low, high = percentile_interval(bootstrap_means([[0.25]], 9))
    assert (low[0], high[0]) == (0.25, 0.25)


def test_equal_values_have_wilson_s_interval_at_both_ends():
    """p +- z sqrt(p (1 - p) / n + z^2 / (4 n^2)) around p + z^2 / (2 n), over 1 + z^2 / n."""
    for num, level in ((2, 0.95), (17, 0.95), (30, 0.8)):
        z = NormalDist().inv_cdf((1 + level) / 2)
        for value in (0.0, 1.0):
            values = np.full((num, 1), value)
            middle, half = value + z * z / (2 * num), z * z / (2 * num)
            expected = [(middle + sign * half) / (1 + z * z / num) for sign in (-1, 1)]
            found = interval_of_means(values, bootstrap_means(values, 9), level)
            assert [float(bound[0]) for bound in found] == pytest.approx(expected, abs=1e-12)


def test_equal_fractions_leave_room_on_both_sides_and_less_with_more_problems():
    widths = []
    for num in (2, 20, 2000):
        values = np.full((num, 1), 0.25)
        low, high = interval_of_means(values, bootstrap_means(values, 9), 0.95)
        assert 0 < low[0] < 0.25 < high[0] < 1
        widths.append(high[0] - low[0])
    assert widths == sorted(widths)[::-1]
    assert widths[-1] < 0.003


def test_the_interval_of_problems_that_were_all_alike_covers_a_rare_other_kind(rng):
    """With 1 in 20 problems wrong, 14 are often all right; the interval holds 0.95 then too."""
    values = np.ones((14, 1))
    low, high = interval_of_means(values, bootstrap_means(values, 9), 0.95)
    assert low[0] < 0.95 < high[0]


def test_few_problems_that_are_nearly_alike_have_the_interval_of_those_that_are(rng):
    """A bootstrap of three such values would be 2 points wide: it has seen no other kind."""
    for wobble in (0.0, 0.01):
        values = 0.92 + wobble * np.array([[-1.0], [0.0], [1.0]])
        low, high = interval_of_means(values, bootstrap_means(values, 50), 0.95)
        share = 1.959964**2 / (3 + 1.959964**2)
        assert low[0] == pytest.approx(0.92 * (1 - share), abs=1e-6)
        assert high[0] == pytest.approx(0.92 + share * 0.08, abs=1e-6)


def test_values_that_differ_keep_their_percentiles_and_one_problem_has_none(rng):
    values = rng.random((9, 3))
    values[:, 1] = 1
    means = bootstrap_means(values, 50)
    found, plain = interval_of_means(values, means, 0.9), percentile_interval(means, 0.9)
    for one, other in zip(found, plain, strict=True):
        assert (one[[0, 2]] == other[[0, 2]]).all()
    assert found[0][1] < 1
    assert np.isnan(interval_of_means(values[:1], means, 0.9)).all()


def test_problems_needed_by_hand():
    # (1.959964 + 0.841621)^2 = 7.8489; times 0.09 / 0.02^2 = 225
    assert problems_needed(0.09, 0.02) == 1766
    assert problems_needed(0.09, 0.04) == 442  # a quarter, rounded up
    assert problems_needed(1e-9, 0.5) == 2
    assert problems_needed(0.0, 0.02) is None


def test_with_that_many_problems_the_difference_is_seen_4_times_in_5(rng):
    num = problems_needed(0.25, 0.1)
    drawn = rng.normal(0.1, 0.5, (4000, num))
    seen = drawn.mean(axis=1) - 1.96 * drawn.std(axis=1, ddof=1) / num**0.5 > 0
    assert seen.mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_means([[1.0]], 0), "resamples=0 must be at least 1"),
        (lambda: bootstrap_means([[float("nan")]]), "must be finite numbers"),
        (lambda: bootstrap_means(np.zeros((0, 2))), r"values \(0, 2\) must be finite"),
        (lambda: percentile_interval(np.zeros((3, 1)), 1.0), "level=1.0 must be between 0 and 1"),
        (lambda: problems_needed(0.1, 0.0), "difference=0.0 must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
