"""Many pools -> the same with scores, several at once where the scorer waits for answers."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract import registry
from edifice_tt.contract.errors import PluginError, TrainedOnWarning
from edifice_tt.contract.options import check_count
from edifice_tt.contract.scorer_options import name_with
from edifice_tt.contract.spelled import takes_options_of
from edifice_tt.machine.progress import Shows, each, length_of
from edifice_tt.pools.given import check_model, check_pools
from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.alone import score_alone
from edifice_tt.scoring.at_once import call_at_once
from edifice_tt.scoring.judges.judge import Judge
from edifice_tt.scoring.score import score
from edifice_tt.scoring.verifier import Verifier


class ScoreOptions(TypedDict, total=False):
    """Options of `score`, for type checkers."""

    reduce: str | None
    scorer_options: Mapping[str, Any] | None
    reads: str | None
    range: str | None
    level: str | None
    per: str | None
    name: str | None


@takes_options_of(score, ("reduce", "scorer_options", "reads", "range", "level", "per", "name"))
def score_pools(
    lm: CausalLM | None,
    pools: Iterable[Pool],
    scorer: str | Verifier | Judge | Callable[..., Any] = "logprob",
    *,
    concurrency: int | None = None,
    progress: Shows = False,
    **options: Unpack[ScoreOptions],
) -> Iterator[Pool]:
    """Yield each pool with a scorer's scores when it is ready; `options` are those of `score`.

    A verifier that was trained on some of the problems is one `TrainedOnWarning` at the end.

    `concurrency` is the number of calls at once, from several threads: of pools, or of candidates
    with `per="answer"`. It is for scorers and functions that read text, and by default what the
    scorer declares.
    `progress=True` shows how far it is, and a function is called with each `Progress`.

    Raises as `score` does; pools whose scoring had begun are yielded first. Raises `ValueError` for
    a `concurrency` that the scorer cannot have.
    """
    check_model(lm)
    total, pools = length_of(pools), check_pools(pools)
    reads, declared, per = _about(scorer, options)
    count = declared if concurrency is None else check_count("concurrency", concurrency)
    if count > 1 and reads != "text":
        raise ValueError(
            f"concurrency={count} is for a scorer that reads text, given one that reads {reads}; "
            "leave it out"
        )
    ask = score_alone if per == "answer" else call_at_once
    by = _score_quietly if reads == "states" else _score
    scored: Iterable[Pool] = ask(partial(by, lm, scorer, options), pools, count)
    if reads == "states":
        scored = _told_of_seen(scored, str(getattr(scorer, "name", scorer)))
    return each(progress, scored, total, "problems scored")


def _score_quietly(lm: CausalLM | None, scorer: Any, options: Any, pool: Pool) -> Pool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainedOnWarning)
        return _score(lm, scorer, options, pool)


def _told_of_seen(scored: Iterable[Pool], verifier: str) -> Iterator[Pool]:
    """The pools; at their end one warning tells on how many the verifier was trained."""
    seen = total = 0
    for pool in scored:
        total += 1
        seen += verifier in pool.seen_by
        yield pool
    if seen:
        warnings.warn(
            f"verifier {verifier!r} was trained on {seen} of these {total} problems; how it scores "
            "them says nothing about new ones",
            TrainedOnWarning,
            stacklevel=3,
        )


def _about(scorer: Any, options: "ScoreOptions") -> tuple[str, int, str]:
    if isinstance(scorer, str):
        record = registry.scorer(name_with(scorer, options.get("scorer_options") or {}))
        return record.reads, record.concurrency, record.per
    if isinstance(scorer, Verifier | Judge):
        return "states" if isinstance(scorer, Verifier) else "judge", 1, ""
    return options.get("reads") or "text", 1, options.get("per") or ""


def _score(lm: CausalLM | None, scorer: Any, options: "ScoreOptions", pool: Pool) -> Pool:
    try:
        return score(lm, pool, scorer, **options)
    except PluginError as error:
        raise PluginError(f"problem {pool.problem!r}: {error}") from error
