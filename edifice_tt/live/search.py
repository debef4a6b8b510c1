"""A search by name over rows that a model writes: prompt -> pool with the books of the search.

Knows methods by their interface, and scorers by what they read. Every method runs by this one call.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.registry import one_registry
from edifice_tt.engine.decoder import ROWS
from edifice_tt.engine.lockstep import devices_for
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.live.plan import Plan
from edifice_tt.live.rows import BudgetSpentError, LiveRows
from edifice_tt.live.standing import Standing, as_far_as_it_came, books_of, standing
from edifice_tt.nn.buffers import in_memory
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.pool import Pool, Problem
from edifice_tt.sampling.generate import Event, check_memory
from edifice_tt.sampling.prompts import TokenizedProblem, tokenize
from edifice_tt.sampling.request import today
from edifice_tt.sampling.stops import Stops
from edifice_tt.search.loop import Progress, run_search


def search(
    lm: CausalLM,
    prompt: str | Sequence[dict[str, str]],
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
    those that the model read, `padding` and `again` what it read besides. Ctrl-C gives back the
    pool with `interrupted` set, and `resume` goes on from there.

    Raises `ValueError` and `EdificeError` as `generate` and `score` do, `UnknownNameError` for an
    unknown method or setting, and `ValueError` for a scorer that the method lacks or does not read.
    """
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
        tokenized = tokenize(lm, Problem(prompt, problem, gold), plan.request)
        return run_plan(plan, tokenized, stops, resume, on_token, on_step)


def run_plan(
    plan: Plan,
    problem: TokenizedProblem,
    stops: Stops,
    resume: Pool | None = None,
    on_token: Callable[[Event], None] | None = None,
    on_step: Callable[[Standing], None] | None = None,
) -> Pool:
    """Search on one problem; a pool that was interrupted is gone on with."""
    check_unchanged(plan.lm)
    check_memory(plan.lm, plan.request, [problem], plan.rows)
    chat = problem.messages is not None
    settings = plan.describe(stops, chat=chat, tells_date=problem.tells_date)
    begun, before = time.perf_counter(), dict(resume.search or {}) if resume else {}
    progress: dict[str, Any] = dict(before.get("progress") or {})
    _check_resumed(resume, progress, settings, problem)
    with _rows(plan, problem, stops, on_token) as rows:
        if resume is not None:
            told = Progress.from_dict(progress).rows if progress else {}
            rows.restore(resume.candidates, told)

        def step(plain: dict[str, Any]) -> None:
            progress.clear()
            progress.update(plain)
            if on_step is not None:
                on_step(standing(rows, plan))

        outcome, interrupted = None, False
        try:
            outcome = run_search(
                plan.method,
                rows.advance,
                problem=problem.problem,
                resume=progress or None,
                on_step=step,
            ).outcome
        except BudgetSpentError:
            outcome = as_far_as_it_came(rows, plan)
        except KeyboardInterrupt:
            interrupted = True
            if not rows.rows:
                raise
        seconds = time.perf_counter() - begun + before.get("seconds", 0.0)
        kept = () if outcome is None else outcome.kept
        candidates = rows.candidates(rows.rows if interrupted else kept)
        search = books_of(rows, plan, outcome, before) | {"seconds": seconds}
    if interrupted:
        search["progress"] = progress
    pool = Pool(
        problem.text,
        tuple(candidates),
        settings,
        problem.problem,
        problem.gold,
        messages=problem.messages,
        interrupted=interrupted,
        search=search,
    )
    if plan.scorer is None:
        return pool
    seen = {plan.scorer.name} if plan.scorer.has_seen(problem) else set()
    return replace(pool, ranges={plan.scorer.name: plan.scorer.range}, seen_by=frozenset(seen))


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
        names = devices_for(lm, devices, plan.rows, len(problem.ids))
        decoders = workspace.decoders(names)
        rows = LiveRows(
            *(lm, problem, request, stops, decoders, tokens),
            scorer=plan.scorer,
            budget=plan.budget,
            on_token=on_token,
        )
        try:
            yield rows
        finally:
            rows.branches.close()


def _check_resumed(
    resume: Pool | None,
    progress: Mapping[str, Any],
    settings: Mapping[str, Any],
    problem: TokenizedProblem,
) -> None:
    if resume is None:
        return
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
    assert progress is not None
