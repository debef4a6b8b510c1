"""What a search has spent, exactly, and where each row came from. Knows numbers of tokens alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edifice_tt.search.method import Ask, Row


@dataclass(frozen=True)
class Books:
    """The books of a search: what every row cost, what was kept of it, and its parent.

    `calls` counts asks, `steps` rows that were advanced, summed over the asks. Per row, `parents`
    holds whose copy it is, None for the prompt; `begun` and `lengths` its numbers of tokens at the
    copy and now. A number that is not known is None, and so is any sum with it.
    """

    calls: int = 0
    steps: int = 0
    judge_tokens: int = 0
    parents: tuple[int | None, ...] = ()
    begun: tuple[int | None, ...] = ()
    lengths: tuple[int | None, ...] = ()
    ended: tuple[bool, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows were begun."""
        return len(self.parents)

    @property
    def tokens(self) -> int | None:
        """The tokens that were generated; those of a copy are not counted again."""
        return _difference(self.lengths, self.begun)

    def kept_tokens(self, rows: Iterable[int]) -> int | None:
        """Those of them that are in these rows, a shared beginning counted once."""
        needed: dict[int, int | None] = {row: self.lengths[row] for row in rows}
        for row in range(self.rows - 1, -1, -1):  # a parent was begun before its children
            parent = self.parents[row]
            if row in needed and parent is not None:
                most, begun = needed.get(parent, 0), self.begun[row]
                needed[parent] = None if most is None or begun is None else max(most, begun)
        return _difference([*needed.values()], [self.begun[row] for row in needed])

    def add(self, ask: Ask, told: Sequence[Row]) -> "Books":
        """The books after one more ask. Raises `ValueError` unless its rows were told, once each.

        Raises it too for a row that is shorter than before, or that was not there to be copied.
        """
        if sorted(row.row for row in told) != sorted(ask.rows):
            raise ValueError(
                f"rows {sorted(row.row for row in told)} were told, expected {sorted(ask.rows)}: "
                "each row that was asked for, once"
            )
        parents, begun = list(self.parents), list(self.begun)
        lengths, ended = list(self.lengths), list(self.ended)
        by_row = {row.row: row for row in told}
        advanced = 0
        for row, parent in zip(ask.rows, ask.parents or [None] * len(ask.rows), strict=True):
            if row == len(parents):
                if parent is not None and not 0 <= parent < row:
                    raise ValueError(f"row {row} is to be a copy of {parent}, which is not there")
                parents.append(parent)
                begun.append(0 if parent is None else self.lengths[parent])
                lengths.append(begun[-1])
                ended.append(False)
            elif not 0 <= row < len(parents):
                raise ValueError(f"row {row} is begun; the next new row must be {len(parents)}")
            new, old = by_row[row].num_tokens, lengths[row]
            if new is not None and old is not None and new < old:
                raise ValueError(f"row {row} was told with {new} tokens, and had {old} before")
            advanced += not ended[row]
            lengths[row], ended[row] = new, by_row[row].ended
        judged = self.judge_tokens + sum(row.judge_tokens for row in told)
        columns = tuple(parents), tuple(begun), tuple(lengths), tuple(ended)
        return Books(self.calls + 1, self.steps + advanced, judged, *columns)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Books":
        """The books that `to_dict` wrote down."""
        columns = {name: tuple(one) for name, one in plain.items() if isinstance(one, list | tuple)}
        return cls(**{**plain, **columns})


def _difference(ends: Sequence[int | None], starts: Sequence[int | None]) -> int | None:
    known = [number for number in (*ends, *starts) if number is not None]
    if len(known) < len(ends) + len(starts):
        return None
    return sum(known[: len(ends)]) - sum(known[len(ends) :])
