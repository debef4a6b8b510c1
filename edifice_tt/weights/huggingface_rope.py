"""The rotation that a `config.json` asks for -> options of `causal_lm`. Reads no weight."""

from typing import Any

from edifice_tt.contract.options import check_range
from edifice_tt.weights.families.family import Family
from edifice_tt.weights.options import check_positive
from edifice_tt.weights.rotations import llama3, longrope_scale, yarn, yarn_scale

KINDS = ("full_attention", "sliding_attention")  # of layers
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
# Where a zero asks for nothing.
_NONE_AT_ZERO = dict.fromkeys(("beta_fast", "beta_slow", "mscale", "mscale_all_dim"), (0,))
_LENGTHS = (_LENGTH, "max_position_embeddings")


def read_rotations(
    family: Family, config: dict[str, Any], head_dim: int, base: float
) -> dict[str, Any]:
    """The options of the rotation, and of another one in layers with a window.

    Folders write them in one record, in one for each kind of layer, or the base beside them.
    """
    options = _options_of(family, config, head_dim, base)
    if "rotated" in options and "partial_rotary_factor" not in family.defaults:
        raise ValueError(
            f"a partial_rotary_factor that is not 1 is not supported for {family.name}; use a "
            "model that is rotated as a whole"
        )
    return options


def _options_of(
    family: Family, config: dict[str, Any], head_dim: int, base: float
) -> dict[str, Any]:
    by_kind = config.get("rope_parameters")
    local = config.get("rope_local_base_freq") if family.model_type == "gemma3_text" else None
    if local is None or not by_kind:
        options = _read_rope(config, head_dim, base)
        if local is not None:
            options["window_rope_base"] = _base("rope_local_base_freq", local)
        return options
    if config.get("rope_scaling") not in (None, {}):
        raise ValueError(
            "rope_scaling stands beside rope_parameters for each kind of layer; remove the one "
            "that is wrong"
        )
    by_kind = _record("rope_parameters", by_kind)
    if unknown := by_kind.keys() - {*KINDS}:
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
    base = check_positive(key, value, float)
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
    if len(set(map(str, lengths))) > 1:  # the first may be what its absence means
        raise ValueError(
            f"{_LENGTH}={lengths[0]!r:.60} and {key}.{_LENGTH}={lengths[1]!r:.60} differ; say the "
            "right number in both places"
        )
    # As transformers takes it: without the length before stretching, the length after it.
    after = config.get("max_position_embeddings") or 2048
    lengths.append(after)
    share = rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    share = 1.0 if share is None else check_positive("partial_rotary_factor", share, float)
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
    found = {key: check_positive(key, rope.get(key), float) for key in needed}
    given = (key for key in possible if rope.get(key) not in (None, *_NONE_AT_ZERO.get(key, ())))
    found |= {key: check_positive(key, rope[key], float) for key in given}
    if "factor" in found:
        check_range("rope_factors", found["factor"], "factor")
    lists = ("short_factor", "long_factor") if kind == "longrope" else ()
    names = {*found, *possible, *lists, "rope_type", "type", "rope_theta", _LENGTH}
    # Of a text all positions are equal, however the pairs are shared out among them.
    names |= {"partial_rotary_factor", "mrope_section", "mrope_interleaved"} | (
        {"truncate"} if kind == "yarn" else set()
    )
    for key in sorted(rope.keys() - names):
        if rope[key] not in (None, 1, False):
            raise ValueError(f"{key}={rope[key]!r:.60} is not supported with rope type {kind!r}")
    if kind == "default":
        return {}
    if kind == "linear":
        return {"rope_factors": (found["factor"],) * (size // 2)}
    check_range("rope_original_length", original := found[_LENGTH], _LENGTH)
    if kind == "llama3":
        ends = found["low_freq_factor"], found["high_freq_factor"]
        return {"rope_factors": llama3(base, size, found["factor"], *ends, original)}
    factor = found.get("factor", after / original)
    if kind == "yarn":
        scale = yarn_scale(factor, found.get("mscale", 0.0), found.get("mscale_all_dim", 0.0))
        turns = found.get("beta_fast", 32.0), found.get("beta_slow", 1.0)
        if not isinstance(truncate := rope.get("truncate", True), bool):
            raise ValueError(f"truncate={truncate!r:.60}, expected true or false")
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
    return tuple(check_positive(key, one, float) for one in given)
