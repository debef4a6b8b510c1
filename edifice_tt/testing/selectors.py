"""Checks a selection rule on many small pools; needs no tensor.

Knows the contract of a rule: candidates may be tied, unscored or scored NaN, and their order does
not matter. Does not know how the rule chooses.
"""

import math
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
from edifice_tt.pools.candidates import Candidate
from edifice_tt.selection.select import Choice, flaw_of
from edifice_tt.testing.promises import BrokenPromise, attempt, check_options, find

NAN = float("nan")
# Scores by what a rule needs. Sums of the first are exact, so rounding is no excuse; logits have
# both signs.
SCORES = {None: (0.25, 0.5, 0.75), "probability": (0.25, 0.5, 0.75), "logit": (-1.5, 0.5, 2.0)}

# Advice on a choice that depends on the order, by the kind of candidates.
_ADVICE = {
    "missing scores": "treat a candidate without a score alike wherever it stands",
    "NaN scores": "sort NaN out first, for no comparison with it is true",
}
TEXTS = ("so it is A", "so it is B", "so it is C")
_REFUSAL = object()


def check_selector(
    name_or_function: str | Callable[..., Any],
    needs: str | None = None,
    texts: Sequence[str] = TEXTS,
    **options: Any,
) -> None:
    """Raise `BrokenPromise` unless a rule keeps the contract of `register_selectors`.

    Give the registered name, or the function and its `needs` (with a name the two are compared);
    `options` go to the rule. `texts` are what the candidates say; give your own if the rule, or the
    extractor in its options, finds no answer in "so it is A".

    It must return a `Choice` of one of the candidates, under its registered name, the same each
    time and in every order of the candidates. Fewer than all may abstain, and the input must not
    change.
    Of candidates that differ only in their index it must take the lowest, unless it draws by an
    option `seed`. It must handle one candidate, missing scores and NaN; NaN must not win over a
    number in a rule that follows scores. It may also refuse missing or NaN scores with a
    `ValueError` or an `EdificeError`, in every order alike. A rule that `needs` probabilities or
    logits gets nothing else, as in `edifice_tt.select`.

    Raises `UnknownNameError` for an unknown name.

    >>> check_selector("best_of_n")
    >>> check_selector(lambda candidates: Choice(candidates[0], "first", {}))
    Traceback (most recent call last):
    edifice_tt.testing.promises.BrokenPromise: selector '<lambda>': the choice depends on the \
order of the candidates: index 2 in one order and 9 in another; of tied candidates take the lowest \
index
    """
    function: Any = name_or_function
    make = partial(registry.Selector, function=function, needs=needs)
    who, record = find("selector", function, make, needs=needs)
    check_options("rule", record.name, record.function, options)
    if record.needs is not None:
        options = {"scorer": "score", **options}
    rule = _Rule(who, record, options)
    rule.check([_candidate(7, 0.5, texts[0])], "one candidate")
    same = [_candidate(index, 0.5, texts[0]) for index in (2, 3, 5, 9)]
    index = rule.check(same, "equal candidates")
    if index != 2 and "seed" not in record.options:
        raise BrokenPromise(
            f"{rule.who}: of candidates that differ in nothing but their index it takes {index}, "
            "expected the lowest, 2"
        )
    draw = random.Random(11)
    kinds = (("scored candidates", ()), ("missing", (None,)), ("NaN", (NAN,)))
    for kind, extra in kinds if record.needs is None else kinds[:1]:
        for _ in range(24):
            numbers = (*SCORES[record.needs], *extra)
            scores = [draw.choice(numbers) for _ in range(draw.randint(2, 6))]
            indices = draw.sample(range(20), len(scores))
            pairs = zip(indices, scores, strict=True)
            pool = [_candidate(i, score, draw.choice(texts)) for i, score in pairs]
            rule.check(pool, f"{kind} scores" if extra else kind, may_refuse=bool(extra))
    if record.needs is None:
        _check_nan(rule, texts[0])


def _candidate(index: int, score: float | None, text: str) -> Candidate:
    scores = {} if score is None else {"score": score}
    answer = text.split()[-1] if text.split() else ""
    return Candidate(index, text, answer=answer, correct=answer == "A", scores=scores)


def _check_nan(rule: "_Rule", text: str) -> None:
    """Check that NaN does not win over numbers, if the rule follows the scores."""
    for best in range(3):
        scores = [0.75 if i == best else 0.25 for i in range(3)]
        if rule.check([_candidate(i, s, text) for i, s in enumerate(scores)], "scored") != best:
            return
    pool = [_candidate(i, score, text) for i, score in enumerate((NAN, 0.25, 0.75))]
    index = rule.check(pool, "NaN scores", may_refuse=True)
    if index is not None and math.isnan(pool[index].scores["score"]):
        raise BrokenPromise(
            f"{rule.who}: NaN wins over a number: it takes index {index} with score nan, "
            "expected index 2 with score 0.75"
        )


class _Rule:
    """A rule under test."""

    def __init__(self, who: str, record: registry.Selector, options: dict[str, Any]) -> None:
        self.who, self.function, self.options = who, record.function, options
        self.name = record.name if record.owner else ""  # a function alone may have any

    def check(self, pool: list[Candidate], kind: str, may_refuse: bool = False) -> int | None:
        """The chosen index, checked in several orders of the candidates; None for a refusal."""
        first, again = self._choose(pool, kind, may_refuse), self._choose(pool, kind, may_refuse)
        if first != again:
            raise BrokenPromise(
                f"{self.who} takes {_say(first)} at first and then {_say(again)} of the same "
                "candidates; draw no random numbers"
            )
        for moved in (pool[::-1], pool[1:] + pool[:1], sorted(pool, key=lambda c: c.index)):
            if (other := self._choose(moved, kind, may_refuse)) != first:
                advice = _ADVICE.get(kind, "of tied candidates take the lowest index")
                raise BrokenPromise(
                    f"{self.who}: the choice depends on the order of the candidates: "
                    f"{_say(first)} in one order and {_say(other).removeprefix('index ')} in "
                    f"another; {advice}"
                )
        return first

    def _choose(self, pool: list[Candidate], kind: str, may_refuse: bool) -> int | None:
        candidates = tuple(deepcopy(pool))
        refusals = (ValueError, EdificeError) if may_refuse else ()

        def ask() -> Any:
            with suppress(*refusals):
                return self.function(candidates, **self.options)
            return _REFUSAL

        choice = attempt(self.who, f"on {kind}", ask)
        for before, after in zip(pool, candidates, strict=True):
            if before != after:
                raise BrokenPromise(
                    f"{self.who} changes its input: scores {dict(before.scores)} became "
                    f"{dict(after.scores)}; work on a copy"
                )
        if choice is _REFUSAL:
            return None
        if not isinstance(choice, Choice):
            kind_of_choice = "None" if choice is None else f"a {type(choice).__name__}"
            raise BrokenPromise(f"{self.who} gives {kind_of_choice} on {kind}, expected a Choice")
        if flaw := flaw_of(choice):
            raise BrokenPromise(f"{self.who} gives a Choice on {kind} with {flaw}")
        if self.name not in ("", choice.rule):
            raise BrokenPromise(
                f"{self.who} gives a Choice with rule={choice.rule!r}, expected its own name"
            )
        if choice.candidate not in candidates:
            raise BrokenPromise(
                f"{self.who} chooses index {choice.index} with other contents, none of the "
                f"{len(candidates)} candidates; return one as it is"
            )
        if not 0 <= choice.abstained < (n := len(candidates)):
            raise BrokenPromise(
                f"{self.who} says that {choice.abstained} of {n} candidates abstained on {kind}, "
                f"expected from 0 to {n - 1}: it chose one"
            )
        return choice.index


def _say(index: int | None) -> str:
    return "a refusal" if index is None else f"index {index}"
