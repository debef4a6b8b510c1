"""The formula of the gated delta rule where a careless one would lose its numbers."""

import numpy as np
import pytest
from test_layer_options import DELTA, SIZES, Block, reference
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.nn.backbone import Backbone
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.delta import _decays, _inverse

T = 64  # a whole chunk of a prompt


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 7, T])
def test_the_inverse_of_repeated_keys_is_exact(size):
    """All ones below the diagonal: the powers of a series would reach 10^17."""
    lower = np.tril(np.ones((2, size, size), np.float32), -1)
    lower[1] *= np.float32(0.75)
    found = _inverse(Tensor(lower)).numpy()
    exact = np.linalg.inv(np.eye(size) + lower.astype(np.float64))
    assert found == pytest.approx(exact, abs=1e-6)


def test_small_decays_are_exact_behind_large_ones():
    rates = np.concatenate([np.full(32, -40.0), np.full(32, -1e-3)]).astype(np.float32)
    between, since = (found.numpy() for found in _decays(Tensor(rates)))
    exact = rates.astype(np.float64)
    for i in (0, 31, 40, 63):
        assert since[i, 0] == pytest.approx(np.exp(exact[: i + 1].sum()), rel=1e-6, abs=1e-12)
        for j in (0, 30, 32, 39, 63):
            expected = np.exp(exact[j + 1 : i + 1].sum()) if j <= i else 0
            assert between[i, j] == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("one_kernel", [True, False])
def test_a_text_of_one_token_again_and_again_is_read_exactly(monkeypatch, one_kernel):
    """Its keys repeat, nearly nothing decays, and each error is corrected whole."""
    config = BackboneConfig(**{**SIZES, **DELTA, "num_layers": 1, "recurrent_layers": (0,)})
    backbone = Backbone(config, np.random.default_rng(3))
    delta = backbone.blocks[0].delta
    delta.decay.replace(Tensor(np.full(6, -1e-4, np.float32)).realize())
    delta.b_proj.weight.replace((delta.b_proj.weight.abs() * 40).contiguous().realize())
    token = np.abs(np.random.default_rng(5).standard_normal((1, 1, 42))).astype(np.float32)
    x = np.repeat(token, T, 1)
    weights = {name: weight.numpy() for name, weight in get_state_dict(backbone).items()}
    monkeypatch.setattr(Block, "is_one_kernel", lambda self, x: one_kernel)
    expected = reference.backbone(x[0].astype(np.float64), weights, config)
    assert backbone(Tensor(x)).numpy()[0] == pytest.approx(expected, abs=2e-5)
