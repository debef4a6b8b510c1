"""Layers are compared on the same problems; which of them knows the answer is decided here."""

from types import SimpleNamespace

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.study.quality import auroc
from edifice_tt.training import layers
from edifice_tt.training.features import Features, Source, key_of
from edifice_tt.training.layers import compare_layers, some_layers

FAST = {"lr": 0.1, "epochs": 6, "folds": 2, "batch_problems": 2}


@pytest.fixture(scope="module")
def known(tiny_lm):
    """Sixteen problems; at layer 1 a state tells, at layer 2 it does not."""
    rng = np.random.default_rng(4)
    pools, states = [], {1: {}, 2: {}}
    for i in range(16):
        marks = [bool(mark) for mark in rng.permutation([0, 0, 1, 1, 1])]
        made = (et.Candidate(j, "", (5, 6 + j), correct=m) for j, m in enumerate(marks))
        pool = et.Pool(f"q{i}", tuple(made), problem=str(i))
        for candidate in pool:
            for layer, known in states.items():
                state = rng.normal(size=(1, 24))
                if layer == 1:
                    state += 2 * candidate.correct
                known[key_of(pool.prompt, candidate)] = state.astype(np.float16)
        pools.append(pool)
    return pools, {n: Features(Source.of(tiny_lm, n), found) for n, found in states.items()}


@pytest.fixture(scope="module")
def compared(tiny_lm, known):
    pools, features = known
    return compare_layers(tiny_lm, pools, (2, 1), "linear", features=features, **FAST)


@pytest.mark.slow
def test_the_layer_that_knows_is_found_and_the_other_is_behind_by_the_difference(compared):
    first, second = compared
    assert (first.layer, second.layer) == (1, 2)
    assert first.auroc_within > 0.9
    assert (first.behind, first.behind_low, first.behind_high) == (0, 0, 0)
    assert 0.3 < second.auroc_within < 0.7
    assert second.behind == pytest.approx(first.auroc_within - second.auroc_within)
    assert 0 < second.behind_low < second.behind < second.behind_high
    assert second.low < second.auroc_within < second.high
    assert first.brier < 0.15 < 0.2 < second.brier


@pytest.mark.slow
def test_the_numbers_are_those_of_scores_that_were_held_out(compared):
    for one in compared:
        scores = [[c.scores["verifier"] for c in pool] for pool in one.fit.pools]
        right = [[bool(c.correct) for c in pool] for pool in one.fit.pools]
        assert one.auroc_within == pytest.approx(auroc(scores, right).mean())
        assert one.fit.verifier.layer == one.layer
        assert one.to_dict().keys() == vars(one).keys() - {"fit"}


@pytest.mark.slow
def test_features_are_read_where_they_are_not_given(tiny_lm, known):
    pools, features = known
    seen = []
    options = {**FAST, "epochs": 1, "on_fit": lambda fit: seen.append(fit.verifier.layer)}
    compare_layers(tiny_lm, pools[:4], scorer="linear", **options)
    assert seen == [1, 2]
    with pytest.raises(ValueError, match="the features hold no layer 2"):
        compare_layers(tiny_lm, pools, [1, 2], features={1: features[1]})
    with pytest.raises(ValueError, match="layer=3 must be a whole number from 1 to 2"):
        compare_layers(tiny_lm, pools, [1, 3])


@pytest.mark.parametrize(("last", "layers"), [(30, (8, 15, 22, 30)), (2, (1, 2)), (1, (1,))])
def test_by_default_layers_at_each_quarter(last, layers):
    lm = SimpleNamespace(config=SimpleNamespace(num_layers=last))
    assert some_layers(lm) == layers


@pytest.mark.slow
@pytest.mark.parametrize("num", [1, 8])
def test_problems_that_are_all_alike_have_room_for_others_and_one_has_no_interval(
    tiny_lm, known, monkeypatch, num
):
    """The head at layer 1 is right in each, that at layer 2 half of the time in each."""
    pools, features = known
    found = {1: [1.0] * num, 2: [0.5] * num}
    monkeypatch.setattr(layers, "_aurocs", lambda fit: found[fit.verifier.layer])
    options = {**FAST, "epochs": 1}
    first, second = compare_layers(tiny_lm, pools, (1, 2), "linear", features=features, **options)
    assert (first.behind, second.behind) == (0.0, 0.5)
    if num == 1:
        assert {first.low, first.high, second.behind_low, second.behind_high} == {None}
        return
    assert (first.low, first.high) == (pytest.approx(8 / (8 + 1.95996**2), abs=1e-5), 1.0)
    assert (first.behind_low, first.behind_high) == (0.0, 0.0)
    assert -0.1 < second.behind_low < 0.5 < second.behind_high < 1
