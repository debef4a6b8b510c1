"""Draws against the definition, written again in plain Python, and against the published Philox."""

import math
from itertools import product

import numpy as np
import pytest

from edifice_tt.sampling.draws import STRETCH, Sampler, _pick, uniform

# Unnormalised probabilities whose logarithms are logits: 0.4, 0.3, 0.2, 0.1.
FOUR = np.log([4.0, 3.0, 2.0, 1.0])


def philox(seed: int, index: int, position: int) -> float:
    """Philox4x64-10 of Salmon et al., 2011, as NumPy runs it: the counter is stepped first."""
    mask = 2**64 - 1
    x = [(position + 1) >> (64 * word) & mask for word in range(4)]
    key = [seed, index]
    for _ in range(10):
        low, high = x[0] * 0xD2E7470EE14C6C93, x[2] * 0xCA5A826395121157
        x = [high >> 64 ^ x[1] ^ key[0], high & mask, low >> 64 ^ x[3] ^ key[1], low & mask]
        key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
    return (x[0] >> 11) * 2.0**-53


def expected_probabilities(logits, temperature, top_k, top_p):
    """The distribution from its definition, token by token."""
    weights = [math.exp((x - max(logits)) / temperature) for x in logits]
    order = sorted(range(len(logits)), key=lambda token: (-weights[token], token))
    kept = order[:top_k] if top_k else order
    mass = sum(weights[token] for token in kept)
    nucleus, reached = set(), 0.0
    for token in kept:
        nucleus.add(token)
        reached += weights[token] / mass
        if reached >= top_p:
            break
    total = sum(weights[token] for token in nucleus)
    return [weights[token] / total if token in nucleus else 0.0 for token in range(len(logits))]


def log_softmax(logits):
    exact = np.asarray(logits, np.float64)
    return exact - exact.max() - np.log(np.exp(exact - exact.max()).sum())


# --- the number behind a draw


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63, 2**64 - 1])
@pytest.mark.parametrize("index", [0, 1, 15, 10**6])
@pytest.mark.parametrize("position", [0, 1, 127, 10**6])
def test_a_number_is_the_published_generators(seed, index, position):
    """So it is the same on every machine and with every release of NumPy."""
    assert uniform(seed, index, position) == philox(seed, index, position)


def test_a_number_depends_on_its_arguments_alone():
    places = [(s, i, p) for s in range(4) for i in range(5) for p in range(6)]
    forwards = [uniform(*place) for place in places]
    np.random.default_rng(0).shuffle(shuffled := list(enumerate(places)))
    for at, place in shuffled:
        assert uniform(*place) == forwards[at]
    assert len(set(forwards)) == len(places)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda at: (at, 3, 5), id="over seeds"),
        pytest.param(lambda at: (3, at, 5), id="over indices"),
        pytest.param(lambda at: (3, 5, at), id="over positions"),
    ],
)
def test_numbers_are_uniform_over_each_argument(place):
    """Kolmogorov-Smirnov, and pairs of neighbours over a grid, at one in a million for chance."""
    count = 4000
    numbers = np.array([uniform(*place(at)) for at in range(count)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    distance = np.abs(np.sort(numbers) - (np.arange(count) + 0.5) / count).max()
    assert distance < 2.7 / math.sqrt(count)
    pairs, _, _ = np.histogram2d(numbers[:-1], numbers[1:], bins=6, range=[[0, 1], [0, 1]])
    expected = (count - 1) / 36
    assert ((pairs - expected) ** 2 / expected).sum() < 95  # chi-square, 35 degrees of freedom


# --- the distribution that is drawn from


def probabilities(logits, **settings):
    logits = np.array(logits, float)
    sampler = Sampler(**{"temperature": 1.0} | settings)
    logits -= logits.max()
    weights = sampler._weights(logits, np.exp(logits))
    return weights / weights.sum()


def test_temperature_sharpens_by_a_power():
    np.testing.assert_allclose(probabilities(FOUR), [0.4, 0.3, 0.2, 0.1])
    np.testing.assert_allclose(probabilities(FOUR, temperature=0.5), np.array([16, 9, 4, 1]) / 30)
    np.testing.assert_allclose(
        probabilities(np.log([16.0, 9, 4, 1]), temperature=2.0), [0.4, 0.3, 0.2, 0.1]
    )


def test_top_k_keeps_the_k_most_likely():
    np.testing.assert_allclose(probabilities(FOUR[::-1], top_k=2), [0, 0, 3 / 7, 4 / 7])
    np.testing.assert_allclose(probabilities(FOUR, top_k=1), [1, 0, 0, 0])
    for all_of_them in (0, 4, 5, 1000):
        np.testing.assert_allclose(probabilities(FOUR, top_k=all_of_them), [0.4, 0.3, 0.2, 0.1])


def test_top_k_keeps_exactly_k_and_the_lowest_ids_among_equals():
    np.testing.assert_allclose(probabilities([1, 2, 2, 2, 0], top_k=2), [0, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(probabilities([5, 5, 5], top_k=1), [1, 0, 0])
    kept = probabilities([0, 0, 3, 0, 3, 0], top_k=4)
    assert list(np.flatnonzero(kept)) == [0, 1, 2, 4]


def test_the_token_that_crosses_top_p_belongs_to_the_nucleus():
    np.testing.assert_allclose(probabilities(FOUR, top_p=0.41), [4 / 7, 3 / 7, 0, 0])
    np.testing.assert_allclose(probabilities(FOUR, top_p=0.39), [1, 0, 0, 0])
    np.testing.assert_allclose(probabilities(FOUR, top_p=1e-12), [1, 0, 0, 0])
    np.testing.assert_allclose(probabilities(FOUR, top_p=0.95), [0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(("top_p", "size"), [(0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4)])
def test_a_nucleus_that_reaches_top_p_exactly_is_closed(top_p, size):
    """Four equal tokens: every sum is exact in binary, and equals stay in the order of ids."""
    assert list(np.flatnonzero(probabilities([3, 3, 3, 3], top_p=top_p))) == list(range(size))


def test_top_p_measures_what_temperature_and_top_k_left():
    # Of 4/9, 3/9, 2/9 the first two hold 0.78; of 0.4, 0.3, 0.2, 0.1 it would take three.
    np.testing.assert_allclose(probabilities(FOUR, top_k=3, top_p=0.75), [4 / 7, 3 / 7, 0, 0])
    # At temperature 0.5 the first two hold 25/30.
    np.testing.assert_allclose(
        probabilities(FOUR, temperature=0.5, top_p=0.8), [16 / 25, 9 / 25, 0, 0]
    )


@pytest.mark.parametrize("case", range(60))
def test_any_settings_agree_with_the_definition(case):
    rng = np.random.default_rng(case)
    logits = rng.normal(scale=3, size=int(rng.integers(1, 40)))
    if case % 2:
        logits = np.round(logits)  # many equals
    temperature = float(rng.uniform(0.05, 3))
    top_k = int(rng.integers(0, 45))
    top_p = float(rng.choice([1.0, rng.uniform(0.001, 0.999)]))
    found = probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    expected = expected_probabilities(list(logits), temperature, top_k, top_p)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert list(np.flatnonzero(found)) == list(np.flatnonzero(expected))


def test_a_large_vocabulary_agrees_with_the_definition():
    """Tokens that cannot be in the nucleus may be left unsorted, but not miscounted."""
    logits = np.random.default_rng(5).normal(scale=2.5, size=2003)
    for top_p in (0.2, 0.9, 0.999999):
        found = probabilities(logits, top_p=top_p)
        expected = expected_probabilities(list(logits), 1.0, 0, top_p)
        assert list(np.flatnonzero(found)) == list(np.flatnonzero(expected))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def by_sorting(logits, temperature, top_k, top_p):
    """The weights in NumPy, with all tokens sorted for either filter."""
    with np.errstate(over="ignore"):
        weights = np.exp(logits / temperature)
    if top_k:
        weights[np.argsort(-weights, kind="stable")[top_k:]] = 0
    if top_p < 1:
        mass, order = weights.sum(), np.argsort(-weights, kind="stable")
        size = int(np.searchsorted(weights[order].cumsum(), top_p * mass)) + 1
        weights[order[size:]] = 0
    return weights


def spread(rng, kind, size):
    """Logits with maximum 0: of any spread, with equals, all equal, next to equal, forbidden."""
    logits = rng.normal(scale=rng.choice([1e-9, 0.01, 1, 3, 300]), size=size)
    if kind == "equals":
        logits = np.round(logits)
    elif kind == "all equal":
        logits[:] = logits[0]
    elif kind == "next to equal":
        logits = -1e-15 * rng.integers(0, 3, size)
    elif kind == "forbidden":
        logits[rng.random(size) < 0.7] = -np.inf
        logits[rng.integers(size)] = 1.0
    return logits - logits.max()


@pytest.mark.parametrize("kind", ["any", "equals", "all equal", "next to equal", "forbidden"])
@pytest.mark.parametrize("size", [1, 2, 97, 4999])
@pytest.mark.first(3)
def test_what_is_left_unsorted_changes_no_bit(kind, size):
    rng = np.random.default_rng(size)
    for top_k, top_p, temperature in product(
        (0, 1, 3, 97, 150), (1, 0.999999, 0.9, 1e-12), (5e-324, 1e-6, 0.05, 1, 2.5, 100)
    ):
        logits = spread(rng, kind, size)
        found = Sampler(temperature, top_k, top_p)._weights(logits, np.exp(logits))
        assert (found == by_sorting(logits, temperature, top_k, top_p)).all()


def test_of_weights_too_small_to_differ_the_lowest_ids_stay():
    """Nearly all are the least float that is above 0, so whose logit is higher does not count."""
    logits = np.linspace(-0.7448, -0.7442, 997)
    logits[500] = 0
    found = Sampler(1e-3, top_k=5)._weights(logits, np.exp(logits))
    assert list(np.flatnonzero(found)) == [0, 1, 2, 3, 500]


# --- the draw


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.7}, {"temperature": 1.3, "top_k": 4}, {"top_p": 0.8}], ids=str
)
def test_draws_follow_the_probabilities(settings):
    """Chi-square over fixed draws; the bound is that of one in a million."""
    logits = np.array([0.3, 1.1, -0.4, 0.9, 0.0, -1.2], np.float32)
    sampler = Sampler(seed=4, **settings)
    tokens = [sampler.draw(logits, index, p)[0] for index in range(60) for p in range(100)]
    counts = np.bincount(tokens, minlength=len(logits))
    expected = probabilities(logits, **{"temperature": 0.8} | settings) * len(tokens)
    assert not counts[expected == 0].any()
    kept = expected > 0
    chi_square = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    assert chi_square < 38


def test_a_draw_is_the_inverse_of_the_cumulative_distribution():
    """The lowest token whose cumulative probability exceeds the number."""
    for position in range(300):
        number = uniform(9, 2, position)
        expected = next(
            token for token, sum_ in enumerate([0.4, 0.7, 0.9, 1.0 + 1e-9]) if number < sum_
        )
        assert Sampler(temperature=1.0, seed=9).draw(FOUR, 2, position)[0] == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {"temperature": 0.3},
        {"temperature": 2.0, "top_k": 2, "top_p": 0.5, "seed": 8},
    ],
    ids=str,
)
def test_the_log_probability_is_that_of_the_untempered_unfiltered_model(settings):
    logits = np.random.default_rng(3).normal(scale=4, size=97).astype(np.float32)
    exact = log_softmax(logits)
    for position in range(40):
        token, logprob = Sampler(**settings).draw(logits, 1, position)
        assert isinstance(token, int)
        assert type(logprob) is float
        assert logprob == pytest.approx(exact[token], abs=1e-12)


def test_temperature_zero_takes_the_most_likely_and_the_lowest_of_equals():
    sampler = Sampler(temperature=0)
    assert {sampler.draw(np.array([1.0, 7, 3]), 0, p)[0] for p in range(20)} == {1}
    assert {sampler.draw(np.array([1.0, 7, 3, 7, 7]), i, 0)[0] for i in range(20)} == {1}


def test_a_draw_leaves_the_logits_as_they_were():
    logits = np.random.default_rng(3).normal(size=50)
    before = logits.copy()
    Sampler(top_k=5, top_p=0.5).draw(logits, 0, 0)
    np.testing.assert_array_equal(logits, before)


# --- numbers at the edge


def test_extreme_logits_are_no_trouble():
    logits = np.array([1e4, -1e4, 1e4, -np.inf, 0.0], np.float32)
    for settings in ({"temperature": 0}, {"temperature": 0.8}, {"top_k": 3, "top_p": 0.9}):
        for position in range(50):
            token, logprob = Sampler(**settings).draw(logits, 0, position)
            assert token in (0, 2)
            assert logprob == pytest.approx(-math.log(2))


def test_a_forbidden_token_is_never_drawn():
    logits = np.full(12, -np.inf)
    logits[[4, 11]] = [0.0, 0.0]
    for settings in ({"temperature": 5.0}, {"temperature": 5.0, "top_k": 6}, {"top_p": 0.9999}):
        drawn = {Sampler(**settings).draw(logits, 0, position)[0] for position in range(100)}
        assert drawn == {4, 11}


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 5e-324])
def test_a_tiny_temperature_is_as_good_as_none(temperature):
    assert Sampler(temperature).draw(np.array([1.0, 2, 1.5]), 0, 0)[0] == 1


def test_a_vocabulary_of_one_always_gives_its_token():
    assert Sampler(top_k=1, top_p=0.1).draw(np.array([-3.0]), 5, 5) == (0, 0.0)


@pytest.mark.parametrize("temperature", [0, 0.8])
@pytest.mark.parametrize(
    "logits",
    [[0.0, np.nan], [np.nan, np.nan], [0.0, np.inf], [-np.inf, -np.inf], [np.inf, -np.inf]],
    ids=str,
)
def test_logits_that_are_no_distribution_are_an_error(temperature, logits):
    with pytest.raises(ValueError, match="logits hold NaN or infinity"):
        Sampler(temperature).draw(np.array(logits, np.float32), 0, 0)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("temperature", -0.1, "at least 0"),
        ("temperature", math.inf, "at least 0"),
        ("temperature", math.nan, "at least 0"),
        ("temperature", "hot", "at least 0"),
        ("temperature", None, "at least 0"),
        ("top_k", -1, "whole number, at least 0"),
        ("top_k", 2.0, "whole number, at least 0"),
        ("top_k", True, "whole number, at least 0"),
        ("top_k", None, "whole number, at least 0"),
        ("top_p", 0, "above 0 and at most 1"),
        ("top_p", -0.5, "above 0 and at most 1"),
        ("top_p", 1.01, "above 0 and at most 1"),
        ("top_p", math.nan, "above 0 and at most 1"),
        ("top_p", None, "above 0 and at most 1"),
        ("seed", -1, "whole number from 0 to"),
        ("seed", 2**64, "whole number from 0 to"),
        ("seed", 1.5, "whole number from 0 to"),
        ("seed", False, "whole number from 0 to"),
        ("seed", None, "whole number from 0 to"),
    ],
)
def test_a_setting_that_cannot_work_is_named_with_its_value(option, value, expected):
    with pytest.raises(ValueError, match=f"^{option}=.*must be .*{expected}") as caught:
        Sampler(**{option: value})
    assert str(value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, STRETCH, 3 * STRETCH + 7])
def test_the_index_is_that_of_one_running_sum(size):
    """Weights of eighths, so that every sum is exact, with zeros among them."""
    weights = np.random.default_rng(size).integers(0, 4, size) / 8
    weights[-1] = 0.125
    for number in np.arange(0, 1, 1 / 64):
        sought = number * weights.sum()
        expected = np.searchsorted(weights.cumsum(), sought, side="right")
        assert _pick(weights, number) == expected
