"""Products in float16: to the last bit what the definition gives, and the same bits in any batch.

The reference is NumPy's, in the order of sums that `cpu/c/halves.c` states.
"""

import numpy as np
import pytest
from block_formats import blocks, depth_of, each, with_scales
from processors import ARM, kernel_of, normal, run_on_arm
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.nn.backbone import Backbone
from edifice_tt.nn.cache import count_up
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu.bridge import computes_halves
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.stored.blocks import layer_at
from edifice_tt.nn.stored.float16 import LARGEST, Float16Linear, round_halves

KINDS = tuple(FORMATS)
here = pytest.mark.skipif(not computes_halves("CPU"), reason="no float16 in this processor")
LANES = 32  # of a vector of x86; 8 of Arm's


def layer_of(raw, kind):
    return Float16Linear(Tensor(raw).realize(), kind)


def scaled(x):
    """The rows, the largest of each from 1 to 2, in float16; and what undoes that."""
    exponent = np.frexp(np.abs(x).max(-1, keepdims=True))[1] - 1
    return np.ldexp(x, -exponent).astype(np.float16), np.ldexp(np.float32(1), exponent)


def fused(a, x, w):
    """a + x w, rounded once: a product of halves is exact in float64."""
    return (a + x.astype(np.float64) * w.astype(np.float64)).astype(np.float16)


def fold(a, lanes):
    """Lanes of a run (..., lanes) -> float32 (...) in the parts that are kept from run to run."""
    a = a.reshape(*a.shape[:-1], lanes // 8, 8)
    for half in (4, 2, 1) if lanes == 32 else (4, 2):
        a = a[..., :half] + a[..., half:]
    a = a.astype(np.float32).reshape(*a.shape[:-2], 2, -1)
    return a[..., 0, :] + a[..., 1, :]


def reference(x, weight, lanes=LANES):
    x, back = scaled(x)
    w, total = weight.astype(np.float16), 0
    for first in range(0, x.shape[1], 32 * lanes):
        a = np.zeros((len(x), len(w), lanes), np.float16)
        for k in range(first, min(first + 32 * lanes, x.shape[1]), lanes):
            a = fused(a, x[:, None, k : k + lanes], w[:, k : k + lanes])
        total = total + fold(a, lanes)
    return total.sum(-1, dtype=np.float32) * back


PRODUCTS = [("Q4_1", 7, 1120), ("Q8_0", 4, 96), ("Q4_1", kernels.GROUP + 2, 96)]
PRODUCTS += [(kind, 5, depth_of(kind)) for kind in KINDS] + [("Q6_K", 5, 2304)]


@here
@pytest.mark.parametrize(
    ("kind", "rows", "depth"),
    [PRODUCTS[0], *(pytest.param(*one, marks=pytest.mark.slow) for one in PRODUCTS[1:])],
)
def test_a_product_is_that_of_its_definition(rng, kind, rows, depth):
    x, layer = normal(rng, rows, depth), layer_of(blocks(rng, kind, 13, depth), kind)
    assert (layer(Tensor(x)).numpy() == reference(x, layer.floats().numpy())).all()


@here
@pytest.mark.slow
@pytest.mark.parametrize("kind", each(KINDS))
def test_a_product_is_near_its_formula(rng, kind):
    """Which rounds the same numbers, and sums them in float32."""
    x, layer = normal(rng, 5, depth_of(kind)), layer_of(blocks(rng, kind, 13, depth_of(kind)), kind)
    formula = layer.formula(Tensor(x), layer.blocks).numpy()
    exact = x.astype(np.float64) @ layer.floats().numpy().T.astype(np.float64)
    size = np.sqrt((exact**2).mean())
    assert 0 < np.abs(layer(Tensor(x)).numpy() - formula).max() < 4e-3 * size
    assert 0 < np.abs(formula - exact).max() < 2e-3 * size


@here
@pytest.mark.parametrize("kind", each(KINDS))
@pytest.mark.slow
def test_a_row_is_the_same_bits_alone_and_in_any_batch(rng, kind):
    depth = 4 * depth_of(kind) if depth_of(kind) > 96 else 1056
    x, layer = normal(rng, 19, depth), layer_of(blocks(rng, kind, 29, depth), kind)
    together = layer(Tensor(x)).numpy()
    for rows in (1, 2, 5):
        assert (layer(Tensor(x[-rows:])).numpy() == together[-rows:]).all()
    wanted = Tensor(np.array([0, 0, 3, 0, 0, 2, 7, 18] + [0] * 16, dtype=np.int32))
    some = layer(Tensor(x), wanted).numpy()
    assert (some[[2, 7, 18]] == together[[2, 7, 18]]).all()


@here
def test_no_sum_overflows_whatever_the_activations(rng):
    """Weights as large as are let in, activations as large as float32 has, small, nothing, NaN."""
    raw = with_scales(blocks(rng, "Q8_0", 13, 1024), "Q8_0", 0.5, 0, 1)
    raw.reshape(13, -1, 34)[..., 2:] = 127
    layer = layer_of(raw, "Q8_0")
    assert LARGEST / 1.01 < kernels.largest(layer.packed) == 63.5 <= LARGEST
    x = np.ones((7, 1024), np.float32)
    x *= np.array([[1.9999], [3e30], [1e-30], [70000], [0], [np.inf], [np.nan]], np.float32)
    found = layer(Tensor(x)).numpy()
    exact = np.broadcast_to(x[:4].sum(1)[:, None], (4, 13)) * 63.5
    assert found[:4] == pytest.approx(exact, rel=1e-2)  # equal products round to one side
    assert (found[4] == 0).all()
    assert not np.isfinite(found[5:]).any()


@here
@pytest.mark.slow
def test_rows_scale_by_powers_of_two(rng):
    """So the bits of a product do not depend on how large its activations are."""
    x, layer = normal(rng, 3, 96), layer_of(blocks(rng, "Q4_1", 13, 96), "Q4_1")
    found = layer(Tensor(x)).numpy()
    for power in (2.0**-60, 2.0**40):
        assert (layer(Tensor(x * np.float32(power))).numpy() == found * np.float32(power)).all()


def test_rounding_lets_the_gradient_pass_and_nothing_stays_nothing(rng):
    x = Tensor(normal(rng, 3, 64))
    assert (round_halves(x).sum().gradient(x)[0].numpy() == 1).all()
    assert (round_halves(x * 0).numpy() == 0).all()
    half, back = scaled(x.numpy())
    assert round_halves(x).numpy() == pytest.approx(half.astype(np.float32) * back, rel=1e-6)


@here
@pytest.mark.slow
def test_a_whole_layer_equals_its_formula(rng):
    config = BackboneConfig(64, 2, 4, 2, ffn_size=96, biases=(), final_norm="rms_norm")
    backbone = Backbone(config, np.random.default_rng(5))
    for path, weight in get_state_dict(backbone).items():
        if path.endswith("_proj.weight"):
            parent, name, _ = path.rsplit(".", 2)
            raw = blocks(rng, "Q4_1", *weight.shape)
            setattr(layer_at(backbone, parent), name, layer_of(raw, "Q4_1"))
    block = backbone.blocks[0]
    x, tables = Tensor(normal(rng, 3, 29, 64)).realize(), backbone.rotations(0, 64, "CPU")
    seen = [count_up(1, 29, "CPU")]
    assert block.is_one_kernel(x)
    expected = block._formula(x, tables, seen, None, 0).numpy()
    error = np.abs(block(x, tables, seen).numpy() - expected)
    assert error.max() < 1e-3 * np.abs(expected).max()
    x = normal(rng, kernels.GROUP + 3, 1, 64)
    out = backbone(Tensor(x)).numpy()
    assert (backbone(Tensor(x[-1:])).numpy() == out[-1:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("target", ARM)
def test_a_product_is_that_of_its_definition_on_arm(rng, target, tmp_path, monkeypatch):
    """Compiled where ziglang is installed, for Linux also run where qemu is."""
    pytest.importorskip("ziglang")
    for kind, depth, rows in (("Q4_1", 288, 7), ("Q4_1", 288, 1), ("Q6_K", 768, 3)):
        x, layer = normal(rng, rows, depth), layer_of(blocks(rng, kind, 13, depth), kind)
        kernel = kernel_of(monkeypatch, lambda layer=layer, x=x: layer(Tensor(x)))
        found = run_on_arm(kernel, target, tmp_path, "apple_m1")
        assert found is None or (found == reference(x, layer.floats().numpy(), 8)).all()
