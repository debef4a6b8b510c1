"""Products in bfloat16: of numbers rounded as the definition says, and the same bits in any batch.

In which order Intel's unit sums is its own matter, so sums are compared with exact ones.
"""

import numpy as np
import pytest
from block_formats import blocks, depth_of, each, with_scales
from processors import BFLOATS, kernel_of, normal, run_here
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.nn.backbone import Backbone
from edifice_tt.nn.cache import count_up
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.stored.bfloat16 import Bfloat16Linear, round_bfloats
from edifice_tt.nn.stored.blocks import layer_at
from edifice_tt.nn.stored.int8 import KINDS, group_rows

NOTHING = 1e-32  # that a weight may be which is zero in the file


def layer_of(raw, kind):
    return Bfloat16Linear(Tensor(group_rows(raw, kind)).realize(), kind, len(raw))


def to_bfloats(x):
    """To the nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


def away_from(exact, layer, x):
    """How far a product is from the exact one of such weights, as a share of its terms' size."""
    x = to_bfloats(x).astype(np.float64)
    found = layer(Tensor(x.astype(np.float32))).numpy()
    return np.abs(found - x @ exact.T).max() / (np.abs(x) @ np.abs(exact).T).mean()


def weights_of(layer, depth):
    """The weights as the kernel rounds them: products with the rows of the identity are exact."""
    return layer(Tensor(np.eye(depth, dtype=np.float32))).numpy().T


@BFLOATS
@pytest.mark.parametrize("kind", each(KINDS))
@pytest.mark.slow
def test_weights_are_rounded_to_8_bits(rng, kind):
    """To float16 before, as multiples of a power of two; so not always to the nearest."""
    depth = depth_of(kind)
    layer = layer_of(blocks(rng, kind, 29, depth), kind)
    exact, found = layer.floats().numpy(), weights_of(layer, depth)
    assert (to_bfloats(found) == found).all()
    # A block's largest weight sets how fine float16 is: 11 bits of it.
    largest = np.abs(exact.reshape(29, -1, 32)).max(-1).repeat(32, -1).reshape(29, -1)
    assert (np.abs(found - exact) <= np.abs(exact) / 256 + largest / 512 + NOTHING).all()
    near = np.abs(to_bfloats(exact) - found) == 0
    assert near.mean() > 0.6


@BFLOATS
@pytest.mark.parametrize(
    "kind", ["Q4_1", *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k != "Q4_1")]
)
def test_a_product_is_that_of_its_rounded_numbers(rng, kind):
    depth = 2 * depth_of(kind)
    layer = layer_of(blocks(rng, kind, 83, depth), kind)
    weights = weights_of(layer, depth).astype(np.float64)
    for rows in (1, 19, kernels.GROUP + 3):
        x = normal(rng, rows, depth)
        assert away_from(weights, layer, x) < 1e-6
        exact = x.astype(np.float64) @ layer.floats().numpy().T
        size = np.sqrt((exact**2).mean())
        assert 0 < np.sqrt(((layer(Tensor(x)).numpy() - exact) ** 2).mean()) < 4e-3 * size
    formula = layer.formula(Tensor(x), layer.blocks).numpy()
    assert 0 < np.sqrt(((formula - exact) ** 2).mean()) < 4e-3 * size


@BFLOATS
@pytest.mark.parametrize("kind", each(KINDS))
@pytest.mark.slow
def test_a_row_is_the_same_bits_alone_and_in_any_batch(rng, kind):
    depth = 4 * depth_of(kind) if depth_of(kind) > 96 else 1056
    x, layer = normal(rng, 67, depth), layer_of(blocks(rng, kind, 83, depth), kind)
    together = layer(Tensor(x)).numpy()
    for rows in (1, 2, 5, 16, 17, 33):
        assert (layer(Tensor(x[-rows:])).numpy() == together[-rows:]).all()
    wanted = Tensor(np.array([0, 0, 3, 0, 0, 2, 7, 66] + [0] * 64, dtype=np.int32))
    some = layer(Tensor(x), wanted).numpy()
    assert (some[[2, 7, 66]] == together[[2, 7, 66]]).all()


@BFLOATS
@pytest.mark.parametrize("scale", [0, 6e-8, 1e-5, 1, 60000])
def test_scales_of_any_size_are_as_near(rng, scale):
    """As small and as large as float16 has them; and none at all."""
    raw = with_scales(blocks(rng, "Q4_1", 13, 96), "Q4_1", scale, -scale, 1)
    layer = layer_of(raw, "Q4_1")
    exact, found = layer.floats().numpy(), weights_of(layer, 96)
    assert np.abs(found - exact).max() <= np.abs(exact).max() / 256 + NOTHING


@BFLOATS
@pytest.mark.parametrize("kind", ["Q4_1", "Q6_K"])
def test_rows_as_an_embedding_gives_them_are_not_rounded(rng, kind):
    layer = layer_of(blocks(rng, kind, 29, depth_of(kind)), kind)
    ids = [28, 0, 17, 3, 17]
    assert (layer.rows(Tensor(ids)).numpy() == layer.floats().numpy()[ids]).all()


@BFLOATS
def test_what_is_no_number_stays_none(rng):
    layer = layer_of(blocks(rng, "Q8_0", 13, 64), "Q8_0")
    x = normal(rng, 3, 64)
    x[0, 5], x[1, 7] = np.nan, np.inf
    found = layer(Tensor(x)).numpy()
    assert not np.isfinite(found[:2]).any()
    assert np.isfinite(found[2]).all()
    raw = with_scales(blocks(rng, "Q4_1", 13, 64), "Q4_1", np.inf, np.nan, 1)
    assert not np.isfinite(layer_of(raw, "Q4_1")(Tensor(x)).numpy()).any()


def test_rounding_lets_the_gradient_pass_and_nothing_stays_nothing(rng):
    x = Tensor(normal(rng, 3, 64))
    assert (round_bfloats(x).sum().gradient(x)[0].numpy() == 1).all()
    assert (round_bfloats(x * 0).numpy() == 0).all()
    assert (round_bfloats(x).numpy() == to_bfloats(x.numpy())).all()


@BFLOATS
@pytest.mark.slow
def test_a_whole_layer_equals_its_formula(rng):
    config = BackboneConfig(64, 2, 4, 2, ffn_size=96, biases=("q",), final_norm="rms_norm")
    backbone = Backbone(config, np.random.default_rng(5))
    for path, weight in get_state_dict(backbone).items():
        if path.endswith("_proj.weight"):
            parent, name, _ = path.rsplit(".", 2)
            layer = layer_of(blocks(rng, "Q4_1", *weight.shape), "Q4_1")
            layer.bias = getattr(layer_at(backbone, parent), name).bias
            setattr(layer_at(backbone, parent), name, layer)
    block = backbone.blocks[0]
    x, tables = Tensor(normal(rng, 3, 29, 64)).realize(), backbone.rotations(0, 64, "CPU")
    seen = [count_up(1, 29, "CPU")]
    assert block.is_one_kernel(x)
    expected = block._formula(x, tables, seen, None, 0).numpy()
    error = np.abs(block(x, tables, seen).numpy() - expected)
    assert error.max() < 1e-2 * np.abs(expected).max()
    x = normal(rng, kernels.GROUP + 3, 1, 64)
    out = backbone(Tensor(x)).numpy()
    assert (backbone(Tensor(x[-1:])).numpy() == out[-1:]).all()


MISTAKES = [  # a power that is off by one, an order that one side has, a part left out, a bit lost
    ("exponent - 111", "exponent - 110"),
    (
        "0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15",
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    ),
    ("k == 0, count", "1, count"),
    ("(shorts_32)4096", "(shorts_32)2048"),
]


@BFLOATS
@pytest.mark.slow
@pytest.mark.parametrize(("right", "wrong"), MISTAKES)
def test_a_mistake_is_seen(rng, right, wrong, tmp_path, monkeypatch):
    x, layer = normal(rng, 19, 1024), layer_of(blocks(rng, "Q4_1", 29, 1024), "Q4_1")
    kernel = kernel_of(monkeypatch, lambda: layer(Tensor(x)))
    assert right in kernel.source
    found = [
        run_here(kernel._replace(source=source), "", tmp_path).copy()
        for source in (kernel.source, kernel.source.replace(right, wrong))
    ]
    assert np.abs(found[0] - found[1]).max() > 0.1 * np.abs(found[0]).max()
