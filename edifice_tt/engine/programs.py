"""The steps of a language model on tinygrad's CPU device, linked from programs of one layer.

Capturing thirty equal layers takes a second. So one layer is captured, and called for each layer
and thread with the addresses of their weights and caches. Knows no sampling and no text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor
from tinygrad.nn.state import get_parameters

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.nn.backbone import Block
from edifice_tt.nn.buffers import in_memory, view, wrap, zeros
from edifice_tt.nn.cache import KVCache, Layers
from edifice_tt.nn.cpu.kernels import HEADER
from edifice_tt.nn.cpu.replay import Capture, Replay, capture, memory_of


@dataclass(frozen=True)
class LinkedStep:
    """A step of one shape for one cache; its results are valid until the next step."""

    inputs: NDArray[Any]
    rows: NDArray[np.int32]
    hidden: NDArray[np.float32]
    logits: NDArray[np.float32]
    layers: Replay
    memory: Any  # what lies behind all this, kept alive
    last: NDArray[np.float32] | None = None  # when T > 1: the token (1, D) whose logits are wanted
    only: NDArray[np.int32] | None = None  # the `rows` that say so
    head: Replay | None = None

    def __call__(
        self, inputs: NDArray[Any], rows: Sequence[int], with_logits: bool = True
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """`rows` is what `KVCache.rows` holds."""
        np.copyto(self.inputs, inputs)
        self.rows[: len(rows)] = rows
        self.layers()
        if (
            with_logits
            and self.head is not None
            and self.last is not None
            and self.only is not None
        ):
            self.only[3:HEADER] = rows[3:HEADER]
            self.last[0] = self.hidden.reshape(-1, self.last.shape[1])[rows[-1]]
            self.head()
        return self.hidden, self.logits


@dataclass(frozen=True)
class _Program:
    """A captured part of a model, with the addresses of its arguments and results."""

    capture: Capture
    saw: tuple[int, ...]
    returned: int


@dataclass
class _Chain:
    """Programs in sequence, with their own memory."""

    links: list[Any] = field(default_factory=list)
    memory: list[Any] = field(default_factory=list)
    _scratch: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    def add(self, program: _Program, arguments: Sequence[Tensor], out: Tensor) -> Tensor:
        places = dict(zip(program.saw, map(memory_of, arguments), strict=True))
        places[program.returned] = memory_of(out)
        for at, size in program.capture.written.items():
            if at not in places:
                # Every layer may use the same, since they run one after the other.
                if at not in self._scratch:
                    self._scratch[at] = zeros(size, dtype=np.uint8)
                places[at] = self._scratch[at].ctypes.data
        self.links.append((program.capture, places))
        self.memory += [*arguments, out, self._scratch]
        return out

    def replay(self) -> Replay:
        return Replay(*self.links)


class _NotPlainError(Exception):
    """A part of a model does not consist of plain programs of tinygrad's CPU device."""


class Programs:
    """The captured parts of one model, from which its steps of any shape are linked."""

    def __init__(self, model: Callable[[], CausalLM]) -> None:
        self._model = model
        self._captured: dict[Any, _Program] = {}

    def link(self, inputs: NDArray[Any], cache: KVCache, part: range) -> LinkedStep | None:
        """The step for such an input of `Decoder.step`; None unless plain programs suffice."""
        lm = self._model()
        if not in_memory(lm.device):
            return None
        empty = wrap(np.empty((1, 1, lm.config.hidden_size), np.float32), lm.device)
        if not all(block.is_one_kernel(empty) for block in lm.backbone.blocks):
            return None
        try:
            return self._link(lm, wrap(np.zeros_like(inputs), lm.device), cache, part)
        except _NotPlainError:
            return None

    def _link(self, lm: CausalLM, inputs: Tensor, cache: KVCache, part: range) -> LinkedStep:
        def empty(*shape: int) -> Tensor:
            return wrap(zeros(*shape), lm.device)

        (B, T, *_), width, size = inputs.shape, lm.config.hidden_size, lm.config.vocab_size
        rows = wrap(np.zeros(HEADER + B * T, np.int32), lm.device)
        chain, streams = _Chain(), [empty(B, T, width), empty(B, T, width)]
        caches = [cache] if cache.prefix is None else [cache, cache.prefix]
        x = inputs
        if part.start == 0:
            x = self._add(chain, ("embed", B, T), lm.embed, [x], streams[0])
        for layer in part:
            streams.reverse()  # each layer reads one and writes the other
            block, arguments = lm.backbone.blocks[layer], [x, rows]
            arguments += [c.layers[layer] for c in caches]
            tables = lm.backbone.rotations(layer, cache.span, lm.device, cache.of_long)
            weights = get_parameters(block)
            key = ("layer", cache.of_long, *(t.shape for t in [*arguments, *weights]), block.kind)
            x = self._add(
                chain,
                key,
                partial(_read_layer, block, cache, tables),
                arguments,
                streams[0],
                weights,
            )
        normed = empty(B, T, width)
        self._add(chain, ("norm", B, T), lm.backbone.final_norm, [x], normed)
        step = partial(LinkedStep, view(inputs), view(rows))
        if part.stop < lm.config.num_layers:
            return step(view(x), view(normed), chain.replay(), chain)
        if T == 1:
            logits, flat = empty(B, size), wrap(view(normed)[:, 0], lm.device)
            self._add(chain, ("head", B), lm.logits, [flat, rows], logits)
            return step(view(normed), view(logits), chain.replay(), chain)
        last, logits, after = empty(1, width), empty(1, size), _Chain()
        only = wrap(
            np.array([0, 0, 1, 0, 0, 0], np.int32), lm.device
        )  # wanted: one token, the first
        self._add(after, ("head", 1), lm.logits, [last, only], logits)
        step = partial(step, view(normed), view(logits), chain.replay(), (chain, after))
        return step(view(last), view(only), after.replay())

    def _add(
        self,
        chain: _Chain,
        key: Any,
        function: Callable[..., Tensor],
        arguments: Sequence[Tensor],
        out: Tensor,
        weights: Sequence[Tensor] = (),
    ) -> Tensor:
        """Call a function in a chain; it is captured once for all calls with one key."""
        if key not in self._captured:
            # Zeros: they ask for no row, and take no memory before they are written to.
            samples = [wrap(np.zeros_like(view(t)), str(t.device)) for t in arguments]
            if (graph := capture(function, *samples)) is None:
                raise _NotPlainError
            saw = tuple(map(memory_of, [*samples, *weights]))
            self._captured[key] = _Program(graph, saw, memory_of(graph.returned))
        return chain.add(self._captured[key], [*arguments, *weights], out)


def _read_layer(
    block: Block, cache: KVCache, tables: Any, x: Tensor, rows: Tensor, own: Tensor, *shared: Tensor
) -> Tensor:
    prefix = cache.prefix and replace(cache.prefix, layers=Layers(shared))
    return block(x, tables, [], replace(cache, layers=Layers([own]), prefix=prefix, rows=rows))
