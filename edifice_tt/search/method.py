"""What a search is: settings in the object, state in and out of each call. Knows no method.

A search tells which rows to advance and until where, is told how they stand, and says when it is
over. Its state is plain JSON, so that it can be kept and resumed.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edifice_tt.contract.shown import Shown, number, quoted

State = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Row(Shown):
    """A row as far as it has come: a text that a model writes.

    `num_tokens` counts all its tokens, None where that is not known. `ended` says that it is
    finished. `answer` is what a finished row is compared by, None if it has none. `score` is that
    of the text so far. `logprobs` and `confidences` hold one number per token. `judge_tokens` were
    spent on the score, since the row was told before.
    """

    row: int
    text: str = ""
    num_tokens: int | None = 0
    ended: bool = False
    answer: str | None = None
    score: float | None = None
    logprobs: tuple[float, ...] = ()
    confidences: tuple[float, ...] = ()
    judge_tokens: int = 0

    def _line(self) -> str:
        parts = [quoted(self.text)]
        parts += [] if self.num_tokens is None else [f"{self.num_tokens} tokens"]
        parts += ["ended"] if self.ended else []
        parts += [] if self.answer is None else [f"answer {quoted(self.answer, 20)}"]
        parts += [] if self.score is None else [f"score {number(self.score)}"]
        return f"{self.row}: {', '.join(parts)}"


@dataclass(frozen=True)
class Until:
    """Where rows are to stop, whichever comes first; without any, they run to their end.

    `tokens` is how many more, `delimiter` a text that ends a step and belongs to it. `word` is
    asked after each token with the `Row`, and stops it by returning True.
    """

    tokens: int | None = None
    delimiter: str | None = None
    word: Callable[[Row], bool] | None = None


@dataclass(frozen=True)
class Ask:
    """The rows to advance, and until where.

    Rows are numbered from 0 in the order in which they are begun. A new row begins with the prompt,
    or as a copy of its parent. `parents` has one entry per row, None for no copy; it may be empty
    where no row is a copy. A row that has ended may be asked for, and is told again as it stands.
    One that has not ended, and is neither asked for nor a parent, is dropped: it never comes again.
    """

    rows: tuple[int, ...]
    until: Until = Until()
    parents: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a search ended: the chosen row, None if there is none, and the rows among which it was.

    `tally` maps each answer or row to its weight. `early` says that less was spent than allowed.
    """

    row: int | None
    kept: tuple[int, ...]
    tally: Mapping[str, float]
    early: bool


class Method(Protocol):
    """A search with its settings. Every call is pure: it changes neither itself nor the state."""

    @property
    def n(self) -> int:
        """How many rows an ask may hold, and how many may begin with the prompt."""

    def start(self, problem: str = "0") -> State:
        """The state before anything is asked; what is drawn depends on the problem's id."""

    def ask(self, state: State) -> Ask:
        """What to advance next; only asked for while `done` gives None."""

    def tell(self, state: State, rows: Sequence[Row]) -> State:
        """The state once the rows of the last ask stand so; their order does not matter."""

    def done(self, state: State) -> Outcome | None:
        """How it ended, or None while it goes on."""


def in_order(rows: Iterable[Row]) -> list[Row]:
    """The rows by their number."""
    return sorted(rows, key=lambda row: row.row)


def score_of(row: Row) -> float:
    """The score of a row; raises `ValueError` where it has none, or one that is no number."""
    if row.score is None or math.isnan(row.score):
        raise ValueError(
            f"row {row.row} was told with score={row.score}; this search needs the score of every "
            "row as it stands: name a scorer"
        )
    return row.score


def best(scored: Iterable[tuple[int, float]]) -> int | None:
    """The row with the highest score, of equal ones the lowest; None of none."""
    return min(scored, key=lambda pair: (-pair[1], pair[0]), default=(None,))[0]


def check_share(name: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    """Raise `ValueError` unless the value is a number above `low` and at most `high`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low < value <= high:
        raise ValueError(f"{name}={value!r:.60} must be above {low:g} and at most {high:g}")


def check_step(delimiter: object, word: object) -> None:
    """Raise `ValueError` unless these can end a step: a text, a function, or None for neither."""
    if delimiter is not None and (not isinstance(delimiter, str) or not delimiter):
        raise ValueError(f"delimiter={delimiter!r:.60} must be a text that ends a step, or None")
    if word is not None and not callable(word):
        raise ValueError(f"word={word!r:.60} must be a function of a Row, or None")
