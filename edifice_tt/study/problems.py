"""Pools -> arrays for a study. Knows pools and answers; no rule, no estimate."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.errors import unknown_name
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool
from edifice_tt.selection.answers import Named
from edifice_tt.selection.rules import answers_of
from edifice_tt.selection.select import behind
from edifice_tt.study.statistics import Floats


@dataclass(frozen=True)
class Problem:
    """The candidates of one problem as arrays (N).

    `answers` numbers the answers from 0; -1 abstains. `cut_off` says which were cut off. `seconds`
    is NaN where unknown. `candidates` is filled only for rules that read them. `seen_by` names the
    scorers that were trained on this problem, and `scoring` holds what scorers have spent on it.
    """

    name: str
    correct: Floats
    answers: NDArray[np.int64]
    num_tokens: Floats
    seconds: Floats
    scores: dict[str, Floats]
    candidates: tuple[Candidate, ...] = ()
    seen_by: frozenset[str] = frozenset()
    cut_off: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    scoring: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.correct)

    def voting(self, cut_off: str) -> "Problem":
        """The problem as a vote sees it: answers that were cut off may `vote` or `abstain`."""
        if cut_off == "vote" or not self.cut_off.any():
            return self
        return replace(self, answers=np.where(self.cut_off, -1, self.answers))


def read_problems(
    pools: Iterable[Pool],
    scorers: Sequence[str] | None = None,
    answer: Named | None = None,
    keep_candidates: bool = False,
) -> Iterator[Problem]:
    """Pools as problems, one at a time.

    `scorers` says whose scores to read (None: all). `answer` names an extractor; without it
    candidates' own answers count, else their texts (see `rules.answers_of`). Raises `ValueError`
    for an empty pool, an unmarked candidate, and a score that is missing or not finite. Raises
    `UnknownNameError` for a scorer without scores in the problem.
    """
    for pool in pools:
        check_marked(pool)
        check_fair(pool)
        names = sorted({name for candidate in pool for name in candidate.scores})
        yield Problem(
            name=pool.problem,
            correct=np.array([candidate.correct for candidate in pool], np.float64),
            answers=_numbered(answers_of(behind(pool.prompt, pool), answer)),
            num_tokens=np.array([candidate.num_tokens for candidate in pool], np.float64),
            seconds=np.array([candidate.seconds for candidate in pool], np.float64),
            scores={
                name: scores_of(pool, name) for name in (names if scorers is None else scorers)
            },
            candidates=behind(pool.prompt, pool) if keep_candidates else (),
            seen_by=pool.seen_by,
            cut_off=np.array([not candidate.is_whole for candidate in pool], np.bool_),
            scoring=pool.scoring,
        )


def spent_per_candidate(
    scoring: Sequence[Mapping[str, Mapping[str, Any]]], scorer: str, of: str
) -> float | None:
    """The `tokens` or `seconds` that a scorer has spent per candidate, by the books of problems.

    None unless that is known of every problem.
    """
    costs = [books.get(scorer, {}) for books in scoring]
    known = [cost[of] for cost in costs if cost.get(of) is not None]
    count = sum(cost.get("candidates", 0) for cost in costs)
    return sum(known) / count if len(known) == len(costs) else None


def check_marked(
    pool: Pool, advice: str = "give gold answers and an extractor to mark the pool with"
) -> None:
    """Raise `ValueError` for an empty pool, and for a candidate not marked right or wrong."""
    if not len(pool):
        raise ValueError(f"problem {pool.problem!r} has no candidates; leave it out")
    if unmarked := [candidate.index for candidate in pool if candidate.correct is None]:
        raise ValueError(
            f"problem {pool.problem!r}: whether candidate {unmarked[0]} is right is not known; "
            f"{advice}"
        )


def check_fair(pool: Pool) -> None:
    """Raise `ValueError` for candidates that a search chose, of which no mean says anything."""
    if "search" in pool.settings or any(candidate.is_dropped for candidate in pool):
        raise ValueError(
            f"problem {pool.problem!r}: a search decided how many candidates there are, and which "
            "go on, so they are no fair sample; sample a pool with generate"
        )


def _numbered(answers: Sequence[str | None]) -> NDArray[np.int64]:
    numbers = {answer: i for i, answer in enumerate(dict.fromkeys(filter(None, answers)))}
    return np.array([-1 if answer is None else numbers[answer] for answer in answers], np.int64)


def scores_of(pool: Pool, scorer: str) -> Floats:
    """A scorer's scores (N); raises as `read_problems` does for one that is missing."""
    where = f"problem {pool.problem!r}"
    scores = [candidate.scores.get(scorer) for candidate in pool]
    if all(score is None for score in scores):
        names = {name for candidate in pool for name in candidate.scores}
        raise unknown_name(f"scorer in {where}", scorer, names)
    for candidate, score in zip(pool, scores, strict=True):
        if score is None or not np.isfinite(score):
            raise ValueError(
                f"{where}: the score of {scorer!r} for candidate {candidate.index} is {score}, and "
                "must be a finite number; score the pool again, or name other scorers"
            )
    return np.array(scores, np.float64)
