"""A `config.json` of a known family -> the options of `causal_lm`. Reads no weight.

Each key by its type, and in the range that its option can have.
"""

import math
import sys
from pathlib import Path
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.contract.options import check_range, check_size
from edifice_tt.machine.json_text import parse_record
from edifice_tt.weights.families import find_family
from edifice_tt.weights.families.family import Family
from edifice_tt.weights.options import check_folder

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
    config = {**family.defaults, **config}

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
    context = read("max_position_embeddings", int, 2048)
    check_folder(config, family.bias_options, head_dim, context)
    base, factors = _read_rope(config, head_dim)
    tied, *biased = (
        _truth(key, config.get(key)) for key in ("tie_word_embeddings", *family.bias_options)
    )
    optional = zip(family.bias_options.values(), biased, strict=True)
    eps = read("rms_norm_eps", float, 1e-6)
    check_range("norm_eps", eps, "rms_norm_eps")
    options = CausalLMConfig(
        vocab_size=read("vocab_size", int),
        context_length=context,
        hidden_size=hidden_size,
        num_layers=read("num_hidden_layers", int),
        num_heads=heads,
        num_kv_heads=read("num_key_value_heads", int, heads),
        head_dim=head_dim,
        ffn_size=read("intermediate_size", int),
        norm_eps=eps,
        rope_base=base,
        rope_factors=factors,
        tied_embeddings=tied,
        biases=(*family.biases, *(part for parts, on in optional if on for part in parts)),
    )
    return family, options


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


def _read_rope(config: dict[str, Any], head_dim: int) -> tuple[float, tuple[float, ...] | None]:
    """Base and factors of the rotation. Folders write them in one record, or the base beside it."""
    keys = [key for key in ("rope_scaling", "rope_parameters") if config.get(key) not in (None, {})]
    found = {key: _read_record(key, config, head_dim) for key in keys}
    if len(set(found.values())) > 1:
        raise ValueError(
            "rope_scaling and rope_parameters say different things; remove the one that is wrong"
        )
    return next(iter(found.values())) if found else _read_record("", config, head_dim)


def _read_record(
    key: str, config: dict[str, Any], head_dim: int
) -> tuple[float, tuple[float, ...] | None]:
    rope = {} if config.get(key) is None else config[key]
    if not isinstance(rope, dict):
        raise ValueError(f"{key}={rope!r:.60}, expected a record")
    bases = {"rope_theta": config.get("rope_theta"), f"{key}.rope_theta": rope.get("rope_theta")}
    given = {name: _positive(name, base, float) for name, base in bases.items() if base is not None}
    for name, value in given.items():
        check_range("rope_base", value, name)
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
    kinds = (rope.get("rope_type"), rope.get("type"), "default")
    kind = next(one for one in kinds if one is not None)
    if not isinstance(kind, str) or kind not in _ROPE_OPTIONS:
        known = ", ".join(_ROPE_OPTIONS)
        raise ValueError(f"rope type {kind!r:.60} is not supported; supported: {known}")
    options = {key: _positive(key, rope.get(key), float) for key in _ROPE_OPTIONS[kind]}
    if "factor" in options:
        check_range("rope_factors", options["factor"], "factor")
    names = {*options, "rope_type", "type", "rope_theta", "original_max_position_embeddings"}
    for key in sorted(rope.keys() - names):
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
