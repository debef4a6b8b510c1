"""Many pools -> the same with scores, several at once where the scorer waits for answers."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypedDict

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract import registry
from edifice_tt.contract.errors import PluginError, TrainedOnWarning
from edifice_tt.contract.options import check_count
from edifice_tt.contract.scorer_options import name_with
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


def score_each(
    lm: CausalLM | None,
    pools: Iterable[Pool],
    scorer: str | Verifier | Judge | Callable[..., Any],
    concurrency: int | None,
    options: ScoreOptions,
) -> Iterator[Pool]:
    """Each pool with its scores when it is ready."""
    reads, _, per = about(scorer, options)
    count = calls_at_once(scorer, concurrency, options)
    ask = score_alone if per == "answer" else call_at_once
    by = _score_quietly if reads == "states" else _score
    return ask(partial(by, lm, scorer, options), pools, count)


def calls_at_once(scorer: Any, concurrency: int | None, options: ScoreOptions) -> int:
    """How many calls; raises `ValueError` for more than the scorer can have."""
    reads, declared, _ = about(scorer, options)
    count = declared if concurrency is None else check_count("concurrency", concurrency)
    if count > 1 and reads != "text":
        raise ValueError(
            f"concurrency={count} is for a scorer that reads text, given one that reads {reads}; "
            "leave it out"
        )
    return count


def _score_quietly(lm: CausalLM | None, scorer: Any, options: Any, pool: Pool) -> Pool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainedOnWarning)
        return _score(lm, scorer, options, pool)


def telling_of_seen(scored: Iterable[Pool], verifier: str) -> Iterator[Pool]:
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


def about(scorer: Any, options: "ScoreOptions") -> tuple[str, int, str]:
    """What a scorer reads, how many calls it takes at once, and per what it is asked."""
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
