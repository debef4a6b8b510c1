"""Inputs of a model -> a checked array or Tensor; knows no model."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tinygrad import Tensor, dtypes
from tinygrad.engine.realize import capturing

Given: TypeAlias = Tensor | ArrayLike


def as_numbers(name: str, values: Given) -> Tensor | NDArray[Any]:
    """Return a Tensor unchanged, an array or nested lists as an array.

    Raises `ValueError` for rows of different lengths and for anything but numbers.
    """
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name} has rows of different lengths; pad the shorter ones on the right"
        ) from error
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} is {values!r:.40}, expected a Tensor, an array or nested lists of numbers"
        )
    return array


def check_token_ids(token_ids: Tensor | NDArray[Any], vocab_size: int) -> None:
    """Raise `ValueError` for the first token id outside 0 .. vocab_size - 1.

    Does nothing while a graph is captured, since there are no values yet.
    """
    if capturing:
        return
    ids = token_ids.numpy() if isinstance(token_ids, Tensor) else token_ids
    strange = ids[(ids < 0) | (ids >= vocab_size)]
    if strange.size:
        raise ValueError(
            f"token id {strange[0]} is not in the vocabulary; the model's ids go from 0 to "
            f"{vocab_size - 1}"
        )


def is_integer(values: Tensor | NDArray[Any]) -> bool:
    return dtypes.is_int(values.dtype) if isinstance(values, Tensor) else values.dtype.kind in "iu"
