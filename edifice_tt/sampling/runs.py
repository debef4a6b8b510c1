"""Many problems -> one pool file, written as candidates finish; interrupted runs can resume.

`fill_pool` knows which candidates are missing and writes them; `sample` makes them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.registry import one_registry
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.filling import Filling, check_distinct, fill_pool
from edifice_tt.pools.index import PoolIndex, header_settings
from edifice_tt.pools.pool import Pool, Problem
from edifice_tt.sampling.generate import (
    Event,
    check_memory,
    sample,
)
from edifice_tt.sampling.prompts import TokenizedProblem, tokenize
from edifice_tt.sampling.request import Request, today
from edifice_tt.sampling.settings import describe_sampling
from edifice_tt.sampling.stops import Stops
from edifice_tt.selection.grade import warn_of_golds


@dataclass
class Run:
    """A pool file and what is `missing` in it: problems with the indices of their candidates."""

    lm: CausalLM
    filling: Filling
    request: Request
    stops: Stops
    missing: Sequence[tuple[TokenizedProblem, Sequence[int]]]
    num_made: int = 0

    @property
    def num_missing(self) -> int:
        return self.filling.num_missing

    def sample(
        self,
        on_token: Callable[[Event], None] | None = None,
        on_problem: Callable[[Pool], object] | None = None,
    ) -> int:
        """Sample what is missing; returns the number of new candidates.

        `on_problem` is called with each problem's new candidates before the next one is sampled.
        """
        with one_registry():
            for problem, indices in self.missing:
                check_unchanged(self.lm)
                made: list[Candidate] = []
                write = partial(self._add, problem, made)
                sample(self.lm, problem, self.request, self.stops, indices, write, on_token)
                if on_problem is not None:
                    on_problem(replace(problem.empty_pool(), candidates=tuple(made)))
        return self.num_made

    def add(self, problem: TokenizedProblem, candidate: Candidate) -> None:
        """Write a candidate that is finished."""
        self.filling.add(replace(problem.empty_pool(), candidates=(candidate,)))
        self.num_made += 1

    def _add(self, problem: TokenizedProblem, made: list[Candidate], candidate: Candidate) -> None:
        self.add(problem, candidate)
        made.append(candidate)


@contextmanager
def open_run(
    lm: CausalLM,
    problems: Iterable[Problem],
    path: str | os.PathLike[str],
    request: Request,
    *,
    resume: bool = False,
    force: bool = False,
) -> Iterator[Run]:
    """Check problems against the model, and open the file; `force` replaces one that is there."""
    path, problems = Path(path), list(problems)
    recorded = header_settings(path) if resume else {}
    if request.date is None:  # a run that goes on another day tells the day of its beginning
        request = replace(request, date=recorded.get("date") or today())
    request = request.on(lm.device)
    chat = check_problems(problems, request.answer)
    stops = Stops.of(lm, request.stop, chat)
    tokenized = tokenize_all(lm, problems, request)
    check_memory(lm, request, tokenized, request.n)
    tells_date = any(problem.tells_date for problem in tokenized)
    settings = describe_sampling(lm, request, stops, chat=chat, tells_date=tells_date)
    if recorded and tells_date and "date" not in recorded:  # an older file
        request = replace(request, date=_day_of(lm, PoolIndex(path), problems, request))
        tokenized = tokenize_all(lm, problems, request)
        del settings["date"]
    by_name = {problem.problem: problem for problem in tokenized}
    pools = [problem.empty_pool() for problem in tokenized]
    with fill_pool(path, pools, settings, resume=resume, force=force) as filling:
        missing = [(by_name[pool.problem], indices) for pool, indices in filling.missing]
        yield Run(lm, filling, request, stops, missing)


def check_problems(problems: Sequence[Problem], answer: str | None) -> bool:
    """Whether all are chats; raises `ValueError` when some are, or two have one name.

    Warns of right answers in which the extractor of that name finds none.
    """
    check_distinct(problems)
    warn_of_golds({one.problem: one.gold for one in problems}, answer)
    for problem in problems:
        if isinstance(problem.prompt, str) != isinstance(problems[0].prompt, str):
            raise ValueError("some prompts are texts and some are chats; make them all of one kind")
    return not isinstance(problems[0].prompt, str)


def tokenize_all(
    lm: CausalLM, problems: Iterable[Problem], request: Request
) -> list[TokenizedProblem]:
    """Every problem, once: what would fail at the last is told before the first is sampled."""
    tokenized = []
    for problem in problems:
        try:
            tokenized.append(tokenize(lm, problem, request))
        except ValueError as error:
            raise ValueError(f"problem {problem.problem!r}: {error}") from error
    return tokenized


def _day_of(
    lm: CausalLM, file: PoolIndex, problems: Iterable[Problem], request: Request
) -> str | None:
    """The day with which a file's first prompt was made, by trying; else that of the request."""
    first, about = next(iter(file.problems.items()), (None, {}))
    for problem in (one for one in problems if one.problem == first):
        for day in (str(date.today() - timedelta(back)) for back in range(-1, 1000)):
            if tokenize(lm, problem, replace(request, date=day)).text == about["prompt"]:
                return day
    return request.date
