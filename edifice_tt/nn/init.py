"""Where weights come to lie: on one device, realised, in one call."""

from typing import TypeVar
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_parameters

M = TypeVar("M")

_DTYPES = {np.dtype(np.uint8): dtypes.uint8, np.dtype(np.float32): dtypes.float32}


def place(model: M, device: str) -> M:
    """Move every weight to a device and realise them all; returns the model."""
    weights = get_parameters(model)
    for weight in weights:
        weight.to_(device)
    Tensor.realize(*weights)
    return model


def share(tensor: Tensor, device: str) -> Tensor:
    """The tensor on another device: on tinygrad's CPU devices the same memory, else a copy."""
    kinds = {name.split(":")[0] for name in (str(tensor.device), device)}
    if kinds != {"CPU"}:
        return tensor.to(device).realize()
    source = tensor.realize().uop.buffer
    return _view(source.get_buf(source.device).va_addr, tensor.shape, tensor.dtype, device, source)


def wrap(array: NDArray[np.generic], device: str) -> Tensor:
    """A Tensor of tinygrad's CPU device that reads an array (uint8 or float32) where it lies."""
    return _view(array.ctypes.data, array.shape, _DTYPES[array.dtype], device, array)


def _view(
    address: int, shape: tuple[int, ...], dtype: object, device: str, owner: object
) -> Tensor:
    tensor = Tensor.from_blob(address, shape, dtype=dtype, device=device)
    finalize(tensor.uop.buffer, id, owner)  # keeps the owner of the memory alive as long
    return tensor
