"""A Hugging Face folder gives the model that was written into it."""

import json
import math
from weakref import ref

import numpy as np
import pytest
import tokenizers
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.nn.stored import halves as precision
from edifice_tt.testing import byte_tokenizer
from edifice_tt.weights import footprint, safetensors
from edifice_tt.weights.families import FAMILIES
from edifice_tt.weights.families.family import FOLDER
from edifice_tt.weights.huggingface_config import options_of
from edifice_tt.weights.rotations import llama3
from edifice_tt.weights.safetensors import SafetensorsFile, write_safetensors
from edifice_tt.weights.tokenizer import Tokenizer

CONFIG = {
    "model_type": "llama",
    "vocab_size": 259,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}


def theirs(name):
    """The names that Hugging Face gives, written down apart from the library's table."""
    layer = name.replace("backbone.blocks.", "model.layers.")
    for ours, hf in (
        ("token_embedding", "model.embed_tokens"),
        ("backbone.final_norm", "model.norm"),
        (".attn_norm.", ".input_layernorm."),
        (".ffn_norm.", ".post_attention_layernorm."),
        (".attn.", ".self_attn."),
        (".ffn.", ".mlp."),
    ):
        layer = layer.replace(ours, hf)
    return layer


@pytest.fixture
def folder(tiny_lm, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    bpe = tokenizers.Tokenizer.from_str(tiny_lm.tokenizer.bpe.to_str())
    bpe.decoder = tokenizers.decoders.ByteLevel()  # ours decodes by itself and sets none
    bpe.save(str(tmp_path / "tokenizer.json"))
    write_weights(tiny_lm, tmp_path / "model.safetensors")
    return tmp_path


def write_weights(lm, path, keep=lambda name: True, dtype="float32"):
    weights = {
        theirs(name): weight.cast(dtype).contiguous().realize()
        for name, weight in get_state_dict(lm).items()
        if not name.startswith("scorer") and keep(name)
    }
    write_safetensors(path, weights, {})


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_a_folder_is_read_as_the_dtype_asked_for(tmp_path, monkeypatch, stored):
    """Its own dtype is no matter: bfloat16 numbers that float16 holds are the same in both."""
    lm = et.build(
        "causal_lm",
        vocab_size=259,
        hidden_size=32,
        num_layers=1,
        num_heads=2,
        num_kv_heads=2,
        ffn_size=64,
        seed=4,
    )
    lm = precision.store(precision.store(lm, "bfloat16"), "float32")
    config = {**CONFIG, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_key_value_heads": 2}))
    bpe = tokenizers.Tokenizer.from_str(byte_tokenizer().bpe.to_str())
    bpe.decoder = tokenizers.decoders.ByteLevel()
    bpe.save(str(tmp_path / "tokenizer.json"))
    write_weights(lm, tmp_path / "model.safetensors", dtype=stored)
    with monkeypatch.context() as patch:
        patch.setattr(footprint, "available_bytes", lambda device: 40_000)
        with pytest.raises(EdificeError, match=r"loading needs 0\.\d\d MB of 0.04 MB free"):
            et.load_pretrained(tmp_path)
    read = {dtype: et.load_pretrained(tmp_path, dtype=dtype) for dtype in (None, "float16")}
    assert read[None].token_embedding.weight.dtype == getattr(dtypes, stored)
    exact = et.load_pretrained(tmp_path, dtype="float32")
    assert exact.token_embedding.weight.dtype == dtypes.float32
    assert read[None].fingerprint == exact.fingerprint
    assert (read[None]([[5, 6]]).logits.numpy() == exact([[5, 6]]).logits.numpy()).all()
    assert read["float16"].token_embedding.weight.dtype == dtypes.float16
    assert read["float16"].backbone.final_norm.weight.dtype == dtypes.float32
    assert (read[None].token_embedding.weight.numpy() == lm.token_embedding.weight.numpy()).all()
    assert np.abs((read["float16"]([[5, 6]]).logits - lm([[5, 6]]).logits).numpy()).max() < 1e-3


def test_a_folder_gives_the_model_that_was_written(tiny_lm, folder):
    lm = et.load_pretrained(folder)
    ids = tiny_lm.tokenizer.encode("hello, wörld")
    assert lm.tokenizer.encode("hello, wörld") == ids
    assert lm.tokenizer.stop_ids >= {2}
    expected = tiny_lm([[5, 6]]).logits.numpy()
    assert lm([[5, 6]]).logits.numpy() == pytest.approx(expected, abs=1e-6)


def test_several_files_and_half_precision_are_read(tiny_lm, folder):
    (folder / "model.safetensors").unlink()
    parts = {"a.safetensors": lambda n: ".0." in n, "b.safetensors": lambda n: ".0." not in n}
    for part, keep in parts.items():
        write_weights(tiny_lm, folder / part, keep, "float16")
    index = {"weight_map": {str(i): part for i, part in enumerate(parts)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    lm = et.load_pretrained(folder)
    for name, weight in get_state_dict(lm).items():
        half = get_state_dict(tiny_lm)[name].numpy().astype(np.float16)
        assert (weight.numpy() == half.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not supported; supported: .*llama"),
        ({"attention_bias": True}, "missing: backbone.blocks.0.attn.q_proj.bias"),
        ({"attention_bias": "no"}, "attention_bias='no', expected true or false"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is not supported"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, "rope type 'dynamic' is not supported"),
        (
            {"intermediate_size": 32},
            r"gate_proj.weight: shape \(64, 24\), the model",
        ),
        ({"num_hidden_layers": 1}, "not in the model: model.layers.1"),
    ],
)
@pytest.mark.first(3)
def test_what_does_not_fit_is_one_clear_error(folder, change, message):
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(CheckpointError, match=message):
        et.load_pretrained(folder)


REFUSED = {
    "hidden_act": ("gelu", ["swish"]),
    "is_causal": (False, [True]),
    "sliding_window": (255, [0, 256]),
    "layer_types": (["full_attention", "sliding_attention"], [["full_attention"] * 2]),
    "no_rope_layers": ([1, 0], [[1, 1], []]),
    "partial_rotary_factor": (0.5, [1.0]),
    "attention_multiplier": (0.5, [6**-0.5]),
    "query_pre_attn_scalar": (12, [6]),
    "embedding_multiplier": (12.0, [1.0]),
    "residual_multiplier": (0.2, [1]),
    "logits_scaling": (8.0, [1.0]),
    "logit_scale": (0.06, [1.0]),
    "attn_logit_softcapping": (50.0, []),
    "final_logit_softcapping": (30.0, []),
    "clip_qkv": (8.0, []),
    "use_qk_norm": (True, [False]),
    "rope_interleaved": (True, [False]),
    "num_local_experts": (8, [0]),
    "quantization_config": ({"quant_method": "gptq"}, []),
}


@pytest.mark.parametrize("key", REFUSED)
def test_an_option_that_asks_for_other_numbers_is_refused_by_name(key):
    value, neutral = REFUSED[key]
    with pytest.raises(ValueError, match=f"{key}=.* is not supported"):
        options_of({**CONFIG, key: value})
    for accepted in [None, *neutral]:
        assert options_of({**CONFIG, key: accepted}) == options_of(CONFIG)


def test_options_that_change_no_number_are_accepted():
    without_effect = {
        "attention_dropout": 0.1,
        "pretraining_tp": 2,
        "use_cache": False,
        "initializer_range": 0.1,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "sliding_window": 16,
        "of_a_later_year": 1,
    }
    assert options_of({**CONFIG, **without_effect}) == options_of(CONFIG)


LINEAR, BASE = {"rope_type": "linear", "factor": 2.0}, {"rope_theta": 10000.0}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_scaling": LINEAR},
        {"rope_parameters": LINEAR | BASE},
        {"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": LINEAR | BASE},
        {"rope_scaling": LINEAR, "rope_parameters": {}, "rope_theta": None},
    ],
    ids=str,
)
def test_every_spelling_of_the_same_rotation_is_the_same(rope):
    _, config = options_of({**CONFIG, **rope})
    assert (config.rope_base, config.rope_factors) == (10000.0, (2.0,) * 3)


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        (
            {"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "default"}},
            "rope_scaling and rope_parameters say different things",
        ),
        (
            {"rope_scaling": LINEAR, "rope_parameters": LINEAR | {"factor": 4.0}},
            "rope_scaling and rope_parameters say different things",
        ),
        (
            {"rope_parameters": LINEAR | {"rope_theta": 500000.0}},
            r"rope_theta=10000.0 and rope_parameters.rope_theta=500000.0 differ",
        ),
        ({"rope_scaling": {"factor": 2.0}}, "factor=2.0 is not supported with rope type 'default'"),
        ({"rope_scaling": {**LINEAR, "attention_factor": 1.2}}, "attention_factor=1.2 is not supp"),
        ({"rope_parameters": {"full_attention": LINEAR}}, "full_attention={.* is not supported"),
        ({"rope_scaling": "linear"}, "rope_scaling='linear', expected a record"),
        ({"rope_scaling": {"type": ["linear"]}}, r"rope type \['linear'\] is not supported"),
        ({"rope_scaling": {"type": "linear"}}, "factor=None, expected a positive float"),
        ({"rope_scaling": LINEAR | {"factor": -1}}, "factor=-1, expected a positive float"),
        (
            {
                "original_max_position_embeddings": 64,
                "rope_scaling": LINEAR | {"original_max_position_embeddings": 32},
            },
            "original_max_position_embeddings=64 and .*=32 differ",
        ),
    ],
    ids=str,
)
def test_a_rotation_that_is_unclear_or_unknown_is_refused_by_name(rope, message):
    with pytest.raises(ValueError, match=message):
        options_of({**CONFIG, **rope})


def test_llama3_takes_the_context_for_the_length_that_is_not_given():
    """As transformers does."""
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    named = rope | {"original_max_position_embeddings": 256}
    found = [options_of({**CONFIG, "rope_scaling": one}) for one in (rope, named)]
    assert found[0] == found[1]
    assert found[0][1].rope_factors != (1.0,) * 3


def test_a_folder_whose_tokenizer_is_too_large_is_refused(tiny_lm, folder):
    config = {**CONFIG, "vocab_size": 258}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"tokenizer.json: 259 tokens for 258 embeddings"):
        et.load_pretrained(folder)


def add_head(lm, path, change):
    """Write the weights again, with a head that is the embedding, changed."""
    weights = {theirs(name): weight for name, weight in get_state_dict(lm).items()}
    weights = {name: weight for name, weight in weights.items() if not name.startswith("scorer")}
    head = weights["model.embed_tokens.weight"].numpy().copy()
    head[-1, -1] += change
    write_safetensors(path, {**weights, "lm_head.weight": Tensor(head).realize()}, {})


@pytest.mark.parametrize("part", [64, 1 << 18])
def test_a_head_beside_tied_embeddings_must_be_the_same(tiny_lm, folder, monkeypatch, part):
    """259 rows of 24 numbers, compared 64 at a time or all at once; the last one differs."""
    monkeypatch.setattr(safetensors, "PIECE", part)
    add_head(tiny_lm, folder / "model.safetensors", change=0)
    expected = tiny_lm([[5, 6]]).logits.numpy()
    assert et.load_pretrained(folder)([[5, 6]]).logits.numpy() == pytest.approx(expected, abs=1e-6)
    add_head(tiny_lm, folder / "model.safetensors", change=0.5)
    with pytest.raises(CheckpointError, match=r"tie_word_embeddings=true, but lm_head.weight is"):
        et.load_pretrained(folder)


@pytest.mark.parametrize("said", [{"tie_word_embeddings": False}, {}], ids=str)
def test_embeddings_are_tied_only_where_the_config_says_so(tiny_lm, folder, said):
    config = {key: value for key, value in CONFIG.items() if key != "tie_word_embeddings"} | said
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"lm_head.weight is missing, .*tie_word_embeddings"):
        et.load_pretrained(folder)
    add_head(tiny_lm, folder / "model.safetensors", change=0.5)
    model = et.load_pretrained(folder)
    moved = model([[5, 6]]).logits.numpy() - tiny_lm([[5, 6]]).logits.numpy()
    assert np.abs(moved[..., :-1]).max() < 1e-6
    assert np.abs(moved[..., -1]).max() > 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "no JSON object"),
        ("null", "no JSON object"),
        ({"num_attention_heads": 0}, "num_attention_heads=0, expected a positive int"),
        ({"num_attention_heads": "2"}, "num_attention_heads='2', expected a positive int"),
        ({"vocab_size": True}, "vocab_size=True, expected a positive int"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps='small', expected a positive float"),
        ({"rope_theta": -1}, "rope_theta=-1, expected a positive float"),
    ],
    ids=str,
)
def test_a_damaged_config_is_one_clear_error(folder, text, message):
    text = text if isinstance(text, str) else json.dumps({**CONFIG, **text})
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{message}") as caught:
        et.load_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_an_incomplete_folder_is_one_clear_error(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        et.load_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match=r"vocab_size and hidden_size and .* missing"):
        et.load_pretrained(folder)


def test_llama3_factors_keep_fast_rotations_and_stretch_slow_ones():
    """Base 16, head size 8, trained on 64 positions: wavelengths 2 pi times 1, 2, 4, 8."""
    turns = [64 / (2 * math.pi * w) for w in (1, 2, 4, 8)]  # 10.2, 5.1, 2.5, 1.3
    keep = [1, 1, (turns[2] - 1) / 3, (turns[3] - 1) / 3]
    expected = [1 / ((1 - k) / 8 + k) for k in keep]
    assert llama3(16.0, 8, 8.0, 1.0, 4.0, 64.0) == pytest.approx(expected)


def test_a_folder_of_something_else_is_nobody_s(tmp_path):
    with pytest.raises(CheckpointError, match="no installed format reads it"):
        et.load_pretrained(tmp_path)


def test_a_path_that_is_not_there_names_the_catalog():
    with pytest.raises(et.UnknownNameError, match="smollm2-135m"):
        et.load_pretrained("smollm2-135")


@pytest.mark.parametrize("read", ["floats", "halves"])
def test_of_experts_that_are_joined_one_is_in_memory_at_a_time(tmp_path, monkeypatch, read):
    """All experts of a layer are one weight: twice that would be more than was said."""
    experts = {"experts": 5, "experts_used": 2, "expert_size": 32, "qk_norm": "whole"}
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    lm = et.build("causal_lm", **sizes, **experts, tied_embeddings=False, num_kv_heads=2)
    weights = {}
    for name, weight in get_state_dict(lm).items():
        places = FAMILIES["olmoe"].places({name: weight}, FOLDER, 5)[name]
        for place, part in zip(places, weight.chunk(len(places)), strict=True):
            weights[place.name] = part.contiguous().realize()
    kind = dtypes.bfloat16 if read == "halves" else dtypes.float32
    weights = {name: w.cast(kind).contiguous().realize() for name, w in weights.items()}
    write_safetensors(tmp_path / "model.safetensors", weights, {})
    config = {"model_type": "olmoe", "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 32, "num_experts": 5}
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_experts_per_tok": 2}))
    monkeypatch.setattr(Tokenizer, "from_folder", lambda path: byte_tokenizer())
    alive, most, real = [], [], getattr(SafetensorsFile, read)

    def watched(file, name):
        most.append(sum(one() is not None for one in alive))
        array = real(file, name)
        if ".experts." in name:
            alive.append(ref(array.base))  # what its slices keep alive
        return array

    monkeypatch.setattr(SafetensorsFile, read, watched)
    found = et.load_pretrained(tmp_path, device="CPU")
    assert len(alive) == 15
    assert max(most) == 0
    gate = get_state_dict(found)["backbone.blocks.0.experts.gate_proj.weight"]
    given = get_state_dict(lm)["backbone.blocks.0.experts.gate_proj.weight"].cast(kind)
    assert (gate.float().numpy() == given.float().numpy()).all()
