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


def defaults(config_class: type[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The default values of some options, in the order of `names`; the config is the one source."""
    declared = {field.name: field for field in fields(config_class)}
    return {name: declared[name].default for name in names}
