"""The rows of a search as a tree: whose copy each is, and what became of it. Knows pools alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool


@dataclass(frozen=True)
class Branch:
    """A row of a search, how many copies it is away from one that begins with the prompt.

    `fate` is `chosen`, `kept` (it was among those of which one was chosen), `dropped`, or `left`
    for a row that ended and was not kept.
    """

    candidate: Candidate
    depth: int
    fate: str


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
        Branch(row, depth, _fate(row, books.get("row"), books.get("kept", ())))
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


def _fate(row: Candidate, chosen: int | None, kept: tuple[int, ...]) -> str:
    if row.index == chosen:
        return "chosen"
    if row.index in kept:
        return "kept"
    return "dropped" if row.is_dropped else "left"
