"""Hugging Face folders of the `llama` type -> `causal_lm`.

Reads `config.json`, safetensors (one file, or several with an index) and `tokenizer.json`; runs no
code that a folder may hold. Weights become float32 unless told otherwise.
"""

import json
import math
from pathlib import Path
from typing import Any

from tinygrad import dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.errors import CheckpointError
from edifice_tt.exclusive import exclusive
from edifice_tt.nn.precision import HALVES, choose_dtype, narrow
from edifice_tt.toolchain import open_device
from edifice_tt.weights.footprint import check_weights
from edifice_tt.weights.safetensors import (
    SafetensorsFile,
    check_finite,
    check_fit,
    differences,
    foreign,
    open_safetensors,
)
from edifice_tt.weights.tokenizer import Tokenizer

# Our name of a layer -> the folder's; `{}` is the number of the block.
_LAYERS = {
    "token_embedding": "model.embed_tokens",
    "backbone.final_norm": "model.norm",
    "lm_head": "lm_head",
    "attn_norm": "model.layers.{}.input_layernorm",
    "attn.q_proj": "model.layers.{}.self_attn.q_proj",
    "attn.k_proj": "model.layers.{}.self_attn.k_proj",
    "attn.v_proj": "model.layers.{}.self_attn.v_proj",
    "attn.o_proj": "model.layers.{}.self_attn.o_proj",
    "ffn_norm": "model.layers.{}.post_attention_layernorm",
    "ffn.gate_proj": "model.layers.{}.mlp.gate_proj",
    "ffn.up_proj": "model.layers.{}.mlp.up_proj",
    "ffn.down_proj": "model.layers.{}.mlp.down_proj",
}


def is_huggingface(path: Path) -> bool:
    """Whether a folder holds a model's `config.json`."""
    return (path / "config.json").is_file()


@exclusive
def load_huggingface(path: Path, device: str | None = None, dtype: str | None = None) -> CausalLM:
    """Build the language model that a folder holds, with its tokenizer.

    Raises `CheckpointError` for another model type than `llama`, a damaged or incomplete folder,
    and with all differences in the weights at once.
    """
    opened = open_device(device)
    dtype = choose_dtype(dtype, opened)
    try:
        config = _read_config(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path / 'config.json'}: {error}") from error
    model, tokenizer = CausalLM(config), Tokenizer.from_folder(path)
    weights = get_state_dict(model)
    ours = {_name_in_folder(name): name for name in weights}
    sources = {name: file for file in _files(path) for name in file.entries}
    if config.tied_embeddings:
        sources.pop("lm_head.weight", None)  # some folders store the shared weight twice
    found = {}
    for name, file in sources.items():
        entry = file.entries[name]
        kind = dtypes.float32 if entry.dtype in HALVES else entry.dtype
        found[ours.get(name, foreign(name, weights))] = (entry.shape, kind)
    check_fit(path, differences(weights, found))
    check_weights(path, [shape for shape, _ in found.values()], opened, dtype)
    loaded = {}
    for theirs, name in ours.items():
        tensor = sources[theirs].read(theirs, opened, dtypes.float32)
        check_finite(path, theirs, tensor)
        loaded[name] = narrow(name, tensor, dtype)
    for name, tensor in loaded.items():
        weights[name].replace(tensor)
    model.tokenizer = tokenizer
    return model


def _name_in_folder(name: str) -> str:
    layer = name.removesuffix(".weight")
    if layer in _LAYERS:
        return f"{_LAYERS[layer]}.weight"
    _, _, index, part = layer.split(".", 3)
    return f"{_LAYERS[part].format(index)}.weight"


def _files(path: Path) -> list[SafetensorsFile]:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return [open_safetensors(path / "model.safetensors")]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{index}: damaged ({error}); download it again") from error
    if any(Path(name).name != name for name in names):
        raise CheckpointError(f"{index}: names a file outside its folder")
    return [open_safetensors(path / name) for name in names]


def _read_config(config: dict[str, Any]) -> CausalLMConfig:
    if (kind := config.get("model_type")) != "llama":
        raise ValueError(f"model_type {kind!r} is not supported; supported: llama")
    for key, expected in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if config.get(key, expected) != expected:
            raise ValueError(f"{key}={config[key]!r} is not supported; supported: {expected!r}")
    required = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    if missing := [key for key in (*required, "intermediate_size") if key not in config]:
        raise ValueError(f"{' and '.join(missing)} missing; download it again")
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    # Newer folders keep the base and the scaling in one record.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = float(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    return CausalLMConfig(
        vocab_size=config["vocab_size"],
        context_length=config.get("max_position_embeddings", 2048),
        hidden_size=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        ffn_size=config["intermediate_size"],
        norm_eps=config.get("rms_norm_eps", 1e-6),
        rope_base=base,
        rope_factors=_rope_factors(rope, base, head_dim),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def _rope_factors(rope: dict[str, Any], base: float, head_dim: int) -> tuple[float, ...] | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind == "linear":
        return (float(rope["factor"]),) * (head_dim // 2)
    if kind != "llama3":
        raise ValueError(f"rope type {kind!r} is not supported; supported: default, linear, llama3")
    # Llama 3.1: slow rotations are stretched, fast ones kept, those between blended.
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    factors = []
    for i in range(head_dim // 2):
        wavelength = 2 * math.pi * base ** (2 * i / head_dim)
        turns = rope["original_max_position_embeddings"] / wavelength
        keep = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - keep) / rope["factor"] + keep))
    return tuple(factors)
