"""Pool -> pool with scores. Gives each scorer its input and checks its output."""

import math
import time
from collections.abc import Callable, Mapping, Set
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from edifice_tt.architectures.attached import has_head
from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError, PluginError
from edifice_tt.contract.factories import make_scorer
from edifice_tt.contract.made import make_once
from edifice_tt.contract.scorer_options import check_complete, name_with
from edifice_tt.contract.tracing import blamed, named, one_line, show
from edifice_tt.engine.counting import counting
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.machine.progress import Shows, showing
from edifice_tt.pools.given import check_model
from edifice_tt.pools.given import check_pool as check_one
from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.alone import each_alone
from edifice_tt.scoring.at_once import call_at_once
from edifice_tt.scoring.functions import DECLARED, of_function
from edifice_tt.scoring.heads import looks_back, read_head
from edifice_tt.scoring.judges.judge import Judge, question_of
from edifice_tt.scoring.judges.load import open_judge
from edifice_tt.scoring.steps import DEFAULT, check_reduce, reduce_steps
from edifice_tt.scoring.verifier import Verifier, open_verifier


def score(
    lm: CausalLM | None,
    pool: Pool,
    scorer: str | Verifier | Judge | Callable[..., Any] = "logprob",
    reduce: str | None = None,
    *,
    scorer_options: Mapping[str, Any] | None = None,
    reads: str | None = None,
    range: str | None = None,
    level: str | None = None,
    per: str | None = None,
    name: str | None = None,
    progress: Shows = False,
) -> Pool:
    """Return a pool with a scorer's scores and declared range added; higher is better.

    A scorer that reads text or log-probabilities needs no model: `lm` may be None. A scorer of
    hidden states is the model's own head (`lm.config.scorer`), or a verifier trained on the model:
    a registered name or a `Verifier`. The candidate's score is the head's number at its last token.
    A judge is a model of its own, and `lm` may be None: a registered name or a `Judge`.
    `scorer_options` go to the factory of a registered scorer, and into the name of its scores.
    `{"window": 64}` of `deepconf` is the scorer `deepconf:window=64`.
    A function is a scorer too, under its own name or that of `name=`; `reads` (default: `text`),
    `range`, `level` and `per` declare it, as in a registration.
    A scorer of steps fills `step_scores`, and `reduce` makes one score of them (default: `last`, or
    the judge's own; see `steps.reduce_steps`).
    `progress=True` shows how far it is, and a function is called with each `Progress`.
    `Pool.scoring` says what it has spent: tokens that a model has read for it, and seconds.

    Raises `UnknownNameError` for an unknown scorer or reduction. Raises `ValueError` for a
    reduction of a scorer without steps. So it does for a function that has the name of a registered
    scorer, or none where the pool holds scores of another.
    Raises `EdificeError` when the pool or the model lacks the scorer's input. Raises `PluginError`,
    naming the owner, when the scorer fails or leaves its declared range.
    """
    check_model(lm)
    check_one(pool, "edifice_tt.score_pools(lm, pools, scorer) scores several")
    declared = {
        option: value
        for option, value in zip(DECLARED, (name, reads, range, level, per), strict=True)
        if value is not None
    }
    if scorer_options and not isinstance(scorer, str):
        raise ValueError("scorer_options are for a registered scorer, given by its name")
    given: Any = scorer
    if not isinstance(scorer, str | Verifier | Judge):
        given = of_function(scorer, declared, pool.scorers)
    elif declared:
        raise ValueError(
            f"{next(iter(declared))} declares a function; a {type(scorer).__name__} has its own, "
            "so leave it out"
        )
    elif isinstance(scorer, str):
        with_options = name_with(scorer, scorer_options or {})
        given = opened(registry.scorer(with_options), reduce, None if lm is None else lm.device)
    with showing(progress, len(pool), "candidates scored") as add:
        if isinstance(given, Judge):
            return told_cost(given.name, lambda: given.score(pool, reduce, add))
        if isinstance(given, Verifier):
            if reduce is not None:
                raise ValueError(f"a verifier has no steps to reduce; leave out reduce={reduce!r}")
            scored = told_cost(given.name, lambda: given.score(lm, pool))
        else:
            record = check_scorer(lm, given) if isinstance(given, str) else given
            by, known = partial(_score_by, record, lm, pool, reduce), record.reads != "text"
            scored = told_cost(record.name, by, known)
        add(len(pool), 0)
    return scored


def told_cost(scorer: str, score: Callable[[], Pool], known: bool = True) -> Pool:
    """The scored pool, with what the scoring has spent; whether its tokens are `known`."""
    begun = time.perf_counter()
    with counting() as count:
        pool = score()
    return pool.with_cost(scorer, count.tokens if known else None, time.perf_counter() - begun)


def _score_by(record: registry.Scorer, lm: CausalLM | None, pool: Pool, reduce: str | None) -> Pool:
    check_reduce(record, reduce)
    if record.reads == "hidden":
        assert lm is not None
        last_only = not looks_back(lm.scorer, lm.config.hidden_size)
        numbers = read_head(lm.scorer, read_hidden(lm, pool, last_only=last_only), lm.device)
        rows = _check(record, [float(one[-1]) for one in numbers], pool)
    elif record.per == "answer":
        alone, count = each_alone(pool), min(record.concurrency, len(pool)) or 1
        found = call_at_once(lambda at: (at, _rows(record, alone[at])), range(len(pool)), count)
        rows = [row for _, (row,) in sorted(found)]
    else:
        rows = _rows(record, pool)
    scores = [reduce_steps(row, reduce or DEFAULT) for row in rows]
    steps = rows if record.level == "step" else ()
    return pool.with_scores(record.name, scores, range=record.range, steps=steps)


def _rows(record: registry.Scorer, pool: Pool) -> list[tuple[float, ...]]:
    """What the scorer gives when it is asked once about these candidates."""
    call = _call_of(record, pool)
    where = f" on candidate {pool[0].index}" if record.per == "answer" else ""
    with blamed(f"{named('scorer', record)} failed{where}"):
        values = call()
    return _check(record, values, pool)


_OPEN: dict[str, Callable[[registry.Scorer, str | None], Verifier | Judge]] = {
    "states": open_verifier,
    "judge": open_judge,
}


def opened(
    record: registry.Scorer, reduce: str | None, device: str | None
) -> str | Verifier | Judge:
    """The verifier or judge that a scorer is, opened once on a device; else the scorer's name."""
    if (open_it := _OPEN.get(record.reads)) is None:
        return record.name
    check_reduce(record, reduce)
    where = f"on {device}, changed {_changed(record.factory)}"
    opened: Verifier | Judge = make_once(record, lambda: open_it(record, device), where)
    return opened


def _changed(factory: Any) -> int | None:
    """When the file of a scorer that was registered by its path last changed."""
    path = factory() if isinstance(factory, partial) and factory.func is Path else None
    return path.stat().st_mtime_ns if path is not None and path.exists() else None


def _call_of(record: registry.Scorer, pool: Pool) -> Callable[[], Any]:
    """The call of a scorer with what it reads of a pool, and what it asks for beside the text."""
    inputs = _inputs(record, pool)
    with blamed(f"{named('scorer', record)} failed"):
        scorer = make_once(record, partial(make_scorer, record))
    asked = asked_for(scorer, pool) if record.reads == "text" else {}
    return lambda: scorer(*inputs, **asked)


def asked_for(scorer: Any, pool: Pool) -> dict[str, Any]:
    """What a scorer of text asks for by the names of its parameters.

    Raises `EdificeError` for a pool that lacks the messages of its chat.
    """
    try:
        parameters = signature(scorer).parameters.values()
    except (TypeError, ValueError):  # a C function need not have one
        return {}
    # Another default than None is a value of the scorer's own.
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    free = {one.name for one in named if one.default is one.empty or one.default is None}
    return {name: get(pool) for name, get in _ASKED.items() if name in free}


def _messages(pool: Pool) -> list[dict[str, Any]]:
    asked = question_of(pool)
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    return [dict(one) for one in messages]


_ASKED: dict[str, Callable[[Pool], Any]] = {
    "messages": _messages,
    "problem": lambda pool: pool.problem,
    "gold": lambda pool: pool.gold,
}


def _inputs(record: registry.Scorer, pool: Pool) -> tuple[Any, ...]:
    """What the scorer is called with. Raises `EdificeError` when the pool does not hold it."""
    if record.reads == "text":
        return pool.prompt, [candidate.text for candidate in pool]
    if record.reads == "logprobs":
        rows = [list(candidate.token_logprobs) for candidate in pool]
        what, do = "token log-probabilities", "use a scorer that reads text"
    else:
        rows = [list(candidate.token_confidences.get(record.reads, ())) for candidate in pool]
        held = sorted({name for candidate in pool for name in candidate.token_confidences})
        what = f"the {record.reads} of each token"
        do = f"sample with confidence=[{record.reads!r}] (--confidence {record.reads})"
        do = f"it holds {', '.join(held) or 'no confidence'}; {do}"
    if not all(rows):
        raise EdificeError(
            f"scorer {record.name!r} reads {what}, which this pool does not hold; {do}"
        )
    return (rows,)


def check_pool(record: registry.Scorer, pool: Pool) -> None:
    """Raise `EdificeError` for a pool that lacks what the scorer reads of it."""
    if record.reads not in ("hidden", *_OPEN):
        _call_of(record, pool)


def _check(record: registry.Scorer, values: Any, pool: Pool) -> list[tuple[float, ...]]:
    """The numbers of each candidate: those of its steps, or its score alone."""
    who, by_step = named("scorer", record), record.level == "step"
    try:
        listed = _numbers(values)
        rows = [tuple(map(float, _numbers(v))) if by_step else (float(v),) for v in listed]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # foreign too, where values are computed as they are read
        one = "list of floats per candidate, for it has level='step'"
        raise PluginError(
            f"{who} gave {show(values):.60}, expected one "
            f"{one if by_step else 'float per candidate'} ({one_line(error)})"
        ) from error
    if len(rows) != len(pool):
        raise PluginError(f"{who} gave {len(rows)} scores for {len(pool)} candidates")
    for candidate, row in zip(pool, rows, strict=True):
        if not row:
            raise PluginError(
                f"{who} gave no step for candidate {candidate.index}, expected at least one number"
            )
        for step, value in enumerate(row):
            place = f"step {step} of candidate" if by_step else "candidate"
            gave = f"{who} gave {value} for {place} {candidate.index}"
            if not math.isfinite(value):
                raise PluginError(f"{gave}, expected a finite number")
            if record.range == "probability" and not 0 <= value <= 1:
                raise PluginError(f"{gave}, but declares range='probability': within 0 and 1")
    return rows


def _numbers(values: Any) -> Any:
    """The values in their order; raises `TypeError` for what has none, or holds texts."""
    if isinstance(values, str | bytes | Mapping | Set):
        raise TypeError(f"a {type(values).__name__} is no list")
    values = list(values)
    if texts := [value for value in values if isinstance(value, str | bytes)]:
        raise TypeError(f"{show(texts[0]):.30} is no number")
    return values


def check_scorer(lm: CausalLM | None, scorer: str) -> registry.Scorer:
    """The scorer's record. Raises as `score` does for a scorer that does not fit this model."""
    record = registry.scorer(scorer)
    check_complete(record)
    if record.reads != "hidden" or (lm and has_head(lm, scorer)):
        return record
    has = "no model" if lm is None else f"the head {lm.config.scorer!r}" if lm.scorer else "no head"
    raise EdificeError(
        f"scorer {scorer!r} reads hidden states, so it must be the model's own trained head; "
        f"given {has}. Use scorer='logprob', a model saved with that head, or a verifier that "
        f"edifice-tt train --scorer {scorer} makes of it"
    )
