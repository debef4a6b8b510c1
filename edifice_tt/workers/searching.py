"""Searches by workers: what a worker plans, and how the driver keeps what it finds."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import EdificeError
from edifice_tt.live.plan import Plan
from edifice_tt.live.runs import Searches
from edifice_tt.live.search import run_plan
from edifice_tt.pools.pool import Pool
from edifice_tt.pools.writer import differing
from edifice_tt.sampling.prompts import TokenizedProblem
from edifice_tt.sampling.stops import Stops
from edifice_tt.workers.driving import Executor, drive
from edifice_tt.workers.items import Item
from edifice_tt.workers.worker import Do, Give


def begin_searching(
    lm: CausalLM,
    how: Mapping[str, Any],
    expected: Mapping[str, Any],
    chat: bool,
    tells_date: bool,
) -> Do:
    """In a worker: the function that searches; `how` is of `Plan.of`, `expected` its settings."""
    plan = Plan.of(lm, **how)
    stops = Stops.of(lm, plan.request.stop, chat)
    settings = plan.describe(stops, chat=chat, tells_date=tells_date)
    if different := differing(expected, settings):
        name, theirs, ours = different
        raise EdificeError(
            f"{name} is {ours!r:.80} here, and the driver has {theirs!r:.80}; have the same there"
        )

    def do(work: tuple[TokenizedProblem, Pool | None], give: Give) -> None:
        problem, before = work
        give(run_plan(plan, problem, stops, before))

    return do


def search_by(
    executor: Executor,
    lm: CausalLM,
    run: Searches,
    how: Mapping[str, Any],
    tell: Callable[[str], object],
    on_problem: Callable[[Pool], object],
) -> dict[str, str]:
    """Have what a run misses searched; returns why problems failed, by their ids.

    `how` are the arguments of the run's plan.
    """
    longest_first = sorted(run.missing, key=lambda one: -len(one[0].ids))
    items = (Item(one[0].problem, one) for one in longest_first)
    left = {problem.problem for problem, _ in run.missing}
    failed: dict[str, str] = {}
    chat = any(problem.messages is not None for problem, _ in run.missing)
    dated = any(problem.tells_date for problem, _ in run.missing)
    begin = partial(begin_searching, lm, how, run.settings, chat, dated)
    for name, pool in drive(executor, begin, items, failed, tell):
        if name in left:  # a search that was begun again may end twice
            left.discard(name)
            run.writer.add_searched(pool)
            on_problem(pool)
    return failed
