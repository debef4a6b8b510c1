"""Pool -> choice: finds the rule, checks that it can use the scores, and applies it.

Knows the contract of all rules; knows no single rule, no model and no tensor.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from edifice_tt.contract import registry
from edifice_tt.contract.errors import (
    EdificeError,
    PluginError,
    PoolWarning,
    UnknownNameError,
    unknown_name,
)
from edifice_tt.contract.options import problem_seed, whole
from edifice_tt.contract.shown import Shown, Table, first_of, number, quoted
from edifice_tt.contract.tracing import blamed, named, show, subject_of
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.given import check_candidates
from edifice_tt.pools.pool import Pool
from edifice_tt.selection.answers import opened_thinking
from edifice_tt.selection.usable import check_range, check_scores, declared_range, scorer_of


@dataclass(frozen=True, repr=False)
class Choice(Shown):
    """The candidate that a rule chose, with the weight of each alternative.

    `tally` maps each alternative (an answer or a candidate's index, as the rule documents) to its
    weight. `abstained` counts the candidates that took no part, such as those without an answer.
    """

    candidate: Candidate
    rule: str
    tally: Mapping[str, float]
    abstained: int = 0

    @property
    def index(self) -> int:
        return self.candidate.index

    @property
    def text(self) -> str:
        return self.candidate.text

    def _line(self) -> str:
        abstained = f"; {self.abstained} abstained" if self.abstained else ""
        tally = f"; {first_of(self._ranked())}" if self.tally else ""
        return f"{self.index} by {self.rule}: {quoted(self.text)}{tally}{abstained}"

    def _table(self) -> Table:
        rows = ((one, number(weight)) for one, weight in self._ranked().items())
        return ("alternative", "weight"), rows

    def _ranked(self) -> dict[str, float]:
        return dict(sorted(self.tally.items(), key=lambda one: -one[1]))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON."""
        about = {"rule": self.rule, "tally": dict(self.tally), "abstained": self.abstained}
        return {"index": self.index, "text": self.text, **about}


def select(
    pool: Pool | Sequence[Candidate],
    rule: str | Callable[..., Choice] = "best_of_n",
    **options: Any,
) -> Choice:
    """Choose one candidate by a registered rule, or by a function that is one.

    `options` go to the rule, for example `scorer=` and `answer=`. The declared range of the scores
    is the pool's, else that of the installed scorer. An option `seed` is mixed with the problem's
    id. Rows that a search dropped abstain, unless all were dropped, or `cut_off="vote"` is given.
    Raises `UnknownNameError` for an unknown rule or option. Raises `ValueError` for an empty
    pool, a duplicate index, and scores that the rule cannot use. Raises `PluginError` for a rule
    that fails or returns no `Choice`. Warns of a pool with fewer candidates than the `n` of its
    settings, unless Ctrl-C has just ended it.
    """
    check_candidates(pool)
    if isinstance(pool, Pool) and pool.num_missing and not pool.interrupted:
        warnings.warn(unfinished(pool), PoolWarning, stacklevel=2)
    with registry.one_registry():
        return Rule.find(registry.load_registry(), rule, options).choose(pool)


@dataclass(frozen=True)
class Rule:
    """A registered rule with its options: looked up once, applied to any number of pools.

    `scorers` are the installed ones; their declared range counts if a pool has none.
    """

    record: registry.Selector
    options: Mapping[str, Any]
    scorers: Mapping[str, registry.Scorer]

    @classmethod
    def find(
        cls,
        registered: registry.Registry,
        rule: str | Callable[..., Any],
        options: Mapping[str, Any],
    ) -> "Rule":
        """The rule of that name, or the function as a rule that is not registered.

        Raises `UnknownNameError` for an unknown rule or option.
        """
        record: registry.Selector
        if callable(rule):
            record = registry.Selector(getattr(rule, "__name__", type(rule).__name__), rule)
        else:
            record = registered.find("selector", rule)
        for option in options:
            if record.takes(option):
                continue
            others = sorted(name for name, r in registered.selectors.items() if option in r.options)
            if not others:
                raise unknown_name(f"option of rule {record.name}", option, record.options)
            raise UnknownNameError(
                f"rule {record.name!r} takes no option {option!r}, only: "
                f"{', '.join(record.options) or 'none'}; leave it out, or use a rule that takes "
                f"it: {', '.join(others)}"
            )
        return cls(record, options, registered.scorers)

    def choose(self, pool: Pool | Sequence[Candidate]) -> Choice:
        """Choose from a pool. Raises as `select` does."""
        candidates = tuple(pool)
        if not candidates:
            raise ValueError("the pool is empty: there is nothing to choose from")
        first: Any = candidates[0]
        if not isinstance(first, Candidate):
            kind = type(first).__name__
            raise ValueError(f"expected candidates of one problem, given a {kind}; give one Pool")
        counts = Counter(candidate.index for candidate in candidates)
        if twice := [index for index, count in counts.items() if count > 1]:
            raise ValueError(f"two candidates have index {min(twice)}; give each one of its own")
        return self.of(pool)(candidates)

    def of(self, pool: Pool | Sequence[Candidate]) -> Callable[[Sequence[Candidate]], Choice]:
        """A function that chooses from a part of the pool; checks the pool's scores first."""
        options = dict(self.options)
        where = f" on problem {pool.problem!r}" if isinstance(pool, Pool) else ""
        if self.record.needs is not None:
            rated = self._standing(tuple(pool))
            scorer = scorer_of(rated, options.get("scorer"))
            ranges = pool.ranges if isinstance(pool, Pool) else {}
            check_range(self.record, scorer, declared_range(scorer, ranges, self.scorers))
            check_scores(self.record.name, self.record.needs, rated, scorer)
            options["scorer"] = scorer
        if isinstance(pool, Pool):
            if "seed" in self.record.options:
                seed = whole(options.get("seed", self.record.options["seed"].default))
                if seed is not None and 0 <= seed < 2**64:  # the rule refuses others, or not
                    options["seed"] = problem_seed(seed, pool.problem)
            if opened_thinking(pool.prompt):
                return lambda candidates: self._ask_behind(pool.prompt, candidates, options, where)
        return lambda candidates: self._ask(candidates, options, where)

    def _standing(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Those that a search did not drop; all where it dropped all, or where cut texts vote."""
        if self.options.get("cut_off") == "vote":
            return candidates
        return [one for one in candidates if not one.is_dropped] or candidates

    def _ask_behind(
        self, prompt: str, candidates: Sequence[Candidate], options: Mapping[str, Any], where: str
    ) -> Choice:
        choice = self._ask(behind(prompt, candidates), options, where)
        (own,) = (candidate for candidate in candidates if candidate.index == choice.index)
        return replace(choice, candidate=own)

    def _ask(
        self, candidates: Sequence[Candidate], options: Mapping[str, Any], where: str
    ) -> Choice:
        who = named("rule", self.record)
        subject = subject_of("rule", self.record)
        subject += where if subject else ""
        given, candidates = candidates, self._standing(candidates)
        with blamed(f"{who} failed{where}", own=(EdificeError, ValueError), subject=subject):
            choice = self.record.function(candidates, **options)
        if not isinstance(choice, Choice):
            raise PluginError(f"{who} gave {show(choice):.60}, expected a Choice")
        if flaw := flaw_of(choice):
            raise PluginError(f"{who} gave a Choice with {flaw}")
        if all(choice.index != candidate.index for candidate in candidates):
            raise PluginError(f"{who} chose candidate {choice.index}, which it was not given")
        dropped = len(given) - len(candidates)
        return replace(choice, abstained=choice.abstained + dropped) if dropped else choice


def flaw_of(choice: Any) -> str:
    """What is of the wrong type in a choice; empty if nothing is.

    >>> flaw_of(Choice(Candidate(0, "4"), "mine", {"4": "many"}))
    "tally={'4': 'many'}, expected numbers by name"
    """
    if not isinstance(choice.candidate, Candidate):
        return f"candidate={show(choice.candidate):.60}, expected one of those given"
    if not isinstance(choice.rule, str):
        return f"rule={show(choice.rule):.60}, expected the name of the rule"
    if not isinstance(choice.tally, Mapping) or not all(
        isinstance(name, str) and isinstance(weight, Real) for name, weight in choice.tally.items()
    ):
        return f"tally={show(choice.tally):.60}, expected numbers by name"
    if whole(choice.abstained) is None:
        return f"abstained={show(choice.abstained):.60}, expected how many candidates abstained"
    return ""


def behind(prompt: str, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Candidates whose texts begin with the sign of thinking with which the prompt ends, if any."""
    sign = opened_thinking(prompt)
    return tuple(replace(c, text=sign + c.text) if sign and c.text else c for c in candidates)


def unfinished(pool: Pool) -> str:
    """The message for a pool that lacks candidates."""
    return (
        f"problem {pool.problem!r} has {len(pool)} of {len(pool) + pool.num_missing} candidates; "
        "those that end first are the short ones; --resume makes the others (resume=True in Python)"
    )


def check_options(rule: str, options: Iterable[str]) -> None:
    """Raise `UnknownNameError` for an unknown rule or option."""
    Rule.find(registry.load_registry(), rule, dict.fromkeys(options))
