"""A rule's accuracy on k of n candidates, per problem. Knows which estimator a rule needs."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from math import log
from typing import Any

import numpy as np

from edifice_tt import registry
from edifice_tt.errors import EdificeError
from edifice_tt.inference.candidates import Candidate
from edifice_tt.inference.select import Choice, of_problem, select
from edifice_tt.study.problems import Problem
from edifice_tt.study.statistics import Floats, best_of_ks, stacks
from edifice_tt.study.subsets import Masks, Weigh, over_subsets, weighted_vote
from edifice_tt.study.voting import majority_at_ks

_DELTA = 0.1  # `pessimistic` takes a lower bound on the mean that holds with 1 - delta: Hoeffding
# What an answer weighs, from the sum of its candidates' scores and their number.
WEIGHTS: dict[str, Weigh] = {
    "weighted": lambda total, count: total,
    "weighted_logit": lambda total, count: total,
    "pessimistic": lambda total, count: total / count - np.sqrt(log(1 / _DELTA) / (2 * count)),
}
_NEEDS_SCORES = ("best_of_n", *WEIGHTS)
_PROBABILITIES = "probabilities in [0, 1]"
_WANTED = {
    "weighted": _PROBABILITIES,
    "pessimistic": _PROBABILITIES,
    "weighted_logit": "declared as logits",
}
_NEEDS_NONE = ("majority", "random", "oracle")


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
    """Whether the rule is one that only candidates themselves can tell; a foreign one."""
    if rule in _NEEDS_SCORES or rule in _NEEDS_NONE:
        return False
    registry.selector(rule)  # an unknown name is an error here, before anything is computed
    return True


def evaluate_rule(
    rule: str,
    problems: Sequence[Problem],
    ks: Sequence[int],
    ranges: Mapping[str, str],
    answer: str | None,
    draws: int,
    seed: int,
) -> Iterator[RuleValues]:
    """The rule's values, once for each scorer that it can use.

    Raises `ValueError` where a rule that needs scores has none that it can use.
    """
    foreign = registry.selector(rule) if reads_candidates(rule) else None
    takes = inspect.signature(foreign.function).parameters if foreign else {}
    scorers: list[str | None] = [None]
    if rule in _NEEDS_SCORES or "scorer" in takes:
        scorers = [name for name in problems[0].scores if _fits(rule, name, problems, ranges)]
        if not scorers and not foreign:
            there = [f"{name} ({ranges.get(name, 'range unknown')})" for name in problems[0].scores]
            raise ValueError(
                f"rule {rule!r} needs scores that are {_WANTED.get(rule, 'there')}, given: "
                f"{', '.join(there) or 'none'}; score the pools, calibrate, or leave the rule out"
            )
        scorers = scorers or [None]
    for scorer in scorers:
        if not foreign and rule not in WEIGHTS:
            yield RuleValues(rule, scorer, _exact(rule, scorer, problems, ks), None)
            continue
        accuracy, variance = np.empty((2, len(problems), len(ks)))
        options = {"scorer": scorer} if scorer else {}
        if answer is not None and "answer" in takes:
            options["answer"] = answer
        for at, problem in enumerate(problems):
            if foreign:
                value = _chosen(foreign, problem, of_problem(foreign, options, problem.name))
            else:
                value = _voted(rule, scorer, problem)
            found = over_subsets(value, len(problem), ks, draws, (seed, at))
            accuracy[at], variance[at] = found.accuracy, found.variance
        if foreign and not accuracy.any():
            _try_whole_pools(foreign, problems, options)
        yield RuleValues(rule, scorer, accuracy, variance if variance.any() else None)


def _fits(rule: str, scorer: str, problems: Sequence[Problem], ranges: Mapping[str, str]) -> bool:
    """Whether sums of these scores mean what the rule takes them for."""
    if rule == "weighted_logit":
        return ranges.get(scorer) == "logit"
    if rule in ("weighted", "pessimistic"):
        values = np.concatenate([problem.scores[scorer] for problem in problems])
        inside = bool(((values >= 0) & (values <= 1)).all())
        return inside and ranges.get(scorer, "probability") == "probability"
    return True


def _exact(rule: str, scorer: str | None, problems: Sequence[Problem], ks: Sequence[int]) -> Floats:
    """(problems, ks), for the rules that have an exact estimator."""
    if rule == "majority":
        votes = ([None if a < 0 else a for a in one.answers.tolist()] for one in problems)
        return majority_at_ks(zip(votes, (one.correct for one in problems), strict=True), ks)
    accuracy = np.empty((len(problems), len(ks)))
    correct = [problem.correct for problem in problems]
    scores = correct if scorer is None else [problem.scores[scorer] for problem in problems]
    for which, (score, right) in stacks(scores, correct):
        if rule == "random":
            accuracy[which] = right.mean(axis=1, keepdims=True)
        else:  # the oracle's scores are the truth
            accuracy[which] = best_of_ks(score, right, ks)
    return accuracy


def _voted(rule: str, scorer: str | None, problem: Problem) -> Callable[[Masks], Floats]:
    """subsets (draws, N) -> expected correctness of a weighted vote (draws)."""
    assert scorer is not None
    scores = problem.scores[scorer]
    if rule == "weighted_logit":
        scores = 0.5 + 0.5 * np.tanh(scores / 2)  # the logistic function, without overflow
    return weighted_vote(WEIGHTS[rule], scores, problem.answers, problem.correct)


def _chosen(
    record: registry.Selector, problem: Problem, options: Mapping[str, Any]
) -> Callable[[Masks], Floats]:
    """subsets (draws, N) -> whether the rule's choice is right (draws).

    A subset in which it finds nothing to choose, which is a `ValueError`, is wrong.
    """
    right = {c.index: mark for c, mark in zip(problem.candidates, problem.correct, strict=True)}

    def value(masks: Masks) -> Floats:
        worth = np.zeros(len(masks))
        for at, mask in enumerate(masks.tolist()):
            with suppress(ValueError):
                subset = tuple(compress(problem.candidates, mask))
                worth[at] = right[_choose(record, subset, options).index]
        return worth

    return value


def _choose(
    record: registry.Selector, candidates: Sequence[Candidate], options: Mapping[str, Any]
) -> Choice:
    """`select` without looking the rule up again, which would take longer than most rules."""
    try:
        choice = record.function(candidates, **options)
    except (EdificeError, ValueError):
        raise
    except Exception:  # foreign code: select says whose
        choice = None
    if isinstance(choice, Choice):
        return choice
    return select(candidates, record.name, **options)


def _try_whole_pools(
    record: registry.Selector, problems: Sequence[Problem], options: Mapping[str, str]
) -> None:
    """Let the rule's `ValueError` out when it chooses from no pool at all: it is used wrongly."""
    failure = None
    for problem in problems:
        try:
            _choose(record, problem.candidates, options)
            return
        except ValueError as error:
            failure = error
    if failure is not None:
        raise failure
