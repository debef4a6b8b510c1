"""Options -> a frozen config; knows no architecture. An unknown option is never dropped."""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

from edifice_tt.contract.errors import unknown_name
from edifice_tt.nn.config import whole

C = TypeVar("C")


def make_config(config_class: type[C], architecture: str, options: dict[str, Any]) -> C:
    """A config from keyword options.

    Raises `UnknownNameError` for an option that the config does not have, naming the nearest, and
    `ValueError` for a missing one.
    """
    declared = {field.name: field for field in fields(config_class)}  # type: ignore[arg-type]
    for option in options:
        if option not in declared:
            raise unknown_name(f"option of {architecture}", option, declared)
    required = [
        name
        for name, field in declared.items()
        if field.default is MISSING and field.default_factory is MISSING
    ]
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


def as_factors(given: Any) -> tuple[float, ...]:
    """Rotary factors as a tuple; raises `ValueError` for what is no row of values."""
    if not isinstance(given, list | tuple):
        raise ValueError(f"rope_factors={given!r:.60} must be a list of numbers, or None")
    return tuple(given)


def defaults(config_class: type[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The default values of some options, in the order of `names`; the config is the one source."""
    declared = {field.name: field for field in fields(config_class)}
    return {name: declared[name].default for name in names}
