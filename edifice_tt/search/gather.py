"""Searches that gather rows: step, score, choose parents, copy. One loop, a chooser for each.

Knows scores of steps; what each does with them stands in `choosers`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from edifice_tt.contract.options import check_count, check_seed, problem_seed
from edifice_tt.search import choosers
from edifice_tt.search.method import (
    Ask,
    Outcome,
    Row,
    State,
    Until,
    best,
    check_step,
    in_order,
    score_of,
)


class Slot(NamedTuple):
    """A place of a level: the row in it, its parent and tree; its score is None until told."""

    row: int
    parent: int | None
    tree: int
    score: float | None = None
    ended: bool = False


@dataclass(frozen=True)
class Gather(ABC):
    """`n` rows go on step by step; before each step, rows become copies of the better ones.

    A step ends at the `delimiter`, after `step_tokens`, or where `word` says so, whichever comes
    first. After `max_steps` the search is over. The best row that has ended is chosen, or the best
    of all where none has.
    """

    n: int = 16
    delimiter: str | None = "\n\n"
    step_tokens: int | None = 256
    max_steps: int = 40
    word: Callable[[Row], bool] | None = None

    def __post_init__(self) -> None:
        check_count("n", self.n)
        check_count("max_steps", self.max_steps)
        check_step(self.delimiter, self.word)
        if self.step_tokens is not None:
            check_count("step_tokens", self.step_tokens)

    @abstractmethod
    def parents(self, level: Sequence[Slot], held: int, key: tuple[int, int]) -> list[int]:
        """The parent of each row to come, as places of the level; `key` is (seed, step)."""

    @property
    def trees(self) -> int:
        """How many parts do not compete with each other."""
        return 1

    @property
    def seed_of_draws(self) -> int:
        """The seed, for a search that draws."""
        return 0

    def start(self, problem: str = "0") -> State:
        """All rows at the prompt."""
        size = self.n // self.trees
        coming = [list(Slot(row, None, row // size)) for row in range(self.n)]
        return {"problem": problem, "steps": 0, "rows": self.n, "held": [], "coming": coming}

    def ask(self, state: State) -> Ask:
        """A step of each row that has not ended."""
        slots = [slot for slot in _slots(state) if slot.score is None]
        until = Until(self.step_tokens, self.delimiter, self.word)
        return Ask(tuple(s.row for s in slots), until, tuple(s.parent for s in slots))

    def tell(self, state: State, rows: Sequence[Row]) -> State:
        """Hold what has ended, and choose who goes on; the last level is held whole."""
        told = {row.row: row for row in in_order(rows)}
        level = [
            slot._replace(score=score_of(told[slot.row]), ended=told[slot.row].ended)
            if slot.row in told
            else slot
            for slot in _slots(state)
        ]
        steps, held = state["steps"] + 1, {row: (score, True) for row, score, _ in state["held"]}
        held |= {s.row: (s.score, True) for s in level if s.ended}
        key = problem_seed(self.seed_of_draws, state["problem"]), steps
        alive = steps < self.max_steps and not all(slot.ended for slot in level)
        chosen = self.parents(level, len(held), key) if alive else []
        coming, rows_so_far = [], state["rows"]
        for parent in (level[place] for place in chosen):
            if parent.ended:  # a copy of it is finished, too
                coming.append(parent)
            else:
                coming.append(Slot(rows_so_far, parent.row, parent.tree))
                rows_so_far += 1
        if all(slot.ended for slot in coming):
            coming, held = [], {s.row: (s.score, s.ended) for s in level} | held
        return {
            "problem": state["problem"],
            "steps": steps,
            "rows": rows_so_far,
            "held": [[row, score, ended] for row, (score, ended) in sorted(held.items())],
            "coming": [list(slot) for slot in coming],
        }

    def done(self, state: State) -> Outcome | None:
        """The best of the rows that are held."""
        if state["coming"]:
            return None
        ended = [(row, score) for row, score, has_ended in state["held"] if has_ended]
        kept = ended or [(row, score) for row, score, _ in state["held"]]
        tally = {str(row): score for row, score in kept}
        early = state["steps"] < self.max_steps
        return Outcome(best(kept), tuple(row for row, _ in kept), tally, early)


def _slots(state: State) -> list[Slot]:
    return [Slot(*slot) for slot in state["coming"]]


def _scores(level: Sequence[Slot]) -> list[float]:
    return [slot.score for slot in level if slot.score is not None]


@dataclass(frozen=True)
class Particles(Gather):
    """A particle filter: rows are drawn by the odds of their scores, which are probabilities.

    Resampling is systematic, with one random number per step, keyed by the seed, the problem and
    the step. A row that has ended stays in the draw with its last score. A `temperature` above 1
    draws more evenly. The authors use multinomial draws. A sharp scorer leaves one ancestor after
    two or three steps.
    """

    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seed(self.seed)
        _check_temperature(self.temperature)

    @property
    def seed_of_draws(self) -> int:
        """The seed."""
        return self.seed

    def parents(self, level: Sequence[Slot], held: int, key: tuple[int, int]) -> list[int]:
        """Systematic parents."""
        scores = _scores(level)
        if outside := [score for score in scores if not 0 <= score <= 1]:
            raise ValueError(f"score {outside[0]} is no probability; use a scorer that gives them")
        weights = choosers.odds_weights(scores, self.temperature)
        return choosers.systematic(weights, self.n, Random(f"{key[0]} {key[1]}").random())


@dataclass(frozen=True)
class Rebase(Gather):
    """REBASE: rows get children by the softmax of their scores; ended rows reduce the width."""

    temperature: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_temperature(self.temperature)

    def parents(self, level: Sequence[Slot], held: int, key: tuple[int, int]) -> list[int]:
        """As many places of each as it has children."""
        live = [place for place, slot in enumerate(level) if not slot.ended]
        scores = _scores([level[place] for place in live])
        children = choosers.balanced(scores, max(0, self.n - held), self.temperature)
        pairs = zip(live, children, strict=True)
        return [place for place, count in pairs for _ in range(count)]


@dataclass(frozen=True)
class Beam(Gather):
    """Beam search: of `n` rows the best n / `expand` go on, with `expand` copies each.

    A row that has ended is held. It takes a place only at the step at which it ended. Copies may
    come out equal at a low temperature, and a greedy choice finds what fools the scorer.
    """

    expand: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("expand", self.expand, self.n)
        if self.n % self.expand:
            near = self.n - self.n % self.expand
            raise ValueError(f"n={self.n} must be a multiple of expand={self.expand}; use n={near}")

    def parents(self, level: Sequence[Slot], held: int, key: tuple[int, int]) -> list[int]:
        """The best of each tree, `expand` times."""
        width, chosen = self.n // self.expand // self.trees, []
        for tree in range(self.trees):
            places = [place for place, slot in enumerate(level) if slot.tree == tree]
            best_of = choosers.top(_scores([level[place] for place in places]), width)
            chosen += [places[i] for i in best_of if not level[places[i]].ended]
        return [place for place in chosen for _ in range(self.expand)]


@dataclass(frozen=True)
class Dvts(Beam):
    """Diverse verifier tree search: n / `expand` trees, of which each keeps its own best row."""

    @property
    def trees(self) -> int:
        """One per row that goes on."""
        return self.n // self.expand


def _check_temperature(temperature: float) -> None:
    if not isinstance(temperature, int | float) or not 0 < temperature < float("inf"):
        raise ValueError(f"temperature={temperature!r} must be a number above 0")
