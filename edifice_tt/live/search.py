"""A search by name over rows that a model writes: prompt -> pool with the books of the search.

Knows methods by their interface, and scorers by what they read. Every method runs by this one call.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import PoolWarning
from edifice_tt.contract.registry import one_registry
from edifice_tt.engine.decoder import ROWS
from edifice_tt.engine.lockstep import cores_for, devices_for
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.live.plan import Plan
from edifice_tt.live.rows import BudgetSpentError, LiveRows
from edifice_tt.live.standing import Standing, as_far_as_it_came, books_of, standing
from edifice_tt.machine.progress import Shows, showing
from edifice_tt.nn.buffers import in_memory
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.given import check_writer
from edifice_tt.pools.pool import Pool, Problem
from edifice_tt.sampling.generate import Event, counting_tokens
from edifice_tt.sampling.prompts import TokenizedProblem, tokenize
from edifice_tt.sampling.request import today
from edifice_tt.sampling.stops import Stops
from edifice_tt.search.loop import Progress, run_search
from edifice_tt.search.method import Outcome
from edifice_tt.selection.grade import warn_of_golds


def search(
    lm: CausalLM,
    prompt: str | Sequence[Mapping[str, Any]],
    method: str = "adaptive",
    scorer: Any = None,
    *,
    budget: int | None = None,
    settings: Mapping[str, Any] | None = None,
    reduce: str | None = None,
    seed: int = 0,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    max_tokens: int = 128,
    stop: Iterable[str | int] = (),
    template_options: Mapping[str, Any] | None = None,
    date: str | None = None,
    problem: str = "0",
    gold: str | None = None,
    answer: str | None = None,
    on_token: Callable[[Event], None] | None = None,
    on_step: Callable[[Standing], None] | None = None,
    batch_size: int = ROWS,
    devices: Sequence[str] | None = None,
    confidence: Sequence[str] = (),
    resume: Pool | None = None,
    progress: Shows = False,
) -> Pool:
    """Search for an answer to one prompt, over rows that the model writes; returns all of them.

    `method` is a registered search, and `settings` are its own, such as `{"n": 8}`. `scorer` is
    one of `edifice_tt.score`, a judge too, for methods that read scores. A head costs no second
    pass: it reads the states of the step. `budget` is the most tokens to draw, those of copies
    counted once. When they are drawn, the best of what is there is chosen. The other options are
    those of `generate`. Row i that begins with the prompt is candidate i of `generate`, to the last
    bit. What a row draws depends on the seed, the problem, its number and the place.

    `Pool.search` holds the books: `row` (the chosen one), the rows `kept`, the `tally` and whether
    it ended `early`. `spent` are the tokens drawn, `kept_tokens` those of kept rows, `computed`
    those that the model read, `padding` and `again` what it read besides. `scored` are the places
    where each row was scored, with its scores there. `Pool.chosen` is the chosen candidate. Ctrl-C
    gives back the pool with `interrupted` set and a `PoolWarning`; `resume` goes on from there.
    Another tells where whole texts were compared and no two are equal.
    `progress=True` shows how many tokens are drawn. A function is called with each `Progress`.

    Raises `ValueError` and `EdificeError` as `generate` and `score` do, `UnknownNameError` for an
    unknown method or setting, and `ValueError` for a scorer that the method lacks or does not read.
    """
    check_writer(lm)
    with one_registry():
        plan = Plan.of(
            lm,
            method,
            scorer,
            settings or {},
            budget,
            reduce,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            max_tokens=max_tokens,
            stop=stop,
            template_options=template_options,
            date=today() if date is None else date,
            answer=answer,
            batch_size=batch_size,
            devices=devices,
            confidence=confidence,
        )
        stops = Stops.of(lm, plan.request.stop, not isinstance(prompt, str))
        warn_of_golds({problem: gold}, answer)
        tokenized = tokenize(lm, Problem(prompt, problem, gold), plan.request)
        with showing(progress, budget, "tokens drawn") as add:
            told = counting_tokens(add, on_token)
            found = run_plan(plan, tokenized, stops, resume, told, on_step)
    if warning := _sign(found, answer):
        warnings.warn(warning, PoolWarning, stacklevel=3)  # the room's name is called first
    return found


def _sign(pool: Pool, answer: str | None) -> str:
    """What a result does not show by itself: that it is not over, or that no answers met."""
    books = pool.search or {}
    if pool.interrupted:
        return f"interrupted: {len(pool)} rows are begun, and none is chosen; resume=pool goes on"
    votes = [*books["tally"].values()] if books["scorer"] is None and answer is None else []
    if len(votes) < 2 or max(votes) > 1:
        return ""
    return (
        f"search {books['method']!r} compared whole texts, and no two of {len(votes)} are equal; "
        "name what to compare, such as answer='number' (--answer number)"
    )


def run_plan(
    plan: Plan,
    problem: TokenizedProblem,
    stops: Stops,
    resume: Pool | None = None,
    on_token: Callable[[Event], None] | None = None,
    on_step: Callable[[Standing], None] | None = None,
    on_break: Callable[[Pool], None] | None = None,
) -> Pool:
    """Search on one problem; a pool that was interrupted is gone on with.

    Where a scorer or a method fails, `on_break` gets what is there, as after Ctrl-C.
    """
    plan = replace(plan, scorer=plan.scorer and plan.scorer.fresh())
    check_unchanged(plan.lm)
    plan.check_memory([problem])
    chat = problem.messages is not None
    settings = plan.describe(stops, chat=chat, tells_date=problem.tells_date)
    if resume is not None:
        _check_resumed(resume, settings, problem)
    before = dict(resume.search or {}) if resume is not None else {}
    progress = dict(before.get("progress") or {})
    begun = time.perf_counter() - before.get("seconds", 0.0)

    def pool_of(rows: LiveRows, outcome: Outcome | None) -> Pool:
        kept = None if outcome is None else outcome.kept
        search = books_of(rows, plan, outcome, before)
        search["seconds"] = time.perf_counter() - begun
        if outcome is None:
            search["progress"] = progress
        made = tuple(rows.candidates(kept)), settings, problem.problem, problem.gold
        interrupted = outcome is None
        pool = Pool(
            *(problem.text, *made),
            messages=problem.messages,
            interrupted=interrupted,
            search=search,
        )
        return pool if plan.scorer is None else plan.scorer.declare(pool, problem)

    with _rows(plan, problem, stops, on_token) as rows:
        if resume is not None:
            told = Progress.from_dict(progress).rows if progress else {}
            rows.restore(resume.candidates, told, before.get("scored", {}))
        try:
            return pool_of(rows, _search(plan, rows, progress, on_step))
        except KeyboardInterrupt:
            if not rows.rows:
                raise
            return pool_of(rows, None)
        except Exception:
            if on_break is not None and rows.rows:
                on_break(pool_of(rows, None))
            raise


def _search(
    plan: Plan,
    rows: LiveRows,
    progress: dict[str, Any],
    on_step: Callable[[Standing], None] | None,
) -> Outcome:
    """Run the method to its end or that of its budget; `progress` is kept up to date."""

    def step(plain: dict[str, Any]) -> None:
        progress.update(plain)
        if on_step is not None:
            on_step(standing(rows, plan))

    name, resume = rows.problem.problem, dict(progress) or None
    try:
        return run_search(
            plan.method, rows.advance, problem=name, resume=resume, on_step=step
        ).outcome
    except BudgetSpentError:
        return as_far_as_it_came(rows, plan)


@contextmanager
def _rows(
    plan: Plan,
    problem: TokenizedProblem,
    stops: Stops,
    on_token: Callable[[Event], None] | None,
) -> Any:
    lm, request = plan.lm, plan.request
    tokens = min(request.max_tokens, lm.config.context_length - len(problem.ids))
    devices = request.devices
    if devices is not None and len(devices) > 1 and not in_memory(devices[0]):
        raise ValueError(
            f"devices={list(devices)} must be one: a search copies rows within a device"
        )
    with workspace_of(lm) as workspace:
        names = devices_for(lm, devices, plan.rows)
        decoders = workspace.decoders(names)
        rows = LiveRows(
            *(lm, problem, request, stops, decoders, tokens),
            cores=cores_for(lm, devices),
            scorer=plan.scorer,
            budget=plan.budget,
            on_token=on_token,
        )
        try:
            yield rows
        finally:
            rows.branches.close()


def _check_resumed(resume: Pool, settings: Mapping[str, Any], problem: TokenizedProblem) -> None:
    if resume.search is None or "progress" not in resume.search:
        raise ValueError(f"problem {resume.problem!r}: its search has ended, or there was none")
    if resume.prompt != problem.text or resume.problem != problem.problem:
        raise ValueError(f"the pool is of problem {resume.problem!r} with another prompt")
    theirs, ours = ({**one, "budget": None} for one in (dict(resume.settings), settings))
    if different := [name for name in ours if theirs.get(name) != ours[name]]:
        name = different[0]
        raise ValueError(
            f"the pool was made with {name}={theirs.get(name)!r:.60}, given {ours[name]!r:.60}; "
            "resume a search with what it was made with"
        )
