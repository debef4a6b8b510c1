"""Options -> a frozen config; knows no architecture. An unknown option is never dropped."""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

from edifice_tt.errors import unknown_name
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


def check_positive(option: str, value: float) -> None:
    """Raise `ValueError` unless the value is a finite number above 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        raise ValueError(f"{option}={value!r} must be a finite number above 0")


def defaults(config_class: type[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The default values of some options, in the order of `names`; the config is the one source."""
    declared = {field.name: field for field in fields(config_class)}
    return {name: declared[name].default for name in names}
