"""Exponentials as whole numbers: near the true ones, and so is their logarithm."""

import math

import numpy as np
import pytest

from edifice_tt.nn import exponentials


@pytest.mark.parametrize("count", [1, 2, 97, 20_011])
@pytest.mark.parametrize("scale", [0.0, 0.01, 3.0, 400.0])
def test_the_logarithm_of_a_sum_of_exponentials_is_near_the_true_one(count, scale):
    x = -np.abs(np.random.default_rng(count).normal(scale=scale, size=count))
    x[0] = 0
    expected = math.log(math.fsum(map(math.exp, x)))
    found = exponentials.log_of(exponentials.total(x))
    assert found == pytest.approx(expected, abs=1e-12)


def test_an_exponential_is_its_whole_number():
    bits = exponentials.BITS
    for x in (0.0, -1e-9, -0.02, -0.3, -1.0, -7.0, -30.0):
        found = exponentials.total(np.array([0.0, x])) - 2**bits
        assert found == pytest.approx(math.exp(x) * 2**bits, rel=2e-14, abs=0.6)
    assert exponentials.total(np.array([0.0, -80.0, -1e300, -np.inf])) == 2**bits


def test_no_order_and_no_split_changes_a_sum():
    x = np.random.default_rng(1).normal(scale=3, size=20_011)
    x -= x.max()
    assert exponentials.total(x) == exponentials.total(x[::-1].copy())
    count = 1 << 20
    assert exponentials.total(np.zeros(count)) == count << exponentials.BITS


@pytest.mark.parametrize("total", [1, 2, 3, 2**48, 2**50 + 1, 2**61 - 1, 7**20])
def test_a_logarithm_is_the_librarys(total):
    expected = math.log(total) - exponentials.BITS * math.log(2)
    assert exponentials.log_of(total) == pytest.approx(expected, abs=1e-14, rel=4e-16)


def test_the_bits_are_those_that_every_processor_has():
    """Stored once: a step that is rounded otherwise would give other ones."""
    x = -np.arange(1009) / 37
    assert exponentials.total(x) == 42_223_782_286_267_575
    assert exponentials.log_of(42_000_000_000_000_001).hex() == "0x1.cf3e3e0966541p+1"
