"""Reads rows of tokens behind a prompt, side by side, for the hidden states at some places.

Knows one decoder; no prompt's text and no head. What is held already is not read again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.held import Held, Source, copy_rows, find
from edifice_tt.nn.buffers import in_memory

# Tokens of each row that are read at once: one compiled shape. Where kernels leave out what is not
# wanted, rows that begin or end at different places share more steps of more tokens.
TOKENS, MORE = 16, 64

States = NDArray[np.float32]


class Row(NamedTuple):
    """Tokens behind a prompt, and at which of them states are wanted, in ascending order."""

    ids: list[int]
    places: Sequence[int]

    @classmethod
    def until(cls, ids: Sequence[int], places: Sequence[int]) -> "Row":
        """What is to be read of a text: nothing behind the last place."""
        return cls(list(ids[: places[-1] + 1]), places)


def read_rows(
    decoder: Decoder,
    prompt_ids: Sequence[int],
    rows: Sequence[Row],
    size: tuple[int, int],
    parts: Sequence[range],
    held: Sequence[Held] = (),
) -> list[list[States]]:
    """The states (places, D) of rows behind the decoder's prompt, by part of the layers and row.

    `size` is room for so many rows, and tokens of each; `held` is what was read before.
    """
    # Steps are padded, so the cache needs room for the padding too; it is rounded up to that.
    cache, last = decoder.cache_for(*size), decoder.model.config.num_layers
    now = decoder.hold(cache, prompt_ids, len(rows), parts[-1].stop)
    begins = _take_over(now, rows, held)
    by_part: list[list[list[States]]] = [[[] for _ in rows] for _ in parts]
    width = MORE if in_memory(decoder.model.device) else TOKENS
    for start in range(min(begins), max(len(row.ids) for row in rows), width):
        spans = [
            range(first := max(begin, start), max(first, min(len(row.ids), start + width)))
            for begin, row in zip(begins, rows, strict=True)
        ]
        ids = np.zeros((cache.batch, width), dtype=np.int32)
        for i, (row, span) in enumerate(zip(rows, spans, strict=True)):
            ids[i, span.start - start : span.stop - start] = row.ids[span.start : span.stop]
        wanted = [i * width + t - start for i, span in enumerate(spans) for t in span]
        behind, inputs = cache.holding(start, decoder.prefix), ids
        for part, states in zip(parts, by_part, strict=True):
            hidden, normed = decoder.step(inputs, behind, wanted, part, with_logits=False)
            inputs = hidden  # (B, T, D)
            own = inputs if part.stop == last else normed
            for i, (row, span) in enumerate(zip(rows, spans, strict=True)):
                if asked := [place - start for place in row.places if place in span]:
                    states[i].append(own[i, asked].astype(np.float32))
        decoder.computed += len(wanted)
        for known, row, span in zip(now.rows, rows, spans, strict=True):
            known += row.ids[span.start : span.stop]
    return [[np.concatenate(one) for one in states] for states in by_part]


def _take_over(now: Held, rows: Sequence[Row], held: Sequence[Held]) -> list[int]:
    """Copy what is held of each row before its first place; returns where reading begins."""
    sources: dict[int, Source] = {}
    for i, row in enumerate(rows):
        if (source := find(held, now, row.ids, row.places[0])) is not None:
            sources[i] = source
            now.rows[i].extend(row.ids[: source.tokens])
    copy_rows(sources, now.cache, now.layers)
    return [sources[i].tokens if i in sources else 0 for i in range(len(rows))]
