"""Losses against numbers by hand, and what padding may not do."""

import math

import numpy as np
import pytest
from tinygrad import Tensor

from edifice_tt.training.losses import outcome_loss, pairwise_loss


def value(loss, logits, targets, weights):
    arrays = (np.array(a, np.float32) for a in (logits, targets, weights))
    return loss(*(Tensor(a) for a in arrays)).item()


def softplus(x):
    return math.log1p(math.exp(x))


def test_outcome_is_the_weighted_mean_of_the_cross_entropy():
    logits, targets, weights = [[[2.0], [-1.0]]], [[[1.0], [1.0]]], [[[3.0], [1.0]]]
    expected = (3 * softplus(-2) + softplus(1)) / 4
    assert value(outcome_loss, logits, targets, weights) == pytest.approx(expected, abs=1e-6)


def test_outcome_takes_targets_between_right_and_wrong():
    expected = softplus(0.5) - 0.5 * 0.25
    assert value(outcome_loss, [[[0.5]]], [[[0.25]]], [[[1.0]]]) == pytest.approx(expected)


def test_pairwise_compares_right_with_wrong_within_each_problem():
    """Two problems: one of 1 right and 2 wrong, one of 1 and 1; each counts a half."""
    logits = [[[2.0], [1.0], [-1.0]], [[0.5], [0.0], [9.0]]]
    targets = [[[1.0], [0.0], [0.0]], [[0.0], [1.0], [1.0]]]
    weights = [[[1.0], [1.0], [1.0]], [[1.0], [1.0], [0.0]]]  # the last candidate is padding
    first = (softplus(0.3 - 1) + 0.1 * 9 + softplus(0.3 - 3) + 0.1 * 1) / 2
    second = softplus(0.3 + 0.5) + 0.1 * 0.25
    found = value(pairwise_loss(margin=0.3, centre=0.1), logits, targets, weights)
    assert found == pytest.approx((first + second) / 2, abs=1e-5)


@pytest.mark.slow
def test_pairwise_reads_the_last_position_that_counts():
    logits = [[[7.0, 2.0, 5.0], [1.0, 3.0, 8.0]]]
    targets = [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    weights = [[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]]
    found = value(pairwise_loss(centre=0), logits, targets, weights)
    assert found == pytest.approx(softplus(-1), abs=1e-6)


@pytest.mark.parametrize("loss", [outcome_loss, pairwise_loss()])
@pytest.mark.slow
def test_what_has_no_weight_changes_nothing(loss):
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(2, 3, 5)), rng.integers(0, 2, (2, 3, 1)) * np.ones((1, 1, 5))
    targets[:, 0], targets[:, 1] = 1, 0
    weights = np.ones((2, 3, 5))
    weights[:, :, 3:] = 0
    other = logits.copy()
    other[:, :, 3:] = 50
    assert value(loss, logits, targets, weights) == value(loss, other, targets, weights)


@pytest.mark.parametrize("loss", [outcome_loss, pairwise_loss()])
def test_nothing_to_learn_from_is_zero_and_not_nan(loss):
    assert value(loss, [[[1.0], [2.0]]], [[[1.0], [1.0]]], [[[0.0], [0.0]]]) == 0
