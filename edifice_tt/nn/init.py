"""Where weights come to lie: on one device or several, realised, in memory that can be shared."""

from copy import deepcopy
from typing import Any, TypeVar
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_parameters

M = TypeVar("M")

_DTYPES = {np.dtype(kind.fmt): kind for kind in dtypes.all if kind.fmt}


def place(model: M, device: str) -> M:
    """Move every weight to a device and realise them all; returns the model."""
    weights = get_parameters(model)
    for weight in weights:
        weight.to_(device)
    Tensor.realize(*weights)
    return model


def replicate(model: M, device: str) -> M:
    """The model on another device; where devices share their memory, the same weights."""
    return deepcopy(model, {id(w): share(w, device) for w in get_parameters(model)})


def in_memory(device: str) -> bool:
    """Whether what lies on a device lies in the memory of this process: on tinygrad's CPU."""
    return device.split(":")[0] == "CPU"


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
    memory = tensor.uop.buffer.as_memoryview(force_zero_copy=True)
    return np.frombuffer(memory, dtype=np.dtype(tensor.dtype.fmt)).reshape(tensor.shape)


def wrap(array: NDArray[np.generic], device: str) -> Tensor:
    """A Tensor of tinygrad's CPU device that reads an array where it lies."""
    return _from_memory(array.ctypes.data, array.shape, _DTYPES[array.dtype], device, array)


def _from_memory(
    address: int, shape: tuple[int, ...], dtype: object, device: str, owner: object
) -> Tensor:
    tensor = Tensor.from_blob(address, shape, dtype=dtype, device=device)
    finalize(tensor.uop.buffer, id, owner)  # keeps the owner of the memory alive as long
    return tensor
