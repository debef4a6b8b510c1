"""Runs a language model step by step: reads a prompt once, then decodes rows in lock-step.

Knows tokens, caches and steps on one device; knows no sampling and no text. A step is linked to the
buffers of its caches, found by them, and dropped with them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tinygrad.helpers import Context

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.engine.captures import CapturedCopy, CapturedStep
from edifice_tt.engine.held import Held
from edifice_tt.engine.programs import LinkedStep, Programs
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import in_memory
from edifice_tt.nn.cache import KVCache, Layers, kv_dtype_of
from edifice_tt.nn.cpu.team import Team, gather

CHUNK = 64  # tokens that a prompt is read in: one compiled shape serves every prompt
ROOM = 64  # capacities are this or twice, four times, ... as much, so that few shapes are compiled
ROWS = 32  # the most candidates that a decode step advances together, unless told otherwise
CACHES = 4  # that are kept for the next call, each of another size

Logits = NDArray[np.floating[Any]]
Step: TypeAlias = LinkedStep | CapturedStep
Key: TypeAlias = tuple[int | Layers | None, ...]


class Decoder:
    """The prompt, caches and steps of a model on one device; used by one call at a time."""

    def __init__(self, model: Callable[[], CausalLM], programs: Programs | None = None) -> None:
        self._model = model
        self.programs = programs or Programs(model)
        self.caches: dict[tuple[int, int], KVCache] = {}  # the one that was used last is last
        self.held: dict[tuple[int, int], Held] = {}  # what the rows of these caches hold
        self.prefix: KVCache | None = None  # holds the prompt
        self._ids: list[int] | None = None  # those of the prompt, when it was read here
        self.team: Team | None = None  # whose members share the work of each step
        self.computed = 0  # tokens of texts that it has read, those that it wrote apart
        self._of_long = False  # whether texts are read as long ones are, see `KVCache`
        # Keys hold the buffers, not their addresses: other buffers may get those later.
        self._steps: dict[Key, Step] = {}
        self._copies: dict[Key, CapturedCopy] = {}

    @property
    def model(self) -> CausalLM:
        return self._model()

    def cache_for(self, rows: int, tokens: int) -> KVCache:
        """Return a cache for so many rows and tokens, both rounded up to a power of two.

        Its content is undefined. Caches of the last few sizes are reused.
        """
        size = cache_size(rows, tokens)
        self.held.pop(size, None)
        cache = self.caches.pop(size, None) or self._make_cache(*size)
        self._make_room(CACHES - 1)
        self.caches[size] = cache
        return cache

    def _make_room(self, most: int) -> None:
        while len(self.caches) > most:
            size = next(iter(self.caches))
            self.held.pop(size, None)
            self._forget(self.caches.pop(size))

    def hold(
        self, cache: KVCache, prompt_ids: Sequence[int], rows: int, layers: int | None = None
    ) -> Held:
        """What the rows of a cache hold, as yet nothing. Who reads adds the tokens that were read.

        A recurrent layer keeps only the state behind the last token, of use to nobody else.
        """
        layers = self.model.config.num_layers if layers is None else layers
        held = Held(cache, list(prompt_ids), self._of_long, layers, [[] for _ in range(rows)])
        if in_memory(self.model.device) and not self.model.config.recurrent_layers:
            self.held[cache.batch, cache.capacity] = held
        return held

    @property
    def is_linked(self) -> bool:
        """Whether a token has the same bits in every step."""
        return all(isinstance(step, LinkedStep) for step in self._steps.values())

    def lend(self) -> dict[tuple[int, int], Held]:
        """Take the caches that hold something out of use."""
        lent, self.held = self.held, {}
        for size in lent:
            del self.caches[size]
        return lent

    def take_back(self, lent: dict[tuple[int, int], Held]) -> None:
        """Keep caches that were lent, unless one of their size was made meanwhile."""
        for size, held in lent.items():
            if size in self.caches:
                self._forget(held.cache)
            else:
                self.caches = {size: held.cache, **self.caches}
                self.held[size] = held
        self._make_room(CACHES)

    def extra_cache(self, rows: int, tokens: int) -> KVCache:
        """Another cache of such a size, until it is released."""
        return self._make_cache(*cache_size(rows, tokens))

    def release(self, cache: KVCache) -> None:
        """Free a cache, unless it is one that the next call may use."""
        if cache.layers not in {one.layers for one in self.caches.values()}:
            self._forget(cache)

    def copy_rows(
        self, cache: KVCache, other: KVCache, slots: Mapping[int, int], length: int
    ) -> None:
        """Make rows of a cache copies of rows of another, or of its own: row -> whose copy it is.

        At most `length` tokens are copied, and states whole. No row is both copied and replaced.
        """
        if in_memory(self.model.device):
            cache.take(other, slots, length)
            return
        key = cache.layers, other.layers
        if key not in self._copies:
            self._copies[key] = CapturedCopy(cache, other, self.model.device)
        self._copies[key](slots)

    def _make_cache(self, rows: int, capacity: int) -> KVCache:
        with exclusive:
            lm, kept = self.model, kv_dtype_of(self.model)
            return KVCache.empty(lm.config.backbone, rows, capacity, lm.device, kept)

    def _forget(self, cache: KVCache) -> None:
        """Drop the steps and copies that were linked to a cache, to free its memory."""
        self._steps = {key: step for key, step in self._steps.items() if cache.layers not in key}
        self._copies = {key: copy for key, copy in self._copies.items() if cache.layers not in key}

    def expect(self, tokens: int) -> None:
        """Say how long the text can become; a prompt that this rotates otherwise is forgotten."""
        of_long = 0 < self.model.config.long_rope_from < tokens
        if of_long != self._of_long:
            self._of_long, self._ids = of_long, None

    def read_prompt(self, ids: Sequence[int]) -> Logits:
        """Read a prompt into `self.prefix`, which all rows share; returns the logits (V,) after it.

        Whole chunks that it shares with the previous prompt are not read again, unless a layer is
        recurrent.
        """
        start = self.begin_prompt(ids)
        assert self.prefix is not None
        logits: Logits = self.read(ids[start:], self.prefix.holding(start))[0].copy()
        self.prefix, self._ids = self.prefix.holding(len(ids)), list(ids)
        return logits

    def holds(self, ids: Sequence[int]) -> bool:
        """Whether `self.prefix` is this prompt, read to its end."""
        return self.prefix is not None and self._ids == list(ids)

    def begin_prompt(self, ids: Sequence[int]) -> int:
        """Make room for a prompt; returns how many of its tokens are already in the cache."""
        if self.prefix is None or self._ids is None or self.prefix.capacity < len(ids):
            self._exchange_prefix(self._make_cache(1, _capacity(len(ids))))
            self._ids = []
        assert self._ids is not None
        if self.model.config.recurrent_layers:  # whose state is that behind the whole prompt
            self._ids = []
        same = [a == b for a, b in zip(ids[:-1], self._ids, strict=False)]
        common = (same.index(False) if False in same else len(same)) // CHUNK * CHUNK
        self._ids = self._ids[:common]  # what is sure to be there if reading breaks off
        return common

    def take_prompt(self, other: "Decoder") -> None:
        """Take over the prompt that another device's decoder has read."""
        theirs = other.prefix
        assert theirs is not None
        self._ids = None
        if in_memory(self.model.device):
            self._exchange_prefix(theirs)
            return
        if self.prefix is None or self.prefix.capacity != theirs.capacity:
            self._exchange_prefix(self._make_cache(1, theirs.capacity))
        assert self.prefix is not None
        with exclusive:
            for ours, layer in zip(self.prefix.layers, theirs.layers, strict=True):
                ours.assign(layer.to(self.model.device)).realize()
        self.prefix = self.prefix.holding(theirs.length)

    @contextmanager
    def helped(self, cores: int) -> Iterator[None]:
        """Within this context the steps use so many cores, where they consist of C kernels."""
        with gather(cores if in_memory(self.model.device) else 1) as self.team:
            try:
                yield
            finally:
                self.team = None

    def forget_texts(self) -> None:
        """Read everything anew from now on, in the same memory."""
        self._ids = None if self._ids is None else []
        self.held.clear()

    def drop_prompt(self) -> None:
        """Free the prompt's memory and drop all steps that use it."""
        self._exchange_prefix(None)
        self._ids = None

    def _exchange_prefix(self, cache: KVCache | None) -> None:
        if self.prefix is not None and (cache is None or self.prefix.layers != cache.layers):
            self._forget(self.prefix)
        self.prefix = cache

    def warm_up(self, rows: int, tokens: int) -> None:
        """Link the decode step for so many rows and tokens after the prompt."""
        cache = self.cache_for(rows, tokens)
        ids = np.zeros((cache.batch, 1), dtype=np.int32)
        self.step(ids, cache.holding(0, self.prefix), [0])

    def read(self, ids: Sequence[int], cache: KVCache) -> Logits:
        """Read one row's tokens chunk by chunk, after the positions in the cache.

        Returns the logits (1, V) after the last; they are valid until the next step.
        """
        self.computed += len(ids)
        for place, (chunk, count) in enumerate(chunks_of(ids)):
            behind = cache.holding(cache.length + place * CHUNK, cache.prefix)
            ends = (place + 1) * CHUNK >= len(ids)
            _, logits = self.step(chunk, behind, range(count), with_logits=ends)
        return logits

    def step(
        self,
        inputs: NDArray[Any],
        cache: KVCache,
        wanted: Sequence[int],
        part: range | None = None,
        with_logits: bool = True,
    ) -> tuple[NDArray[Any], Logits]:
        """Read tokens (B, T) into the cache; only the `wanted` ones where that is faster.

        Returns the hidden states (B, T, D) and the logits: (B, V) after each row's token, or (1, V)
        after the last wanted token when T > 1. Both are valid until the next step. `part` is the
        range of layers to run, as in `CausalLM.read`. Without the last layer there are no logits,
        only the hidden states through the final norm. Nor are there any unless they are asked for.
        """
        step, rows = self.step_of(inputs, cache, wanted, part)
        with self.team or nullcontext():
            return step(inputs, rows, with_logits)

    def step_of(
        self, inputs: NDArray[Any], cache: KVCache, wanted: Sequence[int], part: range | None = None
    ) -> tuple[Step, list[int]]:
        """What makes a step, and what `KVCache.rows` holds in it."""
        part = range(self.model.config.num_layers) if part is None else part
        cache = replace(cache, of_long=self._of_long)
        shared, layers = (of.length, of.layers) if (of := cache.prefix) else (0, None)
        key = *inputs.shape[:2], self._of_long, part.start, part.stop, cache.layers, layers
        if (step := self._steps.get(key)) is None:
            # Small kernels, a handful: starting the compiler's worker processes would take longer.
            with exclusive, Context(PARALLEL=0):
                step = self.programs.link(inputs, cache, part)
                step = self._steps[key] = step or CapturedStep(self._model, inputs, cache, part)
        address = self.team.address if self.team else (0, 0)
        return step, [shared, cache.length, len(wanted), *address, *wanted]


def chunks_of(ids: Sequence[int]) -> Iterator[tuple[NDArray[np.int32], int]]:
    """Yield the tokens in padded arrays (1, CHUNK), with the number of tokens in each."""
    for start in range(0, len(ids), CHUNK):
        chunk, padded = ids[start : start + CHUNK], np.zeros((1, CHUNK), dtype=np.int32)
        padded[0, : len(chunk)] = chunk
        yield padded, len(chunk)


def cache_size(rows: int, tokens: int) -> tuple[int, int]:
    """The rows and tokens of a cache for at least so many."""
    return 1 << (rows - 1).bit_length(), _capacity(tokens)


def _capacity(tokens: int) -> int:
    return ROOM << ((tokens - 1) // ROOM).bit_length()
