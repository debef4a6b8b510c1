"""A GGUF file as one or in parts, `NAME-00001-of-00003.gguf` and so on. Knows no model.

The first part has the metadata, and every part has its own tensors.
"""

import os
import re
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.weights.gguf_header import Entry, GGUFHeader

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)
_KEYS = ("split.count", "split.no", "split.tensors.count")


class GGUFParts:
    """All parts of a split file, as `GGUFHeader` is of one: their data sections in a row."""

    def __init__(self, parts: list[GGUFHeader]) -> None:
        self.path, self.metadata, self._parts = parts[0].path, parts[0].metadata, parts
        *self._starts, _ = accumulate((part.data.size for part in parts), initial=0)
        self.entries: dict[str, Entry] = {}
        for part, first in zip(parts, self._starts, strict=True):
            for name, entry in part.entries.items():
                if name in self.entries:
                    raise part.error(f"tensor {name!r:.60} is in an earlier part too")
                span = entry.start + first, entry.stop + first
                self.entries[name] = Entry(entry.ggml_type, entry.shape, *span)

    def mapped(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes of a tensor where they are mapped."""
        part, first = self._at(start)
        return part.mapped(start - first, stop - first)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes of a tensor, read and not mapped."""
        part, first = self._at(start)
        return part.read(start - first, stop - first)

    def check_unchanged(self) -> None:
        """Raise `CheckpointError` when one of the parts is written to or cut since."""
        for part in self._parts:
            part.check_unchanged()

    def error(self, reason: str) -> CheckpointError:
        return self._parts[0].error(reason)

    def _at(self, position: int) -> tuple[GGUFHeader, int]:
        """The part that a position is in, and where that part starts."""
        index = bisect_right(self._starts, position) - 1
        return self._parts[index], self._starts[index]


Header: TypeAlias = GGUFHeader | GGUFParts


def open_gguf(path: str | os.PathLike[str]) -> Header:
    """The header of a file, with those of the other parts where it is one part of several.

    Raises `CheckpointError` as `GGUFHeader` does, for parts that are missing, and for such as do
    not belong together.
    """
    given = GGUFHeader(path)
    count, number, tensors = (_number(given, key) for key in _KEYS)
    if count < 2:  # a file that was merged says 0
        return given
    match = _PART.fullmatch(given.path.name)
    if match is None or (int(match[2]), int(match[3])) != (number + 1, count):
        raise given.error(
            f"it is part {number + 1} of {count}, so its name must end in "
            f"{_ending(number, count)}; give each part its name again"
        )
    paths = [given.path.with_name(match[1] + _ending(i, count)) for i in range(count)]
    if missing := [one.name for one in paths if not one.exists()]:
        raise given.error(
            f"part {number + 1} of {count}; not beside it: {', '.join(missing):.300}; download "
            "every part"
        )
    parts = [given if i == number else GGUFHeader(one) for i, one in enumerate(paths)]
    for i, part in enumerate(parts):
        told = tuple(_number(part, key) for key in _KEYS)
        if told != (count, i, tensors):
            raise part.error(
                f"{_told(told)}, expected {_told((count, i, tensors))} as {given.path.name} says; "
                "download the parts of one model again"
            )
    if (found := sum(len(part.entries) for part in parts)) != tensors:
        raise given.error(
            f"its parts hold {found} tensors, expected split.tensors.count={tensors}; download "
            "the parts of one model again"
        )
    return GGUFParts(parts)


def part_names(name: str) -> list[str]:
    """The names of all parts, the first one first, of a file that is named as one of several.

    >>> part_names("a-00002-of-00002.gguf"), part_names("a.gguf")
    (['a-00001-of-00002.gguf', 'a-00002-of-00002.gguf'], ['a.gguf'])
    """
    if (match := _PART.fullmatch(name)) is None:
        return [name]
    return [match[1] + _ending(i, int(match[3])) for i in range(int(match[3]))]


def whole_name(path: Path) -> str:
    """The name of a model's file without its ending, and without that of a part.

    >>> whole_name(Path("a-00002-of-00003.gguf")), whole_name(Path("b.gguf"))
    ('a', 'b')
    """
    match = _PART.fullmatch(path.name)
    return match[1] if match else path.stem


def _ending(index: int, count: int) -> str:
    return f"-{index + 1:05}-of-{count:05}.gguf"


def _number(part: GGUFHeader, key: str) -> int:
    value = part.metadata.get(key, 0)
    if type(value) is not int or value < 0:
        raise part.error(f"{key}={value!r:.60}, expected a whole number")
    return value


def _told(values: tuple[int, ...]) -> str:
    return ", ".join(f"{key}={value}" for key, value in zip(_KEYS, values, strict=True))
