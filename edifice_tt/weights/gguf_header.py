"""The header of a GGUF file, checked against the file's size before a tensor is read.

Read here and not by tinygrad, since a damaged one must be one clear error. Knows no model.
"""

import math
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.files import first_bytes
from edifice_tt.nn.buffers import room
from edifice_tt.nn.formats import FORMATS

# fmt: off
# What else tinygrad de-quantises: the type's number -> name, elements and bytes of a block.
_OTHERS = {
    0: ("F32", 1, 4), 28: ("F64", 1, 8),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8),
    18: ("IQ3_XXS", 256, 98), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    41: ("Q1_0", 128, 18),
}
_UNSUPPORTED = {
    9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 19: "IQ1_S",
    29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0",
}
# fmt: on
# Of plain numbers a row need be no multiple of a block.
_STAY = {
    form.ggml_type: (form.name, 1, 2) if form.dtype else (form.name, form.weights, form.bytes)
    for form in FORMATS.values()
}
TYPES = dict(sorted((_OTHERS | _STAY).items()))
_NUMBERS = dict(enumerate(["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?"]))
_NUMBERS |= {10: "<u8", 11: "<i8", 12: "<f8"}
_TEXT, _ARRAY = 8, 9
_length = struct.Struct("<Q").unpack_from
_DEEPEST = 8  # arrays of arrays


class Entry(NamedTuple):
    """What a tensor is, and where it starts and stops in the data section, in bytes."""

    ggml_type: int
    shape: tuple[int, ...]
    start: int
    stop: int


def is_gguf(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as GGUF does; False for what is missing or no regular file."""
    return first_bytes(path, 4) == b"GGUF"


def _decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _shown(text: bytes) -> str:
    return text.decode(errors="backslashreplace")


class GGUFHeader:
    """The header of a file: `metadata` and tensor `entries`; `data` maps the section behind it.

    Every count is held against the bytes left before it is believed. A text of the metadata that is
    not UTF-8 is left as `bytes`: few of them are needed. Raises `CheckpointError` for
    a missing, foreign, damaged or truncated file, and what tinygrad cannot de-quantise. One part of
    a split file is read alone; see `gguf_parts`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not is_gguf(path):
            raise self.error("not a GGUF file" if self.path.exists() else "there is no such file")
        self._file = self.path.open("rb")  # the same file, whatever its name comes to mean
        finalize(self, self._file.close)
        self._turn = Lock()
        self._loaded = os.fstat(self._file.fileno())
        # A copy on write, for tinygrad's GPUs refuse to read from memory that is read-only.
        self._content = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._position = 4
        version = self._number("<u4")
        if version in (2 << 24, 3 << 24):
            raise self.error("is big-endian, and only little-endian files are read; convert it")
        if version not in (2, 3):
            raise self.error(f"GGUF version {version} is not supported; supported: 2, 3")
        num_tensors, num_keys = self._numbers("<u8", 2)
        self.metadata: dict[str, Any] = {}
        for _ in range(self._believe(num_keys, 13)):
            key = _shown(self._bytes())
            if key in self.metadata:
                raise self.error(f"key {key!r:.60} is there twice; the file is damaged")
            self.metadata[key] = self._value(key, self._number("<u4"))
        self.alignment = unit = self.metadata.get("general.alignment", 32)
        if type(unit) is not int or unit < 1 or unit & (unit - 1):
            raise self.error(f"general.alignment={unit!r:.60}, expected a power of two")
        self.entries: dict[str, Entry] = {}
        stop = 0
        for _ in range(self._believe(num_tensors, 24)):
            name = self._text()
            if name in self.entries:
                raise self.error(f"tensor {name!r:.60} is there twice; the file is damaged")
            self.entries[name] = self._entry(name, start=self._aligned(stop))
            stop = self.entries[name].stop
        self._data_start = data_start = self._aligned(self._position)
        for name, entry in self.entries.items():
            self._believe(1, data_start + entry.stop - self._position, f"tensor {name!r:.60}")
        self.data = np.frombuffer(self._content, np.uint8)[data_start:]

    def mapped(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes of the data section where they are mapped."""
        return self.data[start:stop]

    @contextmanager
    def borrowed(self, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """The same, for a while: then their memory is let go, until they are looked at again."""
        yield self.mapped(start, stop)
        if hasattr(mmap, "MADV_DONTNEED"):
            first = (self._data_start + start) // mmap.PAGESIZE * mmap.PAGESIZE
            self._content.madvise(mmap.MADV_DONTNEED, first, self._data_start + stop - first)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes of the data section, read and not mapped: they take memory only while in use."""
        raw = room(stop - start, dtype=np.uint8)
        with self._turn:  # a file has one position
            self._file.seek(self._data_start + start)
            count = self._file.readinto(raw.data)
        if count < raw.size:
            self.check_unchanged()
            raise self.error(f"ends before byte {self._data_start + stop}; download it again")
        return raw

    def check_unchanged(self) -> None:
        """Raise `CheckpointError` when the file is written to or cut, by whatever name, since."""
        was, now = self._loaded, os.fstat(self._file.fileno())
        if (was.st_size, was.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
            raise self.error(
                f"changed since it was loaded (size {was.st_size}, now {now.st_size}); load it "
                "again"
            )

    def error(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {reason}")

    def _aligned(self, position: int) -> int:
        return -(-position // int(self.alignment)) * int(self.alignment)

    def _believe(self, count: int, smallest: int, what: str = "its header") -> int:
        """The count, if that many things of at least `smallest` bytes can still follow."""
        if (needed := self._position + count * smallest) > len(self._content):
            raise self.error(
                f"the file ends at byte {len(self._content)} but {what} needs byte {needed}; "
                "download it again"
            )
        return count

    def _numbers(self, dtype: str, count: int) -> list[Any]:
        start, size = self._position, np.dtype(dtype).itemsize
        self._position += self._believe(count, size) * size
        return list(np.frombuffer(self._content, dtype, count, start).tolist())

    def _number(self, dtype: str) -> Any:
        return self._numbers(dtype, 1)[0]

    def _bytes(self) -> bytes:
        self._believe(8, 1)
        start = self._position + 8
        length = int.from_bytes(self._content[self._position : start], "little")
        self._position = start
        self._position += self._believe(length, 1)
        return self._content[start : self._position]

    def _text(self) -> str:
        start = self._position + 8
        if isinstance(text := _decoded(self._bytes()), bytes):
            raise self.error(f"the text at byte {start} is not UTF-8; download it again")
        return text

    def _texts(self, count: int) -> list[str | bytes]:
        # A vocabulary holds a hundred thousand: one look ahead for all, where nothing is wrong.
        content, at, ends = self._content, self._position, [self._position]
        last = len(content) - 8
        for _ in range(count):
            if at > last:
                return [_decoded(self._bytes()) for _ in range(count)]  # says where the file ends
            at += 8 + _length(content, at)[0]
            ends.append(at)
        if at > len(content):
            return [_decoded(self._bytes()) for _ in range(count)]
        self._position = at
        return [_decoded(content[start + 8 : end]) for start, end in pairwise(ends)]

    def _value(self, key: str, kind: int, depth: int = 0) -> Any:
        """One value; of a text that is not UTF-8 its bytes, which only its reader need mind."""
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return _decoded(self._bytes())
        if kind != _ARRAY:
            raise self.error(f"key {key!r:.60} has a value of unknown type {kind}")
        if depth == _DEEPEST:
            raise self.error(f"key {key!r:.60} has arrays nested deeper than {_DEEPEST} levels")
        kind, count = self._number("<u4"), self._number("<u8")
        if kind in _NUMBERS:
            return self._numbers(_NUMBERS[kind], count)
        if kind == _TEXT:
            return self._texts(self._believe(count, 8))
        return [self._value(key, kind, depth + 1) for _ in range(self._believe(count, 12))]

    def _entry(self, name: str, start: int) -> Entry:
        dims = self._numbers("<u8", self._number("<u4"))
        ggml_type, given = self._number("<u4"), self._number("<u8")
        if ggml_type not in TYPES:
            known = ", ".join(kind for kind, _, _ in TYPES.values())
            raise self.error(
                f"type {ggml_type} ({_UNSUPPORTED.get(ggml_type, 'unknown')}) of tensor "
                f"{name!r:.60} is not supported; supported: {known}"
            )
        kind, elements, size = TYPES[ggml_type]
        # Like llama.cpp: each tensor begins where the one before ends, so none can overlap.
        if not 1 <= len(dims) <= 4 or 0 in dims or dims[0] % elements or given != start:
            raise self.error(
                f"tensor {name!r:.60} is {kind} {dims} at {given}, expected 1 to 4 dimensions, the "
                f"first a multiple of {elements}, at {start}; the file is damaged"
            )
        stop = start + math.prod(dims) // elements * size
        return Entry(ggml_type, tuple(reversed(dims)), start, stop)
