"""Accuracy against the number of candidates, for many rules at once. Knows pools and rules.

All rules of a curve use the same problems and resamples, so that they can be compared. Writes no
file and draws no chart.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from math import ceil, isnan
from operator import index
from typing import Any

import numpy as np

from edifice_tt.contract.registry import one_registry
from edifice_tt.machine.progress import Shows, each, length_of
from edifice_tt.pools.given import check_pools
from edifice_tt.pools.pool import Pool
from edifice_tt.selection.answers import Named
from edifice_tt.selection.rules import CUT_OFF, check_cut_off
from edifice_tt.study.advice import advice_on
from edifice_tt.study.estimates import (
    VOTES,
    RuleValues,
    default_rules,
    evaluate_rule,
    left_out,
    reads_candidates,
)
from edifice_tt.study.forecast import forecast_coverage
from edifice_tt.study.intervals import (
    bootstrap_means,
    check_level,
    interval_of_means,
)
from edifice_tt.study.problems import Problem, read_problems, spent_per_candidate
from edifice_tt.study.quality import ScorerQuality, assess_scorer
from edifice_tt.study.records import (
    Comparison,
    Cost,
    Curve,
    CutOff,
    RuleCurve,
)
from edifice_tt.study.statistics import Floats, kl_best_of_n
from edifice_tt.study.unfinished import Finished

UNFINISHED = ("leave_out", "use")
_DRAWS = 40_000  # subsets per size over all problems: a standard error of at most 0.0025


def scaling_curve(
    pools: Iterable[Pool],
    rules: Sequence[str] | None = None,
    ks: Sequence[int] | None = None,
    *,
    scorers: Sequence[str] | None = None,
    answer: Named | None = None,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
    unfinished: str = "leave_out",
    cut_off: str = "abstain",
    pool: str = "",
    progress: Shows = False,
) -> Curve:
    """The accuracy of each rule with k candidates, over problems, with intervals.

    `pools` holds one pool per problem and may be a stream. Every candidate must be marked right or
    wrong. `rules` defaults to `oracle`, `best_of_n`, `majority`, `weighted`, `weighted_logit` and
    `random`, as far as the scores allow. `ks` defaults to the powers of two up to the size of the
    smallest pool, and that size. A rule that needs scores appears once per usable scorer among
    `scorers` (default: all): `weighted` and `pessimistic` take probabilities, `weighted_logit`
    declared logits. `oracle` (pass@k), `random`, `best_of_n` and `majority` are exact; other rules,
    including those of plugins, are estimated from seeded subsets. Intervals are a percentile
    bootstrap over problems; every rule is compared with `majority`, or else with the first rule.
    `answer` is an extractor, by its name or as a function; `pool` is a name for the record.
    Problems with fewer candidates than the `n` of their settings are left out, unless
    `unfinished="use"`. The record and a `PoolWarning` say so. Answers that were cut off `abstain`
    from votes or `vote`, as `cut_off` says; the record has both. `progress=True` shows problems
    that are read and rules measured; a function is called with each `Progress`.

    Raises `ValueError` for unmarked candidates, missing or unusable scores, or a k above the size
    of a pool. Raises `UnknownNameError` for an unknown rule or scorer.

    >>> from edifice_tt import Candidate
    >>> two = [Candidate(i, "7", correct=i == 0, scores={"s": -i}) for i in (0, 1)]
    >>> curve = scaling_curve([Pool("3 + 4 =", tuple(two))], rules=["best_of_n"])
    >>> curve.ks, curve.rules[0].accuracy
    ((1, 2), (0.5, 1.0))
    """
    total, pools = length_of(pools), check_pools(pools)
    check_level(level)
    names = list(dict.fromkeys(rules or ()))
    if rules is not None and not names:
        raise ValueError("rules must name at least one rule, such as 'best_of_n'")
    if unfinished not in UNFINISHED:
        raise ValueError(f"unfinished={unfinished!r} must be one of {', '.join(UNFINISHED)}")
    check_cut_off(cut_off)
    settings: dict[str, Any] = {}
    ranges: dict[str, str] = {}
    problems: list[Problem] = []
    finished = Finished(unfinished == "use")
    with one_registry():
        foreign = [rule for rule in names if reads_candidates(rule)]
        for one in each(progress, pools, total, "problems read"):
            settings = settings or dict(one.settings)
            if finished.takes(one):
                ranges.update(one.ranges)
                problems += read_problems([one], scorers, answer, bool(foreign))
        finished.check()
        _check_scorers(problems)
        names = names or default_rules(problems, ranges)
        sizes = _subset_sizes(ks, problems)
        draws = max(64, ceil(_DRAWS / len(problems)))

        def evaluate(rules: Iterable[str], cut_off: str) -> list[RuleValues]:
            given = (problems, sizes, ranges, answer, draws, seed, cut_off)
            return [one for rule in rules for one in evaluate_rule(rule, *given)]

        values = evaluate(each(progress, names, len(names), "rules measured"), cut_off)
        was_cut = any(problem.cut_off.any() for problem in problems)
        (other,) = (one for one in CUT_OFF if one != cut_off)
        others = evaluate((rule for rule in names if rule in VOTES), other) if was_cut else []
        without = tuple(left_out(names, problems, ranges))
    columns = [one.accuracy for one in (*values, *others)]
    means = bootstrap_means(np.hstack(columns), bootstrap, seed)
    resampled = np.split(means, len(columns), axis=1)  # (resamples, ks) per rule
    curves = tuple(map(_rule_curve, (*values, *others), resampled, repeat(level)))
    pairs = _pairs(values, {name for problem in problems for name in problem.seen_by})
    return Curve(
        pool=pool,
        settings=settings,
        problems=len(problems),
        candidates=sum(map(len, problems)),
        level=level,
        seed=seed,
        bootstrap=bootstrap,
        ks=sizes,
        rules=curves[: len(values)],
        comparisons=tuple(
            comparison
            for i, j in pairs
            for comparison in _compare(
                values[i], values[j], sizes, resampled[i] - resampled[j], level
            )
        ),
        cost=_cost(problems),
        forecast=forecast_coverage([*map(len, problems)], [int(p.correct.sum()) for p in problems]),
        kl=tuple(map(kl_best_of_n, sizes)),
        advice=advice_on([values[i].accuracy - values[j].accuracy for i, j in pairs], level),
        scorers=tuple(
            _assess(problems, name, ranges.get(name), level) for name in problems[0].scores
        ),
        abstentions=int(sum((problem.answers < 0).sum() for problem in problems)),
        left_out=without,
        unfinished=finished.record,
        cut_off=_cut_off(problems, cut_off, curves[len(values) :]) if was_cut else None,
    )


def _assess(
    problems: Sequence[Problem], scorer: str, score_range: str | None, level: float
) -> ScorerQuality:
    quality = assess_scorer(
        scorer,
        [problem.scores[scorer] for problem in problems],
        [problem.correct for problem in problems],
        [problem.num_tokens for problem in problems],
        score_range,
        sum(scorer in problem.seen_by for problem in problems),
        level,
    )
    scoring = [problem.scoring for problem in problems]
    tokens, seconds = (spent_per_candidate(scoring, scorer, of) for of in ("tokens", "seconds"))
    return replace(quality, tokens_per_candidate=tokens, seconds_per_candidate=seconds)


def _cut_off(problems: Sequence[Problem], votes: str, others: tuple[RuleCurve, ...]) -> CutOff:
    """Counts of the candidates that were cut off, and of those that ended."""
    cut = np.concatenate([problem.cut_off for problem in problems])
    right = np.concatenate([problem.correct for problem in problems]) > 0.5
    none = np.concatenate([problem.answers < 0 for problem in problems])
    right_of_cut, right_of_others = int(right[cut].sum()), int(right[~cut].sum())
    return CutOff(
        int(cut.sum()),
        right_of_cut,
        int((~cut).sum()),
        right_of_others,
        votes,
        others,
        int(none[cut].sum()),
    )


def _check_scorers(problems: Sequence[Problem]) -> None:
    """Raise `ValueError` unless every problem has scores of the same scorers."""
    names = {name for problem in problems for name in problem.scores}
    for problem in problems:
        if missing := sorted(names - set(problem.scores)):
            raise ValueError(
                f"problem {problem.name!r} has no scores of {', '.join(missing)}, which other "
                "problems have; score it too, or name other scorers"
            )


def _subset_sizes(ks: Sequence[int] | None, problems: Sequence[Problem]) -> tuple[int, ...]:
    smallest = min(problems, key=len)
    most = len(smallest)
    if ks is None:
        return tuple(sorted({2**i for i in range(most.bit_length())} | {most}))
    sizes = sorted({index(k) for k in ks})
    if not sizes:
        raise ValueError("ks must hold at least one number of candidates")
    if outside := [k for k in sizes if not 1 <= k <= most]:
        raise ValueError(
            f"k={outside[0]} must be between 1 and {most}, the number of candidates of problem "
            f"{smallest.name!r}; draw more candidates, or use smaller ks"
        )
    return tuple(sizes)


def _rule_curve(values: RuleValues, means: Floats, level: float) -> RuleCurve:
    low, high = map(_maybe, interval_of_means(values.accuracy, means, level))
    error = None
    if values.variance is not None:
        error = _plain(np.sqrt(values.variance.sum(axis=0)) / len(values.variance))
    names = values.label, values.rule, values.scorer
    accuracy = _plain(values.accuracy.mean(axis=0))
    return RuleCurve(*names, error is None, accuracy, low, high, error)


def _pairs(values: Sequence[RuleValues], seen: Collection[str]) -> list[tuple[int, int]]:
    """The pairs of rules to compare: each with majority, or else the first; none with oracle.

    A rule whose scorer has `seen` these problems is the first only among its like.
    """
    real = [i for i, one in enumerate(values) if one.rule != "oracle"]
    first = min(real, key=lambda i: (values[i].scorer in seen, i), default=0)
    base = next((i for i in real if values[i].rule == "majority"), first)
    return [(i, base) for i in real if i != base]


def _compare(
    one: RuleValues, other: RuleValues, ks: Sequence[int], differences: Floats, level: float
) -> Iterator[Comparison]:
    """One comparison per k; `differences` (resamples, ks) are between resampled means."""
    observed = one.accuracy - other.accuracy
    bounds = map(_maybe, interval_of_means(observed, differences, level, (-1.0, 1.0)))
    for k, mean, low, high in zip(ks, _plain(observed.mean(axis=0)), *bounds, strict=True):
        yield Comparison(one.label, other.label, k, mean, low, high)


def _plain(values: Floats) -> tuple[float, ...]:
    """Rounded values: equal rules must not differ by rounding errors."""
    return tuple((values.round(12) + 0.0).tolist())


def _maybe(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if isnan(value) else value for value in _plain(values))


def _cost(problems: Sequence[Problem]) -> Cost:
    tokens = np.concatenate([problem.num_tokens for problem in problems])
    seconds = np.concatenate([problem.seconds for problem in problems])
    return Cost(
        # 0 means that tokens were not counted.
        tokens_per_candidate=float(tokens.mean()) if tokens.all() else None,
        seconds_per_candidate=None if np.isnan(seconds).any() else float(seconds.mean()),
    )
