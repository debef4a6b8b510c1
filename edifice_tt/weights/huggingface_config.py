"""A `config.json` of a known family -> the options of `causal_lm`. Reads no weight.

Each key by its type, and in the range that its option can have.
"""

import sys
from pathlib import Path
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.contract.options import check_range, check_size
from edifice_tt.machine.json_text import parse_record
from edifice_tt.weights.families import find_family
from edifice_tt.weights.families.family import SCALARS, Family
from edifice_tt.weights.options import check_folder
from edifice_tt.weights.rotations import llama3, longrope_scale, yarn, yarn_scale

# The types of rotation, with the numbers that each needs, and those that it may have.
_LENGTH = "original_max_position_embeddings"
_ROPE_OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", _LENGTH), ()),
    "yarn": (
        (_LENGTH,),
        ("factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"),
    ),
    "longrope": ((_LENGTH,), ("factor", "attention_factor")),
}
_ACTIVATIONS = {
    **dict.fromkeys(("silu", "swish"), "silu"),
    **dict.fromkeys(("gelu_pytorch_tanh", "gelu_new"), "gelu_tanh"),
}
# A key of `config.json` -> our option, whose sizes it can have.
_OPTIONS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "head_dim",
    "intermediate_size": "ffn_size",
    "max_position_embeddings": "context_length",
}
_LARGEST = sys.float_info.max
_KINDS = {"full_attention", "sliding_attention"}
_BITS = {"0", "1", "False", "True"}
_LENGTHS = (_LENGTH, "max_position_embeddings")


def read_config(path: Path) -> tuple[Family, CausalLMConfig]:
    """The family and options that a `config.json` asks for.

    Raises `CheckpointError` for a damaged one.
    """
    try:
        return options_of(parse_record(path.read_bytes()))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def options_of(config: dict[str, Any]) -> tuple[Family, CausalLMConfig]:
    """The same, of what was read; raises `ValueError`."""
    family = find_family("model_type", config.get("model_type"))
    base = family.defaults.get("rope_theta", 10000.0)  # where no record of a rotation says it
    config = {key: one for key, one in family.defaults.items() if key != "rope_theta"} | config

    def read(key: str, kind: type[int] | type[float], default: Any = None) -> Any:
        if (value := config.get(key)) is None:
            value = default
        value = _positive(key, value, kind)
        if kind is int:
            check_size(_OPTIONS[key], value, key)
        return value

    required = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    if missing := [key for key in (*required, "intermediate_size") if key not in config]:
        raise ValueError(f"{' and '.join(missing)} missing; download it again")
    hidden_size, heads = read("hidden_size", int), read("num_attention_heads", int)
    head_dim = read("head_dim", int, max(1, hidden_size // heads))
    layers, context = read("num_hidden_layers", int), read("max_position_embeddings", int, 2048)
    check_folder(config, family, head_dim, context)
    tied, *biased = (
        _truth(key, config.get(key)) for key in ("tie_word_embeddings", *family.bias_options)
    )
    optional = zip(family.bias_options.values(), biased, strict=True)
    eps = read("rms_norm_eps", float, 1e-6)
    check_range("norm_eps", eps, "rms_norm_eps")
    options = {
        "vocab_size": read("vocab_size", int),
        "context_length": context,
        "hidden_size": hidden_size,
        "num_layers": layers,
        "num_heads": heads,
        "num_kv_heads": read("num_key_value_heads", int, heads),
        "head_dim": head_dim,
        "ffn_size": read("intermediate_size", int),
        "norm_eps": eps,
        "tied_embeddings": tied,
        "biases": (*family.biases, *(part for parts, on in optional if on for part in parts)),
        "windows": _windows(family, config, layers),
        "unrotated_layers": _unrotated(family, config, layers),
        **(family.experts(config, layers) if family.experts else {}),
        **_activation(config),
        **family.options,
        **_read_rotations(family, config, head_dim, base),
    }
    scalars = {
        SCALARS[key].option: SCALARS[key].convert(_positive(key, config[key], float))
        for key in family.scalars
        if config.get(key) is not None
    }
    return family, CausalLMConfig(**{**options, **family.derived(options), **scalars})


def _activation(config: dict[str, Any]) -> dict[str, str]:
    key = "hidden_activation" if config.get("hidden_activation") is not None else "hidden_act"
    name = "silu" if config.get(key) is None else config[key]
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise ValueError(
            f"{key}={name!r:.60} is not supported; supported: {', '.join(_ACTIVATIONS)}"
        )
    return {"activation": _ACTIVATIONS[name]}


def _windows(family: Family, config: dict[str, Any], layers: int) -> tuple[int, ...]:
    """The window of each layer; none where the config or the family has none."""
    size = config.get("sliding_window")
    if family.windowed is None or size is None or config.get("use_sliding_window") is False:
        return ()
    size = _positive("sliding_window", size, int)
    kinds = config.get("layer_types")
    if kinds is None:
        has = [family.windowed(layer, config) for layer in range(layers)]
    elif isinstance(kinds, list) and len(kinds) == layers and {*map(str, kinds)} <= _KINDS:
        has = [kind == "sliding_attention" for kind in kinds]
    else:
        raise ValueError(
            f"layer_types={kinds!r:.60} is not supported; supported: one of {', '.join(_KINDS)} "
            f"for each of {layers} layers"
        )
    return tuple(size if one else 0 for one in has) if any(has) else ()


def _unrotated(family: Family, config: dict[str, Any], layers: int) -> tuple[int, ...]:
    if family.unrotated is None:
        return ()
    rotated = config.get("no_rope_layers")  # 1 for each layer that is, 0 for others
    if rotated is None:
        return tuple(layer for layer in range(layers) if family.unrotated(layer, config))
    if not isinstance(rotated, list) or len(rotated) != layers or not {*map(str, rotated)} <= _BITS:
        raise ValueError(f"no_rope_layers={rotated!r:.60}, expected 0 or 1 for {layers} layers")
    return tuple(layer for layer, one in enumerate(rotated) if not one)


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool | None):
        raise ValueError(f"{key}={value!r:.60}, expected true or false")
    return bool(value)


def _positive(key: str, value: Any, kind: type[int] | type[float]) -> Any:
    accepted = int if kind is int else (int, float)
    # Not infinite, nor a whole number that no float holds.
    if isinstance(value, bool) or not isinstance(value, accepted) or not 0 < value <= _LARGEST:
        raise ValueError(f"{key}={value!r:.60}, expected a positive {kind.__name__}")
    return kind(value)


def _read_rotations(
    family: Family, config: dict[str, Any], head_dim: int, base: float
) -> dict[str, Any]:
    """The options of the rotation, and of another one in layers with a window.

    Folders write them in one record, in one for each kind of layer, or the base beside them.
    """
    by_kind = config.get("rope_parameters")
    local = config.get("rope_local_base_freq") if family.model_type == "gemma3_text" else None
    if local is None or not isinstance(by_kind, dict) or not by_kind.keys() & _KINDS:
        options = _read_rope(config, head_dim, base)
        if local is not None:
            options["window_rope_base"] = _base("rope_local_base_freq", local)
        return options
    if unknown := by_kind.keys() - _KINDS:
        raise ValueError(f"rope_parameters has {min(unknown)!r:.60}, which is no kind of layer")
    defaults = {
        "full_attention": base if config.get("rope_theta") is None else config["rope_theta"],
        "sliding_attention": local,
    }
    found = []
    for kind, usual in defaults.items():
        record = by_kind.get(kind)
        record = {"rope_theta": usual, **({} if record is None else _record(kind, record))}
        rest = {key: config[key] for key in (*_LENGTHS, "partial_rotary_factor") if key in config}
        found.append(_read_rope({**rest, "rope_parameters": record}, head_dim, base))
    full, windowed = found
    if windowed.keys() - {"rope_base", "rope_factors"}:
        raise ValueError("rope_parameters.sliding_attention has a rotation that is not supported")
    return full | {f"window_{option}": value for option, value in windowed.items()}


def _read_rope(config: dict[str, Any], head_dim: int, base: float) -> dict[str, Any]:
    keys = [key for key in ("rope_scaling", "rope_parameters") if config.get(key) not in (None, {})]
    found = [_read_record(key, config, head_dim, base) for key in keys]
    if any(one != found[0] for one in found):
        raise ValueError(
            "rope_scaling and rope_parameters say different things; remove the one that is wrong"
        )
    return found[0] if found else _read_record("", config, head_dim, base)


def _record(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{key}={value!r:.60}, expected a record")
    return value


def _base(key: str, value: Any) -> float:
    base = _positive(key, value, float)
    check_range("rope_base", base, key)
    return float(base)


def _read_record(key: str, config: dict[str, Any], head_dim: int, base: float) -> dict[str, Any]:
    rope = {} if config.get(key) is None else _record(key, config[key])
    bases = {"rope_theta": config.get("rope_theta"), f"{key}.rope_theta": rope.get("rope_theta")}
    given = {name: _base(name, base) for name, base in bases.items() if base is not None}
    if len(set(given.values())) > 1:
        raise ValueError(
            f"{' and '.join(f'{name}={base}' for name, base in given.items())} differ; remove the "
            "one that is wrong"
        )
    base = next(iter(given.values()), base)
    lengths = [one[_LENGTH] for one in (config, rope) if one.get(_LENGTH) is not None]
    if len(set(map(str, lengths))) > 1:
        raise ValueError(f"{_LENGTH} and {key}.{_LENGTH} differ; remove the one that is wrong")
    # As transformers takes it: without the length before stretching, the length after it.
    after = config.get("max_position_embeddings") or 2048
    lengths.append(after)
    share = rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    share = 1.0 if share is None else _positive("partial_rotary_factor", share, float)
    size = int(head_dim * share)
    options: dict[str, Any] = {"rope_base": base}
    if size != head_dim:
        options["rotated"] = size
    stretch = _stretch({**rope, _LENGTH: lengths[0]}, base, size, after)
    return options | stretch


def _stretch(rope: dict[str, Any], base: float, size: int, after: float) -> dict[str, Any]:
    """The options that a record of a rotation asks for; `after` is the length after stretching."""
    kinds = (rope.get("rope_type"), rope.get("type"), "default")
    kind = next(one for one in kinds if one is not None)
    if kind == "su":  # its name when it was new
        kind = "longrope"
    if not isinstance(kind, str) or kind not in _ROPE_OPTIONS:
        known = ", ".join(_ROPE_OPTIONS)
        raise ValueError(f"rope type {kind!r:.60} is not supported; supported: {known}")
    needed, possible = _ROPE_OPTIONS[kind]
    found = {key: _positive(key, rope.get(key), float) for key in needed}
    found |= {key: _positive(key, rope[key], float) for key in possible if rope.get(key)}
    if "factor" in found:
        check_range("rope_factors", found["factor"], "factor")
    lists = ("short_factor", "long_factor") if kind == "longrope" else ()
    names = {*found, *possible, *lists, "rope_type", "type", "rope_theta", _LENGTH}
    names |= {"partial_rotary_factor"} | ({"truncate"} if kind == "yarn" else set())
    for key in sorted(rope.keys() - names):
        if rope[key] not in (None, 1, False):
            raise ValueError(f"{key}={rope[key]!r:.60} is not supported with rope type {kind!r}")
    if kind == "default":
        return {}
    if kind == "linear":
        return {"rope_factors": (found["factor"],) * (size // 2)}
    original = found[_LENGTH]
    if kind == "llama3":
        ends = found["low_freq_factor"], found["high_freq_factor"]
        return {"rope_factors": llama3(base, size, found["factor"], *ends, original)}
    factor = found.get("factor", after / original)
    if kind == "yarn":
        scale = yarn_scale(factor, found.get("mscale", 0.0), found.get("mscale_all_dim", 0.0))
        turns = found.get("beta_fast", 32.0), found.get("beta_slow", 1.0)
        truncate = rope.get("truncate") is not False
        factors = yarn(base, size, factor, original, *turns, truncate)
        return {"rope_factors": factors, "rope_scale": found.get("attention_factor", scale)}
    short, long = (_factors(key, rope.get(key)) for key in lists)
    return {
        "rope_factors": short,
        "long_rope_factors": long,
        "long_rope_from": int(original),
        "rope_scale": found.get("attention_factor", longrope_scale(factor, original)),
    }


def _factors(key: str, given: Any) -> tuple[float, ...]:
    if not isinstance(given, list):
        raise ValueError(f"{key}={given!r:.60}, expected a list of numbers")
    return tuple(_positive(key, one, float) for one in given)
