"""Texts of the command line as values. Knows no option."""

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

# Names of files may be any bytes; whoever reads a question looks at what standard input gives too.
_NOT_HERE = ("model", "verifier", "judge", "prompt")


def check_texts(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` for a text that came as bytes of another encoding than UTF-8."""
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list) else [value]:
            try:
                if isinstance(text, str) and name not in _NOT_HERE:
                    text.encode()
            except UnicodeEncodeError as error:
                what = name.replace("_", "-")
                raise ValueError(f"{what}: {text!r:.60} is no UTF-8 text; convert it") from error


def stop_text(text: str) -> str:
    r"""A stop string; `\n`, `\r` and `\t` are read as in C, but not in `\neq`, which is LaTeX."""
    return re.sub(r"\\([nrt])(?![a-z])", lambda match: _ESCAPES[match.group(1)], text)


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def named_values(option: str, texts: Iterable[str], example: str) -> Iterator[tuple[str, str]]:
    """Each NAME=VALUE of a repeatable option; raises `ValueError` for another text."""
    names = set()
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"{option} {text}: expected NAME=VALUE, for example {example}")
        if name in names:
            raise ValueError(f"{option} {text}: {name} is given twice; give it once")
        names.add(name)
        yield name, value


def json_or_text(text: str) -> Any:
    """What the text is as JSON, else the text itself."""

    def refuse(constant: str) -> None:  # NaN and Infinity are no JSON
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text
