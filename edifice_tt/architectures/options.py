"""Options -> a frozen config; knows no architecture. An unknown option is never dropped."""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

from edifice_tt.errors import unknown_name

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
    return config_class(**options)


def check_seed(value: object) -> None:
    """Raise `ValueError` unless the value is a whole number of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**64:
        raise ValueError(f"seed={value!r} must be a whole number from 0 to 2^64 - 1")


def check_positive(option: str, value: float) -> None:
    """Raise `ValueError` unless the value is a finite number above 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        raise ValueError(f"{option}={value!r} must be a finite number above 0")


def defaults(config_class: type[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The default values of some options, in the order of `names`; the config is the one source."""
    declared = {field.name: field for field in fields(config_class)}
    return {name: declared[name].default for name in names}
