"""Coverage beyond the pool, from a beta-binomial fit."""

from math import lgamma, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edifice_tt.study.forecast import fit_beta_binomial, forecast_coverage
from edifice_tt.study.statistics import pass_at_k

few = settings(max_examples=20, derandomize=True)


def log_beta(a, b):
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def log_likelihood(n, c, a, b):
    pairs = zip(n, c, strict=True)
    return sum(log_beta(a + y, b + m - y) - log_beta(a, b) for m, y in pairs)


def test_forecast_by_hand():
    """With every count equally often, p is uniform: coverage is 1 - 1 / (k + 1)."""
    found = forecast_coverage([6] * 7, range(7), [1, 3, 9])
    assert (found.alpha, found.beta) == pytest.approx((1, 1), rel=1e-5)
    assert found.coverage == pytest.approx((1 / 2, 3 / 4, 9 / 10), rel=1e-5)
    assert found.ks == (1, 3, 9)


def test_the_forecast_is_the_product_of_the_chances_to_fail_again():
    found = forecast_coverage([9] * 5, [0, 1, 1, 4, 9], [5])
    a, b = found.alpha, found.beta
    assert found.coverage[0] == pytest.approx(1 - prod((b + i) / (a + b + i) for i in range(5)))


counts = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=2, max_size=9)


@few
@given(counts, st.sampled_from([0.9, 1.1]), st.sampled_from([0.9, 1.0, 1.1]))
def test_no_neighbour_is_more_likely_than_the_fit(pairs, stretch, tilt):
    n, c = zip(*((max(m, y), y) for m, y in pairs), strict=True)
    fit = fit_beta_binomial(n, c)
    if fit is None or sum(fit) > 1e5:  # at the bound: counts that vary less than a binomial's
        return
    a, b = fit
    assert log_likelihood(n, c, a, b) >= log_likelihood(n, c, a * stretch, b * tilt) - 1e-9


def test_the_distribution_that_made_the_counts_is_found(rng):
    chance = rng.beta(0.5, 1.5, 20_000)
    found = forecast_coverage([16] * 20_000, rng.binomial(16, chance), [64])
    assert (found.alpha, found.beta) == pytest.approx((0.5, 1.5), rel=0.05)
    assert found.coverage[0] == pytest.approx(np.mean(1 - (1 - chance) ** 64), abs=0.01)


def test_within_the_pool_it_agrees_with_pass_at_k(rng):
    right = rng.binomial(16, rng.beta(1, 2, 5000))
    found = forecast_coverage([16] * 5000, right, [1, 4, 16])
    exact = [np.mean([pass_at_k(16, c, k) for c in right.tolist()]) for k in (1, 4, 16)]
    assert found.coverage == pytest.approx(exact, abs=0.01)


def test_problems_that_are_equally_hard_give_a_binomial():
    found = forecast_coverage([8] * 4, [4] * 4, [3])
    assert found.coverage[0] == pytest.approx(1 - 0.5**3, abs=1e-5)


def test_problems_may_have_different_numbers_of_candidates():
    one = fit_beta_binomial([4, 8, 8], [1, 2, 7])
    assert one == pytest.approx(fit_beta_binomial([8, 4, 8], [7, 1, 2]), rel=1e-9)
    assert one != pytest.approx(fit_beta_binomial([8, 8, 8], [1, 2, 7]), rel=0.1)


@pytest.mark.parametrize(
    ("n", "c"), [([4], [2]), ([4, 4], [4, 4]), ([4, 4], [0, 0]), ([4, 4], [0, 4]), ([], [])]
)
def test_counts_that_say_nothing_of_the_spread_give_no_forecast(n, c):
    assert forecast_coverage(n, c, [8]) is None


def test_counts_that_cannot_be_are_errors():
    with pytest.raises(ValueError, match="must be counts between 0 and n"):
        forecast_coverage([4, 4], [5, 1], [8])
    with pytest.raises(ValueError, match="k=0 must be between 1"):
        forecast_coverage([4, 4], [2, 1], [0, 8])
