"""GGUF files: the header checked against the file's size, then the weights as float32.

De-quantising is tinygrad's; the header is read here, since a damaged one must be one clear error.
Knows no model.
"""

import math
import mmap
import os
from collections.abc import Container
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tinygrad import Tensor, TinyJit, Variable, dtypes
from tinygrad.llm.gguf import ggml_data_to_tensor

from edifice_tt.errors import CheckpointError
from edifice_tt.toolchain import open_device
from edifice_tt.weights.safetensors import check_finite

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
        with self.path.open("rb") as file:
            # A copy on write, for tinygrad's GPUs refuse to read from memory that is read-only.
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
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
        data_start = self._aligned(self._position)
        for name, entry in self.entries.items():
            self._believe(1, data_start + entry.stop - self._position, f"tensor {name!r}")
        self.data = np.frombuffer(self._content, np.uint8)[data_start:]

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
    header = GGUFHeader(path)
    return GGUFFile(header.metadata, read_tensors(header, open_device(device)))


def read_tensors(
    header: GGUFHeader, device: str, left_out: Container[str] = ()
) -> dict[str, Tensor]:
    """All tensors of a file whose header has been read, on a device that has been opened."""
    entries = {name: entry for name, entry in header.entries.items() if name not in left_out}
    if not entries:
        return {}
    raw = Tensor(header.data, device=device).realize()
    num_bad = Tensor.zeros(1, dtype=dtypes.int32, device=device).contiguous().realize()

    def dequantise(ggml_type: int, size: int, unit: Any, out: Tensor) -> None:
        _, elements, block_bytes = _TYPES[ggml_type]
        start = unit * header.alignment
        blocks = raw[start : start + size // elements * block_bytes]
        out.assign(ggml_data_to_tensor(blocks, size, ggml_type).flatten().cast(dtypes.float32))
        num_bad.assign(num_bad + out.isfinite().logical_not().sum())
        Tensor.realize(out, num_bad)

    # Scheduling costs more than de-quantising: one graph is captured for each type and size, and
    # all tensors of these replay it at their own place in the file.
    graphs: dict[tuple[int, int], Any] = {}
    unit = Variable("unit", 0, len(header.data) // header.alignment + 1)
    tensors = {}
    for name, entry in entries.items():
        key = (entry.ggml_type, math.prod(entry.shape))
        if key not in graphs:
            graphs[key] = TinyJit(partial(dequantise, *key))
        out = Tensor.empty(key[1], dtype=dtypes.float32, device=device)
        out.uop.buffer.allocate()  # a capture bakes in what has no memory yet
        graphs[key](unit.bind(entry.start // header.alignment), out)
        tensors[name] = out.reshape(entry.shape)
    if num_bad.item():
        for name, tensor in tensors.items():
            check_finite(header.path, name, tensor)
    return tensors
