"""Counts the tokens that models read within a context. Knows no model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from edifice_tt.engine.decoder import Decoder

Read = TypeVar("Read")


@dataclass
class Count:
    """How many tokens were read; one that several answers share counts once."""

    tokens: int = 0


_counts: ContextVar[tuple[Count, ...]] = ContextVar("counts", default=())


@contextmanager
def counting() -> Iterator[Count]:
    """Count within this context what this thread has models read."""
    count = Count()
    token = _counts.set((*_counts.get(), count))
    try:
        yield count
    finally:
        _counts.reset(token)


def counted(decoders: Iterable[Decoder], read: Iterable[Read]) -> Iterator[Read]:
    """The same items; what the decoders read for each is counted before it is yielded."""
    decoders = list(decoders)
    before = sum(decoder.computed for decoder in decoders)
    for item in read:
        now = sum(decoder.computed for decoder in decoders)
        for count in _counts.get():
            count.tokens += now - before
        before = now
        yield item


@contextmanager
def uncounted(decoder: Decoder) -> Iterator[None]:
    """What the decoder reads within this context, to be linked, is no text and does not count."""
    before = decoder.computed
    yield
    decoder.computed = before
