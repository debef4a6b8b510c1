"""Completion of a command line for a shell, by argcomplete. Knows where the names of values are."""

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from edifice_tt.contract.plugins import OWN_NAME
from edifice_tt.contract.records import CONFIDENCES
from edifice_tt.contract.registry import load_registry
from edifice_tt.machine.extras import require

# The variables of argcomplete's protocol.
ASKED, LINE = "_ARGCOMPLETE", "COMP_LINE"


def is_asked() -> bool:
    """Whether a shell asks for completions, so that no command is to run."""
    return ASKED in os.environ and LINE in os.environ


def complete(parser: argparse.ArgumentParser) -> None:
    """Hand the completions to the shell and end the program. Raises `ToolchainError` without it."""
    argcomplete = require("argcomplete", extra="completion")
    commands = parser.get_default("_commands")
    for name, command in commands.choices.items():
        for action in command._actions if commands.owners[name] == OWN_NAME else ():
            if action.dest in _NAMES and action.choices is None:
                action.completer = _completer(_NAMES[action.dest])
    argcomplete.autocomplete(parser)


def _completer(names: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    return lambda prefix, **_: [name for name in names() if name.startswith(prefix)]


def _models() -> list[str]:
    from edifice_tt.weights.catalog import CATALOG
    from edifice_tt.weights.local_models import local_models

    return sorted({one.name for one in CATALOG} | {one.name for one in local_models("CPU")})


def _formats() -> Iterable[str]:
    from edifice_tt.pools.problems import FORMATS

    return FORMATS


def _registered(kind: str) -> Callable[[], Any]:
    return lambda: getattr(load_registry(), kind)


_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "model": _models,
    "rule": _registered("selectors"),
    "rules": _registered("selectors"),
    "scorer": _registered("scorers"),
    "answer": _registered("extractors"),
    "task": _registered("tasks"),
    "search": _registered("searches"),
    "format": _formats,
    "confidence": lambda: CONFIDENCES,
    "activations": lambda: ("float32", "float16", "bfloat16", "int8"),
    "dtype": lambda: ("float32", "float16", "bfloat16"),
    "kv_dtype": lambda: ("float32", "float16", "int8"),
    "reduce": lambda: ("last", "min", "max", "mean", "product"),
}
