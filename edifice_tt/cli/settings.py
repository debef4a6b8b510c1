"""Defaults of options that stand in a file of the project's or the user's.

Knows their keys and types, and which of them a command takes; knows no command.
"""

import argparse
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from edifice_tt.contract.errors import EdificeError, unknown_name

PROJECT, TABLE = Path("pyproject.toml"), "tool.edifice-tt"
LOADING = ("device", "activations", "dtype", "kv_dtype")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("model", "system", *LOADING), ((str,), 'text, as in "CPU"')),
    **dict.fromkeys(
        ("n", "seed", "top_k", "max_tokens", "batch_size"), ((int,), "a whole number, as in 16")
    ),
    **dict.fromkeys(("temperature", "top_p"), ((int, float), "a number, as in 0.8")),
    **dict.fromkeys(("stop", "confidence", "devices"), ((list,), 'a list of texts, as in ["a"]')),
    "template_options": ((dict,), "a table, as in { enable_thinking = false }"),
}
SAMPLING = tuple(key for key in _KINDS if key not in LOADING)
_OF_CHATS = ("system", "template_options")
_OF_TASKS = ("max_tokens", "stop")
_OPTIONS = {"template_options": "template_option"}  # where the option is named otherwise


# Where a parsed command line keeps which options were given, and the file of each that was not.
GIVEN, FROM_FILES = "_given", "_from_files"


class Settings(NamedTuple):
    """The values by key, and the file that each is from."""

    values: Mapping[str, Any]
    files: Mapping[str, Path]


def user_file() -> Path | None:
    """The file of the user, which need not be there; None for a user without a home."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    try:
        return folder.expanduser() / "edifice-tt" / "config.toml"
    except RuntimeError:
        return None


def read_settings() -> Settings:
    """What both files say; the project's comes before the user's.

    Raises `EdificeError` for a file that is no TOML, and for a key or a type that is wrong.
    """
    values: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for path in (user_file(), PROJECT):
        if path is not None and path.is_file():
            own = _read(path)
            values |= own
            files |= dict.fromkeys(own, path)
    return Settings(values, files)


def _read(path: Path) -> dict[str, Any]:
    try:
        table: Any = tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise EdificeError(f"{path}: it is no TOML: {error}") from error
    where = str(path)
    if path == PROJECT:
        where = f"{path} [{TABLE}]"
        for name in TABLE.split("."):
            table = table.get(name, {}) if isinstance(table, dict) else table
    if not isinstance(table, dict):
        raise EdificeError(f"{where}: it must be a table of settings")
    for key, value in table.items():
        if key not in _KINDS:
            raise unknown_name(f"key in {where}", key, _KINDS)
        types, words = _KINDS[key]
        if type(value) not in types or not _is_plain(value):
            raise EdificeError(f"{where}: {key} = {value!r:.60} must be {words}")
    return table


def _is_plain(value: Any) -> bool:
    """Whether a list holds texts alone and a table what JSON can hold."""
    if isinstance(value, list):
        return all(isinstance(one, str) for one in value)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def take_settings(command: argparse.ArgumentParser, keys: Iterable[str]) -> None:
    """Let the options of a command with these keys have their defaults from the files."""
    names = {_OPTIONS.get(key, key): key for key in keys}
    for action in command._actions:
        if action.dest in names:
            action.setting = names[action.dest]  # type: ignore[attr-defined]


@contextmanager
def defaults_apart(parser: argparse.ArgumentParser) -> Iterator[dict[str, tuple[str, Any]]]:
    """While this lasts, options with settings have no default; yields key and default by name."""
    actions = [action for action in parser._actions if hasattr(action, "setting")]
    apart = {action.dest: (action.setting, action.default) for action in actions}
    for action in actions:
        action.default = argparse.SUPPRESS
    try:
        yield apart
    finally:
        for action in actions:
            action.default = apart[action.dest][1]


def fill(parsed: argparse.Namespace, defaults: Mapping[str, tuple[str, Any]]) -> None:
    """Give each option that was not given its setting, else its default.

    A setting that what was given excludes is left out: `device` beside `--devices`, what is for
    chats where there is none, and what a task knows better.
    """
    if not defaults:
        return
    (values, files), namespace = read_settings(), vars(parsed)
    namespace[FROM_FILES] = sources = {}
    namespace[GIVEN] = [name for name in defaults if name in namespace]
    has_task = bool(namespace.get("task"))
    out = {*_OF_TASKS} if has_task else set()
    out |= {*_OF_CHATS} if has_task or namespace.get("raw") else set()
    out |= {"device", "devices"} if namespace.keys() & {"device", "devices"} else set()
    for name, (key, default) in defaults.items():
        is_set = key in values and key not in out
        if key == "template_options" and is_set:
            given = namespace.get(name, [])
            names = {one.partition("=")[0] for one in given}
            others = {k: v for k, v in values[key].items() if k not in names}
            namespace[name] = [*given, *(f"{k}={json.dumps(v)}" for k, v in others.items())]
        elif name not in namespace:
            value = values[key] if is_set else default
            joined = is_set and key in ("confidence", "devices")
            namespace[name] = ",".join(value) if joined else value
            if is_set:
                sources[name] = files[key]


def told_sources(parsed: argparse.Namespace) -> str:
    """Which options have their values from which file, in brackets; or nothing."""
    sources = vars(parsed).get(FROM_FILES, {})
    told = (f"{name.replace('_', '-')} is from {path}" for name, path in sources.items())
    return f" ({', '.join(told)})" if sources else ""


def defaults_of(command: argparse.ArgumentParser) -> list[str]:
    """The defaults of a command that a file sets, a line each; none where a file is wrong."""
    keys = [action.setting for action in command._actions if hasattr(action, "setting")]
    try:
        values, files = read_settings()
    except EdificeError:
        return []
    return [f"{key} = {values[key]!r}, from {files[key]}" for key in keys if key in values]
