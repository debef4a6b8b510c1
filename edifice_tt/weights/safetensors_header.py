"""The header of a safetensors file, checked against the file's size before a tensor is read.

By hand and not by tinygrad's loader, because a damaged header must be one clear error. Knows no
model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad.dtype import DType
from tinygrad.nn.state import safe_dtypes

from edifice_tt.contract.errors import CheckpointError, reading
from edifice_tt.machine.json_text import parse_record, take, take_all

HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
_MOST_DIMS = 32  # what NumPy has
_KINDS = ", ".join(sorted(safe_dtypes))


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies in a file, and what it is."""

    dtype: DType
    shape: tuple[int, ...]
    start: int
    stop: int


class Format(NamedTuple):
    """What a file of ours says that it is, and what to say of one that does not."""

    name: str
    foreign: str
    version: str = ""

    @property
    def metadata(self) -> dict[str, str]:
        """What such a file says of itself."""
        version = {"format_version": self.version} if self.version else {}
        return {"format": self.name, **version}

    def check(self, path: Path, metadata: Any) -> None:
        """Raise `CheckpointError` for a file of another format or version."""
        fields = metadata if isinstance(metadata, dict) else {}
        if fields.get("format") != self.name:
            raise CheckpointError(f"{path}: {self.foreign}")
        if (version := fields.get("format_version", "")) != self.version:
            raise CheckpointError(
                f"{path}: format version {version!s:.20}, this edifice_tt reads {self.version}; "
                "update it"
            )


def read_header(path: Path, expected: Format | None) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a file and its metadata; see `open_safetensors`."""
    with reading(path, "not a safetensors file ({})"):
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path}: cannot be read (it is no regular file)")
        size = path.stat().st_size
        text = _read_text(path, size)
        header = parse_record(text)
        metadata = header.pop("__metadata__", None)
        if expected is not None:
            expected.check(path, metadata)
        start = 8 + len(text)
        entries = {name: _entry(name, value, start) for name, value in header.items()}
        for name, entry in entries.items():
            if entry.stop > size:
                raise CheckpointError(
                    f"{path}: the file ends at byte {size} but tensor {name!r} needs byte "
                    f"{entry.stop}; it was cut off, copy it again"
                )
        _check_gapless(entries, start, size)
        return entries, _texts(metadata)


def _read_text(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, HEADER_LIMIT):
            raise CheckpointError(f"{path}: not a safetensors file, or its header is cut off")
        if (first := file.read(1)) != b"{":  # before 100 MB of something else are read
            raise ValueError(f"its header begins with {first!r}")
        return first + file.read(length - 1)


def _texts(metadata: Any) -> dict[str, str]:
    if metadata is None:  # as the format's own reader takes null
        return {}
    if not isinstance(metadata, dict):
        raise ValueError(f"__metadata__={metadata!r:.60} must be a record of texts")
    return {name: take(metadata, name, str) for name in metadata}


def _entry(name: str, value: Any, data_start: int) -> Entry:
    try:
        if not isinstance(value, dict):
            raise ValueError(f"{value!r:.60} must be a record")
        kind, shape = take(value, "dtype", str), take_all(value, "shape", int)
        offsets = take_all(value, "data_offsets", int)
        if kind not in safe_dtypes:
            raise ValueError(f"dtype={kind!r:.60} is not supported; supported: {_KINDS}")
        dtype = safe_dtypes[kind]
        if len(shape) > _MOST_DIMS or any(not 0 <= one < 1 << 63 for one in shape):
            raise ValueError(f"shape={shape!r:.60} must be at most {_MOST_DIMS} sizes from 0 on")
        size = math.prod(shape) * dtype.itemsize
        if len(offsets) != 2 or offsets[0] < 0 or offsets[1] - offsets[0] != size:
            raise ValueError(f"the offsets {str(offsets)[1:-1]:.60} do not fit shape {shape!r:.60}")
    except ValueError as error:
        raise ValueError(f"tensor {name!r:.60}: {error}") from None
    return Entry(dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _check_gapless(entries: Mapping[str, Entry], start: int, size: int) -> None:
    """Raise `ValueError` unless each byte behind the header belongs to just one tensor."""
    places = sorted((entry.start, entry.stop, name) for name, entry in entries.items())
    for first, stop, name in [*places, (size, size, "")]:
        if first < start:
            raise ValueError(f"tensor {name!r:.60} overlaps another at byte {first}")
        if first > start:
            raise ValueError(f"bytes {start} to {first} belong to no tensor; copy it again")
        start = stop
