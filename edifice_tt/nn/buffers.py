"""Where weights come to lie: on one device or several, realised, in memory that can be shared."""

import ctypes
import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any, TypeVar
from weakref import finalize
from zlib import crc32

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tinygrad import Device, Tensor, UOp, dtypes
from tinygrad.device import LRUAllocator
from tinygrad.dtype import DType
from tinygrad.helpers import prod
from tinygrad.nn.state import get_parameters
from tinygrad.uop import Ops

from edifice_tt.machine.exclusive import exclusive

M = TypeVar("M")

CACHE_LINE = 64  # bytes
PIECE = 1 << 18  # numbers
_PAGES, _HUGE = 1 << 16, 1 << 22  # bytes that are worth pages of their own, and large pages
_SMALL, _TRACED = 1 << 14, 1 << 8  # bytes of a weight
_ATOMS = {int, float, bool, str, type(None)}
DTYPES = {np.dtype(kind.fmt): kind for kind in dtypes.all if kind.fmt}


def buffers_of(model: Any) -> list[UOp]:
    """What a model's weights lie in: others as soon as one of them is replaced."""
    found: list[UOp] = []
    _gather_buffers([model], found)
    return found


def weight_bytes(model: Any) -> int:
    """The bytes of a model's weights, as they are stored."""
    return sum(prod(uop.shape) * uop.dtype.itemsize for uop in buffers_of(model))


def _gather_buffers(parts: Iterable[Any], found: list[UOp]) -> None:
    # In the order of tinygrad's `get_parameters`, which makes names and takes five times as long.
    for part in parts:
        if type(part) in _ATOMS:
            continue
        if isinstance(part, Tensor):
            found.append(part.uop)
        elif isinstance(part, dict):
            _gather_buffers(part.values(), found)
        elif isinstance(part, list | tuple):
            _gather_buffers(part, found)
        elif hasattr(part, "__dict__"):
            _gather_buffers(vars(part).values(), found)


def trace(model: Any) -> int:
    """A checksum of weights in memory, which tells whether they were written to in place.

    Small weights are read whole, of others a few hundred bytes all over. Weights in a mapped file
    cannot be written to, and are left out.
    """
    found = 0
    if getattr(model, "mapped_file", None) is None:
        for weight in get_parameters(model):
            if _lies_in_memory(weight.uop):
                raw = np.frombuffer(weight.uop.buffer.as_memoryview(force_zero_copy=True), np.uint8)
                # Odd, so that each byte of a number has its turn.
                every = 1 if raw.size <= _SMALL else raw.size // _TRACED | 1
                found = crc32(raw[::every].tobytes(), found)
    return found


def _lies_in_memory(uop: UOp) -> bool:
    here = uop.device == "NPY" or (isinstance(uop.device, str) and in_memory(uop.device))
    return here and uop.has_buffer_identity() and uop.is_realized


@exclusive
def place(model: M, device: str) -> M:
    """Move every weight to a device and realise them all; returns the model."""
    weights = get_parameters(model)
    for weight in weights:
        array = None if weight.uop.is_realized else numbers(weight)
        if array is None or not in_memory(device):
            weight.to_(device)
        else:
            weight.replace(wrap(copied(array), device))
    Tensor.realize(*weights)
    return model


@contextmanager
def held_to(file: Iterable[tuple[int, ...]]) -> Iterator[None]:
    """Build no more here than a file can fill, whose tensors have these shapes.

    Raises `ValueError` for far more weights, or numbers in them, before they take memory; fewer
    are left to the comparison, which names each. Needs `exclusive`.
    """
    global _left
    shapes, before = list(file), _left
    numbers = sum(map(prod, shapes))
    _left = [_SLACK * len(shapes) + _SPARE_WEIGHTS, _SLACK * numbers + _SPARE_NUMBERS]
    try:
        yield
    except _TooLargeError:
        raise ValueError(
            f"the model that it describes is far larger than its {len(shapes)} tensors with "
            f"{numbers} numbers"
        ) from None
    finally:
        _left = before


class _TooLargeError(Exception):
    """More is being built than a file can fill."""


_left: list[int] | None = None  # how many weights, and numbers in them, may still be built
_SLACK, _SPARE_WEIGHTS, _SPARE_NUMBERS = 4, 1 << 10, 1 << 22


def expect(num_weights: int) -> None:
    """Tell beforehand how many numbers are going to be built."""
    if _left is not None and num_weights > _left[1]:
        raise _TooLargeError


def _count(*shape: int) -> None:
    expect(prod(shape))
    if _left is not None:
        _left[:] = _left[0] - 1, _left[1] - prod(shape)
        if _left[0] < 0:
            raise _TooLargeError


def filled(value: float, size: int) -> Tensor:
    """A weight of one number, `size` times."""
    _count(size)
    return Tensor(np.full(size, value, np.float32))


def unfilled(*shape: int) -> Tensor:
    """A weight that a loader brings. As `Tensor.empty`, which takes five times as long."""
    _count(*shape)
    return Tensor(UOp.new_buffer(Device.DEFAULT, prod(shape), dtypes.float32).reshape(shape))


def uniform(rng: np.random.Generator, limit: float, *shape: int) -> Tensor:
    """A weight of random numbers from -limit to limit."""
    _count(*shape)
    weight = room(*shape)
    for piece in pieces(weight):  # as one draw of all would be, without its float64
        piece[:] = rng.uniform(-limit, limit, piece.size)
    return Tensor(weight)


@exclusive
def replicate(model: M, device: str) -> M:
    """The model on another device; where devices share their memory, the same weights."""
    return deepcopy(model, {id(w): share(w, device) for w in get_parameters(model)})


def in_memory(device: str) -> bool:
    """Whether what lies on a device lies in the memory of this process: on tinygrad's CPU."""
    return device.split(":")[0] == "CPU"


@exclusive
def share(tensor: Tensor, device: str) -> Tensor:
    """The tensor on another device: on tinygrad's CPU devices the same memory, else a copy."""
    if tensor.device == device:
        return tensor
    if not (in_memory(str(tensor.device)) and in_memory(device)):
        return tensor.to(device).realize()
    buffer = tensor.realize().uop.buffer
    address = buffer.get_buf(buffer.device).va_addr
    return _from_memory(address, tensor.shape, tensor.dtype, device, buffer)


def view(tensor: Tensor) -> NDArray[Any]:
    """A realised Tensor of tinygrad's CPU device as an array, where it lies."""
    return _array(tensor.uop, tensor)


def numbers(tensor: Tensor) -> NDArray[Any] | None:
    """What a Tensor holds, where it lies in memory as it stands; None if it must be computed."""
    # A Tensor that was made from an array is a copy of it that has not happened yet.
    source = tensor.uop.src[0] if tensor.uop.op is Ops.COPY else tensor.uop
    if not (_lies_in_memory(source) and tensor.dtype.fmt):
        return None
    return _array(source, tensor)


def _array(source: UOp, tensor: Tensor) -> NDArray[Any]:
    memory = source.buffer.as_memoryview(force_zero_copy=True)
    return np.frombuffer(memory, dtype=np.dtype(tensor.dtype.fmt)).reshape(tensor.shape)


def zeros(*shape: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Zeros that begin where a line of the processor's cache does, so that no vector lies in two.

    They take no memory until they are written to. The heap would clear what it was given back.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < _PAGES or not hasattr(mmap, "MAP_ANONYMOUS"):
        memory = np.zeros(size + CACHE_LINE, np.uint8)
        start = -memory.ctypes.data % CACHE_LINE
        return memory[start : start + size].view(dtype).reshape(shape)
    return np.frombuffer(_own_pages(size), dtype).reshape(shape)


def room(*shape: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Memory for a weight, that will be written whole, and begins as that of `zeros` does.

    A large one asks for large pages. For what is written in part they would be a waste.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < _HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return zeros(*shape, dtype=dtype)
    pages = _own_pages(size)
    with suppress(OSError):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype).reshape(shape)


def _own_pages(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """A copy in memory such as `room` has."""
    copy = room(*array.shape, dtype=array.dtype)
    np.copyto(copy, array)
    return copy


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array that lies in one piece, some numbers at a time: what is made of them stays small."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, PIECE):
        yield flat[start : start + PIECE]


def all_finite(array: NDArray[Any]) -> bool:
    """Whether an array holds neither NaN nor infinity."""
    return all(np.isfinite(piece).all() for piece in pieces(array))


def wrap(array: NDArray[np.generic], device: str, dtype: DType | None = None) -> Tensor:
    """A Tensor of tinygrad's CPU device that reads an array where it lies.

    `dtype` is what its bits mean, where NumPy has no such numbers.
    """
    kind = dtype or DTYPES[array.dtype]
    return _from_memory(array.ctypes.data, array.shape, kind, device, array)


def put(array: NDArray[Any], device: str, dtype: DType | None = None) -> Tensor:
    """An array on a device: where it lies, if the device reads this memory, else a copy."""
    if in_memory(device):
        return wrap(array, device, dtype)
    tensor = Tensor(array, device=device)
    placed = (tensor.bitcast(dtype) if dtype else tensor).contiguous().realize()
    Device[device].synchronize()  # drivers keep what they have yet to copy
    return placed


def give_back(device: str) -> None:
    """Let go of what was freed: what tinygrad keeps on a device, and the C library in the heap."""
    with suppress(AttributeError, OSError, TypeError):  # only glibc is asked
        ctypes.CDLL(None).malloc_trim(0)
    allocator = Device[device].allocator
    if not isinstance(allocator, LRUAllocator):
        return
    # Not `free_cache`: that fails when a Tensor is freed meanwhile, which Python does at will.
    for size, options in list(allocator.cache):
        freed = allocator.cache[size, options]
        while freed:
            super(LRUAllocator, allocator).free(freed.pop(), size, options)


def _from_memory(
    address: int, shape: tuple[int, ...], dtype: DType, device: str, owner: object
) -> Tensor:
    # As `Tensor.from_blob`, which takes three times as long.
    uop = UOp.new_buffer(device, prod(shape), dtype)
    finalize(uop.buffer.allocate(external_ptr=address), id, owner)  # keeps the owner alive as long
    return Tensor(uop.reshape(shape))
