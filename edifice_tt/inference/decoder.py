"""Runs a language model step by step: reads a prompt once, then decodes rows in lock-step.

Knows tokens, caches and captured graphs; knows no sampling and no text. A model's decoder is kept
as long as the model, so a second prompt compiles nothing.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, TinyJit, UOp
from tinygrad.nn.state import get_parameters

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.nn.backbone import KVCache

CHUNK = 32  # tokens that a prompt is read in: one compiled shape serves every prompt
ROOM = 64  # capacities are multiples of this, so that few shapes are compiled
ROWS = 8  # candidates a decode step advances together, unless told otherwise

Logits = NDArray[np.floating[Any]]


class Decoder:
    """The captured steps of one model, one a shape."""

    def __init__(self, model: CausalLM) -> None:
        # Weak, or the table of decoders would keep every model alive.
        self._model = ref(model)
        self._captures: dict[tuple[int, ...], Any] = {}
        self.weights = _buffers(model)
        self.prompt: KVCache | None = None

    @property
    def model(self) -> CausalLM:
        model = self._model()
        assert model is not None
        return model

    def empty_cache(self, rows: int, tokens: int) -> KVCache:
        """Room for that many rows and (at least) tokens."""
        return KVCache.empty(
            self.model.config.backbone, rows, -(-tokens // ROOM) * ROOM, self.model.device
        )

    def read_prompt(self, token_ids: Sequence[int]) -> Logits:
        """Read a prompt into `self.prompt`, which all rows share; returns the logits (V,) after."""
        if self.prompt is None or self.prompt.capacity < len(token_ids):
            self.prompt = self.empty_cache(1, len(token_ids))
        *_, (_, logits) = self.read(token_ids, self.prompt.holding(0))
        self.prompt = self.prompt.holding(len(token_ids))
        after: Logits = logits[0]
        return after

    def read(self, token_ids: Sequence[int], cache: KVCache) -> list[tuple[NDArray[Any], Logits]]:
        """Read one row's tokens chunk by chunk, behind what the cache holds.

        Returns for each chunk the hidden states (T, D) of its tokens and the logits (1, V) after
        its last.
        """
        steps = []
        for start in range(0, len(token_ids), CHUNK):
            chunk = list(token_ids[start : start + CHUNK])
            padded = np.array([chunk + [0] * (CHUNK - len(chunk))], dtype=np.int32)  # (1, CHUNK)
            behind = cache.holding(cache.length + start, cache.prefix)
            hidden, logits = self.step(padded, behind, last=len(chunk) - 1)
            steps.append((hidden.numpy()[0, : len(chunk)], logits))
        return steps

    def step(
        self, token_ids: NDArray[np.int32], cache: KVCache, last: int = 0
    ) -> tuple[Tensor, Logits]:
        """Read tokens (B, T) behind the cache, in place.

        Returns the hidden states (B, T, D), valid until the next step, and the logits (B, V) after
        the tokens at `last`.
        """
        B, T = token_ids.shape
        prefix = cache.prefix
        shape = (B, T, cache.capacity, prefix.capacity if prefix else 0)
        if shape not in self._captures:
            self._captures[shape] = self._capture(cache)
        bound = [_bind("length", cache.length, cache.capacity), _bind("last", last, T)]
        shared: list[Tensor] = []
        if prefix is not None:
            bound.append(_bind("prefix", prefix.length, prefix.capacity))
            shared = list(prefix.layers)
        ids = Tensor(token_ids, device=self.model.device).realize()
        hidden, logits = self._captures[shape](ids, list(cache.layers), shared, *bound)
        return hidden, logits.numpy()

    def _capture(self, cache: KVCache) -> Any:
        model = self._model
        # Made before the capture, so that making it is not part of what is replayed.
        self.model.backbone.rotations(cache.span, self.model.device)

        def step(
            ids: Tensor, own: list[Tensor], shared: list[Tensor], *bound: UOp
        ) -> tuple[Tensor, Tensor]:
            length, last, *rest = bound
            prefix = KVCache(tuple(shared), rest[0]) if shared else None
            lm = model()
            assert lm is not None
            hidden = lm.read(ids, KVCache(tuple(own), length, prefix)).contiguous()  # (B, T, D)
            logits = lm.logits(hidden[:, last : last + 1])[:, 0].contiguous()  # (B, V)
            return hidden, logits

        capture = TinyJit(step)
        # Skip tinygrad's first, uncaptured call: nothing here is made lazily at first use, and
        # scheduling a deep model once more takes seconds.
        capture.cnt = 1
        return capture


def _bind(name: str, value: int | UOp, limit: int) -> UOp:
    return UOp.variable(name, 0, limit).bind(value)


_decoders: WeakKeyDictionary[CausalLM, Decoder] = WeakKeyDictionary()


def decoder_of(model: CausalLM) -> Decoder:
    """The model's decoder, made at first use and dropped with the model."""
    decoder = _decoders.get(model)
    # A capture replays the buffers that it saw; weights put in their place need a new one.
    if decoder is None or decoder.weights != _buffers(model):
        decoder = _decoders[model] = Decoder(model)
    return decoder


def _buffers(model: CausalLM) -> list[UOp]:
    return [weight.uop for weight in get_parameters(model)]
