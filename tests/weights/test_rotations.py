"""How rotations are stretched, against transformers and by the keys of GGUF files.

The numbers are those of `ROPE_INIT_FUNCTIONS` in transformers 5.24: the plain frequencies divided
by what a function gave, and its scale. Two heads of 14 numbers, base 5000, 512 positions.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from edifice_tt.weights.gguf_config import read_config
from edifice_tt.weights.gguf_header import Entry
from edifice_tt.weights.huggingface_config import options_of

BASE, ORIGINAL = 5000.0, {"original_max_position_embeddings": 64}
SIZES = {"vocab_size": 7, "hidden_size": 28, "num_hidden_layers": 3, "num_attention_heads": 2}
SIZES |= {
    "num_key_value_heads": 2,
    "intermediate_size": 11,
    "rope_theta": BASE,
    "max_position_embeddings": 512,
}
YARN = {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}
YARNED = (1.0, 1.6, 4.0, 4.0, 4.0, 4.0, 4.0)
SHORT, LONG = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0], [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
LONGROPE = {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def folder(model_type="llama", **config):
    return options_of({"model_type": model_type, **SIZES, **config})[1]


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize(
    ("record", "factors", "scale"),
    [
        ({"rope_type": "linear", "factor": 2.5}, (2.5,) * 7, 1.0),
        ({**LLAMA3, **ORIGINAL}, (1.0, 1.40195, *(8.0,) * 5), 1.0),
        (YARN, YARNED, 1.138629),
        ({**YARN, "factor": None}, (1.0, 1.77778, *(8.0,) * 5), 1.207944),
        ({**YARN, "truncate": False}, (1.0, 1.64792, *(4.0,) * 5), 1.138629),
        ({**YARN, "beta_fast": 8, "beta_slow": 0.5}, (1, 4 / 3, 2, *(4.0,) * 4), 1.138629),
        ({**YARN, "beta_fast": 0, "beta_slow": None}, YARNED, 1.138629),
        ({**YARN, "mscale": 0.7, "mscale_all_dim": 0.9}, YARNED, 0.97535),
        ({**YARN, "mscale": 0.7, "mscale_all_dim": 0}, YARNED, 1.138629),
        ({**YARN, "attention_factor": 1.5}, YARNED, 1.5),
    ],
    ids=str,
)
def test_a_record_of_a_rotation_means_what_it_means_in_transformers(key, record, factors, scale):
    found = folder(**{key: record})
    assert found.rope_base == BASE
    assert found.rope_factors == pytest.approx(factors, rel=1e-5)
    assert found.rope_scale == pytest.approx(scale, rel=1e-5)
    assert found.long_rope_factors is None


@pytest.mark.parametrize(
    ("given", "scale"),
    [({}, 1.224745), ({"factor": 2.0}, 1.080123), ({"attention_factor": 1.25}, 1.25)],
)
@pytest.mark.parametrize("kind", ["longrope", "su"])
def test_longrope_has_factors_for_short_and_for_long_texts(kind, given, scale):
    record = {**LONGROPE, "rope_type": kind, **given}
    found = folder("phi3", rope_scaling=record, **ORIGINAL)
    assert (found.rope_factors, found.long_rope_factors) == (tuple(SHORT), tuple(LONG))
    assert found.long_rope_from == 64
    assert found.rope_scale == pytest.approx(scale, rel=1e-5)


def test_what_a_missing_length_means_is_told_where_it_contradicts_the_record():
    """transformers takes no notice of the record's."""
    with pytest.raises(ValueError, match=r"embeddings=4096 and rope_scaling.*=64 differ; say"):
        folder("phi3", rope_scaling={**LONGROPE, **ORIGINAL})


def test_factors_of_a_head_that_is_rotated_in_part_count_its_pairs():
    record = {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [2, 3, 4]}
    given = {"partial_rotary_factor": 0.5, "hidden_size": 24, **ORIGINAL}
    found = folder("phi3", rope_scaling=record, **given)
    assert (found.rotated, found.rope_factors) == (6, (1.0, 1.5, 2.0))
    with pytest.raises(ValueError, match="rope_factors has 7 numbers, expected 3"):
        folder("phi3", rope_scaling={**record, "short_factor": SHORT}, **given)


def test_layers_with_a_window_have_a_rotation_of_their_own():
    """Gemma 3: the base beside the record, or a record for each kind of layer."""
    linear = {"rope_type": "linear", "factor": 8.0}
    kinds = {"full_attention": {**linear, "rope_theta": BASE}}
    kinds["sliding_attention"] = {"rope_type": "default", "rope_theta": 77.0}
    old = folder("gemma3_text", rope_scaling=linear, rope_local_base_freq=77.0)
    new = folder("gemma3_text", rope_theta=None, rope_parameters=kinds)
    assert old == new
    assert (new.rope_base, new.window_rope_base) == (BASE, 77.0)
    assert new.rope_factors == (8.0,) * 128
    assert new.window_rope_factors is None


NESTED = {"full_attention": {"rope_type": "default"}, "sliding_attention": None}
FLAT = {"rope_type": "linear", "factor": 8.0}  # transformers ignores it where kinds are expected
DOT = {"original_max_position_embeddings": 1}
REFUSED = [
    ("gemma3_text", {"rope_parameters": FLAT}, "'factor', which is no kind of layer"),
    ("gemma3_text", {"rope_parameters": 7}, "rope_parameters=7, expected a record"),
    ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope type 'dynamic' is not"),
    ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor that is"),
    ("llama", {"rope_parameters": NESTED}, "'default'"),
    ("llama", {"rope_scaling": {**YARN, "truncate": 0}}, "truncate=0, expected true or false"),
    ("llama", {"rope_scaling": {**YARN, "factor": 0}}, "factor=0, expected a positive float"),
    ("llama", {"rope_scaling": {**YARN, "attention_factor": 0}}, "attention_factor=0, expected"),
    ("llama", {"rope_scaling": {**YARN, "beta_slow": 1e-308}}, "beta_slow=1e-308 must be from"),
    ("llama", {"rope_scaling": YARN, "rope_theta": 1.0}, "YaRN needs .* base above 1"),
    ("llama", {"rope_scaling": {**YARN, **DOT}}, "original_max_position_embeddings=1.0 must be"),
    ("phi3", {"rope_scaling": {**LONGROPE, "factor": 4.0}, **DOT}, "embeddings=1.0 must be from 2"),
    ("llama", {"rope_scaling": {**YARN, "xrope_section": [1, 2]}}, "xrope_section=.* not support"),
    ("llama", {"rope_scaling": {"type": "linear"}}, "factor=None, expected a positive float"),
    ("llama", {"rope_scaling": YARN, **ORIGINAL, "original_max_position_embeddings": 32}, "differ"),
    (
        "gemma3_text",
        {"rope_parameters": NESTED, "rope_scaling": YARN},
        "rope_scaling stands beside",
    ),
]


@pytest.mark.parametrize(("family", "given", "message"), REFUSED, ids=str)
def test_a_rotation_that_is_not_computed_is_refused(family, given, message):
    with pytest.raises(ValueError, match=message):
        folder(family, **given)


# --- GGUF files


def file(family="llama", tensors=None, **scaling):
    """What is read of a file with these keys of `rope.scaling` and these tensors."""
    keys = {"embedding_length": 28, "block_count": 3, "attention.head_count": 2}
    keys |= {"feed_forward_length": 11, "context_length": 512, "rope.freq_base": BASE}
    keys |= {"attention.layer_norm_rms_epsilon": 1e-5}
    keys |= {f"rope.scaling.{key}": value for key, value in scaling.items()}
    metadata = {"general.architecture": family, **{f"{family}.{k}": v for k, v in keys.items()}}
    entries = {name: Entry(0, (7, 28), 0, 0) for name in ("token_embd.weight", "a", "b")}
    data = b""
    for name, values in (tensors or {}).items():
        start, data = len(data), data + np.array(values, "<f4").tobytes()
        entries[name] = Entry(0, (len(values),), start, len(data))
    data = np.frombuffer(data, np.uint8)
    header = SimpleNamespace(
        metadata=metadata, entries=entries, mapped=lambda start, stop: data[start:stop]
    )
    return read_config(header)[1]


def test_yarn_of_a_gguf_file_is_yarn_of_a_folder():
    found = file(type="yarn", factor=4.0, original_context_length=64)
    assert found.rope_factors == pytest.approx(YARNED, rel=1e-5)
    assert found.rope_scale == pytest.approx(1.138629, rel=1e-5)
    found = file(type="yarn", factor=4.0, original_context_length=64, attn_factor=0.5)
    assert found.rope_scale == pytest.approx(0.5 * 1.138629, rel=1e-5)
    turned = {"yarn_beta_fast": 8.0, "yarn_beta_slow": 0.5, "original_context_length": 64}
    found = file(type="yarn", factor=4.0, **turned)
    assert found.rope_factors == pytest.approx((1, 4 / 3, 2, *(4.0,) * 4), rel=1e-5)


BOTH = {"rope_factors_short.weight": SHORT, "rope_factors_long.weight": LONG}


@pytest.mark.parametrize("kind", [{"type": "longrope"}, {}])
def test_longrope_of_a_gguf_file_is_two_tensors_and_a_scale(kind):
    found = file("phi3", BOTH, original_context_length=64, attn_factor=1.19, **kind)
    assert (found.rope_factors, found.long_rope_factors) == (tuple(SHORT), tuple(LONG))
    assert (found.long_rope_from, found.rope_scale) == (64, 1.19)


def test_factors_in_a_tensor_divide_each_frequency():
    assert file(tensors={"rope_freqs.weight": SHORT}).rope_factors == tuple(SHORT)


@pytest.mark.parametrize("lost", BOTH)
def test_one_tensor_of_longrope_without_the_other_is_refused(lost):
    one = {name: values for name, values in BOTH.items() if name != lost}
    with pytest.raises(ValueError, match="must both be there"):
        file("phi3", one)


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"type": "dynamic", "factor": 2.0}, "'dynamic' is not supported; supported: linear, yarn"),
        ({"type": "longrope"}, "must both be there"),
        ({"type": "yarn", "factor": 4.0, "yarn_beta_slow": 0.0}, "beta_slow=0.0 must be from"),
        ({"type": "yarn", "factor": 4.0, "yarn_beta_fast": math.nan}, "beta_fast=nan must be from"),
        ({"type": "longrope", "factor": 4.0, "tensors": BOTH}, "factor is not supported with"),
    ],
    ids=str,
)
def test_a_stretch_of_a_gguf_file_that_is_not_computed_is_refused(scaling, message):
    with pytest.raises(ValueError, match=message):
        file("phi3", **scaling)
