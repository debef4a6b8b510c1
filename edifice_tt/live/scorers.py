"""How rows are scored while they are written: by a head on their states, or by what reads texts.

A head costs no second pass: the step that reads a token gives its state. Knows no method.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
from edifice_tt.engine.branches import State
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool
from edifice_tt.sampling.prompts import TokenizedProblem
from edifice_tt.scoring.functions import of_function
from edifice_tt.scoring.heads import read_head
from edifice_tt.scoring.judges.judge import Judge
from edifice_tt.scoring.score import check_scorer, opened, score
from edifice_tt.scoring.steps import check_reduce
from edifice_tt.scoring.verifier import Verifier

Texts = Sequence[Candidate]
Scores = tuple[list[float], list[int]]


class RowScorer(Protocol):
    """Scores rows as they stand. `layer` is the one whose states it reads, None for none."""

    name: str
    range: str
    layer: int | None
    seconds: float

    def score(
        self, problem: TokenizedProblem, rows: Texts, states: Sequence[Sequence[State]]
    ) -> Scores:
        """The score of each row, and the tokens that were read for it."""

    def fresh(self) -> Self:
        """The same for another problem, of which nothing is known."""

    def declare(self, pool: Pool, problem: TokenizedProblem) -> Pool:
        """The pool with the range of its scores, and whether it was trained on this problem."""


@dataclass
class HeadScorer:
    """A head of the model's own, or a verifier, of the states of the tokens so far."""

    name: str
    range: str
    layer: int | None
    read: Callable[[Sequence[Any], Texts], list[float]]
    verifier: Verifier | None = None
    seconds: float = 0.0

    def score(
        self, problem: TokenizedProblem, rows: Texts, states: Sequence[Sequence[State]]
    ) -> Scores:
        """The head's number for each row; no token is read again."""
        begun = time.perf_counter()
        scores = self.read([np.stack(one) for one in states], rows)
        self.seconds += time.perf_counter() - begun
        if not all(map(math.isfinite, scores)):
            raise EdificeError(f"scorer {self.name!r} gave a score that is not a finite number")
        return scores, [0] * len(scores)

    def fresh(self) -> Self:
        """The same, with no time spent."""
        return replace(self, seconds=0.0)

    def declare(self, pool: Pool, problem: TokenizedProblem) -> Pool:
        """The pool with the range of its scores; warns of a verifier that knows this problem."""
        pool = replace(pool, ranges={self.name: self.range})
        if self.verifier is None or not self.verifier.has_seen(problem.text):
            return pool
        self.verifier.warn_of(problem.problem)
        return replace(pool, seen_by=frozenset({self.name}))


@dataclass
class TextScorer:
    """A scorer of texts or of numbers per token, or a judge. A text is read once."""

    lm: CausalLM
    scorer: Any
    name: str
    range: str
    reduce: str | None = None
    layer: int | None = None
    seconds: float = 0.0
    known: dict[tuple[str, tuple[float, ...]], float] = field(default_factory=dict)

    def score(
        self, problem: TokenizedProblem, rows: Texts, states: Sequence[Sequence[State]]
    ) -> Scores:
        """The score of each row; of equal rows the first is read."""
        begun = time.perf_counter()
        keys = [(row.text, () if self._reads_text else row.token_logprobs) for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self.known}
        tokens = [0] * len(rows)
        if new:
            chat = {"template": "raw" if problem.messages is None else "chat"}
            pool = Pool(
                problem.text,
                tuple(new.values()),
                chat,
                problem.problem,
                problem.gold,
                messages=problem.messages,
            )
            scored = score(self.lm, pool, self.scorer, self.reduce)
            self.known |= {key: one.scores[self.name] for key, one in zip(new, scored, strict=True)}
            if isinstance(self.scorer, Judge):
                read = dict(zip(new, self.scorer.tokens_read(pool), strict=True))
                tokens = [read.pop(key, 0) for key in keys]
        self.seconds += time.perf_counter() - begun
        return [self.known[key] for key in keys], tokens

    @property
    def _reads_text(self) -> bool:
        return not isinstance(self.scorer, str) or str(self._record.reads) == "text"

    @property
    def _record(self) -> registry.Scorer:
        record: registry.Scorer = registry.scorer(self.scorer)
        return record

    def fresh(self) -> Self:
        """The same, which has read nothing."""
        return replace(self, seconds=0.0, known={})

    def declare(self, pool: Pool, problem: TokenizedProblem) -> Pool:
        """The pool with the range of its scores."""
        return replace(pool, ranges={self.name: self.range})


def row_scorer(lm: CausalLM, scorer: Any, reduce: str | None = None) -> RowScorer:
    """What scores rows by a scorer of `edifice_tt.score`. Raises as that does."""
    if isinstance(scorer, str):
        scorer = opened(registry.scorer(scorer), reduce, lm.device)
    if isinstance(scorer, Verifier):
        return _of_verifier(lm, scorer, reduce)
    if isinstance(scorer, Judge):
        check_reduce(scorer, reduce)
        return TextScorer(lm, scorer, scorer.name, scorer.range, reduce)
    if not isinstance(scorer, str):
        record = of_function(scorer, {})
        check_reduce(record, reduce)
        return TextScorer(lm, scorer, record.name, record.range, reduce)
    record = check_scorer(lm, scorer)
    check_reduce(record, reduce)
    if record.reads != "hidden":
        return TextScorer(lm, scorer, record.name, record.range, reduce)

    def read(states: Sequence[Any], rows: Texts) -> list[float]:
        return [float(one[-1]) for one in read_head(lm.scorer, states, lm.device)]

    return HeadScorer(record.name, record.range, lm.config.num_layers, read)


def _of_verifier(lm: CausalLM, verifier: Verifier, reduce: str | None) -> HeadScorer:
    if reduce is not None:
        raise ValueError(f"a verifier has no steps to reduce; leave out reduce={reduce!r}")
    verifier.check(lm)

    def read(states: Sequence[Any], rows: Texts) -> list[float]:
        logits = verifier.answer_logits(states, (row.token_ids for row in rows))
        return [*map(verifier.probability, logits)]

    return HeadScorer(verifier.name, "probability", verifier.layer, read, verifier)
