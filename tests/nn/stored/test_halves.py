"""Weights of 16 bits: rounded as IEEE says, the same on every device, and float32 where it must."""

import sys
import warnings

import numpy as np
import pytest
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError, PrecisionWarning, UnknownNameError
from edifice_tt.nn.blocks import Linear
from edifice_tt.nn.ops import linear_formula, lookup_formula
from edifice_tt.nn.stored import halves as precision

# ffn_size a multiple of 32, as in every model of some size; 3 heads share 1.
SIZE = {"hidden_size": 96, "num_layers": 1, "num_heads": 3, "num_kv_heads": 1, "seed": 5}
LM = {"vocab_size": 37, "ffn_size": 160, "scorer": "linear", **SIZE}
IDS = [[3, 36, 5, 0, 11]]


def lm(**options):
    return et.build("causal_lm", **LM, **options)


def rounded(exact, dtype):
    """By hand from the bits: to the nearest, ties to even."""
    if dtype == "float16":
        return exact.astype(np.float16).astype(np.float32)
    bits = exact.view(np.uint32).astype(np.uint64)
    down, rest = bits >> 16, bits & 0xFFFF
    up = (rest > 0x8000) | ((rest == 0x8000) & (down % 2 == 1))
    return ((down + up) << 16).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_number_is_rounded_to_the_nearest_ties_to_even(dtype):
    """1 + 3/2 units is a tie between an odd and an even neighbour, 1 + 1/2 one the other way."""
    unit = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    exact = np.float32(
        [1 + unit / 2, 1 + 1.5 * unit, 1 + 0.51 * unit, -1 - unit / 2, 0, 3, 1e-3, 0]
    )
    expected = [1, 1 + 2 * unit, 1 + unit, -1, 0, 3, rounded(np.float32([1e-3]), dtype)[0], 0]
    weight = Tensor(np.tile(exact, (2, 4)))
    stored = precision.narrow("w", weight, dtype)
    assert stored.dtype == precision.DTYPES[dtype]
    assert stored.float().numpy().tolist() == np.tile(np.float32(expected), (2, 4)).tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_only_dense_layers_and_the_embedding_are_narrowed(dtype):
    exact, model = get_state_dict(lm()), lm(dtype=dtype)
    narrowed = set()
    for name, weight in get_state_dict(model).items():
        whole = exact[name].numpy()
        if weight.dtype == precision.DTYPES[dtype]:
            narrowed.add(name)
            whole = rounded(whole, dtype)
        assert (weight.float().numpy() == whole).all(), name
    block = "backbone.blocks.0"
    dense = [f"{block}.attn.{p}_proj.weight" for p in "qkvo"]
    dense += [f"{block}.ffn.{p}_proj.weight" for p in ("gate", "up", "down")]
    assert narrowed == {"token_embedding.weight", *dense}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_are_float32_of_the_rounded_weights(dtype):
    """The same bits as a float32 model that holds the rounded numbers."""
    narrow, wide = lm(dtype=dtype), lm()
    for name, weight in get_state_dict(wide).items():
        weight.replace(get_state_dict(narrow)[name].float().contiguous().realize())
    out, expected = narrow(IDS), wide(IDS)
    for ours, theirs in zip(out, expected, strict=True):
        assert ours.dtype == dtypes.float32
        assert (ours.numpy() == theirs.numpy()).all()
    assert np.abs(out.logits.numpy() - lm()(IDS).logits.numpy()).max() > 1e-5  # it was narrowed


@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 4e-3), ("bfloat16", 3e-2)])
def test_the_kernel_agrees_with_the_formula(dtype, rounding, rng):
    """Without tensor cores the formula's products are of 16 bits, and only their sum of 32."""
    layer = Linear(64, 7, rng=rng)
    layer.weight = precision.narrow("w", layer.weight, dtype)
    # Eighths below 4, which 16 bits hold: for a device the formula may round x as well.
    x = Tensor((rng.integers(-31, 32, (3, 5, 64)) / 8).astype(np.float32))
    formula = linear_formula(x, layer.weight, layer.bias)
    assert formula.dtype == dtypes.float32
    assert layer(x).numpy() == pytest.approx(formula.numpy(), abs=rounding)
    ids = Tensor([[6, 0, 3]])
    assert (layer.rows(ids).numpy() == lookup_formula(ids, layer.weight).numpy()).all()


def test_a_whole_layer_is_still_one_kernel():
    model = lm(dtype="bfloat16")
    assert model.backbone.blocks[0].is_one_kernel(Tensor.ones(1, 2, 96))


@pytest.mark.slow
def test_the_ported_model_has_dtypes_too():
    options = {"embed_dim": 64, "hidden_size": 96, "num_layers": 1, "num_heads": 3}
    x = np.random.default_rng(3).standard_normal((2, 5, 64))
    scores = {}
    for dtype in ("float32", "float16"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)  # of the 256 in a feed-forward row
            model = et.build("test_time_compute", num_kv_heads=1, dtype=dtype, **options)
        scores[dtype] = model(x).scores.numpy()
    assert 0 < np.abs(scores["float16"] - scores["float32"]).max() < 1e-2


def test_a_device_without_the_dtype_has_float32_and_says_so_once(monkeypatch):
    monkeypatch.setattr(precision, "supported_dtypes", lambda device: ["float32", "float16"])
    with pytest.warns(PrecisionWarning) as caught:
        model = lm(dtype="bfloat16")
    assert [str(w.message) for w in caught] == [
        "device 'CPU' has no bfloat16 (it has float32, float16); the weights are float32"
    ]
    assert model.fingerprint == lm().fingerprint


def test_rows_that_the_kernels_cannot_read_stay_float32_and_are_told_once():
    with pytest.warns(
        PrecisionWarning, match=r"^1 weights stay float32, the first .*down_proj"
    ) as w:
        model = et.build("causal_lm", **LM | {"ffn_size": 72}, dtype="float16")
    assert len(w) == 1
    assert model.backbone.blocks[0].ffn.down_proj.weight.dtype == dtypes.float32
    assert model.backbone.blocks[0].is_one_kernel(Tensor.ones(1, 2, 96))
    model(IDS)


def test_a_number_beyond_the_dtype_is_an_error_that_names_the_weight():
    model = lm()
    model.token_embedding.weight.replace((model.token_embedding.weight * 1e7).contiguous())
    with pytest.raises(
        EdificeError, match=r"'token_embedding.weight' holds .*e\+06, beyond float16"
    ):
        precision.store(model, "float16")
    assert precision.store(model, "bfloat16").token_embedding.weight.dtype == dtypes.bfloat16


def test_an_unknown_dtype_is_told_before_anything_is_done():
    with pytest.raises(UnknownNameError, match="unknown dtype 'float61'; did you mean 'float16'"):
        lm(dtype="float61")
    with pytest.raises(UnknownNameError, match="unknown dtype"):
        et.load_pretrained("smollm2-135m", dtype="half")


def test_the_interpreter_has_what_tinygrad_says():
    present = precision.supported_dtypes("PYTHON")
    assert ("float16" in present) == (sys.version_info >= (3, 12))
    assert present[0] == "float32"
