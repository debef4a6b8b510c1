"""Converts the options of a rule or a search from text to their types. Knows no command."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from inspect import Parameter
from typing import Any, get_args, get_origin, get_type_hints

from edifice_tt.cli.texts import named_values, stop_text
from edifice_tt.contract.registry import Search, Selector
from edifice_tt.contract.scorer_options import KINDS


def rule_options(arguments: argparse.Namespace, record: Selector) -> dict[str, Any]:
    """The options of a rule, without the scorer: the answer, and each `--option` in its type.

    Raises `UnknownNameError` for an option that the rule does not take and `ValueError` for a value
    that is not of its type.
    """
    from edifice_tt.selection.answers import extractor
    from edifice_tt.selection.select import check_options

    named = {name: getattr(arguments, name) for name in ("answer", "cut_off")}
    options: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    options |= _given(arguments, ("scorer", *named), "seed=3")
    check_options(record.name, options)
    if "answer" in options:
        extractor(options["answer"])
    typed = _Typed(f"rule {record.name!r}", record.function, record.options)
    return {name: typed.read(name, value) for name, value in options.items()}


def search_options(arguments: argparse.Namespace, record: Search) -> dict[str, Any]:
    """The settings of a search, each `--option` in its type. Raises as `rule_options` does."""
    from edifice_tt.search.loop import check_options

    options = _given(arguments, ("scorer", "answer", "confidence", "n"), "threshold=0.9")
    check_options(record.name, options)
    typed = _Typed(f"search {record.name!r}", record.make, record.options)
    read = {name: typed.read(name, value) for name, value in options.items()}
    return {k: stop_text(v) if isinstance(v, str) else v for k, v in read.items()}


def _given(arguments: argparse.Namespace, apart: Sequence[str], like: str) -> dict[str, str]:
    options = dict(named_values("--option", arguments.option, like))
    for name in apart:
        if name in options:
            dashes = "-" if len(name) == 1 else "--"
            value = options[name]
            as_ = dashes + name.replace("_", "-")
            raise ValueError(f"--option {name}={value}: give it as {as_} {value}")
    return options


class _Typed:
    """Reads the options of a function in the types of its signature."""

    def __init__(
        self, who: str, function: Callable[..., Any], options: Mapping[str, Parameter]
    ) -> None:
        self.who, self.options = who, options
        try:
            self.hints = get_type_hints(function)
        except (TypeError, NameError):  # no plain function, or names that only a type checker sees
            self.hints = {}

    def read(self, name: str, text: str) -> Any:
        """The value in the declared type; without a type, in the first that fits."""
        kinds = self._kinds(name)
        for kind in kinds or _KINDS:
            with suppress(ValueError, KeyError):
                return _KINDS[kind][1](text)
        words = " or ".join(_KINDS[kind][0] for kind in kinds)
        raise ValueError(f"--option {name}={text}: {self.who} expects {words}")

    def _kinds(self, name: str) -> list[type]:
        hint = self.hints.get(name)
        if get_origin(hint) in (Sequence, tuple, list):
            return [tuple]
        declared = get_args(hint) or (hint,)
        if kinds := [kind for kind in _KINDS if kind in declared]:
            return kinds
        default = self.options[name].default if name in self.options else None
        return [kind for kind in _KINDS if kind is type(default)]


# In the order in which they are tried; any value is text.
_KINDS: dict[type, tuple[str, Callable[[str], Any]]] = {
    **{kind: KINDS[kind] for kind in (bool, int, float)},
    tuple: ("whole numbers between commas", lambda text: tuple(map(int, text.split(",")))),
    str: KINDS[str],
}
