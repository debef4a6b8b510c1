"""Strict reading of JSON from other programs, with type-checked fields. Knows no format."""

import json
import math
from collections.abc import Mapping
from typing import Any

_DEEPEST = 64  # levels of nesting: code that recurses must not overflow the stack
_WORDS: dict[type, str] = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "a record",
}


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of these keys and values; raises `ValueError` for a duplicate key."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.40} is there twice; leave one out")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=unique)


def parse(source: bytes | str) -> Any:
    """The value of a JSON text; raises a one-line `ValueError` for any other text."""
    try:
        text = source.decode() if isinstance(source, bytes) else source
        value = _DECODER.decode(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise why_no_json(error) from error
    except RecursionError:
        raise ValueError(f"its JSON is nested deeper than {_DEEPEST} levels") from None
    if _is_deeper(value, _DEEPEST):
        raise ValueError(f"its JSON is nested deeper than {_DEEPEST} levels")
    check_whole(text, value)
    return value


def why_no_json(
    error: UnicodeDecodeError | json.JSONDecodeError, in_line: bool = False
) -> ValueError:
    """What is wrong with a text, and where; `in_line` where it is one line of a file."""
    if isinstance(error, UnicodeDecodeError):
        return ValueError(f"not UTF-8 text, at byte {error.start}" + " of the line" * in_line)
    what = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
    line = "" if in_line else f"line {error.lineno} "
    return ValueError(f"not JSON, {what} at {line}column {error.colno}")


def check_whole(text: str, value: Any) -> None:
    """Raise `ValueError` where a text in the value of a JSON text is no Unicode."""
    if "\\ud" in text or "\\uD" in text:  # an escape of half a character, perhaps without the other
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text holds half a character, a lone surrogate") from error


def parse_record(source: bytes | str) -> dict[str, Any]:
    """The dict of a text that is one JSON object; raises `ValueError` as `parse` does."""
    value = parse(source)
    if not isinstance(value, dict):
        raise ValueError(f"no JSON object but {value!r:.60}")
    return value


def take(record: Mapping[str, Any], name: str, kind: type) -> Any:
    """A field of the given type; raises `ValueError` if it is missing or of another type.

    >>> take({"layer": 3}, "layer", int), take({"slope": 2}, "slope", float)
    (3, 2.0)
    """
    if name not in record:
        raise ValueError(f"{name} is missing")
    value: Any = record[name]
    if kind is float and type(value) is int and abs(value) <= 1e300:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{name}={value!r:.60} must be {_WORDS[kind]}")
    return value


def take_all(record: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    """A field that is a list of values of the given type; raises `ValueError` as `take` does."""
    return [
        take({f"{name}[{i}]": one}, f"{name}[{i}]", kind)
        for i, one in enumerate(take(record, name, list))
    ]


def _is_deeper(value: Any, most: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for some in inner for one in some if isinstance(one, dict | list)]
    return bool(level)
