"""The records of a replay, and their form as JSON. Knows no pool and computes nothing."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edifice_tt.contract.shown import Shown, Table, number
from edifice_tt.contract.wording import counted

SCHEMA = 1


@dataclass(frozen=True)
class Spending:
    """A way to spend samples: what it spends per problem, and its accuracy with an interval.

    `tokens` is None where the pool does not count them, `low` and `high` with one problem.
    """

    label: str
    samples: float
    tokens: float | None
    accuracy: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """A share of the search minus that of `against`, with a paired interval."""

    against: str
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Dropped:
    """How often a search dropped the row that would have won if all that it ran had gone on.

    It has the best final score, or for a search by answers the most common answer. If several
    rows would have won, `share` counts the part of them that was dropped. `at_random` is the part
    of all rows that was dropped: dropping as many at random would lose the winner that often.
    `problems` counts those where some row would have won.
    """

    problems: int
    share: float
    low: float | None
    high: float | None
    at_random: float
    against_random: Difference


@dataclass(frozen=True)
class MonteCarlo:
    """Standard errors from drawing this many orders per problem."""

    orders: int
    samples: float
    tokens: float | None
    accuracy: float


@dataclass(frozen=True)
class OneProblem:
    """What a search does on one problem, as means over orders; `accuracy_of_all` is without it.

    `dropped` says how often the row that would have won was dropped, `at_random` how often by
    chance. Both are None where there is no such row, or where the search judges no row.
    """

    problem: str
    samples: float
    counted: float
    tokens: float | None
    accuracy: float
    accuracy_of_all: float
    early: float
    dropped: float | None = None
    at_random: float | None = None


@dataclass(frozen=True, repr=False)
class Replay(Shown):
    """What a search would have spent and gained on a finished pool.

    `all` spends every candidate and `same` as much as the search, on the first candidates of each
    problem; both choose by `rule`. `same` is None where rows were dropped at steps, whose tokens a
    pool does not count. `counted` is the mean number of candidates that were kept.
    `early` is the share of problems at which it spent less than it might. `saved_samples` and
    `saved_tokens` are shares of `all`. `dropped` is None where no row was dropped by a score or a
    confidence. `monte_carlo` is None for an exact replay. `breaks` says what no longer holds of the
    candidates.
    """

    search: str
    settings: Mapping[str, Any]
    rule: str
    pool: str
    problems: int
    candidates: int
    level: float
    seed: int
    bootstrap: int
    spent: Spending
    all: Spending
    same: Spending | None
    against_all: Difference
    against_same: Difference | None
    counted: float
    early: float
    saved_samples: float
    saved_tokens: float | None
    dropped: Dropped | None
    monte_carlo: MonteCarlo | None
    breaks: str
    by_problem: tuple[OneProblem, ...]

    def _line(self) -> str:
        spent = f"{number(self.spent.samples)} of {number(self.all.samples)} samples"
        right = f"accuracy {number(self.spent.accuracy)}, with all {number(self.all.accuracy)}"
        on = f" on {self.pool}" if self.pool else ""
        where = f"of {self.search}{on}: {counted(self.problems, 'problem')}"
        return f"{where}, {spent} per problem; {right}"

    def _table(self) -> Table:
        ways = [way for way in (self.spent, self.same, self.all) if way is not None]
        rows = (map(number, (w.samples, w.tokens, w.accuracy, w.low, w.high)) for w in ways)
        labelled = ((way.label, *row) for way, row in zip(ways, rows, strict=True))
        return ("per problem", "samples", "tokens", "accuracy", "from", "to"), labelled

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON; unknown numbers are None, never NaN."""
        plain = {"kind": "replay", "schema": SCHEMA, **asdict(self)}
        result: dict[str, Any] = json.loads(json.dumps(plain, allow_nan=False))
        return result
