"""Runs a language model step by step: reads a prompt once, then decodes rows in lock-step.

Knows tokens, caches, captured graphs and devices; knows no sampling and no text. A model's decoders
are kept as long as the model, so a second prompt compiles nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, TinyJit, UOp
from tinygrad.helpers import Context
from tinygrad.nn.state import get_parameters

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.inference.programs import LinkedStep, Programs
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.init import in_memory, replicate, share, view, wrap

CHUNK = 64  # tokens that a prompt is read in: one compiled shape serves every prompt
ROOM = 64  # capacities are this or twice, four times, ... as much, so that few shapes are compiled
ROWS = 32  # the most candidates that a decode step advances together, unless told otherwise

Logits = NDArray[np.floating[Any]]


class Decoder:
    """The captured steps of one model on one device, one a shape."""

    def __init__(
        self, model: Callable[[], CausalLM | None], programs: Programs | None = None
    ) -> None:
        self._model = model
        self.programs = programs or Programs(lambda: self.model)
        self._linked: dict[tuple[int, ...], LinkedStep | None] = {}
        self._captures: dict[tuple[int, ...], Any] = {}
        self._inputs: dict[tuple[int, ...], list[Tensor]] = {}
        self.caches: dict[tuple[int, int], KVCache] = {}
        self.weights = _buffers(self.model)
        self.prompt: KVCache | None = None
        self._held: list[int] | None = None  # the prompt's tokens, when it was read here
        self._taken: tuple[Tensor, ...] = ()  # whose layers `prompt` shares

    @property
    def model(self) -> CausalLM:
        model = self._model()
        assert model is not None
        return model

    def cache_for(self, rows: int, tokens: int) -> KVCache:
        """A cache with room for so many rows and tokens, both rounded up to a power of two.

        The same one each time, whatever it holds: a capture writes to the buffers that it saw.
        """
        size = cache_size(rows, tokens)
        if size not in self.caches:
            self.caches[size] = self._make_cache(*size)
        return self.caches[size]

    def _make_cache(self, rows: int, capacity: int) -> KVCache:
        return KVCache.empty(self.model.config.backbone, rows, capacity, self.model.device)

    def read_prompt(self, token_ids: Sequence[int]) -> Logits:
        """Read a prompt into `self.prompt`, which all rows share; returns the logits (V,) after.

        Whole chunks that it has in common with the prompt before are not read again.
        """
        kept = self.begin_prompt(token_ids)
        assert self.prompt is not None
        *_, (_, logits) = self.read(token_ids[kept:], self.prompt.holding(kept))
        return self.end_prompt(token_ids, logits)

    def begin_prompt(self, token_ids: Sequence[int]) -> int:
        """Make room for a prompt; returns how many of its tokens are held already."""
        if self.prompt is None or self._held is None or self.prompt.capacity < len(token_ids):
            self.prompt, self._held = self._make_cache(1, _capacity(len(token_ids))), []
            self._taken = ()
        same = [a == b for a, b in zip(token_ids[:-1], self._held, strict=False)]
        kept = (same.index(False) if False in same else len(same)) // CHUNK * CHUNK
        self._held = self._held[:kept]  # all that is sure, should the reading break off
        return kept

    def end_prompt(self, token_ids: Sequence[int], logits: Logits) -> Logits:
        """Hold the prompt, which has been read whole; returns its logits (V,), to keep."""
        assert self.prompt is not None
        self.prompt, self._held = self.prompt.holding(len(token_ids)), list(token_ids)
        after: Logits = logits[0].copy()
        return after

    def take_prompt(self, other: "Decoder") -> None:
        """Share the prompt that another device's decoder has read."""
        assert other.prompt is not None
        if self._taken is not other.prompt.layers or not in_memory(self.model.device):
            self._taken = other.prompt.layers
            layers = tuple(share(layer, self.model.device) for layer in self._taken)
            self.prompt, self._held = KVCache(layers), None
        assert self.prompt is not None
        self.prompt = self.prompt.holding(other.prompt.length)

    def warm_up(self, rows: int, tokens: int) -> None:
        """Capture the decode step that so many rows and tokens behind the prompt will replay."""
        cache = self.cache_for(rows, tokens)
        ids = np.zeros((cache.batch, 1), dtype=np.int32)
        self.step(ids, cache.holding(0, self.prompt), [0])

    def read(self, token_ids: Sequence[int], cache: KVCache) -> list[tuple[NDArray[Any], Logits]]:
        """Read one row's tokens chunk by chunk, behind what the cache holds.

        Returns for each chunk the hidden states (T, D) of its tokens and the logits (1, V) after
        its last.
        """
        steps = []
        for start, (ids, count) in enumerate(chunks_of(token_ids)):
            behind = cache.holding(cache.length + start * CHUNK, cache.prefix)
            hidden, logits = self.step(ids, behind, range(count))
            steps.append((hidden.numpy()[0, :count], logits))
        return steps

    def step(
        self,
        given: NDArray[Any],
        cache: KVCache,
        wanted: Sequence[int],
        part: range | None = None,
    ) -> tuple[Tensor, Logits]:
        """Read tokens (B, T) behind the cache, in place; only those `wanted`, where that is faster.

        Returns the hidden states (B, T, D) and the logits (B, V) after each row's token, or (1, V)
        after the last one wanted when T > 1; both are valid until the next step. `part` are the
        layers to go through, as in `CausalLM.read`; before the last one there are no logits, but
        the hidden states through the final norm.
        """
        B, T = given.shape[:2]
        prefix, last = cache.prefix, self.model.config.num_layers
        part = range(last) if part is None else part
        shape = (B, T, id(cache.layers), id(prefix.layers) if prefix else 0, part.start, part.stop)
        said = [prefix.length if prefix else 0, cache.length, len(wanted), *wanted]
        # A handful of small kernels: starting the compiler's worker processes would take longer.
        with Context(PARALLEL=0):
            if shape not in self._linked:
                self._linked[shape] = self.programs.link(given, cache, part)
            if (linked := self._linked[shape]) is not None:
                return linked(given, said)
        if shape not in self._captures:
            self._captures[shape] = self._capture(cache, part)
        bound = [_bind("length", cache.length, cache.capacity), _bind("last", wanted[-1], B * T)]
        if prefix is not None:
            bound.append(_bind("prefix", prefix.length, prefix.capacity))
        rows = np.zeros(3 + B * T, dtype=np.int32)
        rows[: len(said)] = said
        with Context(PARALLEL=0):
            inputs = self._put(shape, given, rows)
            hidden, logits = self._captures[shape](*inputs, *bound)
        return hidden, view(logits) if in_memory(self.model.device) else logits.numpy()

    def _put(self, shape: tuple[int, ...], *arrays: NDArray[Any]) -> list[Tensor]:
        """The arrays on the device; on a CPU in the same Tensors each time, which costs nothing."""
        device = self.model.device
        if not in_memory(device):
            inputs = [Tensor(array, device=device) for array in arrays]
            Tensor.realize(*inputs)
            return inputs
        if shape not in self._inputs:
            self._inputs[shape] = [wrap(np.empty_like(array), device) for array in arrays]
        for tensor, array in zip(self._inputs[shape], arrays, strict=True):
            np.copyto(view(tensor), array)
        return self._inputs[shape]

    def _capture(self, cache: KVCache, part: range) -> Any:
        model, own = self._model, cache.layers
        shared = cache.prefix.layers if cache.prefix else None
        # Made before the capture, so that making it is not part of what is replayed.
        self.model.backbone.rotations(cache.span, self.model.device)

        # The caches are no arguments: tinygrad would look at each of their layers in every step.
        def step(given: Tensor, rows: Tensor, *bound: UOp) -> tuple[Tensor, Tensor]:
            length, last, *rest = bound
            prefix = KVCache(shared, rest[0]) if shared else None
            lm = model()
            assert lm is not None
            hidden = lm.read(given, KVCache(own, length, prefix, rows), part)
            if part.stop < lm.config.num_layers:
                return hidden, lm.backbone.final_norm(hidden)
            if given.shape[1] == 1:  # decoding
                logits = lm.logits(hidden[:, 0], rows)  # (B, V)
            else:
                flat = hidden.reshape(1, -1, hidden.shape[2])
                logits = lm.logits(flat[:, last : last + 1])[:, 0]  # (1, V)
            return hidden, logits

        capture = TinyJit(step)
        # Skip tinygrad's first, uncaptured call: nothing here is made lazily at first use, and
        # scheduling a deep model once more takes seconds.
        capture.cnt = 1
        return capture


def chunks_of(token_ids: Sequence[int]) -> Iterator[tuple[NDArray[np.int32], int]]:
    """The tokens in arrays (1, CHUNK), and how many each holds before its padding."""
    for start in range(0, len(token_ids), CHUNK):
        chunk = token_ids[start : start + CHUNK]
        ids = np.zeros((1, CHUNK), dtype=np.int32)
        ids[0, : len(chunk)] = chunk
        yield ids, len(chunk)


def cache_size(rows: int, tokens: int) -> tuple[int, int]:
    """Rows and tokens of the cache that has room for so many."""
    return 1 << (rows - 1).bit_length(), _capacity(tokens)


def _capacity(tokens: int) -> int:
    return ROOM << ((tokens - 1) // ROOM).bit_length()


def _bind(name: str, value: int | UOp, limit: int) -> UOp:
    return UOp.variable(name, 0, limit).bind(value)


_decoders: WeakKeyDictionary[CausalLM, dict[str, Decoder]] = WeakKeyDictionary()


def held_decoder(model: CausalLM, device: str) -> Decoder | None:
    """The model's decoder on a device, if there is one."""
    return _decoders.get(model, {}).get(device)


def decoder_of(model: CausalLM, device: str | None = None) -> Decoder:
    """The model's decoder on a device (its own), made at first use and dropped with the model.

    tinygrad's CPU devices only name the cores that work at the same time.
    """
    device = device or model.device
    table = _decoders.setdefault(model, {})
    own = table.get(model.device)
    # A capture replays the buffers that it saw; weights put in their place need a new one.
    if own is None or own.weights != _buffers(model):
        table.clear()
        # Weak, or the table of decoders would keep every model alive.
        table[model.device] = Decoder(ref(model))
    if device not in table:
        table[device] = _another(table[model.device], model, device)
    return table[device]


def _another(own: Decoder, model: CausalLM, device: str) -> Decoder:
    if in_memory(model.device) and in_memory(device):
        return Decoder(ref(model), own.programs)  # a core more, the same memory
    bare = copy(model)
    bare.tokenizer = None  # large, and of no use to a decoder
    replica = replicate(bare, device)
    return Decoder(lambda: replica)


def _buffers(model: CausalLM) -> list[UOp]:
    return [weight.uop for weight in get_parameters(model)]
