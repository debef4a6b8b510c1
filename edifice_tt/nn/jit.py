"""A model compiled once per input shape; knows no architecture.

The captured graphs live here, per instance, never on the model: a Tensor on the model would be a
weight, and a capture on its class would serve all instances. On a CPU every core takes its part of
a batch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, TinyJit
from tinygrad.helpers import TRAINING
from tinygrad.nn.state import get_parameters

from edifice_tt.nn.init import in_memory, replicate, view, wrap
from edifice_tt.toolchain import devices_beside

Part: TypeAlias = Tensor | NDArray[Any]

PART = 128  # positions that make one more device worth while


class CompiledModel:
    """A model that replays captured graphs; see `jit`."""

    def __init__(self, model: Any, devices: Sequence[str] | None = None) -> None:
        self.model = model
        self._devices = devices
        weights = get_parameters(model)
        self._home = str(weights[0].device) if weights else None
        self._runners: dict[str, _Runner] = {}

    def __call__(self, x: Tensor) -> Any:
        if not isinstance(x, Tensor):
            raise ValueError(
                f"jit needs a Tensor, given {type(x).__name__}; use tinygrad.Tensor(...), of the "
                "dtype that the model is to be compiled for"
            )
        given_on = str(x.device)
        x = x.to(self._home or given_on)
        devices = self._devices_for(x)
        runners = [self._runner(device, str(x.device)) for device in devices]
        parts = _split(x, devices)
        pairs = list(zip(runners, parts, strict=True))
        # tinygrad captures one graph at a time; replayed they run side by side.
        if len(pairs) > 1 and all(runner.has_captured(part) for runner, part in pairs):
            with ThreadPoolExecutor(len(pairs)) as pool:
                results = list(pool.map(lambda pair: pair[0](pair[1]), pairs))
        else:
            results = [runner(part) for runner, part in pairs]
        # A capture writes its results to the same buffers each time; the caller gets copies.
        fields = [_join(tensors, given_on) for tensors in zip(*results, strict=True)]
        Tensor.realize(*(t for t in fields if t is not None))
        return type(results[0])(*fields)

    def _devices_for(self, x: Tensor) -> Sequence[str]:
        own = str(x.device)
        if self._devices is not None:
            return self._devices[: x.shape[0]]
        if TRAINING or x.ndim < 2 or not in_memory(own):  # dropout draws for a whole batch
            return [own]
        useful = min(x.shape[0], x.shape[0] * x.shape[1] // PART)
        return devices_beside(own)[: max(1, useful)]

    def _runner(self, device: str, own: str) -> "_Runner":
        if device not in self._runners:
            model = self.model if device == own else replicate(self.model, device)
            self._runners[device] = _Runner(model, device)
        return self._runners[device]


class _Runner:
    """The captured graphs of a model on one device."""

    def __init__(self, model: Any, device: str) -> None:
        self.model = model
        self.device = device
        self._captures: dict[tuple[Any, ...], Any] = {}
        self._inputs: dict[tuple[Any, ...], Tensor] = {}

    def has_captured(self, x: Part) -> bool:
        capture = self._captures.get(_key(x))
        return capture is not None and capture.captured is not None

    def __call__(self, x: Part) -> Any:
        if (key := _key(x)) not in self._captures:
            self._captures[key] = TinyJit(self._call_model)
        if isinstance(x, Tensor):
            return self._captures[key](x)
        if key not in self._inputs:
            self._inputs[key] = wrap(np.empty_like(x), self.device)
        np.copyto(view(self._inputs[key]), x)
        return self._captures[key](self._inputs[key])

    def _call_model(self, x: Tensor) -> Any:
        out = self.model(x)
        return type(out)(*(t if t is None else t.contiguous() for t in out))


def _key(x: Part) -> tuple[Any, ...]:
    # Training draws dropout, so its graph is another one.
    return x.shape, x.dtype, bool(TRAINING)


def _split(x: Tensor, devices: Sequence[str]) -> Sequence[Part]:
    """A part of the batch for each device, to be copied to where a capture replays from."""
    edges = list(pairwise(x.shape[0] * i // len(devices) for i in range(len(devices) + 1)))
    if in_memory(str(x.device)):
        rows = view(x.contiguous().realize())
        return [rows[a:b] for a, b in edges]
    if len(devices) == 1:
        return [x.clone().realize()]  # not a view, a constant or an unfinished sum
    return [
        x[a:b].to(device).clone().realize() for device, (a, b) in zip(devices, edges, strict=True)
    ]


def _join(parts: Sequence[Tensor | None], device: str) -> Tensor | None:
    tensors = [part for part in parts if part is not None]
    if not tensors:
        return None
    if all(in_memory(d) for d in (device, *(str(t.device) for t in tensors))):
        return wrap(np.concatenate([view(t) for t in tensors]), device)
    return tensors[0].to(device).cat(*(t.to(device) for t in tensors[1:])).clone()


def jit(model: Any, devices: Sequence[str] | None = None) -> CompiledModel:
    """The same call, compiled once per input shape; its results are the caller's to keep.

    `jit(model)(x)` returns what `model(x)` returns, a named tuple of Tensors that begin with the
    batch. `devices`, all of one kind, share the batch out (by default every core, on a CPU); they
    change no number. Devices of a CPU read the weights where they lie, others a copy.
    The first two calls of a shape are slow (one runs eagerly, one captures); each instance has
    captures of its own. Weights may change in place between calls, where no device has a copy;
    replace a weight by another buffer, and you need a new `jit`.
    """
    return CompiledModel(model, devices)
