import subprocess
import sys

import numpy as np
import pytest
from edifice_tt_attention_pool import attention_pool
from edifice_tt_attention_pool.head import AttentionPool
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

import edifice_tt
from edifice_tt.testing import check_scorer

B, T, D, S = 3, 13, 7, 5
NAMES = ["query", "key_weight", "out_weight", "out_bias"]


def draw(*shape, seed=11, scale=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def formula(head, hidden):
    """The README's four lines, position by position, in float64."""
    weights = {name: weight.numpy().astype(np.float64) for name, weight in state(head).items()}
    hidden = hidden.astype(np.float64)
    scores = np.empty((*hidden.shape[:2], 1))
    for b, sequence in enumerate(hidden):
        for t in range(len(sequence)):
            seen = sequence[: t + 1]
            keys = seen @ weights["key_weight"].T
            s = keys @ weights["query"] / np.sqrt(len(weights["query"]))
            attention = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
            pooled = attention @ seen
            scores[b, t] = pooled @ weights["out_weight"][0] + weights["out_bias"][0]
    return scores


def state(head):
    return get_state_dict(head)


@pytest.fixture
def head():
    """A head whose bias is not zero, so that forgetting it shows."""
    head = AttentionPool(D, S, seed=3)
    head.out_bias.assign(Tensor([0.375])).realize()
    return head


def test_it_keeps_the_contract_of_a_scorer():
    check_scorer("attention_pool", reads="hidden", range="logit")


@pytest.mark.parametrize("shape", [(B, T, D), (1, 1, D), (2, 31, D)])
def test_scores_follow_the_formula(head, shape):
    hidden = draw(*shape)
    scores = head(Tensor(hidden))
    assert scores.shape == (*shape[:2], 1)
    np.testing.assert_allclose(scores.numpy(), formula(head, hidden), rtol=0, atol=2e-6)


def test_large_hidden_states_do_not_overflow(head):
    """exp of these attention scores would be infinite without subtracting the largest."""
    hidden = draw(B, T, D, scale=300.0)
    expected = formula(head, hidden)
    assert np.abs(hidden @ (state(head)["key_weight"].numpy().T)).max() > 500
    scores = head(Tensor(hidden)).numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=0.05)


def test_equal_hidden_states_pool_to_themselves(head):
    """Whatever the attention, a mean of equal vectors is that vector: by hand, no formula."""
    one = draw(D)
    hidden = np.broadcast_to(one, (1, T, D)).copy()
    expected = one @ head.out_weight.numpy()[0] + 0.375
    np.testing.assert_allclose(head(Tensor(hidden)).numpy(), expected, rtol=0, atol=1e-6)


def test_half_precision_is_pooled_in_float32(head):
    """Weights and hidden states in float16, as a loader may leave them."""
    for weight in state(head).values():
        weight.replace(weight.half().realize())
    hidden = draw(B, T, D).astype(np.float16)
    scores = head(Tensor(hidden)).numpy()
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, formula(head, hidden), rtol=0, atol=2e-3)


@pytest.mark.parametrize("last", [0, 5, T - 2])
def test_a_score_reads_no_later_position(head, last):
    hidden = draw(B, T, D)
    changed = hidden.copy()
    changed[:, last + 1 :] = draw(B, T - last - 1, D, seed=12, scale=50.0)
    before, after = head(Tensor(hidden)).numpy(), head(Tensor(changed)).numpy()
    np.testing.assert_array_equal(before[:, : last + 1], after[:, : last + 1])
    assert (before[:, last + 1 :] != after[:, last + 1 :]).all()


def test_a_score_reads_every_earlier_position(head):
    """So a head that looked only at its own token could not pass."""
    hidden = draw(1, T, D)
    before = head(Tensor(hidden)).numpy()[0, -1, 0]
    for t in range(T):
        changed = hidden.copy()
        changed[0, t] += 1.0
        assert abs(head(Tensor(changed)).numpy()[0, -1, 0] - before) > 1e-5


def test_right_padding_changes_no_score(head):
    hidden = draw(B, T, D)
    padded = np.concatenate([hidden, draw(B, 4, D, seed=13, scale=100.0)], axis=1)
    np.testing.assert_allclose(
        head(Tensor(padded)).numpy()[:, :T], head(Tensor(hidden)).numpy(), rtol=0, atol=1e-6
    )


def test_a_sequence_scores_the_same_alone_in_a_batch_and_in_another_order(head):
    hidden = draw(B, T, D)
    together = head(Tensor(hidden)).numpy()
    backwards = head(Tensor(hidden[::-1].copy())).numpy()[::-1]
    np.testing.assert_array_equal(backwards, together)
    for b in range(B):
        alone = head(Tensor(hidden[b : b + 1])).numpy()
        np.testing.assert_allclose(alone, together[b : b + 1], rtol=0, atol=1e-6)


def test_gradients_reach_every_weight_and_agree_with_the_formula(head):
    """Each against a difference quotient of the float64 formula, in a random direction."""
    hidden = draw(B, T, D)
    head(Tensor(hidden)).square().mean().backward()
    for name, weight in state(head).items():
        gradient = weight.grad.numpy().astype(np.float64)
        assert np.abs(gradient).max() > 1e-3, name
        direction = np.random.default_rng(5).normal(size=weight.shape)
        original, step = weight.numpy(), 1e-2

        def loss(shift, weight=weight, original=original, direction=direction):
            weight.assign(Tensor((original + shift * direction).astype(np.float32))).realize()
            return np.square(formula(head, hidden)).mean()

        quotient = (loss(step) - loss(-step)) / (2 * step)
        loss(0.0)
        np.testing.assert_allclose((gradient * direction).sum(), quotient, rtol=2e-3, err_msg=name)


def test_weights_are_the_tensor_attributes_and_nothing_else():
    assert {name: weight.shape for name, weight in state(attention_pool(D)).items()} == {
        "query": (64,),
        "key_weight": (64, D),
        "out_weight": (1, D),
        "out_bias": (1,),
    }


def test_the_seed_decides_the_weights():
    first, same, other = (state(attention_pool(D, seed=seed)) for seed in (1, 1, 2))
    for name in NAMES:
        np.testing.assert_array_equal(first[name].numpy(), same[name].numpy())
    for name in NAMES[:3]:
        assert (first[name].numpy() != other[name].numpy()).all()


def test_it_is_found_by_name():
    assert "attention_pool" in edifice_tt.list_scorers()
    record = edifice_tt.scorer("attention_pool")
    assert (record.reads, record.range) == ("hidden", "logit")
    assert record.owner.startswith("edifice-tt-attention-pool ")


def test_it_scores_inside_an_architecture():
    model = edifice_tt.build(
        "test_time_compute",
        embed_dim=11,
        hidden_size=16,
        num_layers=1,
        scorer="attention_pool",
        seed=4,
    )
    x = draw(2, 5, 11)
    out = model(Tensor(x))
    assert out.scores.shape == (2, 5, 1)
    assert isinstance(model.scorer, AttentionPool)
    np.testing.assert_allclose(
        out.scores.numpy(), formula(model.scorer, out.backbone.numpy()), rtol=0, atol=5e-6
    )
    assert {f"scorer.{name}" for name in NAMES} <= set(get_state_dict(model))


def test_being_installed_costs_nothing():
    """Listing what is installed imports no tensor library on this plugin's account."""
    code = """
import sys, edifice_tt_attention_pool
assert not {"tinygrad", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
