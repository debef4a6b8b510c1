"""Converts a rule's options from text to the types of the rule. Knows no command."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args, get_type_hints

from edifice_tt.cli.options import named_values
from edifice_tt.contract.registry import Selector


def rule_options(arguments: argparse.Namespace, record: Selector) -> dict[str, Any]:
    """The options of a rule, without the scorer: the answer, and each `--option` in its type.

    Raises `UnknownNameError` for an option that the rule does not take and `ValueError` for a value
    that is not of its type.
    """
    from edifice_tt.selection.answers import extractor
    from edifice_tt.selection.select import check_options

    named = {name: getattr(arguments, name) for name in ("answer", "cut_off")}
    options: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    for name, value in named_values("--option", arguments.option, "seed=3"):
        if name in ("scorer", *named):
            as_ = name.replace("_", "-")
            raise ValueError(f"--option {name}={value}: give it as --{as_} {value}")
        options[name] = value
    check_options(record.name, options)
    if "answer" in options:
        extractor(options["answer"])
    return {name: _typed(record, name, value) for name, value in options.items()}


def _typed(record: Selector, name: str, text: str) -> Any:
    """The value in the type of the rule's signature; without a type, in the first that fits."""
    kinds = _kinds(record, name)
    for kind in kinds or _KINDS:
        with suppress(ValueError, KeyError):
            return _KINDS[kind][1](text)
    words = " or ".join(_KINDS[kind][0] for kind in kinds)
    raise ValueError(f"--option {name}={text}: rule {record.name!r} expects {words}")


# In the order in which they are tried; any value is text.
_KINDS: dict[type, tuple[str, Callable[[str], Any]]] = {
    bool: ("true or false", {"true": True, "false": False}.__getitem__),
    int: ("a whole number", int),
    float: ("a number", float),
    str: ("text", str),
}


def _kinds(record: Selector, name: str) -> list[type]:
    try:
        hint = get_type_hints(record.function).get(name)
    except (TypeError, NameError):  # no plain function, or names that only a type checker sees
        hint = None
    declared = get_args(hint) or (hint,)
    if kinds := [kind for kind in _KINDS if kind in declared]:
        return kinds
    default = record.options[name].default if name in record.options else None
    return [kind for kind in _KINDS if kind is type(default)]
