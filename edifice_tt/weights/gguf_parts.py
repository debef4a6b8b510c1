"""A GGUF file as one or in parts, `NAME-00001-of-00003.gguf` and so on. Knows no model.

The first part has the metadata, and every part has its own tensors.
"""

import os
from bisect import bisect_right
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.weights.gguf_header import Entry, GGUFHeader
from edifice_tt.weights.gguf_names import part_ending, part_names, part_of

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

    def borrowed(self, start: int, stop: int) -> AbstractContextManager[NDArray[np.uint8]]:
        """The same, for a while."""
        part, first = self._at(start)
        return part.borrowed(start - first, stop - first)

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
    if part_of(given.path.name) != (number + 1, count):
        raise given.error(
            f"it is part {number + 1} of {count}, so its name must end in "
            f"{part_ending(number + 1, count)}; give each part its name again"
        )
    paths = [given.path.with_name(name) for name in part_names(given.path.name)]
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


def _number(part: GGUFHeader, key: str) -> int:
    value = part.metadata.get(key, 0)
    if type(value) is not int or value < 0:
        raise part.error(f"{key}={value!r:.60}, expected a whole number")
    return value


def _told(values: tuple[int, ...]) -> str:
    return ", ".join(f"{key}={value}" for key, value in zip(_KEYS, values, strict=True))
