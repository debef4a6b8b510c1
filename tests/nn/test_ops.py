"""Each formula against NumPy written from its paper, over prime sizes."""

import numpy as np
import numpy_reference as reference
import pytest
from tinygrad import Tensor

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
    x = normal(rng, 1, 3, 5, 6)
    cos, sin = rope_tables(6, 10000.0, None, 64, "CPU")
    expected = np.stack([reference.rope(h, 10000.0) for h in x[0].astype(np.float64)])
    assert ops.rotate(Tensor(x), cos[:5], sin[:5]).numpy()[0] == pytest.approx(expected, abs=1e-5)


def test_rotation_factors_divide_the_frequencies(rng):
    x, factors = normal(rng, 1, 1, 5, 6), (1.0, 2.5, 8.0)
    cos, sin = rope_tables(6, 500.0, factors, 64, "CPU")
    expected = reference.rope(x[0, 0].astype(np.float64), 500.0, factors=factors)
    assert ops.rotate(Tensor(x), cos[:5], sin[:5]).numpy()[0, 0] == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 2), (3, 3), (5, 1)])
def test_attention_serves_query_heads_in_groups_of_neighbours(rng, heads, kv_heads):
    """6 heads over 2 tell repeat from tile: under tile, head 1 would read key/value head 1."""
    q, k, v = normal(rng, heads, 7, 6), normal(rng, kv_heads, 7, 6), normal(rng, kv_heads, 7, 6)
    memory = Memory(Tensor(k[None]), Tensor(v[None]), ops.causal(7))
    actual = ops.attention(Tensor(q[None]), [memory]).numpy()[0]
    expected = reference.causal_attention(*(z.astype(np.float64) for z in (q, k, v)))
    assert actual == pytest.approx(expected, abs=1e-5)


def test_two_memories_are_one_softmax(rng):
    """A prompt shared by three rows and a tail of their own equals one long memory each."""
    q = normal(rng, 3, 4, 1, 6)
    shared_k, shared_v = normal(rng, 1, 2, 5, 6), normal(rng, 1, 2, 5, 6)
    own_k, own_v = normal(rng, 3, 2, 3, 6), normal(rng, 3, 2, 3, 6)
    # The last shared and the last own position are not filled yet.
    held, own = Tensor.arange(5) < 4, Tensor.arange(3) < 2
    parts = [
        Memory(Tensor(shared_k), Tensor(shared_v), held),
        Memory(Tensor(own_k), Tensor(own_v), own),
    ]
    k, v = (
        np.concatenate([np.repeat(a, 3, 0)[:, :, :4], b[:, :, :2]], 2)
        for a, b in ((shared_k, own_k), (shared_v, own_v))
    )
    whole = Memory(Tensor(k), Tensor(v), Tensor.arange(6) < 6)
    together = ops.attention(Tensor(q), parts).numpy()
    assert together == pytest.approx(ops.attention(Tensor(q), [whole]).numpy(), abs=1e-6)


def test_silu_gate_is_exact_at_zero_and_saturates():
    gate, up = Tensor([0.0, 50.0, -50.0]), Tensor([3.0, 3.0, 3.0])
    assert ops.silu_gate(gate, up).numpy() == pytest.approx([0.0, 150.0, 0.0])
