"""Searches on many problems -> one pool file; an interrupted run goes on where it was.

Knows which problems a file lacks; `run_plan` searches, `PoolWriter` writes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edifice_tt.contract.registry import one_registry
from edifice_tt.live.plan import Plan
from edifice_tt.live.search import run_plan
from edifice_tt.live.standing import Standing
from edifice_tt.machine.files import write_atomically
from edifice_tt.pools.filling import begin_file, check_same
from edifice_tt.pools.lines import header_line
from edifice_tt.pools.pool import Pool, PoolFile, Problem, rewrite_pools
from edifice_tt.pools.writer import PoolWriter
from edifice_tt.sampling.generate import Event
from edifice_tt.sampling.prompts import TokenizedProblem
from edifice_tt.sampling.runs import check_problems, tokenize_all
from edifice_tt.sampling.stops import Stops


@dataclass(frozen=True)
class Listeners:
    """Who is told of a run: each token, each step of a search, each problem that has ended."""

    on_token: Callable[[Event], None] | None = None
    on_step: Callable[[Standing], None] | None = None
    on_problem: Callable[[Pool], None] | None = None


def search_problems(
    plan: Plan,
    problems: Iterable[Problem],
    path: Path,
    *,
    resume: bool = False,
    force: bool = False,
    listeners: Listeners | None = None,
) -> None:
    """Search on each problem, and write it to a pool file when it has ended.

    `resume` makes only what the file lacks. Ctrl-C raises KeyboardInterrupt, with the problems that
    have ended and the rows of the one at hand in the file. Raises `EdificeError` for a file that
    exists, or one with another model, settings or problems.
    """
    told = listeners or Listeners()
    with open_searches(plan, problems, path, resume=resume, force=force) as run, one_registry():
        for problem, before in run.missing:
            on_break = run.writer.add_searched  # a scorer that fails loses nothing that was drawn
            pool = run_plan(plan, problem, run.stops, before, told.on_token, told.on_step, on_break)
            run.writer.add_searched(pool)
            if pool.interrupted:
                raise KeyboardInterrupt
            if told.on_problem is not None:
                told.on_problem(pool)


@dataclass
class Searches:
    """A pool file and the searches that it lacks: problems, each with the search to go on with.

    `settings` are those of the file, by which another process finds whether its plan is the same.
    """

    writer: PoolWriter
    stops: Stops
    settings: Mapping[str, Any]
    missing: Sequence[tuple[TokenizedProblem, Pool | None]]


@contextmanager
def open_searches(
    plan: Plan, problems: Iterable[Problem], path: Path, *, resume: bool, force: bool
) -> Iterator[Searches]:
    """Check problems against the model, and open the file."""
    problems = list(problems)
    chat = check_problems(problems, plan.request.answer)
    stops = Stops.of(plan.lm, plan.request.stop, chat)
    tokenized = tokenize_all(plan.lm, problems, plan.request)
    plan.check_memory(tokenized)
    tells_date = any(problem.tells_date for problem in tokenized)
    settings = plan.describe(stops, chat=chat, tells_date=tells_date)
    begun = _open(path, settings, tokenized, resume, force)
    with PoolWriter(path) as writer:
        missing = [
            (replace(one, tells_date=tells_date), begun.get(one.problem))
            for one in tokenized
            if not writer.file.searched.get(one.problem)
        ]
        yield Searches(writer, stops, settings, missing)


def _open(
    path: Path,
    settings: Mapping[str, Any],
    problems: Sequence[TokenizedProblem],
    resume: bool,
    force: bool,
) -> dict[str, Pool]:
    """Make the file, or take out of it what broke off; returns the searches to go on with."""
    if begin_file(path, settings, resume=resume, force=force):
        return {}
    file = PoolFile(path)
    check_same(file, settings, [problem.empty_pool() for problem in problems])
    broken = [name for name in file.problems if not file.searched.get(name)]
    begun = {name: file.pool(name) for name in broken if name in file.searched}
    if len(broken) == len(file.problems):
        header = header_line(file.settings)
        write_atomically(path, lambda out: out.write(header), overwrite=True)
    elif broken:
        whole = [name for name in file.problems if name not in broken]
        rewrite_pools(path, lambda file: (file.pool(name) for name in whole))
    return begun
