"""The header of a GGUF file of a known family -> the options of `causal_lm`.

Each key by its type, and in the range that its option can have. Reads no weight but the factors of
the rotation.
"""

from typing import Any

import numpy as np

from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.options import check_range, check_size
from edifice_tt.weights.families import find_family
from edifice_tt.weights.families.family import SCALARS, Family
from edifice_tt.weights.gguf_parts import Header
from edifice_tt.weights.options import check_file
from edifice_tt.weights.rotations import yarn, yarn_scale

ROPE_FACTORS = "rope_freqs.weight"
LONG_ROPE_FACTORS = ("rope_factors_short.weight", "rope_factors_long.weight")
# A key of the file behind the family's name -> our option, whose values it can have.
_OPTIONS = {
    "context_length": "context_length",
    "embedding_length": "hidden_size",
    "block_count": "num_layers",
    "attention.head_count": "num_heads",
    "attention.head_count_kv": "num_kv_heads",
    "attention.key_length": "head_dim",
    "rope.dimension_count": "head_dim",
    "feed_forward_length": "ffn_size",
    "attention.layer_norm_rms_epsilon": "norm_eps",
    "rope.freq_base": "rope_base",
    "rope.freq_base_swa": "rope_base",
}


def read_config(header: Header) -> tuple[Family, CausalLMConfig]:
    """The family of a file, and the options that it asks for; raises `ValueError`."""
    architecture = header.metadata.get("general.architecture")
    for key, value in header.metadata.items():
        if _is_needed(key, architecture) and _holds_bytes(value):
            raise ValueError(f"the text of {key!r:.60} is not UTF-8; download it again")
    family = find_family("architecture", architecture)

    def read(key: str, kind: type[int] | type[float], default: Any = None) -> Any:
        name, option = f"{family.name}.{key}", _OPTIONS[key]
        value = _needed(header, name, kind, default)
        if kind is float:
            check_range(option, value, name)
        else:
            check_size(option, value, name)
        return value

    experts = header.metadata.get(f"{family.name}.expert_count")
    if experts and family.experts is None:
        raise ValueError(
            f"{family.name}.expert_count={experts!r:.60}: a mixture of experts is not supported; "
            "use a dense model"
        )
    if "token_embd.weight" not in header.entries:
        raise ValueError("tensor 'token_embd.weight' is missing; convert the model again")
    hidden_size, num_heads = read("embedding_length", int), read("attention.head_count", int)
    head_dim = read("attention.key_length", int, max(1, hidden_size // num_heads))
    rotated = read("rope.dimension_count", int, head_dim)
    if rotated != head_dim and "partial_rotary_factor" not in family.defaults:
        raise ValueError(
            f"{family.name}.rope.dimension_count={rotated}, expected the head's {head_dim}"
        )
    context_length = read("context_length", int)
    check_file(header.metadata, family, head_dim, context_length)
    num_layers = read("block_count", int) - _ahead(header, family)
    if not 0 < num_layers <= len(header.entries):
        raise ValueError(
            f"{family.name}.block_count={num_layers} for {len(header.entries)} tensors"
        )
    base = read("rope.freq_base", float, 10000.0)
    options = {
        "vocab_size": header.entries["token_embd.weight"].shape[0],
        "context_length": context_length,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": read("attention.head_count_kv", int, num_heads),
        "head_dim": head_dim,
        "ffn_size": read("feed_forward_length", int),
        "norm_eps": read("attention.layer_norm_rms_epsilon", float),
        "rope_base": base,
        "rotated": rotated if rotated != head_dim else 0,
        "tied_embeddings": "output.weight" not in header.entries,
        "biases": family.biases_in(header.entries),
        "windows": _windows(header, family, num_layers),
        "unrotated_layers": tuple(
            layer
            for layer in range(num_layers)
            if family.unrotated and family.unrotated(layer, family.defaults)
        ),
        **family.options,
        **(_experts(header, family, num_layers) if family.experts else {}),
        **(_recurrence(header, family, num_layers) if family.recurrence else {}),
        **_stretch(header, family.name, base, rotated, context_length),
    }
    if "rope_local_base_freq" in family.defaults:
        local = float(family.defaults["rope_local_base_freq"])
        options["window_rope_base"] = read("rope.freq_base_swa", float, local)
    options.update(family.derived(options))
    for scalar in map(SCALARS.__getitem__, family.scalars):
        key = f"{family.name}.{scalar.gguf}"
        if value := header.metadata.get(key):  # 0 is none, as in llama.cpp
            options[scalar.option] = scalar.convert(_positive(key, value, float))
    return family, CausalLMConfig(**options)


def _positive(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    if type(value) is not kind or not value > 0:
        raise ValueError(f"{name}={value!r:.60}, expected a positive {kind.__name__}")
    return value


def _needed(header: Header, name: str, kind: type[int] | type[float], default: Any = None) -> Any:
    if (value := header.metadata.get(name, default)) is None:
        raise ValueError(f"the key {name!r} is missing; convert the model again")
    return _positive(name, value, kind)


def _truths(name: str, listed: Any, layers: int) -> list[bool]:
    kinds = {"0", "1", "False", "True"}
    if not isinstance(listed, list) or len(listed) != layers or not {*map(str, listed)} <= kinds:
        raise ValueError(f"{name}={listed!r:.60}, expected one truth per layer")
    return [bool(one) for one in listed]


def _experts(header: Header, family: Family, layers: int) -> dict[str, Any]:
    """The options of a mixture. Whether its shares add up to 1 is one of the family's."""

    def read(key: str, default: Any = None) -> int:
        return int(_needed(header, f"{family.name}.{key}", int, default))

    router = "blk.{}.ffn_gate_inp.weight"
    return {
        "experts": read("expert_count"),
        "experts_used": read("expert_used_count"),
        "expert_size": read("expert_feed_forward_length", read("feed_forward_length")),
        "dense_layers": tuple(
            layer for layer in range(layers) if router.format(layer) not in header.entries
        ),
    }


def _recurrence(header: Header, family: Family, layers: int) -> dict[str, Any]:
    def read(key: str, default: Any = None) -> int:
        return int(_needed(header, f"{family.name}.{key}", int, default))

    keys, heads, inner = (
        read(f"ssm.{key}") for key in ("group_count", "time_step_rank", "inner_size")
    )
    if inner % heads:
        raise ValueError(
            f"{family.name}.ssm.inner_size={inner}, expected a multiple of "
            f"ssm.time_step_rank={heads}"
        )
    every = read("full_attention_interval", family.defaults["full_attention_interval"])
    name = f"{family.name}.attention.recurrent_layers"
    total = layers + _ahead(header, family)
    usual = [(layer + 1) % every != 0 for layer in range(total)]
    has = _truths(name, header.metadata.get(name, usual), total)
    return {
        "recurrent_layers": tuple(layer for layer in range(layers) if has[layer]),
        "delta_key_heads": keys,
        "delta_value_heads": heads,
        "delta_key_size": read("ssm.state_size"),
        "delta_value_size": inner // heads,
        "delta_conv": read("ssm.conv_kernel"),
        # As the converter puts the heads of values, unless each has keys of its own.
        "delta_tiled": 1 < keys < heads,
    }


def _ahead(header: Header, family: Family) -> int:
    """The last layers, which only guess several tokens ahead."""
    name = f"{family.name}.nextn_predict_layers"
    count = header.metadata.get(name, 0) if family.recurrence else 0
    return int(_positive(name, count, int)) if count else 0


def beyond(header: Header, family: Family, layers: int) -> set[str]:
    """The tensors of layers that decoding leaves out."""
    ahead = tuple(f"blk.{layers + i}." for i in range(_ahead(header, family)))
    return {name for name in header.entries if name.startswith(ahead)} if ahead else set()


def _windows(header: Header, family: Family, layers: int) -> tuple[int, ...]:
    """The window of each layer; none where the file or the family has none."""
    name = f"{family.name}.attention.sliding_window"
    size = header.metadata.get(name, 0)
    if family.windowed is None or size == 0:
        return ()
    size = _positive(name, size, int)
    pattern = header.metadata.get(f"{name}_pattern")
    if isinstance(pattern, list):  # whether each layer has one
        has = _truths(f"{name}_pattern", pattern, layers)
    elif pattern is not None:  # every so many layers, one has none
        every = _positive(f"{name}_pattern", pattern, int)
        has = [(layer + 1) % every != 0 for layer in range(layers)]
    else:
        has = [family.windowed(layer, family.defaults) for layer in range(layers)]
    return tuple(size if one else 0 for one in has) if any(has) else ()


def _stretch(header: Header, family: str, base: float, size: int, context: int) -> dict[str, Any]:
    """The options that the file's `rope.scaling` asks for."""
    prefix = f"{family}.rope.scaling"

    def read(key: str, default: float) -> float:
        value = header.metadata.get(f"{prefix}.{key}", default)
        if type(value) is not float:
            raise ValueError(f"{prefix}.{key}={value!r:.60}, expected a float")
        return value

    # Without a type, a factor means linear, and 0 means none, as in llama.cpp.
    kind = header.metadata.get(f"{prefix}.type", "linear")
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise ValueError(
            f"{prefix}.type={kind!r:.60} is not supported; supported: linear, yarn, longrope"
        )
    old = header.metadata.get(f"{family}.rope.scale_linear", 0.0)  # its name in older files
    scale = read("factor", old) if kind in ("linear", "yarn") else 0.0
    if scale:
        check_range("rope_factors", scale, f"{prefix}.factor")
    length = f"{prefix}.original_context_length"
    original = _positive(length, header.metadata.get(length, context), int)
    options: dict[str, Any] = {}
    if (growth := read("attn_factor", 1.0)) != 1:
        options["rope_scale"] = growth
    pairs = size // 2
    factors = np.full(pairs, scale or 1.0)
    if kind == "yarn" and scale:
        turns = read("yarn_beta_fast", 32.0), read("yarn_beta_slow", 1.0)
        factors = np.array(yarn(base, size, scale, original, *turns))
        options["rope_scale"] = growth * yarn_scale(scale)
    short, long = (_read_factors(header, name, pairs) for name in LONG_ROPE_FACTORS)
    if (short is None) != (long is None) or (kind == "longrope" and short is None):
        raise ValueError(f"{' and '.join(LONG_ROPE_FACTORS)} must both be there; convert it again")
    if kind == "longrope" and read("factor", 0.0) not in (0, 1):
        raise ValueError(f"{prefix}.factor is not supported with the type longrope; remove it")
    if short is not None and long is not None:
        options |= {"long_rope_factors": long, "long_rope_from": int(original)}
        factors = factors * short
    if (every := _read_factors(header, ROPE_FACTORS, pairs)) is not None:
        factors = factors * every
    for factor in factors.tolist():
        check_range("rope_factors", factor, "a rotary scaling factor")
    if (factors != 1).any():
        options["rope_factors"] = tuple(factors.tolist())
    return options


def _read_factors(header: Header, name: str, pairs: int) -> tuple[float, ...] | None:
    if (entry := header.entries.get(name)) is None:
        return None
    if entry.ggml_type != 0 or entry.shape != (pairs,):
        raise ValueError(f"tensor {name!r} is {entry}, expected F32 {(pairs,)}")
    return tuple(header.mapped(entry.start, entry.stop).view("<f4").tolist())


def _is_needed(key: str, architecture: Any) -> bool:
    named = key in ("general.architecture", "tokenizer.chat_template")
    return named or key.startswith((f"{architecture}.", "tokenizer.ggml."))


def _holds_bytes(value: Any) -> bool:
    return bytes in map(type, value if isinstance(value, list) else [value])
