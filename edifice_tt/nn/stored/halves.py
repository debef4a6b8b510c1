"""Weights of 16 bits: which dtype a device can hold, and how a model's weights become it.

Only the weights of dense layers and of the embedding are narrowed. Gains, biases and scorer heads
stay float32, and so does every sum. Knows no file.
"""

import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tinygrad import Device, Tensor, dtypes
from tinygrad.dtype import DType
from tinygrad.nn.state import get_state_dict

from edifice_tt.contract.errors import EdificeError, PrecisionWarning, unknown_name
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.blocks import Linear
from edifice_tt.nn.buffers import copied, numbers, pieces, put, room
from edifice_tt.nn.cpu.bridge import ROW, compiles_c
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.stored.blocks import QuantizedLinear, layer_at

M = TypeVar("M")

DTYPES = {"float32": dtypes.float32, "float16": dtypes.float16, "bfloat16": dtypes.bfloat16}
HALVES = {DTYPES[name]: name for name in ("float16", "bfloat16")}
KIND_OF = {form.name: form.dtype for form in FORMATS.values() if form.dtype}


def supported_dtypes(device: str) -> list[str]:
    """Those of `DTYPES` that tinygrad says a device has, float32 first."""
    present = Device[device].renderer.supported_dtypes()
    return [name for name, dtype in DTYPES.items() if dtype in present]


def check_dtype(dtype: str | None) -> None:
    """Raise `UnknownNameError` unless it is None or one of `DTYPES`."""
    if dtype is not None and dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)


def choose_dtype(dtype: str | None, device: str, of: str = "weights") -> str | None:
    """The dtype asked for, or float32 with one `PrecisionWarning` where the device has it not."""
    check_dtype(dtype)
    if dtype is None or dtype in (present := supported_dtypes(device)):
        return dtype
    warnings.warn(
        f"device {device!r} has no {dtype} (it has {', '.join(present)}); the {of} are float32",
        PrecisionWarning,
        stacklevel=3,
    )
    return "float32"


def narrow(name: str, weight: Tensor, dtype: str | None) -> Tensor:
    """A weight in another dtype, rounded on the host, so that it is the same on every device.

    None, a scorer's weight and one that is no matrix leave it as it is. Raises `EdificeError` for a
    number that is beyond the dtype.
    """
    device = str(weight.device)
    if dtype is None or weight.dtype == DTYPES[dtype] or not _narrows(name, weight.shape, device):
        return weight
    exact = numbers(weight) if weight.dtype == dtypes.float32 else None
    if exact is None:
        exact = copied(weight.float().numpy())
    return hold(name, exact, dtype, device)


def hold(name: str, exact: NDArray[np.float32], dtype: str | None, device: str) -> Tensor:
    """The numbers of a weight on a device, as `narrow` leaves them."""
    if dtype in (None, "float32") or not _narrows(name, exact.shape, device):
        return put(exact, device)
    rounded = room(*exact.shape, dtype=np.uint16)
    for given, kept in zip(pieces(exact), pieces(rounded), strict=True):
        kept[:], shown = _round(given, DTYPES[dtype])
        if not np.isfinite(shown[np.isfinite(given)]).all():
            raise EdificeError(
                f"weight {name!r} holds {max(np.abs(piece).max() for piece in pieces(exact)):.4g}, "
                f"beyond {dtype}; use {'bfloat16 or ' if dtype == 'float16' else ''}float32"
            )
    return put(rounded, device, DTYPES[dtype])


@exclusive
def store(model: M, dtype: str | None) -> M:
    """Store the dense layers of a model as `dtype`, one after the other; returns the model.

    On a CPU a weight whose rows are no multiple of 32 numbers stays float32, with one
    `PrecisionWarning` for all of them.
    """
    if dtype is None:
        return model
    left = []
    for name in get_state_dict(model):
        path, _, _ = name.rpartition(".")
        layer: Any = layer_at(model, path) if path else model
        if isinstance(layer, QuantizedLinear) and KIND_OF.get(layer.kind) != dtype:
            parent, _, own = path.rpartition(".")
            dense = Linear(1, 1, bias=False)
            dense.bias = layer.bias
            dense.weight = narrow(name, layer.floats().realize(), dtype)
            setattr(layer_at(model, parent) if parent else model, own, dense)
        elif is_dense(model, name):
            layer.weight.replace(narrow(name, layer.weight, dtype))
            if layer.weight.dtype != DTYPES[dtype]:
                left.append(name)
    if left:
        warnings.warn(
            f"{len(left)} weights stay float32, the first {left[0]}: on a CPU {dtype} needs rows "
            f"of a multiple of {ROW} numbers",
            PrecisionWarning,
            stacklevel=3,
        )
    return model


def is_dense(model: Any, name: str) -> bool:
    """Whether a model's weight of that name is the matrix of a dense layer outside its scorer."""
    path, _, attribute = name.rpartition(".")
    return (
        attribute == "weight"
        and bool(path)
        and not name.startswith("scorer.")
        and isinstance(layer_at(model, path), Linear)
    )


def widen(halves: NDArray[np.uint16], dtype: str) -> NDArray[np.float32]:
    """The float32 numbers that 16 bits stand for; exact."""
    if dtype == "float16":
        return halves.view(np.float16).astype(np.float32)
    return (halves.astype(np.uint32) << 16).view(np.float32)


def narrows(shape: Sequence[int], device: str) -> bool:
    """Whether a weight of that shape can be stored in 16 bits on a device."""
    return len(shape) == 2 and (shape[1] % ROW == 0 or not compiles_c(device))


def _narrows(name: str, shape: Sequence[int], device: str) -> bool:
    return narrows(shape, device) and not name.startswith("scorer.")


def _round(
    exact: NDArray[np.float32], dtype: DType
) -> tuple[NDArray[np.uint16], NDArray[np.floating[Any]]]:
    """To the nearest, ties to even: the bits as stored, and as numbers that NumPy can test."""
    if dtype == dtypes.float16:
        with np.errstate(over="ignore"):  # told by the caller
            half = exact.astype(np.float16)
        return half.view(np.uint16), half
    bits = np.ascontiguousarray(exact).view(np.uint32)
    upper = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return upper, widen(upper, "bfloat16")
