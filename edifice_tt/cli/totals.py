"""What a command ends with: how many are right, how many were cut off, how many abstained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edifice_tt.contract.wording import counted, cut_off_of

LEVEL = 0.95
_TOLD = ("problems", "candidates", "right", "without_answer", "cut_off", "cut_off_right")


@dataclass
class Totals:
    """Counts over the candidates of a file; `shares` are those of the right ones, by problem."""

    problems: int = 0
    candidates: int = 0
    right: int = 0
    without_answer: int = 0
    cut_off: int = 0
    cut_off_right: int = 0
    cut_off_without: int = 0
    shares: list[float] = field(default_factory=list)

    def add(self, pool: Any) -> None:
        """Count the candidates of a problem."""
        marks = [candidate.correct is True for candidate in pool]
        is_marked = all(candidate.correct is not None for candidate in pool)
        cut = [mark for mark, candidate in zip(marks, pool, strict=True) if candidate.is_cut_off]
        self.problems += 1
        self.candidates += len(pool)
        self.right += sum(marks)
        self.without_answer += sum(not candidate.answer for candidate in pool)
        self.cut_off += len(cut)
        self.cut_off_right += sum(cut)
        self.cut_off_without += sum(one.is_cut_off and not one.answer for one in pool)
        self.shares += [sum(marks) / len(marks)] if marks and is_marked else []

    def to_dict(self) -> dict[str, Any]:
        """The counts, and the mean share of right ones with its interval, for JSON."""
        counts = {name: value for name, value in vars(self).items() if name in _TOLD}
        return counts | rate_of(self.shares)


def rate_of(values: list[float]) -> dict[str, Any]:
    """The mean over problems, with the interval that a curve would give."""
    from edifice_tt.study.intervals import interval_over_problems

    if not values:
        return {"accuracy": None, "low": None, "high": None}
    low, high = interval_over_problems(values, LEVEL)
    return {"accuracy": sum(values) / len(values), "low": low, "high": high}


def show_rate(rate: dict[str, Any]) -> str:
    if rate["low"] is None:
        return f"{rate['accuracy']:.3f}"
    interval = f"{rate['low']:.3f} to {rate['high']:.3f}"
    return f"{rate['accuracy']:.3f} ({LEVEL:.0%} interval over problems {interval})"


def few_answers(totals: Totals, answer: str | None) -> str:
    """That most candidates have no answer of a kind, which may be the wrong one; or nothing."""
    if 2 * totals.without_answer <= totals.candidates:
        return ""
    cut = f", {totals.cut_off_without} of them cut off" if totals.cut_off_without else ""
    many = f"{totals.without_answer:,} of {counted(totals.candidates, 'candidate')}"
    return f"{answer!r} finds no answer in {many}{cut}; look at some with edifice-tt show"


def of_graded(totals: Totals, path: Any, max_tokens: object) -> Iterator[str]:
    """The lines below a file that was graded."""
    none = f", {totals.without_answer} have no answer" if totals.without_answer else ""
    if totals.cut_off_without:
        none += f" ({totals.cut_off_without} of them cut off)"
    right = (
        f"{totals.right} of {totals.candidates} candidates of {counted(totals.problems, 'problem')}"
    )
    yield f"{right} in {path} are right{none}"
    yield f"mean over problems {show_rate(rate_of(totals.shares))}"
    if totals.cut_off:
        yield (
            f"{cut_off_of(totals.cut_off, totals.candidates, max_tokens)} Of these "
            f"{totals.cut_off_right} are right."
        )


@dataclass
class Chosen:
    """What choices came to; `rows` are pools, whether each is marked, and its choice or None.

    `cut_off` is how many of those that abstained were cut off, None where the rule does not ask.
    """

    rows: Sequence[tuple[Any, bool, Any]]
    cut_off: int | None = None

    @property
    def marks(self) -> list[bool]:
        """Whether the choice is right, for each problem that is marked; no choice is not."""
        return [
            bool(choice and choice.candidate.correct)
            for _, is_marked, choice in self.rows
            if is_marked
        ]

    @property
    def without_choice(self) -> int:
        """The problems of which none was chosen."""
        return sum(choice is None for *_, choice in self.rows)

    @property
    def abstained(self) -> int:
        """The candidates that did not vote, where one was chosen."""
        return sum(choice.abstained for *_, choice in self.rows if choice)

    def to_dict(self) -> dict[str, Any]:
        """The counts, and the share of right choices with its interval, for JSON."""
        marks = self.marks
        return {
            "problems": len(self.rows),
            "marked": len(marks),
            "right": sum(marks),
            **rate_of([float(right) for right in marks]),
            "without_choice": self.without_choice,
            "abstained": self.abstained,
            "cut_off": self.cut_off,
        }

    def lines(self) -> Iterator[str]:
        """The lines below the choices."""
        if marks := self.marks:
            rate = show_rate(rate_of([float(right) for right in marks]))
            yield f"right: {sum(marks)} of {counted(len(marks), 'problem')}, {rate}"
        if unmarked := len(self.rows) - len(marks):
            many = counted(unmarked, "problem")
            yield f"not marked: {many} (edifice-tt grade marks what is right)"
        if none := self.without_choice:
            yield f"no choice: {counted(none, 'problem')}" + " (as wrong)" * bool(marks)
        if abstained := self.abstained:
            cut, why = self.cut_off, ""
            if cut is not None:
                why = f" ({cut:,} cut off, {abstained - cut:,} without an answer)"
            yield f"abstained: {counted(abstained, 'candidate')}{why}"
