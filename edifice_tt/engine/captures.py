"""A decode step that tinygrad captures as a whole and replays, for devices other than the CPU.

Knows a model and one cache, and what rows ask a GPU to draw; no prompt and no text.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Context, Tensor, TinyJit, UOp

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import in_memory, view, wrap
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.cpu.kernels import HEADER
from edifice_tt.nn.gpu import draws
from edifice_tt.nn.gpu.draws import Asked, Drawn


class CapturedStep:
    """A step of one shape for one cache; its results are valid until the next step."""

    def __init__(
        self, model: Callable[[], CausalLM], inputs: NDArray[Any], cache: KVCache, part: range
    ) -> None:
        self._device = model().device
        self._tokens = inputs.shape[0] * inputs.shape[1]
        self._room = cache.capacity
        self._prefix_room = cache.prefix.capacity if cache.prefix else None
        self._inputs: list[Tensor] = []
        # Made before the capture, so that making it is not part of what is replayed.
        backbone = model().backbone
        for layer in range(len(backbone.blocks)):
            backbone.rotations(layer, cache.span, self._device, cache.of_long)
        self._capture: Any = TinyJit(_function(model, cache, part))
        # Skip tinygrad's first, uncaptured call: nothing here is made lazily at first use, and
        # scheduling a deep model once more takes seconds.
        self._capture.cnt = 1
        self._draws: dict[draws.Filters, Any] = {}

    def __call__(
        self, inputs: NDArray[Any], rows: Sequence[int], with_logits: bool = True
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """`rows` is what `KVCache.rows` holds. Logits are part of what was captured."""
        # A handful of small kernels: starting the compiler's processes would take longer.
        with exclusive, Context(PARALLEL=0):
            hidden, logits = self._run(inputs, rows)
            if in_memory(self._device):
                return view(hidden), view(logits)
            return hidden.numpy(), logits.numpy()

    def draw(
        self, inputs: NDArray[Any], rows: Sequence[int], asked: Mapping[int, Asked]
    ) -> dict[int, Drawn | NDArray[Any]]:
        """What rows of a decoding step ask for, drawn on the device; all pass the same filters.

        A row whose draw is left to the formula gets its logits (V,) in place of a token.
        """
        with exclusive, Context(PARALLEL=0):
            _, logits = self._run(inputs, rows)
            batch, size = (int(n) for n in logits.shape)
            filters = draws.filters_of(next(iter(asked.values())), size)
            if filters not in self._draws:
                self._draws[filters] = TinyJit(partial(draws.draw, filters=filters))
                self._draws[filters].cnt = 1  # as above
            words = Tensor(draws.words_of(asked, batch, size), device=self._device).realize()
            found = self._draws[filters](logits, words).numpy()
            drawn: dict[int, Any] = {row: draws.drawn_of(found[row]) for row in asked}
            if left := [row for row, one in drawn.items() if one is None]:
                every = logits.numpy()
                return drawn | {row: every[row] for row in left}
            return drawn

    def _run(self, inputs: NDArray[Any], rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        shared, length, *_ = rows
        bound = [_bind("length", length, self._room), _bind("last", rows[-1], self._tokens)]
        if self._prefix_room is not None:
            bound.append(_bind("prefix", shared, self._prefix_room))
        padded = np.zeros(HEADER + self._tokens, dtype=np.int32)
        padded[: len(rows)] = rows
        found: tuple[Tensor, Tensor] = self._capture(*self._put(inputs, padded), *bound)
        return found

    def _put(self, *arrays: NDArray[Any]) -> list[Tensor]:
        """The arrays on the device; on a CPU in the same Tensors each time, which costs nothing."""
        if not in_memory(self._device):
            inputs = [Tensor(array, device=self._device) for array in arrays]
            Tensor.realize(*inputs)
            return inputs
        if not self._inputs:
            self._inputs = [wrap(np.empty_like(array), self._device) for array in arrays]
        for tensor, array in zip(self._inputs, arrays, strict=True):
            np.copyto(view(tensor), array)
        return self._inputs


class CapturedCopy:
    """Makes rows of one cache copies of rows of another, which may be the same."""

    def __init__(self, cache: KVCache, other: KVCache, device: str) -> None:
        self._device, self._batch = device, cache.batch

        def copy(rows: Tensor) -> list[Tensor]:
            return [*cache.taking(other, rows)]

        self._capture: Any = TinyJit(copy)
        self._capture.cnt = 1  # as in `CapturedStep`

    def __call__(self, slots: Mapping[int, int]) -> None:
        """`slots` maps a row to the one of which it becomes a copy."""
        rows = np.full(self._batch, -1, dtype=np.int32)
        rows[[*slots]] = [*slots.values()]
        with exclusive, Context(PARALLEL=0):
            self._capture(Tensor(rows, device=self._device).realize())


def _function(model: Callable[[], CausalLM], cache: KVCache, part: range) -> Callable[..., Any]:
    # The caches are no arguments: tinygrad would look at each of their layers in every step.
    def step(inputs: Tensor, rows: Tensor, *bound: UOp) -> tuple[Tensor, Tensor]:
        length, last, *rest = bound
        lm, prefix = model(), cache.prefix and cache.prefix.holding(rest[0])
        behind = cache.holding(length, prefix, rows)
        hidden = lm.read(inputs, behind, part)
        if part.stop < lm.config.num_layers:
            return hidden, lm.backbone.final_norm(hidden)
        if inputs.shape[1] == 1:  # decoding
            return hidden, lm.logits(hidden[:, 0], rows)  # (B, V)
        flat = hidden.reshape(1, -1, hidden.shape[2])
        return hidden, lm.logits(flat[:, last : last + 1])[:, 0]  # (1, V)

    return step


def _bind(name: str, value: int, limit: int) -> UOp:
    return UOp.variable(name, 0, limit).bind(value)
