"""Reads a long prompt on several devices; each runs its share of the layers.

Chunks pass from device to device as in a pipeline. Knows decoders; no sampling.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from numpy.typing import NDArray

from edifice_tt.engine.decoder import CHUNK, Decoder, Logits, chunks_of
from edifice_tt.engine.jit import shares

LONG = 2 * CHUNK  # a prompt above this is worth the captures of its parts


def prefill(decoders: Sequence[Decoder], ids: Sequence[int], cores: int = 1) -> Logits:
    """Read a prompt that all decoders then share; returns the logits (V,) after it."""
    lead, *others = decoders
    if (
        not others
        or len(ids) <= LONG
        or lead.model.config.num_layers < len(decoders)
        or len(ids) - (start := lead.begin_prompt(ids)) <= LONG
    ):
        with lead.helped(cores):
            logits = lead.read_prompt(ids)
    else:
        for other in others:
            other.take_prompt(lead)
        parts = shares(lead.model.config.num_layers, len(decoders))
        logits = lead.end_prompt(ids, _read_in_stages(decoders, ids[start:], start, parts))
        lead.computed += len(ids) - start
        for other, part in zip(others, parts[1:], strict=True):
            lead.take_layers(other, part)
    for other in others:
        other.take_prompt(lead)
    return logits


def _read_in_stages(
    decoders: Sequence[Decoder], ids: Sequence[int], start: int, parts: Sequence[range]
) -> Logits:
    """Each decoder reads the whole prompt through its part of the layers."""
    chunks = list(chunks_of(ids))

    def read(stage: int, inputs: NDArray[Any], chunk: int) -> tuple[NDArray[Any], Logits]:
        cache = decoders[stage].prefix
        assert cache is not None
        behind, count = cache.holding(start + chunk * CHUNK), chunks[chunk][1]
        hidden, logits = decoders[stage].step(inputs, behind, range(count), parts[stage])
        return hidden.copy(), logits

    # The first chunk alone: tinygrad captures one graph at a time.
    inputs: NDArray[Any] = chunks[0][0]
    for stage in range(len(decoders)):
        inputs, logits = read(stage, inputs, 0)

    lanes = [SimpleQueue[NDArray[Any] | None]() for _ in (*decoders, "the end")]
    for padded, _ in chunks[1:]:
        lanes[0].put(padded)

    def work(stage: int) -> Logits:
        after: Logits = logits
        try:
            for chunk in range(1, len(chunks)):
                if (inputs := lanes[stage].get()) is None:
                    break
                hidden, after = read(stage, inputs, chunk)
                lanes[stage + 1].put(hidden)
        finally:
            lanes[stage + 1].put(None)  # so that the stages behind one that failed end too
        return after

    with ThreadPoolExecutor(len(decoders)) as pool:
        *_, logits = pool.map(work, range(len(decoders)))
    return logits
