"""Where a search stands: what leads, what it has cost, and how it ends when a budget is spent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edifice_tt.live.plan import Plan
from edifice_tt.live.rows import LiveRows
from edifice_tt.search.books import Books
from edifice_tt.search.method import Outcome, best
from edifice_tt.search.votes import votes


@dataclass(frozen=True)
class Standing:
    """Where a search stands after a step: what it has spent, and what leads."""

    spent: int
    budget: int | None
    rows: int  # that were begun
    leading: str | None  # an answer, or the number of a row
    weight: float


def standing(rows: LiveRows, plan: Plan) -> Standing:
    tally = _tally(rows, plan)
    leading = max(tally, key=tally.__getitem__) if tally else None
    weight = tally[leading] if leading is not None else 0.0
    return Standing(rows.spent, plan.budget, len(rows.rows), leading, weight)


def _tally(rows: LiveRows, plan: Plan) -> dict[str, float]:
    """What leads: answers by their number of rows, or rows by their scores.

    Rows that have ended go before those that are alive.
    """
    by_number = [rows.rows[number] for number in sorted(rows.rows)]
    if plan.scorer is None:
        counted = votes([row.answer for row in by_number if row.ended])
        return {answer: float(count) for answer, count in counted.items()}
    ended = {str(r.number): r.score for r in by_number if r.ended and r.score is not None}
    alive = [row for row in by_number if row.number in rows.alive]
    scored = ended or {str(r.number): r.score for r in alive if r.score is not None}
    return {number: float(score) for number, score in scored.items()}


def as_far_as_it_came(rows: LiveRows, plan: Plan) -> Outcome:
    """The outcome of a search whose budget was spent: the best of what is there."""
    tally = _tally(rows, plan)
    numbers = sorted(rows.rows)
    if plan.scorer is not None:
        kept = tuple(int(name) for name in tally)
        row = best([(int(name), score) for name, score in tally.items()])
    else:
        kept = tuple(i for i in numbers if rows.rows[i].ended)
        leading = max(tally, key=tally.__getitem__) if tally else None
        row = next((i for i in kept if rows.rows[i].answer == leading), None) if tally else None
    return Outcome(row, kept, tally, False)


def books_of(
    rows: LiveRows, plan: Plan, outcome: Outcome | None, before: Mapping[str, Any]
) -> dict[str, Any]:
    """What is recorded of a search: how it ended, and its costs, with those from before."""
    outcome = outcome or Outcome(None, (), {}, False)
    lines = [rows.rows[number] for number in sorted(rows.rows)]
    books = Books(
        parents=tuple(row.parent for row in lines),
        begun=tuple(row.begun for row in lines),
        lengths=tuple(row.num_tokens for row in lines),
    )
    costs = {
        name: getattr(rows.branches, name) + before.get(name, 0)
        for name in ("computed", "padding", "again")
    }
    scorer = plan.scorer
    scored = {str(row.number): [*map(list, row.scored)] for row in lines if row.scored}
    return {
        "method": plan.record.name,
        "scorer": None if scorer is None else scorer.name,
        "row": outcome.row,
        "kept": [*outcome.kept],
        "tally": dict(outcome.tally),
        "early": outcome.early,
        "spent": rows.spent,
        "kept_tokens": books.kept_tokens(outcome.kept) or 0,
        **costs,
        **({"scored": scored} if scorer else {}),
        "judge_tokens": rows.judge_tokens + before.get("judge_tokens", 0),
        "judge_seconds": (scorer.seconds if scorer else 0.0) + before.get("judge_seconds", 0.0),
    }
