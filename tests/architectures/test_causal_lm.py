"""The language model: against NumPy, and its own promises."""

import numpy as np
import numpy_reference as reference
import pytest
from tinygrad import Tensor, TinyJit
from tinygrad.nn.state import get_state_dict

import edifice_tt as et

SIZES = {"vocab_size": 13, "hidden_size": 12, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
IDS = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]


@pytest.mark.parametrize("tied", [True, False])
def test_logits_match_numpy(tied):
    lm = et.build("causal_lm", **SIZES, tied_embeddings=tied, seed=2)
    w = {name: weight.numpy().astype(np.float64) for name, weight in get_state_dict(lm).items()}
    assert ("lm_head.weight" in w) is (not tied)
    below = {n.removeprefix("backbone."): v for n, v in w.items() if n.startswith("backbone.")}
    head = w["token_embedding.weight" if tied else "lm_head.weight"]
    out = lm(IDS)
    assert out.scores is None
    for row, ids in enumerate(IDS):
        hidden = reference.backbone(w["token_embedding.weight"][ids], below, lm.config.backbone)
        assert out.backbone.numpy()[row] == pytest.approx(hidden, abs=2e-5)
        assert out.logits.numpy()[row] == pytest.approx(hidden @ head.T, abs=2e-5)


def test_a_scorer_head_reads_the_same_hidden_states():
    lm = et.build("causal_lm", **SIZES, scorer="linear")
    out = lm(IDS)
    expected = out.backbone.numpy() @ lm.scorer.dense.weight.numpy().T
    assert out.scores.numpy() == pytest.approx(expected, abs=1e-6)
    assert (et.jit(lm)(Tensor(IDS)).scores.numpy() == out.scores.numpy()).all()


def test_a_compiled_model_without_a_head_gives_no_scores():
    lm = et.build("causal_lm", **SIZES)
    fast = et.jit(lm)
    for _ in range(3):
        out = fast(Tensor(IDS))
    assert out.scores is None
    assert (out.logits.numpy() == lm(IDS).logits.numpy()).all()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2, 3], r"expected \(B, T\) integers"),
        (Tensor.ones(2, 3), r"expected \(B, T\) integers"),
        (Tensor.zeros(1, 0, dtype="int32"), "at least one token"),
        ([[0] * 2049], "a text of 2049 tokens is longer than the model's context of 2048"),
        ([[1, 2], [3]], "token_ids has rows of different lengths; pad"),
        ([[1.5]], r"expected \(B, T\) integers"),
        ("what is it", "expected a Tensor, an array or nested lists of numbers"),
        ([[1, 13, 14]], "token id 13 is not in the vocabulary; the model's ids go from 0 to 12"),
        (np.array([[0, -1]]), "token id -1 is not in the vocabulary"),
        (np.array([[2**32]]), "token id 4294967296 is not in the vocabulary"),
        (Tensor([[12, 13]]), "token id 13 is not in the vocabulary"),
    ],
)
def test_wrong_token_ids_are_one_clear_error(ids, message):
    lm = et.build("causal_lm", **SIZES)
    with pytest.raises(ValueError, match=message):
        lm(ids)


def test_lists_arrays_and_tensors_are_the_same_ids():
    lm = et.build("causal_lm", **SIZES)
    expected = lm(IDS).logits.numpy()
    for ids in (np.array(IDS), np.array(IDS, np.uint8), Tensor(IDS), tuple(map(tuple, IDS))):
        assert (lm(ids).logits.numpy() == expected).all()


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("seed", -1, "a whole number from 0 to 2^64 - 1"),
        ("seed", 0.5, "a whole number from 0 to 2^64 - 1"),
        ("head_dim", -4, "a whole number, at least 1"),
        ("ffn_size", -8, "a whole number, at least 1"),
        ("scorer_hidden", 0, "a whole number, at least 1"),
        ("hidden_size", -3, "a whole number, at least 1"),
        ("rope_base", 0, "from 1 to 1e+12"),
        ("rope_base", float("nan"), "from 1 to 1e+12"),
        ("norm_eps", -1, "from 1e-12 to 0.1"),
        ("norm_eps", "1e-5", "from 1e-12 to 0.1"),
        ("scorer", "", "the name of a scorer, or None"),
        ("scorer", ["mlp"], "the name of a scorer, or None"),
    ],
)
def test_an_option_that_cannot_work_is_named_with_what_is_expected(option, value, expected):
    for ask in (et.build, et.output_size):
        with pytest.raises(ValueError, match=option) as caught:
            ask("causal_lm", **{**SIZES, option: value})
        assert str(caught.value) == f"{option}={value!r} must be {expected}"


def test_rope_factors_are_one_a_pair():
    with pytest.raises(
        ValueError, match="rope_factors has 1 numbers, expected 3, half of head_dim"
    ):
        et.build("causal_lm", **SIZES, rope_factors=(2.0,))
    assert et.output_size("causal_lm", **SIZES, rope_factors=[1.0, 2.0, 3.0]) == 12
    given = np.array([1, 2, 4], np.float32)
    assert et.build("causal_lm", **SIZES, rope_factors=given).config.rope_factors == (1.0, 2.0, 4.0)
    for wrong in ("123", {1.0: 2.0}, 3, [1.0, "2", 3.0], [1.0, True, 3.0], [[1.0]] * 3):
        with pytest.raises(ValueError, match="rope_factors="):
            et.build("causal_lm", **SIZES, rope_factors=wrong)


def test_ids_in_a_graph_that_is_captured_are_not_looked_at():
    lm = et.build("causal_lm", **SIZES)
    step = TinyJit(lambda ids: lm(ids).logits.realize())
    expected = lm(IDS).logits.numpy()
    for _ in range(3):
        assert (step(Tensor(IDS).realize()).numpy() == expected).all()


def test_output_size_and_defaults_come_from_the_config():
    assert et.output_size("causal_lm") == 256
    assert et.recommended_defaults("causal_lm")["context_length"] == 2048
