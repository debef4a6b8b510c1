"""Qwen3.5, whose layers are recurrent: folders, and files as llama.cpp's converter writes them."""

import json

import numpy as np
import numpy_reference as reference
import pytest
from processors import BFLOATS
from test_gguf import METADATA, f32, write_gguf
from test_huggingface import write_safetensors
from test_model_families import q8_0, write_tokenizer
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.nn.backbone import Block
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.weights.families import FAMILIES
from edifice_tt.weights.gguf_parts import open_gguf
from edifice_tt.weights.huggingface_config import options_of

V, D, F, H, E = 259, 32, 64, 2, 16
KEYS, K, WIDE, CONV = 2, 8, 16, 4  # of the recurrence: heads of keys, sizes of keys and values
LAYERS, ATTENDED = 4, 3  # how many, and which has attention
TOKENS = [0, 3, 1, 4, 2, 0, 1, 9, 200]


def sizes(heads):
    return {
        "vocab_size": V,
        "hidden_size": D,
        "intermediate_size": F,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": H,
        "num_key_value_heads": 1,
        "head_dim": E,
        "linear_num_key_heads": KEYS,
        "linear_num_value_heads": heads,
        "linear_key_head_dim": K,
        "linear_value_head_dim": WIDE,
        "rms_norm_eps": 2**-16,
        "rope_theta": 1024.0,
        "partial_rotary_factor": 0.5,
        "max_position_embeddings": 64,
    }


def folder_weights(heads):
    """By the names and in the layout of a folder."""
    rng, values = np.random.default_rng(heads), heads * WIDE
    shapes = {"model.embed_tokens": (V, D), "lm_head": (V, D), "model.norm": (D,)}
    for i in range(LAYERS):
        p = f"model.layers.{i}"
        shapes |= {f"{p}.{n}_layernorm": (D,) for n in ("input", "post_attention")}
        shapes |= {f"{p}.mlp.{n}_proj": (F, D) for n in ("gate", "up")}
        shapes[f"{p}.mlp.down_proj"] = (D, F)
        if i == ATTENDED:
            attn = {"q_proj": (2 * H * E, D), "k_proj": (E, D), "v_proj": (E, D)}
            attn |= {"o_proj": (D, H * E), "q_norm": (E,), "k_norm": (E,)}
            shapes |= {f"{p}.self_attn.{n}": shape for n, shape in attn.items()}
        else:
            channels = 2 * KEYS * K + values
            delta = {"in_proj_qkv": (channels, D), "in_proj_z": (values, D), "norm": (WIDE,)}
            delta |= {"in_proj_a": (heads, D), "in_proj_b": (heads, D), "out_proj": (D, values)}
            delta["conv1d"] = (channels, 1, CONV)
            shapes |= {f"{p}.linear_attn.{n}": shape for n, shape in delta.items()}
            shapes |= {f"{p}.linear_attn.{n}": (heads,) for n in ("A_log", "dt_bias")}
    weights = {}
    for name, shape in shapes.items():
        plain = name.endswith(("A_log", "dt_bias"))
        scale = 0.5 if len(shape) == 1 else shape[-1] ** -0.5
        around = 1 if name.endswith("linear_attn.norm") else 0
        array = rng.standard_normal(shape).astype(np.float32) * np.float32(scale) + around
        weights[name if plain else f"{name}.weight"] = array.astype(np.float32)
    return weights


OURS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp": "ffn",
    "self_attn": "attn",
    "linear_attn": "delta",
    "in_proj_qkv": "qkv_proj",
    "in_proj_z": "z_proj",
    "in_proj_a": "a_proj",
    "in_proj_b": "b_proj",
    "out_proj": "o_proj",
    "A_log": "decay",
    "model": "",
    "norm": "norm",
    "layers": "blocks",
}


def meant(weights, heads):
    """The logits of `TOKENS`, as the family defines them."""
    ours = {}
    for name, weight in weights.items():
        w = weight.astype(np.float64)
        if name.endswith("norm.weight") and "linear_attn" not in name:
            w = 1 + w
        parts = [OURS.get(part, part) for part in name.split(".")]
        ours[".".join(part for part in parts if part)] = -np.exp(w) if "A_log" in name else w
    ours = {name.replace("conv1d.weight", "filter"): w for name, w in ours.items()}
    ours = {name: w[:, 0] if name.endswith("filter") else w for name, w in ours.items()}
    ours["final_norm.weight"] = ours["norm.weight"]
    config = BackboneConfig(
        hidden_size=D, num_layers=LAYERS, num_heads=H, num_kv_heads=1, head_dim=E, ffn_size=F,
        biases=(), final_norm="rms_norm", norm_eps=2**-16, final_norm_eps=2**-16,
        rope_base=1024.0, rotated=E // 2, qk_norm="head", gated_attention=True,
        recurrent_layers=tuple(i for i in range(LAYERS) if i != ATTENDED), delta_key_heads=KEYS,
        delta_value_heads=heads, delta_key_size=K, delta_value_size=WIDE, delta_conv=CONV,
    )  # fmt: skip
    hidden = reference.backbone(ours["embed_tokens.weight"][TOKENS], ours, config)
    return hidden @ ours["lm_head.weight"].T


def tiled(w, heads, size, axis=0):
    """Heads of values that stood by their keys, as the converter puts them: by turns."""
    split = np.moveaxis(w, axis, 0).reshape(KEYS, heads // KEYS, size, -1)
    shape = np.moveaxis(w, axis, 0).shape
    return np.moveaxis(split.swapaxes(0, 1).reshape(shape), 0, axis)


THEIRS = {
    "in_proj_qkv": "attn_qkv",
    "in_proj_z": "attn_gate",
    "in_proj_a": "ssm_alpha",
    "in_proj_b": "ssm_beta",
    "out_proj": "ssm_out",
    "norm": "ssm_norm",
    "conv1d": "ssm_conv1d",
}


def converted(weights, heads):
    """By the names and in the layout of a GGUF file."""
    found, plain = {}, 2 * KEYS * K
    for name, w in weights.items():
        *_, part, attribute = name.split(".")
        if "linear_attn" not in name:
            ours = FAMILIES["qwen35"].layers
            gguf = {folder: file for file, folder in ours.values()}
            pieces = name.split(".")
            index = pieces[2] if pieces[1] == "layers" else ""
            layer = ".".join([*pieces[:2], "{}", *pieces[3:-1]] if index else pieces[:-1])
            found[f"{gguf[layer].format(index)}.weight"] = w + 1 if "norm" in name else w
            continue
        block = f"blk.{name.split('.')[2]}"
        if attribute == "A_log":
            found[f"{block}.ssm_a"] = -np.exp(tiled(w, heads, 1))
        elif attribute == "dt_bias":
            found[f"{block}.ssm_dt.bias"] = tiled(w, heads, 1)
        else:
            if part in ("in_proj_qkv", "conv1d"):
                w = w[:, 0] if part == "conv1d" else w
                w = np.concatenate([w[:plain], tiled(w[plain:], heads, WIDE)])
            elif part in ("in_proj_z", "in_proj_a", "in_proj_b"):
                w = tiled(w, heads, WIDE if part == "in_proj_z" else 1)
            elif part == "out_proj":
                w = tiled(w, heads, WIDE, axis=1)
            found[f"{block}.{THEIRS[part]}.weight"] = w
    return found


def write_file(path, heads, blocks=f32, metadata=None, **more):
    known = {k.replace("llama.", "qwen35."): v for k, v in METADATA.items()}
    known |= {"general.architecture": "qwen35", "qwen35.block_count": LAYERS}
    known |= {"qwen35.attention.head_count": H, "qwen35.attention.head_count_kv": 1}
    known |= {"qwen35.attention.key_length": E, "qwen35.rope.dimension_count": E // 2}
    known |= {"qwen35.ssm.conv_kernel": CONV, "qwen35.ssm.state_size": K}
    known |= {"qwen35.ssm.group_count": KEYS, "qwen35.ssm.time_step_rank": heads}
    known |= {"qwen35.ssm.inner_size": heads * WIDE, "qwen35.full_attention_interval": 4}
    known |= {"qwen35.rope.dimension_sections": [2, 1, 1, 0]}
    known = {k: v for k, v in (known | (metadata or {})).items() if v is not None}
    weights = {**converted(folder_weights(heads), heads), **more}
    tensors = {
        name: (blocks if w.ndim == 2 and "conv1d" not in name else f32)(w)
        for name, w in weights.items()
    }
    return write_gguf(path, known, tensors)


def write_folder(folder, heads, config=None, names=lambda name: name, **more):
    folder.mkdir()
    said = {"model_type": "qwen3_5_text", **sizes(heads)} if config is None else config
    (folder / "config.json").write_text(json.dumps(said))
    write_tokenizer(folder)
    weights = {names(name): w for name, w in folder_weights(heads).items()} | more
    tensors = {name: Tensor(w).realize() for name, w in weights.items()}
    write_safetensors(folder / "model.safetensors", tensors, {})
    return folder


def logits(lm):
    return lm([TOKENS]).logits.numpy()[0]


@pytest.mark.slow
@pytest.mark.parametrize("heads", [2, 6])
def test_a_folder_and_a_file_compute_what_the_family_means(tmp_path, heads):
    expected = meant(folder_weights(heads), heads)
    folder = et.load_pretrained(write_folder(tmp_path / "folder", heads))
    file = et.load_pretrained(write_file(tmp_path / "m.gguf", heads))
    assert logits(folder) == pytest.approx(expected, abs=1e-4)
    assert logits(file) == pytest.approx(expected, abs=1e-4)
    assert (folder.config.delta_tiled, file.config.delta_tiled) == (False, heads != KEYS)
    assert np.abs(expected).max() > 1


@pytest.mark.slow
@pytest.mark.parametrize("activations", ["int8", pytest.param("bfloat16", marks=BFLOATS)])
def test_weights_stay_in_blocks_and_activations_can_be_rounded(tmp_path, monkeypatch, activations):
    path = write_file(tmp_path / "m.gguf", 6, q8_0)
    kept, floats = (et.load_pretrained(path, dtype=dtype) for dtype in (None, "float32"))
    delta = kept.backbone.blocks[0].delta
    parts = ("qkv_proj", "z_proj", "a_proj", "b_proj", "o_proj")
    assert {getattr(delta, part).packed.kind for part in parts} == {"Q8_0"}
    assert (logits(kept) == logits(floats)).all()
    rounded = et.load_pretrained(path, activations=activations)
    exact, found = logits(kept), logits(rounded)
    assert 0 < np.abs(found - exact).mean() < 0.2 * np.abs(exact).mean()
    monkeypatch.setattr(Block, "is_one_kernel", lambda self, x: False)
    assert logits(rounded) == pytest.approx(found, abs=1e-5)


@pytest.mark.slow
def test_a_model_is_saved_and_loaded(tmp_path):
    lm = et.load_pretrained(write_file(tmp_path / "m.gguf", 6))
    et.save(lm, tmp_path / "m.safetensors")
    again = et.load(tmp_path / "m.safetensors")
    assert again.config == lm.config
    assert (logits(again) == logits(lm)).all()


def of_text(name):
    return name.replace("model.", "model.language_model.", 1)


@pytest.mark.slow
def test_of_a_folder_that_sees_the_text_is_read(tmp_path):
    """Its vision, and the layers that guess several tokens ahead, reach no text."""
    plain = et.load_pretrained(write_folder(tmp_path / "plain", 6))
    text = {"model_type": "qwen3_5_text", **sizes(6), "tie_word_embeddings": True}
    config = {"model_type": "qwen3_5", "text_config": text, "tie_word_embeddings": False}
    one = np.ones((2, 3), np.float32)
    others = {"model.visual.blocks.0.attn.qkv.weight": one, "mtp.fc.weight": one}
    seeing = write_folder(tmp_path / "seeing", 6, config, of_text, **others)
    assert (logits(et.load_pretrained(seeing)) == logits(plain)).all()
    # Without a word for the whole, an embedding is no head, whatever the text says of itself.
    assert not options_of({"model_type": "qwen3_5", "text_config": text})[1].tied_embeddings


def test_a_gemma_3_that_sees_is_read_as_its_text():
    text = {"model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 6}
    text |= {"intermediate_size": 96, "sliding_window": 16}
    found = options_of({"model_type": "gemma3", "text_config": text, "vision_config": {}})
    assert found == options_of(text)
    assert found[1].vocab_size == 262208  # which published folders leave out
    family = FAMILIES["gemma3"]
    names = ("language_model.model.norm.weight", "model.language_model.norm.weight")
    assert {*map(family.of_text, names)} == {"model.norm.weight"}
    assert family.of_text("vision_tower.x") is family.of_text("multi_modal_projector.x") is None
    assert FAMILIES["llama"].of_text("vision_tower.x") == "vision_tower.x"


@pytest.mark.slow
def test_layers_that_guess_ahead_are_left_out(tmp_path):
    ahead = {f"blk.{LAYERS}.nextn.eh_proj.weight": np.ones((D, 2 * D), np.float32)}
    ahead |= {f"blk.{LAYERS}.attn_norm.weight": np.ones(D, np.float32)}
    said = {"qwen35.block_count": LAYERS + 1, "qwen35.nextn_predict_layers": 1}
    said["qwen35.attention.recurrent_layers"] = [True, True, True, False, False]
    lm = et.load_pretrained(write_file(tmp_path / "m.gguf", 6, metadata=said, **ahead))
    assert lm.config.num_layers == LAYERS
    plain = et.load_pretrained(write_file(tmp_path / "n.gguf", 6))
    assert (logits(lm) == logits(plain)).all()
    with pytest.raises(CheckpointError, match=r"not in the model: blk.4.attn_norm.weight"):
        et.load_pretrained(write_file(tmp_path / "o.gguf", 6, **ahead))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"general.architecture": "qwen35moe"}, "architecture 'qwen35moe' is not supported"),
        ({"qwen35.expert_count": 4}, "a mixture of experts is not supported"),
        ({"qwen35.ssm.state_size": None}, "the key 'qwen35.ssm.state_size' is missing"),
        ({"qwen35.ssm.inner_size": 97}, "inner_size=97, expected a multiple of ssm.time_step_rank"),
        ({"qwen35.attention.recurrent_layers": [True] * 3}, "expected one truth per layer"),
        ({"qwen35.nextn_predict_layers": 4}, "block_count=0 for"),
        ({"qwen35.ssm.group_count": 4}, "delta_value_heads=6 must be a multiple of"),
        ({"qwen35.ssm.state_size": 7}, r"shape \(128, 32\), the model has \(124, 32\)"),
    ],
    ids=str,
)
def test_a_file_of_what_is_not_computed_is_refused(tmp_path, said, message):
    with pytest.raises(CheckpointError, match=message):
        et.load_pretrained(write_file(tmp_path / "m.gguf", 6, metadata=said))


def test_a_file_says_which_layers_are_recurrent(tmp_path):
    said = {"qwen35.attention.recurrent_layers": [True, True, True, False]}
    path = write_file(
        tmp_path / "m.gguf", 2, metadata={**said, "qwen35.full_attention_interval": 7}
    )
    assert et.load_pretrained(path).config.recurrent_layers == (0, 1, 2)
    assert "qwen35.full_attention_interval" in open_gguf(path).metadata


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "qwen3_5_moe_text"}, "model_type 'qwen3_5_moe_text' is not supported"),
        ({"model_type": "qwen3_5"}, "text_config=None, expected a record of model_type 'qwen3_5_t"),
        ({"model_type": "qwen3_5", "text_config": {"model_type": "qwen3"}}, "text_config=.*qwen3'"),
    ],
    ids=str,
)
@pytest.mark.first(1)
def test_a_folder_without_this_text_is_refused(tmp_path, config, message):
    with pytest.raises(CheckpointError, match=message):
        et.load_pretrained(write_folder(tmp_path / "folder", 2, config))


def test_a_weight_that_is_there_by_two_names_is_refused(tmp_path):
    both = {"model.language_model.norm.weight": np.ones(D, np.float32)}
    with pytest.raises(CheckpointError, match="a weight is there by two names"):
        et.load_pretrained(write_folder(tmp_path / "folder", 2, None, **both))
