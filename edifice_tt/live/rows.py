"""The rows of a search, written by a model: advanced, copied and scored as a method asks.

Knows tokens, texts and scores of one problem; knows no method and no file.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.engine.branches import Branch, Branches
from edifice_tt.engine.decoder import Decoder, Logits
from edifice_tt.live.scorers import RowScorer
from edifice_tt.pools.candidates import Candidate
from edifice_tt.sampling.confidence import measure
from edifice_tt.sampling.generate import Event
from edifice_tt.sampling.prompts import TokenizedProblem
from edifice_tt.sampling.request import Request
from edifice_tt.sampling.sampled import Sampled
from edifice_tt.sampling.stops import Stops
from edifice_tt.search.method import Ask, Row, Until
from edifice_tt.selection.answers import find_answers, whole_text, without_thinking
from edifice_tt.selection.grade import grader
from edifice_tt.weights.tokenizer import TextStream

DROPPED = "dropped"


class BudgetSpentError(Exception):
    """The tokens that a search may draw are drawn, and rows are not where they were to go."""


@dataclass(eq=False)
class LiveRow:
    """A row: what it has drawn, where the model stands in it, and whose copy it is."""

    sampled: Sampled
    branch: Branch
    parent: int | None = None
    begun: int = 0  # tokens that it was copied with
    score: float | None = None
    answer: str | None = None
    steps: int = 0  # that have ended in its text, as far as the last ask counted them
    asked_at: int = 0  # its tokens when it was asked to go on
    pause: int = 0  # tokens at which it waits for others, so that a budget is shared
    scored_at: int = 0  # its tokens when it was scored
    scored: list[tuple[int, float]] = field(default_factory=list)  # its tokens then, and the score
    seconds: float | None = None  # from the start of the search to its end
    is_there: bool = False  # whether it is where it was asked to go

    @property
    def number(self) -> int:
        return self.sampled.index

    @property
    def ended(self) -> bool:
        return self.sampled.finish_reason is not None

    @property
    def num_tokens(self) -> int:
        return len(self.sampled.ids)


@dataclass
class LiveRows:
    """Advances the rows of one problem; `advance` is what `run_search` asks.

    What a row draws depends on the seed, the problem, its number and the place of the token. A copy
    has a number of its own, so two copies of one row go on differently.
    """

    lm: CausalLM
    problem: TokenizedProblem
    request: Request
    stops: Stops
    decoders: Sequence[Decoder]
    tokens: int  # the most of a row
    cores: int = 1  # that read the prompt
    scorer: RowScorer | None = None
    budget: int | None = None
    on_token: Callable[[Event], None] | None = None
    rows: dict[int, LiveRow] = field(default_factory=dict)
    judge_tokens: int = 0
    alive: Sequence[int] = ()  # the rows that were asked for last

    def __post_init__(self) -> None:
        layer = None if self.scorer is None else self.scorer.layer
        batch_size = self.request.batch_size
        self.branches = Branches(
            *(self.decoders, self.problem.ids, self.tokens),
            batch_size=batch_size,
            layer=layer,
            cores=self.cores,
        )
        self._sampler = self.request.sampler(self.problem.problem)
        self._mark = grader(self.request.answer, self.problem.gold, self.problem.text)
        self._by_branch: dict[Branch, LiveRow] = {}
        self._started = time.perf_counter()
        self._until, self._one_at_a_time = Until(), Lock()

    @property
    def spent(self) -> int:
        """The tokens that were drawn; those of a copy are not counted again."""
        return sum(row.num_tokens - row.begun for row in self.rows.values())

    def advance(self, ask: Ask) -> list[Row]:
        """The rows as they stand when they are there. Raises `BudgetSpentError` before they are."""
        for number, parent in zip(ask.rows, ask.parents or [None] * len(ask.rows), strict=True):
            if number not in self.rows:
                self._begin(number, parent)
        asked = [self.rows[number] for number in ask.rows]
        self._until, self.alive = ask.until, ask.rows
        for row in asked:
            row.asked_at, row.steps = row.num_tokens, self._steps(row)
            row.is_there = row.ended
        self._go(asked)
        judged = self._score(asked)
        self._answer(asked)
        return [self._told(row, judged.get(row.number, 0)) for row in asked]

    def _go(self, asked: Sequence[LiveRow]) -> None:
        """Advance all rows, each by an equal part of the budget, so that none takes it all."""
        branches = [row.branch for row in asked]
        while going := [row for row in asked if not row.is_there]:
            left = self.tokens * len(going) if self.budget is None else self.budget - self.spent
            if left < 1:
                raise BudgetSpentError
            going = going[:left]
            for row in going:
                row.pause = row.num_tokens + left // len(going)
            self.branches.advance([row.branch for row in going], self._draw, branches)
        # One that was taken over has its states still to be read.
        self.branches.advance([b for b in branches if b.ended], self._draw, branches)

    def _begin(self, number: int, parent: int | None) -> None:
        if parent is None:
            row = LiveRow(self._new(number), self.branches.begin())
        else:
            of = self.rows[parent]
            row = LiveRow(self._again(number, of.sampled), of.branch.fork(), parent, of.num_tokens)
            row.score, row.answer, row.scored_at = of.score, of.answer, of.scored_at
            row.seconds = of.seconds
        self.rows[number] = self._by_branch[row.branch] = row

    def _new(self, number: int) -> Sampled:
        return Sampled(number, TextStream(self.lm.tokenizer), self.request.confidence)

    def _again(self, number: int, of: Sampled, tokens: int | None = None) -> Sampled:
        """A copy of what was drawn, under another number, or of its first tokens."""
        copy, count = self._new(number), len(of.ids) if tokens is None else tokens
        for token, logprob in zip(of.ids[:count], of.logprobs[:count], strict=True):
            copy.add(token, logprob, self.stops, last=len(copy.ids) + 1 == self.tokens)
        copy.sure = [*of.sure[:count]]
        return copy

    def restore(
        self, candidates: Iterable[Candidate], told: Mapping[int, Row], scored: Mapping[str, Any]
    ) -> None:
        """Take over the rows of a search that broke off; what it had not told of them goes on.

        A row that has ended since is kept whole. One that was on its way begins where it was asked.
        """
        for one in sorted(candidates, key=lambda one: one.index):
            measures = [one.token_confidences[name] for name in self.request.confidence]
            empty: list[tuple[float, ...]] = [()] * len(one.token_ids)
            sure = [*zip(*measures, strict=True)] if measures else empty
            drawn = Sampled(one.index, TextStream(self.lm.tokenizer))
            drawn.ids, drawn.logprobs, drawn.sure = [*one.token_ids], [*one.token_logprobs], sure
            sampled, before = self._again(one.index, drawn), told.get(one.index)
            if sampled.finish_reason is None and before is None and one.parent is None:
                continue
            if sampled.finish_reason is None:
                count = one.begun if before is None else int(before.num_tokens or 0)
                sampled = self._again(one.index, drawn, count)
            ended = sampled.finish_reason is not None
            branch = Branch([*sampled.ids], len(sampled.ids), self.branches.logits, ended=ended)
            row = LiveRow(sampled, branch, one.parent, one.begun, seconds=one.seconds)
            if before is not None:
                row.score, row.answer = before.score, before.answer
                row.scored_at = int(before.num_tokens or 0)
                places = scored.get(str(one.index), ())
                row.scored = [(at, score) for at, score in places if at <= row.scored_at]
            if ended and self.branches.keeps_states and row.scored_at < row.num_tokens:
                self.branches.lose(branch)
            self.rows[one.index] = self._by_branch[branch] = row

    def _draw(self, branch: Branch, logits: Logits) -> tuple[int, bool]:
        row, position = self._by_branch[branch], len(branch.ids)
        token, logprob = self._sampler.draw(logits, row.number, position)
        sure = measure(self.request.confidence, logits) if self.request.confidence else ()
        with self._one_at_a_time:
            sampled = row.sampled
            sampled.sure.append(sure)
            text = sampled.add(token, logprob, self.stops, last=position + 1 == self.tokens)
            branch.ended = row.ended
            row.seconds = time.perf_counter() - self._started if row.ended else None
            row.is_there = row.ended or self._is_there(row)
            if self.on_token is not None:
                self.on_token(Event(row.number, token, text, sampled.finish_reason))
        return token, not row.is_there and row.num_tokens < row.pause

    def _is_there(self, row: LiveRow) -> bool:
        until = self._until
        if until.tokens is not None and row.num_tokens - row.asked_at >= until.tokens:
            return True
        if until.delimiter is not None and self._steps(row) > row.steps:
            return True
        return until.word is not None and until.word(self._told(row, 0)) is True

    def _steps(self, row: LiveRow) -> int:
        delimiter = self._until.delimiter
        return 0 if delimiter is None else row.sampled.text.count(delimiter)

    def _score(self, rows: Sequence[LiveRow]) -> dict[int, int]:
        """Score the rows; returns the tokens that a judge has read for each."""
        if self.scorer is None:
            return {}
        rows = [row for row in rows if row.scored_at < row.num_tokens]
        if not rows:
            return {}
        candidates = [self._as_candidate(row) for row in rows]
        states = [row.branch.states for row in rows]
        scores, tokens = self.scorer.score(self.problem, candidates, states)
        for row, score in zip(rows, scores, strict=True):
            row.score, row.scored_at = score, row.num_tokens
            row.scored.append((row.num_tokens, score))
        self.judge_tokens += sum(tokens)
        return dict(zip([row.number for row in rows], tokens, strict=True))

    def _answer(self, rows: Sequence[LiveRow]) -> None:
        """Give rows that have ended their answers; those that were cut off abstain."""
        kind = None if self.request.answer is None else find_answers(self.request.answer)
        for row in sorted(rows, key=lambda row: row.number):
            if not row.ended or row.sampled.finish_reason == "length":
                continue
            text = self._mark(self._as_candidate(row)).answer
            if kind is None:
                text = whole_text(without_thinking(row.sampled.text))
            else:
                before = [self.rows[i].answer for i in sorted(self.rows) if i != row.number]
                text = kind.merge([*before, text or None])[-1]
            row.answer = text or None

    def _told(self, row: LiveRow, judge_tokens: int) -> Row:
        sampled = row.sampled
        return Row(
            row.number,
            text=self.stops.printed(sampled.text),
            num_tokens=row.num_tokens,
            ended=row.ended,
            answer=row.answer if row.ended else None,
            score=row.score,
            logprobs=tuple(sampled.logprobs),
            confidences=tuple(one[0] for one in sampled.sure) if self.request.confidence else (),
            judge_tokens=judge_tokens,
        )

    def _as_candidate(self, row: LiveRow, unfinished: str = "unknown") -> Candidate:
        one = row.sampled.candidate(unfinished)
        text = self.stops.printed(one.text)
        parent, begun = row.parent, row.begun
        return replace(one, text=text, parent=parent, begun=begun, seconds=row.seconds)

    def candidates(self, kept: Iterable[int] | None) -> list[Candidate]:
        """A record of each row that has drawn something, with its answer and last score.

        Of a search that is over, rows that have not ended are `dropped`, or cut off if they were
        kept. With None it is not over.
        """
        ends = {} if kept is None else dict.fromkeys(kept, "length")
        usual, made = "unknown" if kept is None else DROPPED, list[Candidate]()
        for number, row in sorted(self.rows.items()):
            if not row.num_tokens:
                continue
            one = self._as_candidate(row, ends.get(number, usual))
            one = self._mark(one)
            if self.scorer is not None and row.score is not None:
                one = replace(one, scores={self.scorer.name: row.score})
            made.append(one)
        return made
