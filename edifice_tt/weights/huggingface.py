"""Hugging Face folders of the `llama` type -> `causal_lm`.

Reads `config.json`, safetensors (one file, or several with an index) and `tokenizer.json`; runs no
code that a folder may hold. Weights become float32 unless told otherwise.
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from tinygrad import dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.errors import CheckpointError
from edifice_tt.exclusive import exclusive
from edifice_tt.nn.init import give_back
from edifice_tt.nn.precision import HALVES, choose_dtype, hold
from edifice_tt.toolchain import open_device
from edifice_tt.weights.footprint import check_weights
from edifice_tt.weights.options import check_folder
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
# The types of rotation, and what each is made of.
_ROPE_OPTIONS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


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
        given = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if not isinstance(given, dict):
            raise ValueError("no JSON object; download it again")
        config = _read_config(given)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path / 'config.json'}: {error}") from error
    model, tokenizer = CausalLM(config), Tokenizer.from_folder(path)
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{path / 'tokenizer.json'}: {tokenizer.vocab_size} tokens for {config.vocab_size} "
            "embeddings (vocab_size of config.json); use the tokenizer of this model"
        )
    weights = get_state_dict(model)
    ours = {_name_in_folder(name): name for name in weights}
    sources = {name: file for file in _files(path) for name in file.entries}
    _check_head(path, sources, config)
    if config.tied_embeddings:
        sources.pop(_HEAD, None)
    found = {}
    for name, file in sources.items():
        entry = file.entries[name]
        kind = dtypes.float32 if entry.dtype in HALVES else entry.dtype
        found[ours.get(name, foreign(name, weights))] = (entry.shape, kind)
    check_fit(path, differences(weights, found))
    check_weights(path, [shape for shape, _ in found.values()], opened, dtype)
    loaded = {}
    for theirs, name in ours.items():
        exact = sources[theirs].floats(theirs)
        check_finite(path, theirs, exact)
        loaded[name] = hold(name, exact, dtype, opened)
        del exact  # before the next is read
    for name, tensor in loaded.items():
        weights[name].replace(tensor)
    give_back(opened)
    model.tokenizer = tokenizer
    return model


def _check_head(path: Path, sources: dict[str, SafetensorsFile], config: CausalLMConfig) -> None:
    """Some folders store the shared weight twice; raises unless the two are the same."""
    if not config.tied_embeddings and _HEAD not in sources:
        raise CheckpointError(
            f"{path}: {_HEAD} is missing, and config.json does not say tie_word_embeddings=true; "
            "say it if the embedding serves as the head, else download the folder again"
        )
    if config.tied_embeddings and _HEAD in sources and _EMBEDDING in sources:
        parts = (sources[name].parts(name) for name in (_HEAD, _EMBEDDING))
        if not all(itertools.starmap(np.array_equal, itertools.zip_longest(*parts))):
            raise CheckpointError(
                f"{path}: config.json says tie_word_embeddings=true, but {_HEAD} is another weight "
                f"than {_EMBEDDING}; say tie_word_embeddings=false if the model has a head of its "
                f"own, else remove {_HEAD}"
            )


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
    def read(key: str, kind: type[int] | type[float], default: Any = None) -> Any:
        if (value := config.get(key)) is None:
            value = default
        return _positive(key, value, kind)

    if (kind := config.get("model_type")) != "llama":
        raise ValueError(f"model_type {kind!r} is not supported; supported: llama")
    required = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    if missing := [key for key in (*required, "intermediate_size") if key not in config]:
        raise ValueError(f"{' and '.join(missing)} missing; download it again")
    hidden_size, heads = read("hidden_size", int), read("num_attention_heads", int)
    head_dim = read("head_dim", int, hidden_size // heads)
    context = read("max_position_embeddings", int, 2048)
    check_folder(config, head_dim, context)
    base, factors = _read_rope(config, head_dim)
    return CausalLMConfig(
        vocab_size=read("vocab_size", int),
        context_length=context,
        hidden_size=hidden_size,
        num_layers=read("num_hidden_layers", int),
        num_heads=heads,
        num_kv_heads=read("num_key_value_heads", int, heads),
        head_dim=head_dim,
        ffn_size=read("intermediate_size", int),
        norm_eps=read("rms_norm_eps", float, 1e-6),
        rope_base=base,
        rope_factors=factors,
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def _positive(key: str, value: Any, kind: type[int] | type[float]) -> Any:
    accepted = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted) or not 0 < value < math.inf:
        raise ValueError(f"{key}={value!r:.60}, expected a positive {kind.__name__}")
    return kind(value)


def _read_rope(config: dict[str, Any], head_dim: int) -> tuple[float, tuple[float, ...] | None]:
    """Base and factors of the rotation. Folders write them in one record, or the base beside it."""
    keys = [key for key in ("rope_scaling", "rope_parameters") if config.get(key)]
    found = {key: _read_record(key, config, head_dim) for key in keys}
    if len(set(found.values())) > 1:
        raise ValueError(
            "rope_scaling and rope_parameters say different things; remove the one that is wrong"
        )
    return next(iter(found.values())) if found else _read_record("", config, head_dim)


def _read_record(
    key: str, config: dict[str, Any], head_dim: int
) -> tuple[float, tuple[float, ...] | None]:
    rope = config.get(key) or {}
    if not isinstance(rope, dict):
        raise ValueError(f"{key}={rope!r:.60}, expected a record")
    bases = {"rope_theta": config.get("rope_theta"), f"{key}.rope_theta": rope.get("rope_theta")}
    given = {name: _positive(name, base, float) for name, base in bases.items() if base is not None}
    if len(set(given.values())) > 1:
        raise ValueError(
            f"{' and '.join(f'{name}={base}' for name, base in given.items())} differ; remove the "
            "one that is wrong"
        )
    base = next(iter(given.values()), 10000.0)
    original = "original_max_position_embeddings"
    lengths = [one[original] for one in (config, rope) if one.get(original) is not None]
    if len(set(map(str, lengths))) > 1:
        raise ValueError(f"{original} and {key}.{original} differ; remove the one that is wrong")
    # As transformers takes it: without the length before stretching, the length after it.
    lengths.append(config.get("max_position_embeddings") or 2048)
    return base, _rope_factors({**rope, original: lengths[0]}, base, head_dim)


def _rope_factors(rope: dict[str, Any], base: float, head_dim: int) -> tuple[float, ...] | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if not isinstance(kind, str) or kind not in _ROPE_OPTIONS:
        known = ", ".join(_ROPE_OPTIONS)
        raise ValueError(f"rope type {kind!r:.60} is not supported; supported: {known}")
    options = {key: _positive(key, rope.get(key), float) for key in _ROPE_OPTIONS[kind]}
    names = {*options, "rope_type", "type", "rope_theta", "original_max_position_embeddings"}
    for key in rope.keys() - names:
        if rope[key] not in (None, 1, False):
            raise ValueError(f"{key}={rope[key]!r:.60} is not supported with rope type {kind!r}")
    if kind == "default":
        return None
    if kind == "linear":
        return (options["factor"],) * (head_dim // 2)
    # Llama 3.1: slow rotations are stretched, fast ones kept, those between blended.
    low, high = options["low_freq_factor"], options["high_freq_factor"]
    if low >= high:
        raise ValueError(f"low_freq_factor={low} must be below high_freq_factor={high}")
    factors = []
    for i in range(head_dim // 2):
        wavelength = 2 * math.pi * base ** (2 * i / head_dim)
        turns = options["original_max_position_embeddings"] / wavelength
        keep = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - keep) / options["factor"] + keep))
    return tuple(factors)
