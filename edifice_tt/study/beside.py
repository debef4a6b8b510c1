"""Searches beside plain sampling of the same model: accuracy at the same tokens. Runs no model."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edifice_tt.pools.pool import Pool
from edifice_tt.selection.answers import Named
from edifice_tt.selection.rules import answers_of
from edifice_tt.selection.select import behind
from edifice_tt.study.intervals import bootstrap_means, interval_of_means
from edifice_tt.study.problems import check_fair, check_marked, spent_per_candidate
from edifice_tt.study.replay_records import Difference, Spending
from edifice_tt.study.statistics import best_of_k, between
from edifice_tt.study.voting import majority_at_k


@dataclass(frozen=True)
class Beside:
    """What a search spent and got right, and plain sampling at the same tokens by `rule`.

    Over the problems that both pools hold. `same` is the first k candidates of each, where k may be
    a fraction, or all where those cost less. Tokens are those that were drawn, and with a `judge`
    those that it read too: `judge` per problem of the search, and `judge_each` per plain candidate.
    Both are None where the plain pool does not tell what its judge has read. `scorer` is the one
    whose scores the search read.
    """

    pool: str
    problems: int
    rule: str
    spent: Spending
    same: Spending
    difference: Difference
    judge: float | None = 0.0
    judge_each: float | None = 0.0
    scorer: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain


def compare_search(
    plain: Iterable[Pool],
    searched: Iterable[Pool],
    *,
    answer: Named | None = None,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
    cut_off: str = "abstain",
    pool: str = "",
) -> Beside:
    """Compare a search with plain sampling at the same mean tokens per problem, judge included.

    Plain sampling takes the most common answer, or the best score of the scorer that the search
    read, where its candidates have it. `cut_off` says whether answers that were cut off `vote` or
    `abstain` in it. Raises `ValueError` for pools of different models, without a
    problem in common, without marks, and for a pool that is of the other kind.
    """
    found = {one.problem: one for one in searched}
    pairs = [(one, found[one.problem]) for one in plain if one.problem in found]
    if not pairs:
        raise ValueError("the two pools have no problem in common; search on the same problems")
    for one, other in pairs:
        _check(one, other)
    books = [dict(other.search or {}) for _, other in pairs]
    scorer = books[0]["scorer"]
    scored = scorer is not None and all(scorer in one.scorers for one, _ in pairs)
    right = np.array(
        [
            any(c.correct for c in other if c.index == book["row"])
            for (_, other), book in zip(pairs, books, strict=True)
        ],
        np.float64,
    )
    judge, judge_each = _judged([one for one, _ in pairs], books, scorer if scored else None)
    tokens = np.array([book["spent"] for book in books], np.float64) + (judge or 0.0)
    each = np.array([np.mean([c.num_tokens for c in one]) for one, _ in pairs])
    if not each.all():
        raise ValueError("the plain pool does not count its tokens, so nothing costs the same")
    each = each + (judge_each or 0.0)
    k = max(1.0, float(tokens.sum() / each.sum()))
    by_k = [_accuracy(one, scorer if scored else None, answer, cut_off) for one, _ in pairs]
    same = np.array([between(of, k, len(one)) for of, (one, _) in zip(by_k, pairs, strict=True)])
    table = np.stack([right, same, right - same], axis=1)
    means = bootstrap_means(table, bootstrap, seed)
    low, high = interval_of_means(table[:, :2], means[:, :2], level)
    below, above = interval_of_means(table[:, 2:], means[:, 2:], level, (-1.0, 1.0))
    rows = float(np.mean([len(other) for _, other in pairs]))
    sizes = np.minimum(k, [len(one) for one, _ in pairs])
    label = f"first {k:.3g}"
    search = Spending(
        str(books[0]["method"]), rows, float(tokens.mean()), *_one(table, low, high, 0)
    )
    first = Spending(
        label, float(sizes.mean()), float((sizes * each).mean()), *_one(table, low, high, 1)
    )
    difference = Difference(label, float(table[:, 2].mean()), _maybe(below[0]), _maybe(above[0]))
    rule = "best_of_n" if scored else "majority"
    ways = search, first, difference
    return Beside(pool, len(pairs), rule, *ways, judge, judge_each, scorer)


def _judged(
    plain: Sequence[Pool], books: Sequence[Mapping[str, Any]], scorer: str | None
) -> tuple[float | None, float | None]:
    """The tokens that a judge read: per problem of a search, and per plain candidate.

    A scorer that reads the states of what is written has no tokens of its own, then and there.
    """
    judge = float(np.mean([book.get("judge_tokens", 0) for book in books]))
    if not judge or scorer is None:
        return judge, 0.0
    each = spent_per_candidate([one.scoring for one in plain], scorer, "tokens")
    return (None, None) if each is None else (judge, each)


def _check(plain: Pool, searched: Pool) -> None:
    check_marked(plain)
    check_fair(plain)
    check_marked(searched)
    if searched.search is None:
        raise ValueError(f"problem {searched.problem!r}: this pool is not of a search")
    ours, theirs = (one.settings.get("fingerprint") for one in (plain, searched))
    if ours != theirs:
        raise ValueError(
            f"the pools are of two models, with the fingerprints {ours!r} and {theirs!r}"
        )


def _accuracy(
    pool: Pool, scorer: str | None, answer: Named | None, cut_off: str
) -> Callable[[int], float]:
    correct = np.array([c.correct for c in pool], np.float64)
    if scorer is not None:
        scores = [c.scores[scorer] for c in pool]
        return lambda k: best_of_k(scores, correct, k)
    found = zip(answers_of(behind(pool.prompt, pool), answer), pool, strict=True)
    answers = [form if one.is_whole or cut_off == "vote" else None for form, one in found]
    return lambda k: majority_at_k(answers, correct, k)


def _one(table: Any, low: Any, high: Any, at: int) -> tuple[float, float | None, float | None]:
    return float(table[:, at].mean()), _maybe(low[at]), _maybe(high[at])


def _maybe(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
