"""A rule's accuracy on k of n candidates, per problem. Chooses the estimator for each rule."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from edifice_tt.contract import registry
from edifice_tt.pools.pool import Pool
from edifice_tt.selection.answers import Named
from edifice_tt.selection.rules import lower_bound, sigmoid
from edifice_tt.selection.select import Rule
from edifice_tt.selection.usable import declared_range
from edifice_tt.study.problems import Problem
from edifice_tt.study.records import LeftOut
from edifice_tt.study.statistics import Floats, best_of_ks, stacks
from edifice_tt.study.subsets import Masks, Weigh, over_subsets, weighted_vote
from edifice_tt.study.voting import majority_at_ks

# What an answer weighs, from the sum of its candidates' scores and their number.
WEIGHTS: dict[str, Weigh] = {
    "weighted": lambda total, count: total,
    "weighted_logit": lambda total, count: total,
    "pessimistic": lower_bound,
}
_NEEDS_SCORES = ("best_of_n", *WEIGHTS)
_WANTED = {None: "there", "probability": "probabilities in [0, 1]", "logit": "declared as logits"}
_NEEDS_NONE = ("majority", "random", "oracle")
_EXACT = ("best_of_n", *_NEEDS_NONE)
VOTES = ("majority", *WEIGHTS)
_USUAL = ("oracle", "best_of_n", "majority", "weighted", "weighted_logit", "random")


@dataclass(frozen=True)
class RuleValues:
    """A rule's accuracy on each problem (problems, ks), and the variance of drawing subsets.

    `variance` (problems, ks) is None for an exact estimator.
    """

    rule: str
    scorer: str | None
    accuracy: Floats
    variance: Floats | None

    @property
    def label(self) -> str:
        return self.rule if self.scorer is None else f"{self.rule} \N{MIDDLE DOT} {self.scorer}"


def reads_candidates(rule: str) -> bool:
    """Whether the rule must see the candidates themselves, as those of plugins must."""
    registry.selector(rule)  # raises for an unknown name before anything is computed
    return rule not in _NEEDS_SCORES and rule not in _NEEDS_NONE


def evaluate_rule(
    rule: str,
    problems: Sequence[Problem],
    ks: Sequence[int],
    ranges: Mapping[str, str],
    answer: Named | None,
    draws: int,
    seed: int,
    cut_off: str = "abstain",
) -> Iterator[RuleValues]:
    """The rule's values, one per scorer that it can use.

    `cut_off` says what answers do in a vote that were cut off. Raises `ValueError` if the rule
    needs scores and can use none.
    """
    registered = registry.load_registry()
    record: registry.Selector = registered.find("selector", rule)
    ranges = declared_ranges(registered, problems, ranges)
    problems = [problem.voting(cut_off) for problem in problems]
    for scorer in _scorers(record, problems, ranges):
        if rule in _EXACT:
            yield RuleValues(rule, scorer, _exact(rule, scorer, problems, ks), None)
            continue
        accuracy, variance = np.empty((2, len(problems), len(ks)))
        options: dict[str, Any] = {"scorer": scorer} if scorer else {}
        if answer is not None and "answer" in record.options:
            options["answer"] = answer
        if "cut_off" in record.options:
            options["cut_off"] = cut_off
        ready = Rule.find(registered, rule, options)
        for at, problem in enumerate(problems):
            voted = rule in WEIGHTS
            value = _voted(rule, scorer, problem) if voted else _chosen(ready, problem, ranges)
            accuracy[at], variance[at] = over_subsets(value, len(problem), ks, draws, (seed, at))
        if rule not in WEIGHTS and not accuracy.any():
            _try_whole_pools(ready, problems, ranges)
        yield RuleValues(rule, scorer, accuracy, variance if variance.any() else None)


def default_rules(problems: Sequence[Problem], ranges: Mapping[str, str]) -> list[str]:
    """The rules that are usually compared, as far as these scores allow."""
    registered = registry.load_registry()
    ranges = declared_ranges(registered, problems, ranges)

    def allowed(rule: str) -> bool:
        record = registered.find("selector", rule)
        return any(fits(record, scorer, problems, ranges) for scorer in problems[0].scores)

    return [rule for rule in _USUAL if rule in _NEEDS_NONE or allowed(rule)]


def declared_ranges(
    registered: registry.Registry, problems: Sequence[Problem], ranges: Mapping[str, str]
) -> dict[str, str]:
    """The range that each scorer declares, in the pools or else where it is installed."""
    declarations = {s: declared_range(s, ranges, registered.scorers) for s in problems[0].scores}
    return {scorer: declared for scorer, declared in declarations.items() if declared is not None}


def _scorers(
    record: registry.Selector, problems: Sequence[Problem], ranges: Mapping[str, str]
) -> Sequence[str | None]:
    """The scorers to evaluate the rule with; only None for a rule that takes none."""
    names = list(problems[0].scores)
    needs_some = record.name in _NEEDS_SCORES or record.needs is not None
    if record.name in _NEEDS_NONE or not (needs_some or "scorer" in record.options):
        return [None]
    usable = [name for name in names if fits(record, name, problems, ranges)]
    if needs_some and not usable:
        declared = ", ".join(f"{name} ({ranges.get(name, 'range unknown')})" for name in names)
        raise ValueError(
            f"rule {record.name!r} needs scores that are {_WANTED[record.needs]}, given: "
            f"{declared or 'none'}; score the pools, calibrate, or leave the rule out"
        )
    return usable or [None]


def left_out(
    rules: Sequence[str], problems: Sequence[Problem], ranges: Mapping[str, str]
) -> Iterator[LeftOut]:
    """The scorers that each rule cannot use, and what it needs instead."""
    registered = registry.load_registry()
    ranges = declared_ranges(registered, problems, ranges)
    for rule in rules:
        record = registered.find("selector", rule)
        for scorer in problems[0].scores:
            if not fits(record, scorer, problems, ranges):
                yield LeftOut(rule, scorer, ranges.get(scorer), _WANTED[record.needs])


def fits(
    record: registry.Selector, scorer: str, problems: Sequence[Problem], ranges: Mapping[str, str]
) -> bool:
    """Whether these scores have the range that the rule needs."""
    if record.needs == "logit":
        return ranges.get(scorer) == "logit"
    if record.needs == "probability":
        values = np.concatenate([problem.scores[scorer] for problem in problems])
        inside = bool(((values >= 0) & (values <= 1)).all())
        return inside and ranges.get(scorer, "probability") == "probability"
    return True


def _exact(rule: str, scorer: str | None, problems: Sequence[Problem], ks: Sequence[int]) -> Floats:
    """The accuracy (problems, ks) of a rule that has an exact estimator."""
    correct = [problem.correct for problem in problems]
    if rule == "majority":
        votes = ([None if a < 0 else a for a in one.answers.tolist()] for one in problems)
        return majority_at_ks(zip(votes, correct, strict=True), ks)
    if rule == "random":
        return np.array([[right.mean()] * len(ks) for right in correct])
    accuracy = np.empty((len(problems), len(ks)))
    # The oracle's scores are the truth.
    scores = correct if scorer is None else [problem.scores[scorer] for problem in problems]
    for which, (score, right) in stacks(scores, correct):
        accuracy[which] = best_of_ks(score, right, ks)
    return accuracy


def _voted(rule: str, scorer: str | None, problem: Problem) -> Callable[[Masks], Floats]:
    """A function from subsets (draws, N) to the expected correctness of a weighted vote (draws)."""
    assert scorer is not None
    scores = problem.scores[scorer]
    if rule == "weighted_logit":
        scores = np.array([sigmoid(score) for score in scores])
    return weighted_vote(WEIGHTS[rule], scores, problem.answers, problem.correct)


def _chosen(rule: Rule, problem: Problem, ranges: Mapping[str, str]) -> Callable[[Masks], Floats]:
    """A function from subsets (draws, N) to whether the rule's choice is right (draws).

    A subset from which the rule cannot choose (a `ValueError`) counts as wrong.
    """
    right = {c.index: mark for c, mark in zip(problem.candidates, problem.correct, strict=True)}
    pool = Pool("", problem.candidates, problem=problem.name, ranges=ranges)
    choose = rule.of(pool)

    def value(masks: Masks) -> Floats:
        worth = np.zeros(len(masks))
        for at, mask in enumerate(masks.tolist()):
            with suppress(ValueError):
                subset = tuple(compress(problem.candidates, mask))
                worth[at] = right[choose(subset).index]
        return worth

    return value


def _try_whole_pools(rule: Rule, problems: Sequence[Problem], ranges: Mapping[str, str]) -> None:
    """Raise the rule's `ValueError` if it cannot choose from any pool: then it is misused."""
    for at, problem in enumerate(problems, 1):
        try:
            rule.choose(Pool("", problem.candidates, problem=problem.name, ranges=ranges))
            return
        except ValueError:
            if at == len(problems):
                raise
