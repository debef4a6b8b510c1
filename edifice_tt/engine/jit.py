"""A model compiled once per input shape; knows no architecture.

The captured graphs live here, per instance, never on the model: a Tensor on the model would be a
weight, and a capture on its class would serve all instances. On a CPU the cores share the batch, or
the work of each layer where there is a single text.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from functools import partial
from inspect import signature
from itertools import pairwise
from threading import RLock
from typing import Any, Generic, TypeVar
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from tinygrad import Device, Tensor, TinyJit, UOp
from tinygrad.helpers import TRAINING
from tinygrad.nn.state import get_parameters

from edifice_tt.architectures.inputs import Given, as_numbers
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.toolchain import devices_beside, open_devices
from edifice_tt.nn.buffers import DTYPES, buffers_of, in_memory, numbers, replicate, view, wrap
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu.bridge import serves
from edifice_tt.nn.cpu.replay import Replay, capture
from edifice_tt.nn.cpu.team import Team, make_team
from edifice_tt.nn.mapped import check_unchanged

Out = TypeVar("Out")

PART = 24  # positions that make one more core worth while


class CompiledModel(Generic[Out]):
    """A model that replays captured graphs; see `jit`."""

    def __init__(self, model: Callable[..., Out], devices: Sequence[str] | None = None) -> None:
        self.model: Any = model
        self._devices = devices
        weights = get_parameters(model)
        self._home = str(weights[0].device) if weights else None
        self._replicas: dict[str, Any] = {}
        self._weights: list[UOp] = []
        self._parts: dict[tuple[Any, ...], list[_Part]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._team: Team | None = None
        self._process = os.getpid()
        self._one_call = RLock()  # a part's input and its results lie in one place for all calls

    def __call__(self, x: Given) -> Out:
        x = _checked(x)
        device = str(x.device) if isinstance(x, Tensor) else self._home or Device.DEFAULT
        with self._one_call:
            with exclusive:
                parts = self._parts_for(x, self._home or device)
                for part in parts:
                    part.capture()
            self._run(parts)
            with exclusive:
                # Captures write to the same buffers each time; the caller gets copies.
                tensors = zip(*(_fields(part.out) for part in parts), strict=True)
                arrays = zip(*(part.out_arrays for part in parts), strict=True)
                fields = [_join(*both, device) for both in zip(tensors, arrays, strict=True)]
            out: Out = _like(parts[0].out, fields)
            return out

    def _parts_for(self, x: Tensor | NDArray[Any], home: str) -> "list[_Part]":
        """The parts that share such an input, each with its share copied in."""
        check_unchanged(self.model)
        weights = buffers_of(self.model)
        if weights != self._weights:  # captures read the buffers that they saw
            self._weights, self._parts, self._replicas = weights, {}, {}
        if isinstance(x, Tensor):
            x, kind = x.to(home), x.dtype
        else:
            kind = DTYPES[x.dtype]
            x = x if in_memory(home) else Tensor(x, device=home)
        key = x.shape, kind, bool(TRAINING)  # training draws dropout, so its graph is another one
        if key not in self._parts:
            sample = x if isinstance(x, Tensor) else Tensor(x, device=home)
            self._parts[key] = self._share_out(sample)
        _hand_out(x, self._parts[key])
        return self._parts[key]

    def _share_out(self, x: Tensor) -> "list[_Part]":
        own = str(x.device)
        rows, tokens = (*x.shape, 1, 1)[:2]
        if TRAINING or not x.shape:  # dropout draws for a whole batch
            return [_Part(partial(_call, self.model), own)]
        count = len(self._devices or devices_beside(own))
        if not _shares_memory(x):
            devices = list(self._devices or [own])[:rows]
            for device in {*devices} - {*self._replicas}:
                alike = device == own
                self._replicas[device] = self.model if alike else replicate(self.model, device)
            models = [self._replicas[device] for device in devices]
            parts = shares(rows, len(devices))
            return [
                _Part(partial(_call, m), d, part)
                for m, d, part in zip(models, devices, parts, strict=True)
            ]
        if rows == 1 < count and _takes_a_cache(self.model) and serves(x):
            return [self._reader(x, count)]
        if self._devices is None:
            count = max(1, min(count, rows * tokens // PART))
        call = partial(_call, self.model)
        return [_Part(call, own, part) for part in shares(rows, min(count, rows))]

    def _reader(self, x: Tensor, cores: int) -> "_Part":
        """One text, each of whose layers a team of so many cores shares out."""
        if self._team is None and (team := make_team(cores)) is not None:
            self._team = team
            finalize(self, team.close)
        cache = KVCache.empty(_backbone(self.model), 1, x.shape[1], str(x.device))
        behind = cache.wanting_all(x, self._team.address if self._team else (0, 0))
        assert behind.rows is not None
        behind.rows.realize()  # here, so that making it is no part of what is captured
        return _Part(partial(_call, self.model, cache=behind), str(x.device), team=self._team)

    def _run(self, parts: "list[_Part]") -> None:
        first, *others = parts
        if not all(part.is_replayed for part in parts):
            with exclusive:
                for part in parts:
                    part()
            return
        if not others:
            with first.team or nullcontext():
                first()
            return
        if self._threads is None or self._process != os.getpid():  # a fork has no threads
            self._threads, self._process = ThreadPoolExecutor(), os.getpid()
        running = [self._threads.submit(part) for part in others]
        try:
            first()
        finally:
            wait(running)
        for future in running:
            future.result()


class _Part:
    """One share of all inputs of a shape: its captured graph and its input buffer."""

    def __init__(
        self,
        call: Callable[[Tensor], Any],
        device: str,
        part: range | None = None,
        team: Team | None = None,
    ) -> None:
        self.device, self.team = device, team
        self.at = ... if part is None else slice(part.start, part.stop)
        self.input: Tensor | None = None
        self.input_array: NDArray[Any] | None = None  # where it lies in memory
        self.out: Any = None
        self.out_arrays: list[NDArray[Any] | None] = []  # its fields, where they lie in memory
        self._call = call
        self._run: Any = None  # a `Replay`, or what tinygrad captured

    @property
    def is_replayed(self) -> bool:
        """Whether it runs without tinygrad, in parallel with other threads."""
        return isinstance(self._run, Replay)

    def capture(self) -> None:
        """Capture on the first call, as plain programs if possible."""
        if self._run is not None:
            return
        if in_memory(self.device) and not TRAINING:
            assert self.input is not None
            # Twice: the first call may compute what is kept from then on, such as rotary tables.
            graph = capture(self._call, self.input) or capture(self._call, self.input)
            if graph is not None:
                self._run = Replay((graph, {}))
                self._keep(graph.returned)
                return
        self._run = TinyJit(self._call)

    def __call__(self) -> None:
        if self.is_replayed:
            self._run()
        else:
            self._keep(self._run(self.input))

    def _keep(self, out: Any) -> None:
        self.out = out
        self.out_arrays = [
            view(t) if t is not None and _shares_memory(t) else None for t in _fields(out)
        ]


def _call(model: Any, x: Tensor, **options: Any) -> Any:
    out = model(x, **options)
    return _like(out, [None if t is None else _own(t) for t in _fields(out)])


def _fields(out: Any) -> Sequence[Tensor | None]:
    return (out,) if isinstance(out, Tensor) else out


def _like(out: Any, fields: Sequence[Tensor | None]) -> Any:
    return fields[0] if isinstance(out, Tensor) else type(out)(*fields)


def _checked(x: Given) -> Tensor | NDArray[Any]:
    """A Tensor as it is; other whole numbers as int32, as token ids are, and floats as float32."""
    given = as_numbers("the input of jit", x)
    if isinstance(given, Tensor):
        return given
    kept = given.astype(np.float32 if given.dtype.kind == "f" else np.int32)
    if given.dtype.kind != "f" and (kept != given).any():
        raise ValueError("the input of jit holds whole numbers that are no int32; give a Tensor")
    return kept


def _own(tensor: Tensor) -> Tensor:
    """The Tensor in its own buffer, not a view of another."""
    return tensor if tensor.uop.has_buffer_identity(after_ok=True) else tensor.contiguous()


def _takes_a_cache(model: Any) -> bool:
    return "cache" in signature(model).parameters


def _backbone(model: Any) -> BackboneConfig:
    config: BackboneConfig = getattr(model.config, "backbone", model.config)
    return config


def shares(size: int, count: int) -> list[range]:
    """So many neighbouring parts of nearly one size."""
    return [range(a, b) for a, b in pairwise(size * i // count for i in range(count + 1))]


def _shares_memory(x: Tensor) -> bool:
    return in_memory(str(x.device)) and x.dtype.fmt is not None


def _hand_out(x: Tensor | NDArray[Any], parts: Sequence[_Part]) -> None:
    """Copy each part's share of an input into the buffer that its capture reads."""
    if isinstance(x, Tensor) and not _shares_memory(x):
        for part in parts:
            # A copy: the input may be a view, a constant or not yet computed.
            part.input = x[part.at].clone(part.device).realize()
        return
    if isinstance(x, Tensor):
        array = numbers(x)
        x = view(x.contiguous().realize()) if array is None else array
    for part in parts:
        share = x[part.at]
        if part.input_array is None:
            part.input_array = np.empty_like(share, order="C")
            part.input = wrap(part.input_array, part.device)
        np.copyto(part.input_array, share)


def _join(
    tensors: Sequence[Tensor | None], arrays: Sequence[NDArray[Any] | None], device: str
) -> Tensor | None:
    """A field of all parts as one Tensor of its own."""
    near = [array for array in arrays if array is not None]
    if in_memory(device) and len(near) == len(tensors):
        return wrap(np.concatenate(near), device)
    given = [tensor.to(device) for tensor in tensors if tensor is not None]
    return given[0].cat(*given[1:], dim=0).clone().realize() if given else None


def jit(model: Callable[..., Out], devices: Sequence[str] | None = None) -> CompiledModel[Out]:
    """Compile a model once per input shape; its results belong to the caller.

    `jit(model)(x)` returns what `model(x)` returns, a Tensor or a named tuple of Tensors, which
    begin with the batch. An array or lists are taken as float32, or as int32 if they hold whole
    numbers; a Tensor keeps its dtype. `devices`, all of one kind, share the batch without changing
    results; on a CPU they are the cores to use (default: all). For a model that takes a `cache`, as
    `Backbone` does, they share each layer's work on a batch of one. The first call of a shape is
    slow; on a GPU the first two are (one runs eagerly, one captures). Each instance has its own
    captures, and several threads may call it. Weights may be replaced between calls, or changed in
    place if no other device has a copy.
    """
    if devices is not None:
        devices = open_devices(devices, str(get_parameters(model)[0].device))
    return CompiledModel(model, devices)
