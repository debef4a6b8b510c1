"""Where weights come to lie: on one device, realised, in one call."""

from typing import TypeVar

from tinygrad import Tensor
from tinygrad.nn.state import get_parameters

M = TypeVar("M")


def place(model: M, device: str) -> M:
    """Move every weight to a device and realise them all; returns the model."""
    weights = get_parameters(model)
    for weight in weights:
        weight.to_(device)
    Tensor.realize(*weights)
    return model
