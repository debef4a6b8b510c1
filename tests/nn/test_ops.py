"""Each formula against NumPy written from its paper, over prime sizes."""

import numpy as np
import numpy_reference as reference
import pytest
from tinygrad import Tensor, dtypes

from edifice_tt.nn import ops
from edifice_tt.nn.blocks import rope_tables
from edifice_tt.nn.ops import Memory


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def test_linear_is_x_times_weight_transposed_plus_bias():
    x, w = Tensor([[1.0, 2.0, 3.0]]), Tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0]])
    assert ops.linear(x, w, Tensor([10.0, 20.0])).tolist() == [[17.0, 21.0]]
    assert ops.linear(x, w).tolist() == [[7.0, 1.0]]


@pytest.mark.parametrize("scale", [1.0, 1e-3])  # at 1e-3 the epsilon is as large as the square
def test_rms_norm_matches_the_paper(rng, scale):
    x, w = normal(rng, 2, 3, 7) * scale, normal(rng, 7)
    expected = reference.rms_norm(x.astype(np.float64), w, 1e-6)
    assert ops.rms_norm(Tensor(x), Tensor(w), 1e-6).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scale", [1.0, 3e-3])
def test_layer_norm_matches_the_paper(rng, scale):
    x, w, b = 5 + normal(rng, 2, 3, 7) * scale, normal(rng, 7), normal(rng, 7)
    expected = reference.layer_norm(x.astype(np.float64), w, b, 1e-5)
    actual = ops.layer_norm(Tensor(x), Tensor(w), Tensor(b), 1e-5).numpy()
    assert actual == pytest.approx(expected, abs=3e-4)


def test_rotation_pairs_first_half_with_second_half(rng):
    x = normal(rng, 1, 5, 3, 6)
    cos, sin = rope_tables(6, 10000.0, None, 64, "CPU")
    actual = ops.rotate(Tensor(x), cos[:5], sin[:5]).numpy()[0]
    for head in range(3):
        expected = reference.rope(x[0, :, head].astype(np.float64), 10000.0)
        assert actual[:, head] == pytest.approx(expected, abs=1e-5)


def test_rotation_factors_divide_the_frequencies(rng):
    x, factors = normal(rng, 1, 5, 1, 6), (1.0, 2.5, 8.0)
    cos, sin = rope_tables(6, 500.0, factors, 64, "CPU")
    expected = reference.rope(x[0, :, 0].astype(np.float64), 500.0, factors=factors)
    assert ops.rotate(Tensor(x), cos[:5], sin[:5]).numpy()[0, :, 0] == pytest.approx(
        expected, abs=1e-5
    )


ATTENTIONS = [ops.attention, ops.attention_formula]


@pytest.mark.slow
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(6, 2, 6), (3, 3, 18), (5, 1, 32)])
def test_attention_serves_query_heads_in_groups_of_neighbours(
    rng, attention, heads, kv_heads, size
):
    """6 heads over 2 tell repeat from tile: under tile, head 1 would read key/value head 1."""
    q, kv = normal(rng, 2, 7, heads, size), normal(rng, 2, 2, 7, kv_heads, size)
    seen = Tensor(np.arange(1, 8, dtype=np.int32))
    actual = attention(Tensor(q), [Memory(Tensor(kv), seen)]).numpy()
    for row in range(2):
        parts = (z.transpose(1, 0, 2).astype(np.float64) for z in (q[row], kv[0, row], kv[1, row]))
        expected = reference.causal_attention(*parts).transpose(1, 0, 2)
        assert actual[row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "attention", [ops.attention, pytest.param(ops.attention_formula, marks=pytest.mark.slow)]
)
def test_two_memories_are_one_softmax(rng, attention):
    """A prompt shared by three rows and a tail of their own equals one long memory each."""
    q = normal(rng, 3, 1, 4, 6)
    shared, own = normal(rng, 2, 1, 5, 2, 6), normal(rng, 2, 3, 3, 2, 6)
    # The last shared and the last own position are not filled yet.
    counts = [Tensor(np.array([count], dtype=np.int32)) for count in (4, 2, 6)]
    parts = [Memory(Tensor(shared), counts[0]), Memory(Tensor(own), counts[1])]
    joined = np.concatenate([np.repeat(shared, 3, 1)[:, :, :4], own[:, :, :2]], 2)
    whole = [Memory(Tensor(joined), counts[2])]
    together = attention(Tensor(q), parts).numpy()
    assert together == pytest.approx(attention(Tensor(q), whole).numpy(), abs=1e-6)


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
def test_a_gated_unit_is_exact_at_zero_and_saturates(activation):
    gate, up = Tensor([0.0, 50.0, -50.0]), Tensor([3.0, 3.0, 3.0])
    assert ops.gated(gate, up, activation).numpy() == pytest.approx([0.0, 150.0, 0.0])


@pytest.mark.slow
def test_half_precision_stays_half_behind_tables_and_caches_of_float32(rng):
    """Else a model of halves would compute in float32 from its first layer on."""
    q = Tensor(normal(rng, 1, 3, 4, 6)).half()
    cos, sin = rope_tables(6, 10000.0, None, 64, "CPU")
    rotated = ops.rotate(q, cos[:3], sin[:3])
    memory = Memory(Tensor(normal(rng, 2, 1, 5, 2, 6)), Tensor([3, 4, 5]))
    mixed = ops.attention(rotated, [memory])
    assert rotated.dtype == mixed.dtype == dtypes.half
    expected = ops.attention(rotated.float(), [memory]).numpy()
    assert mixed.float().numpy() == pytest.approx(expected, abs=2e-3)
