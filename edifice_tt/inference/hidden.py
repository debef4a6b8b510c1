"""Hidden states of sampled answers, at any layer. Knows prompts and tokens; no head and no score.

The prompt is read once and the answers together, so this costs little beside sampling them.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.errors import EdificeError
from edifice_tt.inference.candidates import Candidate, Pool
from edifice_tt.inference.decoder import Decoder, decoder_of
from edifice_tt.inference.generate import encode_prompt

ROWS, TOKENS = 16, 16  # answers, and tokens of each, that are read at once: one compiled shape

States = NDArray[np.float32]

_views: WeakKeyDictionary[CausalLM, dict[int, CausalLM]] = WeakKeyDictionary()


def read_hidden(lm: CausalLM, pool: Pool, layer: int | None = None) -> list[States]:
    """The hidden states (T, D) of each candidate's tokens, after the prompt, in the pool's order.

    `layer` counts blocks from the first: the states after so many of them, through the model's
    final norm; by default after all, which is what a head inside the model reads. A lower layer
    costs as much less. A candidate without token ids is read by its text; those of the others end
    with the token that ended them. A candidate's states depend on it and the prompt alone.

    Raises `ValueError` for a layer that is not there, and `EdificeError` for a candidate that is
    empty, does not fit the context, or is another model's.
    """
    decoder = decoder_of(view_at(lm, layer))
    prompt = encode_prompt(lm, pool.prompt)
    room = lm.config.context_length - len(prompt)
    answers = [_token_ids(lm, candidate, room) for candidate in pool]
    decoder.read_prompt(prompt)
    states: list[States] = []
    for start in range(0, len(answers), ROWS):
        states += _read_rows(decoder, answers[start : start + ROWS])
    return states


def view_at(lm: CausalLM, layer: int | None) -> CausalLM:
    """The model of the first `layer` blocks: the same weights, nothing copied."""
    layer = check_layer(lm, layer)
    if layer == lm.config.num_layers:
        return lm
    views = _views.setdefault(lm, {})
    held = views.get(layer)
    if held is None or held.backbone.blocks != lm.backbone.blocks[:layer]:
        held = views[layer] = copy(lm)
        held.config = replace(lm.config, num_layers=layer)
        held.backbone = copy(lm.backbone)
        held.backbone.config = held.config.backbone
        held.backbone.blocks = lm.backbone.blocks[:layer]
    return held


def check_layer(lm: CausalLM, layer: int | None) -> int:
    """The layer, the last one for None; raises `ValueError` for one that is not there."""
    last = lm.config.num_layers
    layer = last if layer is None else layer
    if isinstance(layer, bool) or not isinstance(layer, int) or not 1 <= layer <= last:
        raise ValueError(f"layer={layer!r} must be a whole number from 1 to {last}, the last layer")
    return layer


def _read_rows(decoder: Decoder, answers: Sequence[list[int]]) -> list[States]:
    longest = max(map(len, answers))
    # Chunks are padded, so the cache needs room for the padding too; it is rounded up to that.
    cache = decoder.cache_for(ROWS, longest)
    parts: list[list[Any]] = [[] for _ in answers]
    for start in range(0, longest, TOKENS):
        ids = np.zeros((cache.batch, TOKENS), dtype=np.int32)
        chunks = [answer[start : start + TOKENS] for answer in answers]
        for row, chunk in enumerate(chunks):
            ids[row, : len(chunk)] = chunk
        wanted = [row * TOKENS + t for row, chunk in enumerate(chunks) for t in range(len(chunk))]
        hidden, _ = decoder.step(ids, cache.holding(start, decoder.prompt), wanted)
        values = hidden.numpy()  # (B, T, D)
        for row, chunk in enumerate(chunks):
            parts[row].append(values[row, : len(chunk)].astype(np.float32))
    return [np.concatenate(part) for part in parts]


def _token_ids(lm: CausalLM, candidate: Candidate, room: int) -> list[int]:
    ids = list(candidate.token_ids) or lm.tokenizer.encode(candidate.text)
    who, size = f"candidate {candidate.index}", lm.config.vocab_size
    if not ids:
        raise EdificeError(f"{who} is empty: no hidden state to score")
    if len(ids) > room:
        raise EdificeError(f"{who} has {len(ids)} tokens, the model's context has room for {room}")
    if strange := [i for i in ids if not 0 <= i < size]:
        raise EdificeError(
            f"{who} has token id {strange[0]}, the model's go from 0 to {size - 1}; the pool is "
            "another model's"
        )
    return ids
