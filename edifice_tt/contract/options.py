"""Keyword options -> a frozen config, with checks of their values; knows no architecture."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from numbers import Real
from operator import index
from typing import Any, TypeVar

from edifice_tt.contract.errors import unknown_name

C = TypeVar("C")

# Sizes above these limits, and constants outside these ranges, are refused as mistakes.
MOST = {
    **dict.fromkeys(("hidden_size", "embed_dim", "scorer_hidden"), 1 << 20),
    **dict.fromkeys(("num_heads", "num_kv_heads", "head_dim"), 1 << 16),
    **dict.fromkeys(("vocab_size", "ffn_size"), 1 << 24),
    **dict.fromkeys(("context_length", "seq_len"), (1 << 31) - 1),
    "num_layers": 10_000,
    "experts": 1 << 16,
}
RANGES = {
    **dict.fromkeys(("norm_eps", "final_norm_eps"), (1e-12, 0.1)),
    **dict.fromkeys(("rope_base", "window_rope_base"), (1.0, 1e12)),
    **dict.fromkeys(("rope_scale", "residual_scale", "attention_scale"), (1e-6, 1e4)),
    **dict.fromkeys(("embedding_scale", "logits_scale"), (1e-6, 1e6)),
    **dict.fromkeys(("attention_softcap", "logits_softcap"), (1e-3, 1e6)),
    "rope_factors": (0.01, 1e4),
    "rope_turns": (1e-3, 1e6),
    "rope_original_length": (2.0, 2.0**31 - 1),
}


def make_config(config_class: type[C], architecture: str, options: dict[str, Any]) -> C:
    """Make a config from keyword options.

    Raises `UnknownNameError` for an option that the config does not have, naming the nearest, and
    `ValueError` for a missing one.
    """
    declared = {field.name: field for field in fields(config_class)}  # type: ignore[arg-type]
    for option in options:
        if option not in declared:
            raise unknown_name(f"option of {architecture}", option, declared)
    required = (f.name for f in declared.values() if f.default is f.default_factory is MISSING)
    if missing := [name for name in required if name not in options]:
        raise ValueError(f"{architecture} needs {' and '.join(missing)}; give {missing[0]}=...")
    plain = {name: whole(value) for name, value in options.items()}  # NumPy's are no JSON
    return config_class(**{n: v if plain[n] is None else plain[n] for n, v in options.items()})


def check_seed(value: object) -> int:
    """The value as an int; raises `ValueError` unless it is a whole number of 64 bits."""
    seed = whole(value)
    if seed is None or not 0 <= seed < 2**64:
        raise ValueError(f"seed={value!r:.60} must be a whole number from 0 to 2^64 - 1")
    return seed


def as_factors(factors: Any) -> tuple[Any, ...]:
    """Rotary factors as a tuple of Python numbers; `ValueError` for what is no list of numbers."""
    if not isinstance(factors, Iterable) or isinstance(factors, str | bytes | Mapping):
        raise ValueError(f"rope_factors={factors!r:.60} must be a list of numbers, or None")
    known = int | float  # a config checks these; other numbers become floats
    return tuple(
        float(one) if isinstance(one, Real) and not isinstance(one, known) else one
        for one in factors
    )


def defaults(config_class: type[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The defaults of some options as the config declares them, in the order of `names`."""
    declared = {field.name: field for field in fields(config_class)}
    return {name: declared[name].default for name in names}


def problem_seed(seed: int, problem: str) -> int:
    """The seed of one problem's draws, so that those of different problems are independent.

    The problem "0", which a single prompt is, keeps the seed itself. Any other gets the 8-byte
    BLAKE2b digest of the seed (8 bytes) and the id in UTF-8; all numbers are little-endian.

    >>> problem_seed(3, "0"), problem_seed(3, "1")
    (3, 5118781747784767378)
    """
    if problem == "0":
        return seed
    digest = hashlib.blake2b(seed.to_bytes(8, "little") + problem.encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def whole(value: object) -> int | None:
    """A Python or NumPy integer as an int; None for anything else, such as True and False.

    >>> whole(3), whole(3.0), whole(True)
    (3, None, None)
    """
    is_bool = isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b"
    try:
        return None if is_bool else index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def check_count(option: str, value: object, most: int | None = None) -> int:
    """The value as an int; raises `ValueError` unless it is a whole number from 1 to `most`."""
    count = whole(value)
    if count is None or count < 1:
        raise ValueError(f"{option}={value!r:.60} must be a whole number, at least 1")
    if most is not None and count > most:
        raise ValueError(f"{option}={count!r:.60} is too many; give at most {most}")
    return count


def check_size(option: str, value: object, name: str = "") -> int:
    """The value as an int; raises `ValueError` unless it is a size that the option allows.

    `name` is how the error calls the option (default: `option`).
    """
    return check_count(name or option, value, MOST[option])


def check_range(option: str, value: object, name: str = "") -> None:
    """Raise `ValueError` unless the value is a number in the range that the option allows."""
    least, most = RANGES[option]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f"{name or option}={value!r:.60} must be from {least:g} to {most:g}")


def check_dropout(value: float) -> None:
    """Raise `ValueError` unless the value is a probability below 1."""
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"dropout={value!r} must be at least 0 and below 1")
