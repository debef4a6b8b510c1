"""Scoring what a command samples, by the model that sampled it. Knows arguments and pool files.

A problem is scored when it has all its candidates, before the next is sampled: then the model still
holds what it has computed.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import edifice_tt as et
from edifice_tt.cli import judging, options, scoring
from edifice_tt.cli.work import Work, work_of_scorer, work_of_verifier
from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.tracing import message_of
from edifice_tt.contract.wording import counted

if TYPE_CHECKING:
    from edifice_tt.sampling.runs import Run


class Rating:
    """The scorer that a command is to use on what it samples.

    What can be wrong is found when it is made, before a model is loaded: it raises as the public
    calls do.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        from edifice_tt.scoring.steps import check_reduce

        self.arguments, self.reads = arguments, None
        self.scorer = options.scorer_of(arguments)
        self.asks_itself = judging.asks_itself(arguments)
        self.judge = None if self.asks_itself else judging.load_judge(arguments)
        self.verifier = None
        if self.judge is None and not self.asks_itself:
            self.verifier = options.open_verifier(arguments, self.scorer)
            if self.verifier is None:
                record = registry.scorer(str(self.scorer))
                check_reduce(record, arguments.reduce)
                self.reads = record.reads

    def work(self, lm: Any, prompts: Mapping[str, str]) -> Work:
        """What scores the pools of these problems, with the model that samples them."""
        if self.asks_itself:
            self.judge = judging.load_judge(self.arguments, lm)
        if self.judge is not None:
            return judging.work_of(self.judge, self.arguments.reduce)
        if self.verifier is not None:
            return work_of_verifier(self.arguments, lm, self.verifier, prompts)
        return work_of_scorer(self.arguments, lm, str(self.scorer))

    def rate(self, lm: Any, pool: et.Pool) -> et.Pool:
        scored: et.Pool = self.work(lm, {pool.problem: pool.prompt}).score(pool)
        return scored


def wanted(arguments: argparse.Namespace) -> Rating | None:
    """The scorer that is asked for, or None."""
    given = judging.is_asked_for(arguments) or options.scorer_of(arguments) is not None
    if given or arguments.verifier is not None:
        return Rating(arguments)
    if arguments.reduce is not None:
        raise ValueError("--reduce is for a scorer of steps; name one with --scorer or --judge")
    return None


@dataclass
class RatedRun:
    """A run whose problems are scored when they have all their candidates."""

    run: "Run"
    work: Work
    scored: int = 0

    @classmethod
    def of(cls, rating: Rating, lm: Any, run: "Run", resume: bool) -> "RatedRun":
        """Check the scorer against the model, the file and the problems to be sampled."""
        file = run.filling.writer.file
        prompts = {name: str(about["prompt"]) for name, about in file.problems.items()}
        prompts |= {problem.problem: problem.text for problem, _ in run.missing}
        rated = cls(run, rating.work(lm, prompts))
        scoring.is_same(file, rated.work, resume)
        for problem, _ in run.missing:
            rated.work.check(problem.empty_pool())
        return rated

    def sample(self, meter: Any) -> None:
        """Score what an earlier run has left, then sample and score the others."""
        try:
            for pool in self._left():
                self._score(pool)
            self.run.sample(meter, self._score_sampled)
        except EdificeError as error:
            state = f"{self.told}; the same command with --resume goes on"
            raise type(error)(f"{message_of(error)}; {state}") from error

    @property
    def told(self) -> str:
        """How many problems this run has scored."""
        return f"this run has scored {counted(self.scored, 'problem')} by {self.work.name}"

    def _left(self) -> Iterator[et.Pool]:
        """The problems of the file that have all candidates and lack scores."""
        file = self.run.filling.writer.file
        missing = {problem.problem for problem, _ in self.run.missing}
        for fields in file.fields():
            pool = et.Pool(**fields)
            unscored = any(self.work.name not in candidate.scores for candidate in pool)
            if pool.problem not in missing and unscored:
                yield pool

    def _score_sampled(self, pool: et.Pool) -> None:
        """Score a problem's new candidates with those that the file held before."""
        file = self.run.filling.writer.file
        before: tuple[et.Candidate, ...] = ()
        if pool.problem in file.problems:
            before = tuple(et.Pool(**next(file.fields(pool.problem))))
        both = sorted((*before, *pool), key=lambda candidate: candidate.index)
        self._score(replace(pool, candidates=tuple(both), settings=file.settings))

    def _score(self, pool: et.Pool) -> None:
        work, writer = self.work, self.run.filling.writer
        try:
            scored = work.score(pool)
        except (EdificeError, ValueError) as error:
            raise EdificeError(f"problem {pool.problem!r}: {message_of(error)}") from error
        writer.file.indices[pool.problem] = {candidate.index for candidate in pool}
        writer.add_scores(scored, work.name, work.owner, work.fingerprint, work.seen)
        self.scored += 1
