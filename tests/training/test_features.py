"""Features: what is kept, what is computed again, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.engine.hidden import read_hidden, read_layers
from edifice_tt.machine.files import working_alone
from edifice_tt.pools.chat_text import ChatText
from edifice_tt.training import features
from edifice_tt.training.features import Source, features_beside, load_features, read_features


@pytest.fixture
def few(pools):
    return pools[:3]


def test_who_watches_a_reading_sees_each_problem_that_is_read(lm, few, tmp_path):
    """Those that are known already are none."""
    told = []

    def watch(items, total, what):
        for item in items:
            told.append((total, what))
            yield item

    et.write_pools(tmp_path / "pool", few[:2])
    features_beside(lm, tmp_path / "pool", [1], watch=watch)
    assert told == [(2, "reading")] * 2
    features_beside(lm, tmp_path / "pool", [1], watch=watch)
    assert len(told) == 2


def test_the_last_state_or_all_in_half_precision(lm, few):
    exact = read_hidden(lm, few[1])
    last, every = (read_features(lm, few, positions=p).of(few[1]) for p in ("last", "all"))
    for states, one, many in zip(exact, last, every, strict=True):
        assert one.dtype == many.dtype == np.float16
        assert np.array_equal(many, states.astype(np.float16))
        assert np.array_equal(one, many[-1:])


@pytest.mark.slow
def test_files_beside_the_pool_are_made_once_and_completed(tiny_lm, few, tmp_path, monkeypatch):
    path, reads = tmp_path / "pool.jsonl", []
    few = [replace(pool, settings={}) for pool in few]

    def reading(lm, pools, layers, **options):
        reads.extend((pool.problem, tuple(layers)) for pool in pools)
        return read_layers(lm, pools, layers, **options)

    monkeypatch.setattr(features, "read_layers", reading)
    et.write_pools(path, few[:2])
    first = features_beside(tiny_lm, path, [2])[2]
    assert features_beside(tiny_lm, path, [2])[2].states.keys() == first.states.keys()
    assert reads == [("0", (2,)), ("1", (2,))]
    et.write_pools(path, few)
    whole = features_beside(tiny_lm, path, [1, 2])
    assert reads[2:] == [(name, (1, 2)) for name in "012"]
    for layer in (1, 2):
        fresh = read_features(tiny_lm, few, layer)
        assert whole[layer].source == fresh.source
        for pool in few:
            pairs = zip(whole[layer].of(pool), fresh.of(pool), strict=True)
            assert all(np.array_equal(one, other) for one, other in pairs)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "pool.jsonl",
        "pool.jsonl.layer1-last.safetensors",
        "pool.jsonl.layer2-last.safetensors",
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


@pytest.mark.parametrize(("name", "value"), [("activations", "int8"), ("dtype", "float16")])
def test_states_of_a_model_that_rounds_are_others(lm, few, tmp_path, monkeypatch, name, value):
    exact = Source.of(lm)
    features.save_features(read_features(lm, few[:1]), tmp_path / "f", lm.device)
    monkeypatch.setattr(lm, name, value)
    assert Source.of(lm).fingerprint == f"{exact.fingerprint}-{value}"
    with pytest.raises(CheckpointError, match=r"f: its features are of fingerprint=.*delete"):
        load_features(tmp_path / "f", Source.of(lm))


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
    large = {1: [np.full((1, 16), 1e6, np.float32)] * 8}
    monkeypatch.setattr(features, "read_layers", lambda *_, **__: [large] * 3)
    with pytest.raises(EdificeError, match="state of layer 1 is not finite in half precision"):
        read_features(lm, few)


def test_unknown_positions_are_refused(lm):
    with pytest.raises(ValueError, match="positions='first' must be one of last, all"):
        Source.of(lm, positions="first")


def test_a_prompt_that_is_read_otherwise_has_features_of_its_own():
    candidate, text = et.Candidate(0, "", (3, 4)), "a<|im_end|>"
    keys = {features.key_of(one, candidate) for one in (text, ChatText(text, [(1, 11)]), "a")}
    assert len(keys) == 3


def test_features_that_another_process_makes_are_not_made_twice(lm, few, tmp_path, monkeypatch):
    path = tmp_path / "pool.jsonl"
    et.write_pools(path, few)
    beside = tmp_path / f"pool.jsonl.layer{lm.config.num_layers}-last.safetensors"
    layers = [lm.config.num_layers]
    with working_alone(beside):
        monkeypatch.setattr(features, "read_layers", lambda *_, **__: pytest.fail("it read"))
        with pytest.raises(BlockingIOError, match="another process"):
            features_beside(lm, path, layers)
    monkeypatch.undo()
    features_beside(lm, path, layers)
    with working_alone(beside):  # those that are whole serve everybody
        assert features_beside(lm, path, layers)[layers[0]].states
