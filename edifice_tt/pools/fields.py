"""What a field of a pool file may hold. Knows no kind of line."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from edifice_tt.contract.records import CONFIDENCES

_LARGEST = 2**63 - 1


class Field(NamedTuple):
    """What a field must be, in words and as a function."""

    words: str
    holds: Callable[[Any], bool]


def is_count(x: Any) -> bool:
    return type(x) is int and 0 <= x <= _LARGEST


def is_number(x: Any) -> bool:
    return type(x) in (int, float) and math.isfinite(x)


def is_text(x: Any) -> bool:
    return type(x) is str


def all_are(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda x: type(x) is list and all(map(check, x))


def or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda x: x is None or check(x)


def is_place(x: Any) -> bool:
    return type(x) is list and len(x) == 2 and all(map(is_count, x)) and x[0] < x[1]


def are_numbers(x: Any) -> bool:
    return type(x) is dict and all(map(is_number, x.values()))


def are_confidences(x: Any) -> bool:
    rows = x.values() if type(x) is dict and x and x.keys() <= {*CONFIDENCES} else [None]
    return all(all_are(lambda value: is_number(value) and value >= 0)(row) for row in rows)


def are_scored(x: Any) -> bool:
    return type(x) is dict and all(map(all_are(_is_scored), x.values()))


def _is_scored(x: Any) -> bool:
    return type(x) is list and len(x) == 2 and is_count(x[0]) and is_number(x[1])
