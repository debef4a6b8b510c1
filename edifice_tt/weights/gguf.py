"""GGUF files: the header checked against the file's size, then the weights as float32.

De-quantising is tinygrad's; the header is read here, since a damaged one must be one clear error.
Knows no model.
"""

import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, TinyJit, dtypes
from tinygrad.llm.gguf import ggml_data_to_tensor

from edifice_tt.errors import CheckpointError
from edifice_tt.nn.init import in_memory, put, room, view, zeros
from edifice_tt.nn.precision import widen
from edifice_tt.toolchain import open_device

# fmt: off
# What tinygrad de-quantises: the type's number -> name, elements and bytes of a block.
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 28: ("F64", 1, 8),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8),
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    18: ("IQ3_XXS", 256, 98), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 39: ("MXFP4", 32, 17), 41: ("Q1_0", 128, 18),
}
_UNSUPPORTED = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 19: "IQ1_S",
    20: "IQ4_NL", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0",
}
# fmt: on
_PART, _BLOCKS = 1 << 19, 256  # numbers that are unpacked at a time; a multiple of every block


def _numbers_of(dtype: str, raw: NDArray[np.uint8]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # what float32 has not is infinite, and then told
        return raw.view(dtype).astype(np.float32, copy=False)


# The types that are no blocks: numbers that NumPy knows, and one that it does not.
_PLAIN: dict[int, Callable[[NDArray[np.uint8]], NDArray[Any]]] = {
    kind: partial(_numbers_of, dtype)
    for kind, dtype in ((0, "<f4"), (1, "<f2"), (28, "<f8"), (24, "i1"), (25, "<i2"), (26, "<i4"))
}
_PLAIN |= {27: partial(_numbers_of, "<i8")}
_PLAIN |= {30: lambda raw: widen(raw.view(np.uint16), "bfloat16")}
_NUMBERS = dict(enumerate(["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?"]))
_NUMBERS |= {10: "<u8", 11: "<i8", 12: "<f8"}
_TEXT, _ARRAY = 8, 9


class Entry(NamedTuple):
    """What a tensor is, and where it starts and stops in the data section, in bytes."""

    ggml_type: int
    shape: tuple[int, ...]
    start: int
    stop: int


class GGUFFile(NamedTuple):
    """Everything in a file: what it says of itself, and its tensors, float32, rows first."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


def is_gguf(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as GGUF does; False for folders and missing files."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


class GGUFHeader:
    """The header of a file: `metadata` and tensor `entries`; `data` maps the section behind it.

    Every count is held against the bytes left before it is believed. Raises `CheckpointError` for
    a missing, foreign, damaged, truncated or split file, and what tinygrad cannot de-quantise.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not is_gguf(path):
            raise self.error("not a GGUF file" if self.path.exists() else "there is no such file")
        self._file = self.path.open("rb")  # the same file, whatever its name comes to mean
        finalize(self, self._file.close)
        self._loaded = os.fstat(self._file.fileno())
        # A copy on write, for tinygrad's GPUs refuse to read from memory that is read-only.
        self._content = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._position = 4
        if (version := self._number("<u4")) not in (2, 3):
            raise self.error(f"GGUF version {version} is not supported; supported: 2, 3")
        num_tensors, num_keys = self._numbers("<u8", 2)
        self.metadata: dict[str, Any] = {}
        for _ in range(self._believe(num_keys, 13)):
            key = self._text()
            self.metadata[key] = self._value(key)
        if (parts := self.metadata.get("split.count", 1)) != 1:
            raise self.error(f"one of {parts} parts; merge them with llama-gguf-split --merge")
        self.alignment = unit = self.metadata.get("general.alignment", 32)
        if type(unit) is not int or unit < 1 or unit & (unit - 1):
            raise self.error(f"general.alignment={unit!r}, expected a power of two")
        self.entries: dict[str, Entry] = {}
        stop = 0
        for _ in range(self._believe(num_tensors, 24)):
            name = self._text()
            if name in self.entries:
                raise self.error(f"tensor {name!r} is there twice; the file is damaged")
            self.entries[name] = self._entry(name, start=self._aligned(stop))
            stop = self.entries[name].stop
        self._data_start = data_start = self._aligned(self._position)
        for name, entry in self.entries.items():
            self._believe(1, data_start + entry.stop - self._position, f"tensor {name!r}")
        self.data = np.frombuffer(self._content, np.uint8)[data_start:]

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes of the data section, read and not mapped: they take memory only while in use."""
        raw = np.empty(stop - start, np.uint8)
        self._file.seek(self._data_start + start)
        if self._file.readinto(raw.data) < raw.size:
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

    def _text(self) -> str:
        self._believe(8, 1)
        start = self._position + 8
        length = int.from_bytes(self._content[self._position : start], "little")
        self._position = start
        self._position += self._believe(length, 1)
        try:
            return self._content[start : self._position].decode()
        except UnicodeDecodeError:
            raise self.error(f"the text at byte {start} is not UTF-8; download it again") from None

    def _texts(self, count: int) -> list[str]:
        # A vocabulary holds a hundred thousand: one look ahead for all, where nothing is wrong.
        content, at, spans = self._content, self._position, []
        for _ in range(count):
            end = at + 8 + int.from_bytes(content[at : at + 8], "little")
            spans.append((at + 8, end))
            at = end
        if at > len(content):
            return [self._text() for _ in range(count)]  # says where the file ends
        try:
            texts = [content[start:end].decode() for start, end in spans]
        except UnicodeDecodeError:
            return [self._text() for _ in range(count)]  # says which is not UTF-8
        self._position = at
        return texts

    def _value(self, key: str) -> Any:
        if (kind := self._number("<u4")) in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind == _ARRAY:
            kind, count = self._number("<u4"), self._number("<u8")
            if kind in _NUMBERS:
                return self._numbers(_NUMBERS[kind], count)
            if kind == _TEXT:
                return self._texts(self._believe(count, 8))
        raise self.error(f"key {key!r} has a value of unknown type {kind}; the file is damaged")

    def _entry(self, name: str, start: int) -> Entry:
        dims = self._numbers("<u8", self._number("<u4"))
        ggml_type, given = self._number("<u4"), self._number("<u8")
        if ggml_type not in _TYPES:
            raise self.error(
                f"type {ggml_type} ({_UNSUPPORTED.get(ggml_type, 'unknown')}) of tensor {name!r} is"
                f" not supported; supported: {', '.join(kind for kind, _, _ in _TYPES.values())}"
            )
        kind, elements, size = _TYPES[ggml_type]
        # Like llama.cpp: each tensor begins where the one before ends, so none can overlap.
        if not 1 <= len(dims) <= 4 or 0 in dims or dims[0] % elements or given != start:
            raise self.error(
                f"tensor {name!r} is {kind} {dims} at {given}, expected 1 to 4 dimensions, the "
                f"first a multiple of {elements}, at {start}; the file is damaged"
            )
        stop = start + math.prod(dims) // elements * size
        return Entry(ggml_type, tuple(reversed(dims)), start, stop)


def read_gguf(path: str | os.PathLike[str], device: str | None = None) -> GGUFFile:
    """Read a file; every tensor is realised in a buffer of its own.

    Raises `CheckpointError` as `GGUFHeader` does, and for a tensor with NaN or infinity.
    """
    header, opened = GGUFHeader(path), open_device(device)
    arrays = read_arrays(header, opened, header.entries)
    return GGUFFile(header.metadata, {name: put(array, opened) for name, array in arrays})


def read_arrays(
    header: GGUFHeader, device: str, names: Iterable[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Tensors of a file as float32 arrays, one at a time, unpacked on a device that is open.

    A part of one tensor is unpacked at a time: memory stays small, and so does the number of
    graphs, since scheduling one costs more than all that it unpacks.
    """
    entries = {name: header.entries[name] for name in names}
    largest = max((math.prod(entry.shape) for entry in entries.values()), default=0)
    size = min(_PART, -(-largest // _BLOCKS) * _BLOCKS)
    unpack = _Unpacker(device, size)
    for name, entry in entries.items():
        array = room(*entry.shape)
        flat = array.reshape(-1)
        _, elements, block_bytes = _TYPES[entry.ggml_type]
        for start in range(0, flat.size, size):
            stop = min(start + size, flat.size)
            span = [entry.start + i // elements * block_bytes for i in (start, stop)]
            part = unpack(entry.ggml_type, header.read(*span))[: stop - start]
            if not np.isfinite(part).all():
                raise header.error(f"weight {name!r} holds NaN or infinity; the file is damaged")
            flat[start:stop] = part
        yield name, array


class _Unpacker:
    """Bytes of a type -> float32 numbers, `size` at the most, by one captured graph for a type."""

    def __init__(self, device: str, size: int) -> None:
        self._device, self._size = device, size
        self._graphs: dict[int, Any] = {}

    def __call__(self, ggml_type: int, raw: NDArray[np.uint8]) -> NDArray[Any]:
        if ggml_type in _PLAIN:
            return _PLAIN[ggml_type](raw)
        if ggml_type not in self._graphs:
            self._graphs[ggml_type] = TinyJit(partial(self._formula, ggml_type))
        _, elements, block_bytes = _TYPES[ggml_type]
        blocks = zeros(self._size // elements * block_bytes, dtype=np.uint8)
        blocks[: raw.size] = raw
        self._out = self._graphs[ggml_type](put(blocks, self._device))  # kept while it is read
        if not in_memory(self._device):
            return np.asarray(self._out.numpy())
        return view(self._out)

    def _formula(self, ggml_type: int, blocks: Tensor) -> Tensor:
        exact = ggml_data_to_tensor(blocks, self._size, ggml_type).flatten()
        return exact.cast(dtypes.float32).contiguous().realize()
