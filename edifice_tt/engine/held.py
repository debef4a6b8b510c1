"""What the rows of caches hold, so that nothing is read twice. Knows tokens and buffers; no text.

Keys and values of a token depend on it and on those before it alone. So a row that was sampled, or
read before, serves whoever reads on behind it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edifice_tt.nn.buffers import view
from edifice_tt.nn.cache import KVCache


class Held(NamedTuple):
    """A cache, and the tokens of which each row holds keys and values, in its first layers."""

    cache: KVCache
    prompt_ids: list[int]  # what all rows follow
    of_long: bool  # whether it was read as long texts are, see `KVCache`
    layers: int
    rows: list[list[int]]


class Source(NamedTuple):
    """The first tokens of a row."""

    cache: KVCache
    row: int
    tokens: int


def find(held: Sequence[Held], like: Held, ids: Sequence[int], most: int) -> Source | None:
    """Where most of a row's first tokens, at most so many, are held for a cache `like` this one."""
    best: Source | None = None
    for one in held:
        alike = one.prompt_ids == like.prompt_ids and one.of_long == like.of_long
        if not alike or one.layers < like.layers:
            continue
        for row, known in enumerate(one.rows):
            count = min(common(known, ids), most)
            if count > (best.tokens if best else 0):
                best = Source(one.cache, row, count)
    return best


def copy_rows(sources: Mapping[int, Source], to: KVCache, layers: int) -> None:
    """Copy what the sources hold into these rows of another cache, in the first layers."""
    by_cache: dict[int, list[tuple[int, Source]]] = {}
    for row, source in sources.items():
        by_cache.setdefault(id(source.cache), []).append((row, source))
    for some in by_cache.values():
        most = max(source.tokens for _, source in some)
        rows = np.array([row for row, _ in some])
        theirs = np.array([source.row for _, source in some])
        for layer in range(layers):
            ours, held = view(to.layers[layer]), view(some[0][1].cache.layers[layer])
            ours[:, rows, :most] = held[:, theirs, :most]  # (2, rows, tokens, K, E)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
