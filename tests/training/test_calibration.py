"""Calibration against a search over a grid, and on numbers whose truth is known."""

import numpy as np
import pytest

from edifice_tt.training.calibration import LEAST_SLOPE, calibrate


def loss(slope, offset, logits, correct):
    right, wrong = correct.sum(), (1 - correct).sum()
    targets = np.where(correct == 1, (right + 1) / (right + 2), 1 / (wrong + 2))
    z = slope * logits + offset
    return (np.logaddexp(0, z) - targets * z).sum()


@pytest.fixture
def drawn(rng):
    """Logits that are three times too sure and off by one."""
    true = rng.normal(size=4001)
    correct = (rng.random(4001) < 1 / (1 + np.exp(-true))).astype(float)
    return 3 * true + 1, correct


def test_platt_finds_the_truth_and_no_neighbour_is_better(drawn):
    slope, offset = calibrate(*drawn)
    assert slope == pytest.approx(1 / 3, abs=0.03)
    assert offset == pytest.approx(-1 / 3, abs=0.1)
    best = loss(slope, offset, *drawn)
    for near in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert loss(slope + near[0], offset + near[1], *drawn) > best


def test_temperature_leaves_the_offset_alone(drawn):
    slope, offset = calibrate(*drawn, method="temperature")
    assert offset == 0
    grid = np.linspace(0.05, 1, 951)
    assert slope == pytest.approx(grid[np.argmin([loss(g, 0, *drawn) for g in grid])], abs=1e-3)


def test_a_perfect_separation_stays_finite():
    slope, offset = calibrate([-1.0, -2.0, 1.0, 2.0], [0, 0, 1, 1])
    assert 0 < slope < 10
    assert abs(offset) < 1e-6


def test_logits_that_are_wrong_keep_their_order_and_say_the_base_rate():
    logits, correct = np.array([3.0, 2.0, 1.0, -1.0, -2.0, -3.0]), np.array([0, 0, 1, 0, 1, 1])
    slope, offset = calibrate(logits, correct)
    assert slope == LEAST_SLOPE
    np.testing.assert_allclose(1 / (1 + np.exp(-(slope * logits + offset))), 0.5, atol=0.01)


@pytest.mark.parametrize("correct", [[0, 0], [1, 1]])
def test_one_class_cannot_be_calibrated(correct):
    with pytest.raises(ValueError, match="right and wrong"):
        calibrate([0.0, 1.0], correct)


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="calibration='plat' must be platt or temperature"):
        calibrate([0.0, 1.0], [0, 1], "plat")
