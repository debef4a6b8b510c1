"""Rejection at cuts: rows stop to be scored, and the worst are dropped. Knows scores of texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from edifice_tt.contract.options import check_count
from edifice_tt.search.method import (
    Ask,
    Outcome,
    Row,
    State,
    Until,
    best,
    check_share,
    check_step,
    in_order,
    score_of,
)

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Rejection:
    """Keep a share of the rows by their scores at each cut, and the best one at the end.

    `cuts` are numbers of tokens from the start of a row. With a `delimiter`, or with a `word` that
    tells where a step ends, they are numbers of steps. Of n rows ceil(`keep` * n) stay, of equal
    scores the lower row. A row that has ended competes with its score. The authors cut where memory
    is full and keep half; the cuts here are quarters of 128 tokens. The score must mean something
    for half a text: a scorer trained on whole answers rates prefixes by their length or style.
    """

    n: int = 16
    cuts: Sequence[int] = (32, 64, 96)
    keep: float = 0.5
    delimiter: str | None = None
    word: Callable[[Row], bool] | None = None

    def __post_init__(self) -> None:
        check_count("n", self.n)
        check_share("keep", self.keep)
        check_step(self.delimiter, self.word)
        cuts = tuple(check_count("cuts", cut) for cut in self.cuts)
        if not cuts or list(cuts) != sorted(set(cuts)):
            raise ValueError(f"cuts={self.cuts} must be rising whole numbers, such as (32, 64)")
        object.__setattr__(self, "cuts", cuts)

    @property
    def _stops(self) -> Sequence[int]:
        """Where rows stop before they run to their ends."""
        in_steps = self.delimiter is not None or self.word is not None
        return range(1, self.cuts[-1] + 1) if in_steps else self.cuts

    def start(self, problem: str = "0") -> State:
        """All rows alive, at their start."""
        return {"stops": 0, "alive": [[row, None] for row in range(self.n)]}

    def ask(self, state: State) -> Ask:
        """The rows alive, to the next stop or else to their ends."""
        rows, at, stops = tuple(row for row, _ in state["alive"]), state["stops"], self._stops
        if at == len(stops):
            return Ask(rows)
        if stops is not self.cuts:
            return Ask(rows, Until(delimiter=self.delimiter, word=self.word))
        return Ask(rows, Until(tokens=stops[at] - (stops[at - 1] if at else 0)))

    def tell(self, state: State, rows: Sequence[Row]) -> State:
        """At a cut the best stay."""
        at, alive = state["stops"], [[row.row, score_of(row)] for row in in_order(rows)]
        if at < len(self._stops) and self._stops[at] in self.cuts:
            ranked = sorted(alive, key=lambda one: (-one[1], one[0]))
            alive = sorted(ranked[: ceil(self.keep * len(alive) - _ROUNDING)])
        return {"stops": at + 1, "alive": alive}

    def done(self, state: State) -> Outcome | None:
        """The best of those that ran to their ends."""
        if state["stops"] <= len(self._stops):
            return None
        kept = tuple(row for row, _ in state["alive"])
        tally = {str(row): score for row, score in state["alive"]}
        return Outcome(best(state["alive"]), kept, tally, len(kept) < self.n)
