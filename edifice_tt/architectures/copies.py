"""Copies and pickles of models, with the same numbers and the same fingerprint.

tinygrad pickles a weight by an id that may belong to another weight in another process, which then
confuses the two. Here the numbers themselves are pickled. Knows no architecture.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.dtype import DType
from tinygrad.nn.state import get_parameters

from edifice_tt.architectures.fingerprint import fingerprint, origin_of, set_origin
from edifice_tt.nn.buffers import copied, put


class Stored:
    """A weight in its pickled form."""

    __slots__ = ("bits", "device", "dtype", "shape")

    def __init__(self, weight: Tensor) -> None:
        self.device, self.dtype, self.shape = str(weight.device), weight.dtype, weight.shape
        self.bits: NDArray[np.uint8] = weight.contiguous().bitcast(dtypes.uint8).numpy()

    def restore(self) -> Tensor:
        """The weight as a Tensor with its own memory."""
        kind: DType = self.dtype
        bits = copied(self.bits.reshape(-1)).view(f"u{kind.itemsize}").reshape(self.shape)
        return put(bits, self.device, kind)


class Copies:
    """Base class of models that can be copied. A copy shares memory; a pickle does not."""

    def __copy__(self) -> Self:
        return self._like(dict(vars(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._like(deepcopy(vars(self), memo))

    def _like(self, state: dict[str, Any]) -> Self:
        other = object.__new__(type(self))
        vars(other).update(state)
        set_origin(other, origin_of(self))
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        stored = {id(weight): Stored(weight) for weight in get_parameters(self)}
        state = deepcopy(vars(self), dict(stored))
        origin = fingerprint(self) if origin_of(self) else None
        return _restore, (type(self), state, list(stored.values()), origin)


def _restore(
    kind: type, state: dict[str, Any], weights: Sequence[Stored], origin: str | None
) -> Any:
    model: Any = object.__new__(kind)
    vars(model).update(deepcopy(state, {id(weight): weight.restore() for weight in weights}))
    if origin is not None:
        set_origin(model, lambda: origin)
    return model
