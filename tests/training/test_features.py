"""Features: what is kept, what is computed again, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.errors import CheckpointError, EdificeError
from edifice_tt.inference.hidden import read_hidden
from edifice_tt.training import features
from edifice_tt.training.features import Source, features_beside, load_features, read_features


@pytest.fixture
def few(pools):
    return pools[:3]


def test_the_last_state_or_all_in_half_precision(lm, few):
    exact = read_hidden(lm, few[1])
    last, every = (read_features(lm, few, positions=p).of(few[1]) for p in ("last", "all"))
    for states, one, many in zip(exact, last, every, strict=True):
        assert one.dtype == many.dtype == np.float16
        assert np.array_equal(many, states.astype(np.float16))
        assert np.array_equal(one, many[-1:])


def test_a_file_beside_the_pool_is_made_once_and_completed(lm, few, tmp_path, monkeypatch):
    path, reads = tmp_path / "pool.jsonl", []
    monkeypatch.setattr(
        features,
        "read_hidden",
        lambda *given: reads.append(given[1].problem) or read_hidden(*given),
    )
    et.write_pools(path, few[:2])
    first = features_beside(lm, path)
    assert features_beside(lm, path).states.keys() == first.states.keys()
    assert reads == ["0", "1"]
    et.write_pools(path, few)
    whole = features_beside(lm, path)
    assert reads == ["0", "1", "2"]
    fresh = read_features(lm, few)
    for pool in few:
        pairs = zip(whole.of(pool), fresh.of(pool), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "pool.jsonl",
        "pool.jsonl.layer1-last.safetensors",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fingerprint", "0" * 32),
        ("tokenizer", "other"),
        ("layer", 7),
        ("positions", "all"),
        ("hidden_size", 99),
    ],
)
def test_what_does_not_fit_is_named(lm, few, tmp_path, name, value):
    features.save_features(read_features(lm, few[:1]), tmp_path / "f", lm.device)
    expected = replace(Source.of(lm), **{name: value})
    with pytest.raises(CheckpointError, match=rf"f: its features are of {name}=.*expected.*delete"):
        load_features(tmp_path / "f", expected)


@pytest.mark.parametrize("keep", [0, 5, 200, -100])
def test_a_damaged_file_is_a_clear_error(lm, few, tmp_path, keep):
    path = tmp_path / "f"
    features.save_features(read_features(lm, few[:1]), path, lm.device)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=str(path)):
        load_features(path, Source.of(lm))


def test_another_file_is_no_features(lm, tmp_path):
    et.save(lm, tmp_path / "model")
    with pytest.raises(CheckpointError, match="not a file of features"):
        load_features(tmp_path / "model", Source.of(lm))


def test_a_pool_of_another_model_is_refused(lm, few):
    other = replace(few[0], settings={"model": "m", "fingerprint": "f"})
    with pytest.raises(EdificeError, match="sampled by model 'm' with fingerprint f"):
        read_features(lm, [other])


def test_a_candidate_that_is_not_there_is_named(lm, few):
    with pytest.raises(EdificeError, match="no candidate 0 of problem '1'"):
        read_features(lm, few[:1]).of(few[1])


def test_states_too_large_for_half_precision_are_refused(lm, few, monkeypatch):
    monkeypatch.setattr(
        features, "read_hidden", lambda *given: [np.full((1, 16), 1e6, np.float32)] * 8
    )
    with pytest.raises(EdificeError, match="not finite in half precision"):
        read_features(lm, few)


def test_unknown_positions_are_refused(lm):
    with pytest.raises(ValueError, match="positions='first' must be one of last, all"):
        Source.of(lm, positions="first")
