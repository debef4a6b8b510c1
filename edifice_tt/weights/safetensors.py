"""The safetensors format: checked before it is read, written whole or not at all.

Knows no model. Writing is by hand and not by tinygrad's, because a full disk under a memory-mapped
file kills the process.
"""

import json
import os
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.dtype import DType
from tinygrad.nn.state import inverse_safe_dtypes

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.contract.wording import counted
from edifice_tt.machine.files import write_atomically
from edifice_tt.nn.buffers import PIECE, all_finite, numbers, pieces, put, room
from edifice_tt.nn.stored.halves import HALVES, widen
from edifice_tt.weights.safetensors_header import Entry, Format, read_header


@dataclass(frozen=True)
class SafetensorsFile:
    """A file whose header has been checked against its size."""

    path: Path
    entries: dict[str, Entry]
    metadata: dict[str, str]

    def _bytes(self, start: int, stop: int) -> NDArray[np.uint8]:
        raw = np.fromfile(self.path, np.uint8, stop - start, offset=start)
        if raw.size < stop - start:
            raise CheckpointError(f"{self.path}: was cut while it was read; load it again")
        return raw

    def parts(self, name: str) -> Iterator[NDArray[Any]]:
        """The numbers of one tensor, some at a time; of 16 bits they are float32."""
        entry = self.entries[name]
        size = PIECE * entry.dtype.itemsize
        for start in range(entry.start, entry.stop, size):
            raw = self._bytes(start, min(start + size, entry.stop))
            if entry.dtype in HALVES:
                # On the host: a device may have no such numbers.
                yield widen(raw.view(np.uint16), HALVES[entry.dtype])
            else:
                yield raw.view(entry.dtype.fmt or np.uint8)

    def floats(self, name: str) -> NDArray[np.float32]:
        """The numbers of one tensor of 16 or 32 bits."""
        array = room(*self.entries[name].shape)
        start, flat = 0, array.reshape(-1)
        for part in self.parts(name):
            flat[start : start + part.size] = part
            start += part.size
        return array

    def halves(self, name: str) -> NDArray[np.uint16]:
        """The bits of one tensor of 16-bit numbers."""
        entry = self.entries[name]
        array = room(*entry.shape, dtype=np.uint16)
        flat, starts = array.reshape(-1), range(entry.start, entry.stop, 2 * PIECE)
        for part, start in zip(pieces(flat), starts, strict=True):
            part[:] = self._bytes(start, start + 2 * part.size).view(np.uint16)
        return array

    def read(self, name: str, device: str, dtype: DType | None = None) -> Tensor:
        """One tensor, on a device, realised; of 16 bits it becomes float32 if that is `dtype`."""
        entry = self.entries[name]
        if dtype == dtypes.float32 and entry.dtype in (*HALVES, dtypes.float32):
            return put(self.floats(name), device)
        raw = self._bytes(entry.start, entry.stop)
        flat = Tensor(raw, device=device).bitcast(entry.dtype)
        return flat.reshape(entry.shape).contiguous().realize()


def open_safetensors(
    path: str | os.PathLike[str], expected: Format | None = None
) -> SafetensorsFile:
    """Check a file's header; raises `CheckpointError` for a missing, truncated or foreign file.

    As the format asks, each byte behind the header must belong to just one tensor.
    """
    return SafetensorsFile(Path(path), *read_header(Path(path), expected))


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a file atomically: the old one stays until the new one is complete."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        stop = offset + int(tensor.nbytes())
        header[name] = {
            "dtype": inverse_safe_dtypes[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, stop],
        }
        offset = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(file: BinaryIO) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            # As bytes: Python 3.11 has no memory view of 16-bit floats.
            file.write(tensor.flatten().contiguous().bitcast(dtypes.uint8).data())

    write_atomically(Path(path), write)


def differences(
    expected: Mapping[str, Tensor], found: Mapping[str, tuple[tuple[int, ...], DType]]
) -> list[str]:
    """Everything in which a file's tensors differ from a model's weights, a line each."""
    missing = [f"missing: {name}" for name in expected if name not in found]
    extra = [f"not in the model: {name}" for name in found if name not in expected]
    ours = {name: (tuple(weight.shape), weight.dtype) for name, weight in expected.items()}
    unlike = [
        f"{name}: {what} {found[name][part]}, the model has {ours[name][part]}"
        for part, what in enumerate(("shape", "dtype"))
        for name in ours
        if name in found and found[name][part] != ours[name][part]
    ]
    return missing + extra + unlike


def foreign(name: str, weights: Container[str]) -> str:
    """How to report a name that a file's own scheme does not have, though it may be one of ours."""
    return f"{name} (in the file)" if name in weights else name


def check_fit(path: Path, lines: list[str]) -> None:
    """Raise `CheckpointError` with all differences at once, if there are any."""
    if lines:
        shown = lines[:20] + ([f"and {len(lines) - 20} more"] if len(lines) > 20 else [])
        listing = "\n  ".join(shown)
        many = counted(len(lines), "place")
        raise CheckpointError(f"{path} does not fit the model in {many}:\n  {listing}")


def fill(
    weights: Mapping[str, Tensor],
    names: Mapping[str, str],
    file: SafetensorsFile,
    transform: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> None:
    """Give each weight of a new model the file's tensor of the mapped name, one after the other.

    `transform(name in the file, tensor)` gives the tensor in our layout. Raises `CheckpointError`
    for a tensor with NaN or infinity; then the model holds some of each, and is no use.
    """
    for ours, theirs in names.items():
        tensor = file.read(theirs, str(weights[ours].device), weights[ours].dtype)
        check_finite(file.path, theirs, tensor)
        weights[ours].replace(transform(theirs, tensor))


def check_finite(path: Path, name: str, tensor: Tensor | NDArray[np.float32]) -> None:
    """Raise `CheckpointError` if a weight holds NaN or infinity."""
    if isinstance(tensor, Tensor):
        array = numbers(tensor)
        tensor = tensor.float().numpy() if array is None else array
    if not all_finite(tensor):
        raise damaged(path, name)


def damaged(path: Path, name: str) -> CheckpointError:
    return CheckpointError(f"{path}: weight {name!r} holds NaN or infinity; the file is damaged")
