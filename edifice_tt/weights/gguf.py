"""GGUF files: the weights as float32. De-quantising is tinygrad's. Knows no model."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, TinyJit, dtypes
from tinygrad.llm.gguf import ggml_data_to_tensor

from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import in_memory, put, room, view, zeros
from edifice_tt.nn.formats import BY_TYPE
from edifice_tt.nn.stored.halves import widen
from edifice_tt.weights.gguf_header import TYPES, Entry, GGUFHeader, is_gguf
from edifice_tt.weights.gguf_parts import Header, open_gguf

__all__ = ["Entry", "GGUFFile", "GGUFHeader", "is_gguf", "read_arrays", "read_gguf"]

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


class GGUFFile(NamedTuple):
    """Everything in a file: what it says of itself, and its tensors, float32, rows first."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


def read_gguf(path: str | os.PathLike[str], device: str | None = None) -> GGUFFile:
    """Read a file; every tensor is realised in a buffer of its own.

    Raises `CheckpointError` as `GGUFHeader` does, and for a tensor with NaN or infinity.
    """
    header, opened = open_gguf(path), open_device(device)
    arrays = read_arrays(header, opened, header.entries)
    return GGUFFile(header.metadata, {name: put(array, opened) for name, array in arrays})


def read_arrays(
    header: Header, device: str, names: Iterable[str]
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
        _, elements, block_bytes = TYPES[entry.ggml_type]
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
        _, elements, block_bytes = TYPES[ggml_type]
        blocks = zeros(self._size // elements * block_bytes, dtype=np.uint8)
        blocks[: raw.size] = raw
        self._out = self._graphs[ggml_type](put(blocks, self._device))  # kept while it is read
        if not in_memory(self._device):
            return np.asarray(self._out.numpy())
        return view(self._out)

    def _formula(self, ggml_type: int, blocks: Tensor) -> Tensor:
        form = BY_TYPE.get(ggml_type)
        if form is None:
            exact = ggml_data_to_tensor(blocks, self._size, ggml_type).flatten()
        else:
            exact = form.dequantize(blocks)
        return exact.cast(dtypes.float32).contiguous().realize()
