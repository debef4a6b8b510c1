"""Searches that stop when the vote is clear. Knows answers in the order of the rows; no score.

Answers are counted by the number of their row, never by when they came: short answers come first,
and would vote first.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

from edifice_tt.contract.options import check_count
from edifice_tt.search.method import Ask, Outcome, Row, State, check_share, in_order

Answers = Sequence[str | None]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Votes(ABC):
    """At most `n` rows, each to its end; a rule of each subclass says after how many to stop."""

    n: int = 16

    def __post_init__(self) -> None:
        check_count("n", self.n)

    @abstractmethod
    def is_clear(self, answers: Answers) -> bool:
        """Whether to stop after these answers; None abstains."""

    @abstractmethod
    def upto(self, told: int) -> int:
        """How many rows to have next, when so many have been told."""

    def start(self, problem: str = "0") -> State:
        """No answer yet."""
        return {"answers": [], "counted": 0, "clear": False}

    def ask(self, state: State) -> Ask:
        """The next rows, to their ends."""
        told = len(state["answers"])
        return Ask(tuple(range(told, min(self.upto(told), self.n))))

    def tell(self, state: State, rows: Sequence[Row]) -> State:
        """Count the answers one by one until the rule stops; what is beyond is wasted."""
        answers = [*state["answers"], *(row.answer or None for row in in_order(rows))]
        for counted in range(state["counted"] + 1, len(answers) + 1):
            if self.is_clear(answers[:counted]):
                return {"answers": answers, "counted": counted, "clear": True}
        return {"answers": answers, "counted": len(answers), "clear": False}

    def done(self, state: State) -> Outcome | None:
        """The first row with the most common answer; of equal counts the first seen wins."""
        if not state["clear"] and state["counted"] < self.n:
            return None
        answers = state["answers"][: state["counted"]]
        tally = {answer: float(count) for answer, count in votes(answers).items()}
        row = answers.index(max(tally, key=tally.__getitem__)) if tally else None
        return Outcome(row, tuple(range(len(answers))), tally, len(answers) < self.n)


def votes(answers: Answers) -> Counter[str]:
    """The votes of each answer, in the order in which they were first seen."""
    return Counter(answer for answer in answers if answer is not None)


@dataclass(frozen=True)
class CountedVotes(Votes):
    """A rule that looks at nothing but how often each answer was given.

    So the mean over all orders can be computed without drawing any.
    """

    @property
    @abstractmethod
    def by_counts(self) -> Callable[[Sequence[int], int], bool] | None:
        """The rule: whether to stop at these counts, falling, after so many rows."""

    def is_clear(self, answers: Answers) -> bool:
        """Whether to stop after these answers."""
        assert self.by_counts is not None
        return self.by_counts(sorted(votes(answers).values(), reverse=True), len(answers))


@dataclass(frozen=True)
class Adaptive(CountedVotes):
    """Adaptive consistency: stop when the leading answer is likely to win among ever more.

    With the two largest counts v1 and v2 that is P(Beta(v1 + 1, v2 + 1) > 1/2) >= `threshold`, not
    before `least` rows. The authors look after each row and use 0.95. `wave` rows are run at a
    time; more of them keep a batch full, and those behind the stop are wasted. With `settled` it
    also stops when the rows to come cannot change the winner; the authors do not do that. The
    probability is no bound on the error: it is looked at repeatedly, and a wrong answer that leads
    is certified as well.
    """

    threshold: float = 0.95
    least: int = 1
    wave: int = 1
    settled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("threshold", self.threshold)
        check_count("least", self.least, self.n)
        check_count("wave", self.wave)

    def upto(self, told: int) -> int:
        """A wave more."""
        return told + self.wave

    @property
    def by_counts(self) -> Callable[[Sequence[int], int], bool] | None:
        """The Beta rule; who is first seen matters to `settled`, so that is no rule of counts."""
        return None if self.settled else self._is_likely

    def is_clear(self, answers: Answers) -> bool:
        """Whether the winner is likely enough, or settled."""
        if self._is_likely(sorted(votes(answers).values(), reverse=True), len(answers)):
            return True
        return self.settled and _is_settled(answers, self.n - len(answers))

    def _is_likely(self, counts: Sequence[int], rows: int) -> bool:
        return rows >= self.least and lead_probability(counts) >= self.threshold


def lead_probability(counts: Sequence[int]) -> float:
    """P(Beta(v1 + 1, v2 + 1) > 1/2) for the two largest of falling counts, exactly.

    >>> lead_probability([4]), lead_probability([3, 2, 1])
    (0.96875, 0.65625)
    """
    first, second = (*counts, 0, 0)[:2]
    tosses = first + second + 1
    lost = sum(comb(tosses, j) for j in range(second + 1))
    return 1 - lost / (1 << tosses)


def _is_settled(answers: Answers, left: int) -> bool:
    """Whether no answer, given by all of those that are left, would win instead."""
    tally = votes(answers)
    if not tally:
        return False
    winner = max(tally, key=tally.__getitem__)
    most, before = tally[winner], True
    for answer, count in tally.items():
        before = before and answer != winner
        if answer != winner and count + left + before > most:  # seen before, it wins a tie
            return False
    return left <= most


@dataclass(frozen=True)
class Window(Votes):
    """Early-stopping self-consistency: stop after a whole block of `window` equal answers."""

    window: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window)

    def upto(self, told: int) -> int:
        """A block more."""
        return told + self.window

    def is_clear(self, answers: Answers) -> bool:
        """Whether a block ends here, and all in it are equal."""
        block = answers[-self.window :]
        return len(answers) % self.window == 0 and len({*block}) == 1 and block[0] is not None


@dataclass(frozen=True)
class Doubling(CountedVotes):
    """Look after 2, 4, 8, ... rows; stop when the leading answer has a `share` of them."""

    share: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("share", self.share)

    def upto(self, told: int) -> int:
        """Twice as many."""
        return 2 * told or 2

    @property
    def by_counts(self) -> Callable[[Sequence[int], int], bool] | None:
        """The rule."""
        return self._is_share

    def _is_share(self, counts: Sequence[int], rows: int) -> bool:
        looks = rows > 1 and rows & (rows - 1) == 0
        return looks and bool(counts) and counts[0] >= self.share * rows - _ROUNDING


@dataclass(frozen=True)
class First(CountedVotes):
    """The first `k` rows, whatever they answer; without `k` all of them."""

    k: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k is not None:
            check_count("k", self.k, self.n)

    def upto(self, told: int) -> int:
        """All of them at once."""
        return self.k or self.n

    @property
    def by_counts(self) -> Callable[[Sequence[int], int], bool] | None:
        """The rule."""
        return lambda counts, rows: rows == self.upto(0)
