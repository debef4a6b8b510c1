"""Products in whole numbers: the same integers on any processor, the same bits in any batch.

The reference is NumPy's, from the definition: the file's blocks read by themselves, activations
rounded, sums in integers, scales applied in float64.
"""

import numpy as np
import pytest
from block_formats import blocks, depth_of, each, floats, whole_numbers, with_scales
from processors import ARM, kernel_of, normal, run_here, run_on_arm
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.architectures.fingerprint import fingerprint
from edifice_tt.nn.backbone import Backbone, Block
from edifice_tt.nn.blocks import rope_tables
from edifice_tt.nn.cache import count_up
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.stored import blocks as quantized
from edifice_tt.nn.stored.int8 import KINDS, Int8Linear, group_rows, round_blocks

# AVX-512 without its instruction for this, AVX2, and none of them
OTHERS = (
    "-mno-avx512vnni",
    "-mavx2 -mfma -mno-avx512f",
    "-mno-avx2 -mno-avx512f -mno-fma",
)
# Arm with its instruction for this, and without
ARMS = [(ARM[0], "apple_m1"), (ARM[0], "cortex_a72"), (ARM[1], "apple_m1")]


def layer_of(raw, kind):
    return Int8Linear(Tensor(group_rows(raw, kind)), kind, len(raw))


def rounded(x):
    """Whole numbers (rows, blocks, 32) and scales (rows, blocks)."""
    split = x.reshape(len(x), -1, 32)
    most = np.abs(split).max(-1)
    with np.errstate(divide="ignore"):
        inverse = np.where(most > 1e-30, np.float32(127) / most, np.float32(0))
    return np.rint(split * inverse[..., None]).astype(int), most / np.float32(127)


def reference(x, raw, kind):
    """The product (rows, columns), and the sum of the magnitudes that it is a sum of."""
    d, m, w = whole_numbers(raw, kind)
    q, scale = rounded(x)
    q, scale = q.reshape(len(x), -1, 16), scale.repeat(2, axis=1)[:, None].astype(np.float64)
    sums = np.einsum("rbk,cbk->rcb", q, w)
    minima = m * q.sum(-1)[:, None]
    parts = (d * sums + minima) * scale
    return parts.sum(-1), ((np.abs(d * sums) + np.abs(minima)) * scale).sum(-1)


def check(found, x, raw, kind):
    expected, magnitude = reference(x, raw, kind)
    assert np.abs(found - expected).max() > 0  # float32 rounds the scales
    assert (np.abs(found - expected) < 1e-6 * magnitude).all()


def extremes(rng, rows, kind):
    """x and blocks whose every product is exact: scales of 1, minima of 2, the largest numbers.

    The first row and column hold the extremes, which saturate where sums are kept too short; the
    second row halves, which are rounded to even.
    """
    depth = depth_of(kind)
    x = rng.integers(-127, 128, (rows, depth)).astype(np.float32)
    x[:, ::32] = 127
    x[0] = -127
    x[1, 1:9] = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5]
    raw = blocks(rng, kind, 13, depth)
    raw[:2] = np.array([[0], [255]])
    if kind == "Q8_0":
        raw[:2] = np.array([[128], [127]])
    return x, with_scales(raw, kind, 1, 2, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_last_group_is_filled_up_with_zeros_and_not_with_what_lies_behind(kind):
    more = np.random.default_rng(7).integers(1, 256, (32, 2 * FORMATS[kind].bytes), dtype=np.uint8)
    filled = more.copy()
    filled[19:] = 0
    assert (group_rows(more[:19], kind) == group_rows(filled, kind)).all()


@pytest.mark.parametrize("kind", each(KINDS))
@pytest.mark.parametrize(
    "columns", [13, *(pytest.param(n, marks=pytest.mark.slow) for n in (16, 35))]
)
@pytest.mark.slow
def test_grouped_rows_stand_for_the_weights_of_the_file(rng, kind, columns):
    raw = blocks(rng, kind, columns, depth_of(kind))
    layer, expected = layer_of(raw, kind), floats(raw, kind)
    assert layer.blocks.nbytes() == -(-columns // 16) * 16 * raw.shape[1]  # no more than the file
    assert (layer.floats().numpy() == expected).all()
    picked = layer.rows(Tensor([[columns - 1, 0, 5]])).numpy()
    assert (picked == expected[[[columns - 1, 0, 5]]]).all()


PRODUCTS = [("Q4_1", 7), ("Q4_1", 1), ("Q4_1", kernels.GROUP + 3)]
PRODUCTS += [(kind, 7) for kind in KINDS if kind != "Q4_1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rows"),
    [PRODUCTS[0], *(pytest.param(*product, marks=pytest.mark.slow) for product in PRODUCTS[1:])],
)
def test_a_product_is_that_of_the_rounded_activations(rng, kind, rows):
    raw, x = blocks(rng, kind, 29, depth_of(kind)), normal(rng, rows, depth_of(kind))
    layer = layer_of(raw, kind)
    assert cpu.serves(Tensor(x))
    found = layer(Tensor(x)).numpy()
    check(found, x, raw, kind)
    assert layer.formula(Tensor(x), layer.blocks).numpy() == pytest.approx(
        found, rel=1e-4, abs=2e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", each(KINDS))
def test_the_error_of_rounding_is_at_most_half_a_step_a_weight(rng, kind):
    raw, x = blocks(rng, kind, 29, depth_of(kind)), normal(rng, 11, depth_of(kind))
    exact = floats(raw, kind).astype(np.float64)
    product = x.astype(np.float64) @ exact.T
    error = np.abs(layer_of(raw, kind)(Tensor(x)).numpy() - product)
    weights = np.abs(exact).reshape(29, -1, 32).sum(-1)
    assert (error <= 0.501 * np.einsum("rb,cb->rc", rounded(x)[1], weights)).all()
    assert error.max() > 1e-4 * np.abs(product).max()  # or the activations were not rounded at all


# The ways in which C reads bytes: by halves, signed, by two halves and a shift; and the others.
READ = ("Q4_1", "Q8_0", "Q6_K")
ELSEWHERE = [
    pytest.param(kind, flags, marks=() if kind in READ and not flags else pytest.mark.slow)
    for kind in KINDS
    for flags in ("", *OTHERS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "flags"), ELSEWHERE)
def test_whole_numbers_are_exact_on_every_processor(rng, kind, flags, tmp_path, monkeypatch):
    """15 rows are a tile of each size, and of more than one tile weights are unpacked once."""
    x, raw = extremes(rng, 15, kind)
    expected, _ = reference(x, raw, kind)
    assert (expected == np.rint(expected)).all()
    layer = layer_of(raw, kind)
    kernel = kernel_of(monkeypatch, lambda: layer(Tensor(x)))
    assert (run_here(kernel, flags, tmp_path) == expected).all()

    x, raw = normal(rng, 15, depth_of(kind)), blocks(rng, kind, 13, depth_of(kind))
    layer = layer_of(raw, kind)
    kernel = kernel_of(monkeypatch, lambda: layer(Tensor(x)))
    check(run_here(kernel, flags, tmp_path), x, raw, kind)


@pytest.mark.parametrize("flags", ["", *(pytest.param(f, marks=pytest.mark.slow) for f in OTHERS)])
def test_what_is_rounded_is_the_product_in_float32(rng, flags, tmp_path, monkeypatch):
    """Numbers whose product with 127 / 1.1 is a half in float32, and exactly is none: a processor
    that fuses it with the sum that follows would round them to the other side."""
    x = rng.uniform(-1.1, 1.1, 4_000_000).astype(np.float32)
    inverse = np.float32(127) / np.float32(1.1)
    fused = np.rint(x.astype(np.float64) * np.float64(inverse))
    near = x[np.rint(x * inverse) != fused][:31]
    assert len(near) > 5
    x = np.zeros((1, 32), np.float32)
    x[0, 0], x[0, 1 : 1 + len(near)] = 1.1, near
    raw = np.zeros((32, 34), np.uint8)
    raw[:, :2] = np.array([1], np.float16).view(np.uint8)
    raw[:, 2:] = np.eye(32, dtype=np.uint8)
    layer = layer_of(raw, "Q8_0")
    kernel = kernel_of(monkeypatch, lambda: layer(Tensor(x)))
    q, scale = rounded(x)
    expected = q[:, 0].astype(np.float32) * scale
    assert (run_here(kernel, flags, tmp_path) == expected).all()


@pytest.mark.slow
@pytest.mark.parametrize(("target", "processor"), ARMS)
def test_whole_numbers_are_exact_on_arm(rng, target, processor, tmp_path, monkeypatch):
    """Compiled where ziglang is installed, for Linux also run where qemu is."""
    pytest.importorskip("ziglang")
    for kind in KINDS:
        x, raw = extremes(rng, 15, kind)
        layer = layer_of(raw, kind)
        kernel = kernel_of(monkeypatch, lambda layer=layer, x=x: layer(Tensor(x)))
        found = run_on_arm(kernel, target, tmp_path, processor)
        assert found is None or (found == reference(x, raw, kind)[0]).all()


ROWS = [pytest.param(kind, (7,), marks=pytest.mark.slow) for kind in KINDS]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "sizes"), [("Q4_1", (1, 2, 3, 5, 8, 9)), *ROWS])
def test_a_row_is_the_same_bits_alone_and_in_any_batch(rng, kind, sizes):
    x, layer = (
        normal(rng, 19, depth_of(kind)),
        layer_of(blocks(rng, kind, 29, depth_of(kind)), kind),
    )
    together = layer(Tensor(x)).numpy()
    for rows in sizes:
        assert (layer(Tensor(x[-rows:])).numpy() == together[-rows:]).all()
    wanted = Tensor(np.array([0, 0, 3, 0, 0, 2, 7, 18] + [0] * 16, dtype=np.int32))
    some = layer(Tensor(x), wanted).numpy()
    assert (some[[2, 7, 18]] == together[[2, 7, 18]]).all()


def test_nothing_becomes_nothing_and_what_is_not_finite_stays_so(rng):
    x = normal(rng, 4, 96)
    x[0] = 0
    x[1] *= 1e-38
    x[2, 40], x[3, 70] = np.inf, np.nan
    found = layer_of(blocks(rng, "Q4_1", 13, 96), "Q4_1")(Tensor(x)).numpy()
    assert (found[:2] == 0).all()
    assert not np.isfinite(found[2:]).any()


def test_rounding_lets_the_gradient_pass(rng):
    x = Tensor(normal(rng, 3, 64))
    assert (round_blocks(x).sum().gradient(x)[0].numpy() == 1).all()
    layer = layer_of(blocks(rng, "Q8_0", 13, 64), "Q8_0")
    [found] = layer(x).sum().gradient(x)
    expected = np.broadcast_to(layer.floats().numpy().sum(0), (3, 64))
    assert found.numpy() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def backbone_of(rng, kinds):
    """Two layers, their products of these kinds in turn, or of float32."""
    large = any(depth_of(kind) > 96 for kind in kinds if kind)
    D, F = (256, 512) if large else (64, 96)
    config = BackboneConfig(D, 2, 4, 2, ffn_size=F, biases=(), final_norm="rms_norm")
    backbone = Backbone(config, np.random.default_rng(5))
    for i, (path, weight) in enumerate(get_state_dict(backbone).items()):
        if path.endswith("_proj.weight") and (kind := kinds[i % len(kinds)]):
            raw = blocks(rng, kind, *weight.shape)
            parent = quantized.layer_at(backbone, path.rsplit(".", 2)[0])
            setattr(parent, path.split(".")[-2], layer_of(raw, kind))
    return backbone


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds", [["Q4_1"], ["Q4_0", None, "Q8_0", "Q4_1", None], ["Q4_K", "Q6_K"]], ids=str
)
def test_a_whole_layer_equals_its_formula(rng, kinds):
    """What rounds differently by a bit may round to another number: hence the tolerance."""
    backbone = backbone_of(rng, kinds)
    block = backbone.blocks[0]
    x, tables = (
        Tensor(normal(rng, 3, 29, block.config.hidden_size)).realize(),
        backbone.rotations(0, 64, "CPU"),
    )
    seen = [count_up(1, 29, "CPU")]
    assert block.is_one_kernel(x)
    expected = block._formula(x, tables, seen, None, 0).numpy()
    error = np.abs(block(x, tables, seen).numpy() - expected)
    assert np.median(error) < 1e-5 * np.abs(expected).max()
    assert error.max() < 1e-2 * np.abs(expected).max()


@pytest.mark.slow
def test_the_formula_of_experts_rounds_what_their_kernel_rounds(rng):
    """Before the second product, too. As above the tolerance is for what rounds differently."""
    options = {"experts": 5, "experts_used": 2, "ffn_size": 96, "final_norm": "rms_norm"}
    block = Block(BackboneConfig(64, 1, 4, 2, **options, biases=()), 0, rng)
    block.experts.down_proj = layer_of(blocks(rng, "Q8_0", 5 * 64, 96), "Q8_0")
    x, tables = Tensor(normal(rng, 1, 7, 64)).realize(), rope_tables(16, 1e4, None, 64, "CPU")
    seen = [count_up(1, 7, "CPU")]
    expected = block._formula(x, tables, seen, None, 0).numpy()
    error = np.abs(block(x, tables, seen).numpy() - expected)
    assert np.median(error) < 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("flags", OTHERS)
def test_a_whole_layer_is_the_same_on_other_processors(rng, flags, tmp_path, monkeypatch):
    backbone = backbone_of(rng, ["Q4_0", "Q8_0", "Q4_1", "Q5_0"])
    x, tables = Tensor(normal(rng, 3, 5, 64)).realize(), backbone.rotations(0, 64, "CPU")
    seen, block = [count_up(1, 5, "CPU")], backbone.blocks[0]
    expected = block(x, tables, seen).numpy()
    kernel = kernel_of(monkeypatch, lambda: block(x, tables, seen))
    error = np.abs(run_here(kernel, flags, tmp_path) - expected)
    assert np.median(error) < 1e-5 * np.abs(expected).max()
    assert error.max() < 1e-2 * np.abs(expected).max()


@pytest.mark.slow
def test_the_room_of_rounded_rows_is_enough(rng):
    """The last row of the longest product, in a batch of more than a group, reads what it wrote."""
    backbone = backbone_of(rng, ["Q4_1"])
    x = normal(rng, kernels.GROUP + 3, 1, 64)
    out = backbone(Tensor(x)).numpy()
    assert (backbone(Tensor(x[-5:])).numpy() == out[-5:]).all()


@pytest.mark.slow
def test_it_is_another_model_and_saves_the_weights_that_it_stands_for(rng, tmp_path):
    models = []
    for make in (quantized.QuantizedLinear, lambda raw, kind: layer_of(raw.numpy(), kind)):
        sizes = {"hidden_size": 64, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
        lm = et.build("causal_lm", vocab_size=37, seed=3, **sizes)
        raw = blocks(np.random.default_rng(1), "Q8_0", 37, 64)
        lm.token_embedding = make(Tensor(raw).realize(), "Q8_0")
        models.append(lm)
    exact, int8 = models
    assert fingerprint(exact) != fingerprint(int8)
    ids = [[3, 1, 4, 1, 5]]
    assert (exact(ids).logits.numpy() != int8(ids).logits.numpy()).any()
    et.save(int8, tmp_path / "m.safetensors")
    again = et.load(tmp_path / "m.safetensors")
    # In blocks and as float32 the same weights give the same bits.
    assert (again(ids).logits.numpy() == exact(ids).logits.numpy()).all()
