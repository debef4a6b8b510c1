"""A model compiled once per input shape; knows no architecture.

The captured graphs live here, per instance, never on the model: a Tensor on the model would be a
weight, and a capture on its class would serve all instances.
"""

from typing import Any

from tinygrad import Tensor, TinyJit
from tinygrad.helpers import TRAINING


class CompiledModel:
    """A model that replays a captured graph; see `jit`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._captures: dict[tuple[Any, ...], Any] = {}

    def __call__(self, x: Tensor) -> Any:
        # Training draws dropout, so its graph is another one.
        key = (x.shape, x.dtype, x.device, bool(TRAINING))
        if key not in self._captures:
            self._captures[key] = TinyJit(self._call_model)
        # A capture wants a buffer of its own: not a view, a constant or an unfinished sum.
        out = self._captures[key](x.clone().realize())
        # The capture writes its results to the same buffers each time; the caller gets copies.
        copies = [t if t is None else t.clone() for t in out]
        Tensor.realize(*(t for t in copies if t is not None))
        return type(out)(*copies)

    def _call_model(self, x: Tensor) -> Any:
        out = self.model(x)
        return type(out)(*(t if t is None else t.contiguous() for t in out))


def jit(model: Any) -> CompiledModel:
    """The same call, compiled once per input shape; its results are the caller's to keep.

    `jit(model)(x)` returns what `model(x)` returns, a named tuple of Tensors. The first two calls
    of a shape are slow (one runs eagerly, one captures); each instance has captures of its own.
    Weights may change in place between calls; replace a weight by another buffer, and you need a
    new `jit`.
    """
    return CompiledModel(model)
