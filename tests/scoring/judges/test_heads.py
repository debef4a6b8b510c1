"""Heads as records: whole numbers, so that the right result is evident."""

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.scoring.judges.load import token_head
from edifice_tt.weights.rewards.heads import Head, Layer

STATE = np.array([2, -3, 5], np.float32)
FIRST = Layer(np.array([[1, 0, 0], [0, 1, 0]], np.float32), np.array([1, 2], np.float32))


def layer(*rows):
    return Layer(np.array(rows, np.float32))


def test_a_head_is_its_layers():
    assert Head((layer([1, 1, 1]),), "logit").scores([STATE, -STATE]) == [4, -4]
    assert Head((FIRST,), "logit").numbers(STATE).tolist() == [3, -1]
    assert Head((FIRST, layer([10, 1])), "logit").numbers(STATE).tolist() == [30]
    tanh = Head((FIRST, layer([10, 1])), "logit", activation="tanh").numbers(STATE)
    assert tanh == pytest.approx([10 * np.tanh(3) + np.tanh(-1)])
    assert Head((FIRST,), "logit", softcap=2.0).numbers(STATE) == pytest.approx(
        [2 * np.tanh(1.5), 2 * np.tanh(-0.5)]
    )


@pytest.mark.parametrize("gap", [0, 1, -40, 800, -800])
def test_a_probability_stays_one_however_far_the_numbers_are_apart(gap):
    state = np.array([gap, 0], np.float32)
    pair = layer([1, 0], [0, 1])
    expected = 1 / (1 + np.exp(np.float64(min(700, -gap))))
    good, bad = (Head((pair,), "softmax", label).scores([state])[0] for label in (0, 1))
    (sigmoid,) = Head((layer([1, 0]),), "sigmoid").scores([state])
    assert (good, sigmoid) == (pytest.approx(expected), pytest.approx(expected))
    assert good + bad == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"logits_scale": 0.5, "logits_softcap": 3.0}])
@pytest.mark.parametrize("tied", [True, False])
def test_two_tokens_have_the_logits_of_their_language_model(options, tied):
    sizes = {"hidden_size": 24, "num_layers": 1, "num_heads": 4, "num_kv_heads": 2}
    lm = et.build("causal_lm", vocab_size=31, tied_embeddings=tied, seed=3, **sizes, **options)
    out = lm(np.array([[5, 7, 11]], np.int32))
    head = token_head(lm, [13, 2])
    logits = out.logits.numpy()[0, -1, [13, 2]]
    assert head.numbers(out.backbone.numpy()[0, -1]) == pytest.approx(logits, abs=1e-6)
