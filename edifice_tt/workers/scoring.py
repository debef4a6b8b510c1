"""Scoring by workers: what a worker scores, and how the driver hears of it."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.scorer_options import name_with
from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.many import ScoreOptions, calls_at_once, score_each
from edifice_tt.scoring.score import check_scorer
from edifice_tt.scoring.verifier import Verifier
from edifice_tt.workers.driving import drive
from edifice_tt.workers.items import Item
from edifice_tt.workers.sharing import Sharing, check_done, open_executor, warn_of_refused
from edifice_tt.workers.worker import Do, Give


def begin_scoring(
    lm: CausalLM | None, scorer: Any, concurrency: int | None, options: ScoreOptions, owner: str
) -> Do:
    """In a worker: the function that scores a pool."""
    if (here := owner_of(scorer)) != owner:
        raise EdificeError(f"scorer {scorer!r} is of {here} here, and the driver's of {owner}")

    def do(pool: Pool, give: Give) -> None:
        for scored in score_each(lm, [pool], scorer, concurrency, options):
            give(scored)

    return do


def owner_of(scorer: Any) -> str:
    """Who has registered a scorer; nobody a function, or a judge that is given."""
    return registry.scorer(scorer).owner if isinstance(scorer, str) else ""


def score_by(
    sharing: Sharing,
    lm: CausalLM | None,
    pools: Iterable[Pool],
    scorer: Any,
    concurrency: int | None,
    options: ScoreOptions,
) -> Iterator[Pool]:
    """Have the pools scored; those that failed are an `EdificeError` at the end."""
    calls_at_once(scorer, concurrency, options)
    lm = _checked(lm, scorer, options)
    begin = partial(begin_scoring, lm, scorer, concurrency, options, owner_of(scorer))
    return _scored(sharing, begin, pools)


def _checked(lm: CausalLM | None, scorer: Any, options: ScoreOptions) -> CausalLM | None:
    """The model, if the scorer reads it; raises as `score` does where it does not fit."""
    if isinstance(scorer, Verifier):
        scorer.check(lm)
        return lm
    if not isinstance(scorer, str):
        return None
    record = check_scorer(lm, name_with(scorer, options.get("scorer_options") or {}))
    return lm if record.reads in ("hidden", "states", "judge") else None


def _scored(sharing: Sharing, begin: Callable[[], Do], pools: Iterable[Pool]) -> Iterator[Pool]:
    failed, count = dict[str, str](), 0
    names: dict[str, str] = {}  # of problems at hand, by their places: two may have one name

    def items() -> Iterator[Item]:
        nonlocal count
        for pool in pools:
            names[str(count)] = pool.problem
            yield Item(str(count), pool)
            count += 1

    with open_executor(**sharing) as executor:
        for at, pool in drive(executor, begin, items(), failed, warn_of_refused):
            if names.pop(at, None) is not None:  # one that was begun again may be scored twice
                yield pool
    check_done({names[at]: reason for at, reason in failed.items()}, count, "have no score")
