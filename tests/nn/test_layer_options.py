"""What families do differently in a layer, against float64 NumPy: kernels, formulas and caches."""

import numpy as np
import numpy_reference as reference
import pytest
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.contract.errors import UnknownNameError
from edifice_tt.nn.backbone import Backbone, Block
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.config import BackboneConfig

SIZES = {"hidden_size": 42, "num_layers": 3, "num_heads": 6, "num_kv_heads": 2, "ffn_size": 37}
SIZES |= {"head_dim": 10, "final_norm": "rms_norm", "rope_base": 500.0}
T = 23
DELTA = {"delta_key_heads": 2, "delta_value_heads": 6, "delta_key_size": 7, "delta_value_size": 11}
DELTA |= {"delta_conv": 4}
VARIANTS = {
    "norms behind, of all heads": {"norms": "after", "qk_norm": "whole", "biases": ()},
    "norms on both sides, of each head": {"norms": "both", "qk_norm": "head"},
    "GELU": {"activation": "gelu_tanh"},
    "scale and cap": {"attention_scale": 0.7, "attention_softcap": 0.5},
    "residual": {"residual_scale": 0.3, "norms": "both"},
    "windows": {"windows": (3, 0, 17)},
    "window of one": {"windows": (1, 1, 2)},
    "rotations": {
        "windows": (5, 0, 7),
        "window_rope_base": 90.0,
        "rope_scale": 1.25,
        "rope_factors": (1.0, 1.5, 2.0, 3.0, 8.0),
        "window_rope_factors": (1.0, 2.0, 1.0, 2.0, 5.0),
    },
    "experts": {"experts": 5, "experts_used": 2, "expert_size": 19, "residual_scale": 0.7},
    "experts whose shares are 1": {
        "experts": 7,
        "experts_used": 3,
        "experts_normed": True,
        "dense_layers": (1,),
        "norms": "both",
    },
    "gates": {"gated_attention": True, "qk_norm": "head", "rotated": 4},
    "gates beside a norm of all heads": {"gated_attention": True, "qk_norm": "whole"},
    "a recurrence": {**DELTA, "recurrent_layers": (0, 1), "gated_attention": True, "rotated": 4},
    "a recurrence of tiled heads": {
        **DELTA,
        "delta_value_heads": 4,
        "delta_conv": 2,
        "delta_tiled": True,
        "recurrent_layers": (0, 2),
        "norms": "both",
        "activation": "gelu_tanh",
    },
    "nothing but a recurrence": {
        **DELTA,
        "recurrent_layers": (0, 1, 2),
        "delta_key_heads": 3,
        "delta_conv": 1,
        "delta_value_size": 67,
        "norms": "after",
        "biases": (),
    },
    "unrotated": {"unrotated_layers": (0, 2)},
    "a part is rotated": {"rotated": 6, "rope_factors": (1.0, 2.0, 4.0)},
}


def made(options):
    config = BackboneConfig(**{**SIZES, **options})
    rng = np.random.default_rng(3)
    backbone = Backbone(config, rng)
    for name, weight in get_state_dict(backbone).items():
        if weight.ndim == 1:  # gains of one and biases of zero would prove nothing
            noise = rng.standard_normal(weight.shape).astype(np.float32) / 4
            around = 1 if "norm" in name else -1 if "decay" in name else 0
            weight.replace(Tensor(noise + around).realize())
    x = np.random.default_rng(5).standard_normal((2, T, 42)).astype(np.float32)
    return backbone, x


@pytest.fixture(
    scope="module",
    params=[pytest.param(v, marks=pytest.mark.slow) for v in VARIANTS],
)
def variant(request):
    backbone, x = made(VARIANTS[request.param])
    weights = {name: weight.numpy() for name, weight in get_state_dict(backbone).items()}
    expected = np.stack([reference.backbone(row, weights, backbone.config) for row in x])
    return backbone, x, expected


def test_it_computes_what_is_meant(variant):
    backbone, x, expected = variant
    assert backbone.blocks[0].is_one_kernel(Tensor(x))
    assert backbone(Tensor(x)).numpy() == pytest.approx(expected, abs=3e-5)
    plain = BackboneConfig(**SIZES)
    changed = Backbone(plain, np.random.default_rng(3))(Tensor(x)).numpy()
    assert np.abs(changed - expected).max() > 1e-2


def test_its_weights_are_counted(variant):
    backbone, _, _ = variant
    assert backbone.config.num_weights == sum(w.numel() for w in get_state_dict(backbone).values())


@pytest.mark.slow
def test_its_formula_computes_the_same(variant, monkeypatch):
    backbone, x, expected = variant
    monkeypatch.setattr(Block, "is_one_kernel", lambda self, x: False)
    assert backbone(Tensor(x)).numpy() == pytest.approx(expected, abs=3e-5)


@pytest.mark.parametrize("one_kernel", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_of_experts_with_equal_shares_the_first_are_used(monkeypatch, one_kernel):
    options = {"experts": 5, "experts_used": 2, "num_layers": 1}
    backbone, x = made(options)
    router = backbone.blocks[0].experts.router.weight
    router.replace(Tensor(np.zeros(router.shape, np.float32)).realize())
    weights = {name: weight.numpy() for name, weight in get_state_dict(backbone).items()}
    if not one_kernel:
        monkeypatch.setattr(Block, "is_one_kernel", lambda self, x: False)
    expected = np.stack([reference.backbone(row, weights, backbone.config) for row in x])
    assert backbone(Tensor(x)).numpy() == pytest.approx(expected, abs=3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("one_kernel", [True, False])
def test_behind_a_cache_it_computes_the_same(variant, monkeypatch, one_kernel):
    """A prompt of 11 that both rows share, then tokens of their own, 7 and 5 at a time."""
    backbone, x, _ = variant
    x = np.concatenate([np.repeat(x[:1, :11], 2, 0), x[:, 11:]], 1)
    if not one_kernel:
        monkeypatch.setattr(Block, "is_one_kernel", lambda self, x: False)
    whole = backbone(Tensor(x)).numpy()
    shared, own = (KVCache.empty(backbone.config, rows, 16, "CPU") for rows in (1, 2))
    pieces = [np.repeat(backbone(Tensor(x[:1, :11]), shared.holding(0)).numpy(), 2, 0)]
    for start, stop in ((0, 7), (7, 12)):
        behind = own.holding(start, shared.holding(11))
        pieces.append(backbone(Tensor(x[:, 11 + start : 11 + stop]), behind).numpy())
    actual = np.concatenate(pieces, 1)
    if one_kernel:
        assert (actual == whole).all()
    assert actual == pytest.approx(whole, abs=1e-5)


@pytest.mark.slow
def test_its_gradient_is_that_of_its_formula(variant):
    backbone, x, _ = variant
    block, given = backbone.blocks[0], Tensor(x[:, :3]).realize()
    weights = list(get_state_dict(block).values())
    tables = backbone.rotations(0, 3, "CPU")
    seen = [Tensor([1, 2, 3])]
    found = []
    for read in (block, block._formula):
        loss = read(given, tables, seen, None, 0).square().sum()
        found.append([one.numpy() for one in loss.gradient(given, *weights)])
    for ours, formula in zip(*found, strict=True):
        assert ours == pytest.approx(formula, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norms": "behind"}, "norms"),
        ({"qk_norm": None}, "qk_norm"),
        ({"activation": "gelu"}, "activation"),
        ({"attention_softcap": -1.0}, "attention_softcap=-1.0 must be from"),
        ({"residual_scale": 0}, "residual_scale=0 must be from"),
        ({"rotated": 5}, "rotated=5 must be even and at most head_dim=10"),
        ({"rotated": 12}, "rotated=12 must be even"),
        ({"windows": (3, 3)}, "windows has 2 numbers for 3 layers"),
        ({"windows": (3, -1, 3)}, "windows=.* must be whole numbers"),
        ({"unrotated_layers": (3,)}, r"unrotated_layers=\(3,\) must be whole numbers from 0 to 2"),
        ({"window_rope_factors": (1.0,)}, "window_rope_factors has 1 numbers, expected 5"),
        ({"experts": 3}, "experts_used=0 must be a whole number, at least 1"),
        ({"experts": 3, "experts_used": 4}, "experts_used=4 is too many; give at most 3"),
        ({"experts": 3, "experts_used": 1, "dense_layers": (3,)}, "dense_layers"),
        ({"recurrent_layers": (3,)}, "recurrent_layers=.* must be whole numbers from 0 to 2"),
        ({"recurrent_layers": (1,)}, "delta_key_heads=0 must be a whole number, at least 1"),
        (
            {**DELTA, "recurrent_layers": [1], "delta_value_heads": 3},
            "delta_value_heads=3 must be a multiple of delta_key_heads=2",
        ),
        ({**DELTA, "recurrent_layers": [1], "delta_conv": 17}, "delta_conv=17 is too many"),
        ({**DELTA, "recurrent_layers": [1], "delta_tiled": 1}, "delta_tiled=1 must be True or"),
        ({"gated_attention": None}, "gated_attention=None must be True or False"),
        ({"delta_conv": [[8]]}, r"delta_conv=\[\[8\]\] must be a whole number, 0 or more"),
        ({"expert_size": "3"}, "expert_size='3' must be a whole number"),
        ({"experts_used": -1}, "experts_used=-1 must be a whole number"),
        ({"experts_normed": 1}, "experts_normed=1 must be True or False"),
        ({"long_rope_from": 64}, "long_rope_factors and long_rope_from belong together"),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused_by_name(options, message):
    with pytest.raises((ValueError, UnknownNameError), match=message):
        BackboneConfig(**{**SIZES, **options})
