"""The rows of a search as a tree: whose copy each is, and what became of it. Knows pools alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool


@dataclass(frozen=True)
class Branch:
    """A row of a search, how many copies it is away from one that begins with the prompt.

    `fate` is `chosen`, `kept` (it was among those of which one was chosen), `dropped`, or `left`
    for a row that ended and was not kept. `earlier` are its scores before the last, each with the
    number of its tokens then.
    """

    candidate: Candidate
    depth: int
    fate: str
    earlier: tuple[tuple[int, float], ...] = ()


def tree_of(pool: Pool) -> list[Branch]:
    """The rows of a search, each in front of its copies; those go by number.

    A row whose parent is not there stands as one that begins with the prompt.
    """
    books = pool.search or {}
    rows = {candidate.index: candidate for candidate in pool}
    copies: dict[int | None, list[Candidate]] = {}
    for row in pool:
        copies.setdefault(row.parent if row.parent in rows else None, []).append(row)
    return [
        Branch(
            row, depth, _fate(row, books.get("row"), books.get("kept", ())), _earlier(row, books)
        )
        for row, depth in _in_order(copies, pool)
    ]


def _in_order(
    copies: dict[int | None, list[Candidate]], pool: Pool
) -> Iterator[tuple[Candidate, int]]:
    told: set[int] = set()
    # Last those that are copies of each other, in a file of another program.
    for first in (*copies.get(None, ()), *pool):
        waiting = [(first, 0)]
        while waiting:
            row, depth = waiting.pop()
            if row.index not in told:
                told.add(row.index)
                yield row, depth
                waiting += ((one, depth + 1) for one in reversed(copies.get(row.index, ())))


def _earlier(row: Candidate, books: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    places = books.get("scored", {}).get(str(row.index), ())
    return tuple((tokens, score) for tokens, score in places if tokens < row.num_tokens)


def _fate(row: Candidate, chosen: int | None, kept: tuple[int, ...]) -> str:
    if row.index == chosen:
        return "chosen"
    if row.index in kept:
        return "kept"
    return "dropped" if row.is_dropped else "left"
