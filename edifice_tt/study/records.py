"""The records of a curve, and their form as JSON. Knows no pool and computes nothing."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edifice_tt.contract.shown import Shown, Table, first_of, number
from edifice_tt.contract.wording import counted
from edifice_tt.selection.grade import graded_with
from edifice_tt.study.forecast import Forecast
from edifice_tt.study.quality import ScorerQuality

SCHEMA = 1


@dataclass(frozen=True)
class RuleCurve:
    """A rule's mean accuracy over the problems at each k, with its interval (None for one problem).

    `monte_carlo_error` is the standard error from drawing subsets, None for an exact estimator. The
    interval over problems includes it.
    """

    label: str
    rule: str
    scorer: str | None
    exact: bool
    accuracy: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    monte_carlo_error: tuple[float, ...] | None


@dataclass(frozen=True)
class Comparison:
    """The accuracy of `label` minus that of `against` at k, with a paired interval."""

    label: str
    against: str
    k: int
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cost:
    """Means over all candidates; None unless known for every candidate."""

    tokens_per_candidate: float | None
    seconds_per_candidate: float | None


@dataclass(frozen=True)
class Advice:
    """How many problems would show this `difference` in accuracy between any two compared rules.

    `reason` says why the number is unknown, if it is.
    """

    difference: float
    problems: int | None
    reason: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """A rule and a scorer that were not combined: the rule `needs` other scores."""

    rule: str
    scorer: str
    range: str | None
    needs: str


@dataclass(frozen=True)
class Unfinished:
    """Problems with fewer candidates than their settings ask for, and whether they were used.

    `first` is the id of the first such problem, which has `candidates` of `n`. Every problem has
    the `first_of_each`, as after more candidates were asked for.
    """

    problems: int
    first: str
    candidates: int
    n: int
    used: bool
    first_of_each: int = 0


@dataclass(frozen=True)
class CutOff:
    """The candidates that were cut off, how many of them are right, and of the finished ones.

    `without_answer` is how many that were cut off have no answer.

    `votes` says what they do in the curve: `vote` or `abstain`. `others` are the rules that vote as
    they are when these candidates do the opposite.
    """

    candidates: int
    right: int
    finished: int
    finished_right: int
    votes: str
    others: tuple[RuleCurve, ...]
    without_answer: int = 0


@dataclass(frozen=True, repr=False)
class Curve(Shown):
    """Accuracy at each of `ks` by rule, with costs, comparisons and the quality of scorers.

    `pool` and `settings` say what was measured; `problems`, `candidates` and `abstentions` are
    counts. `kl` is the divergence of best-of-k in nats; `forecast` is coverage beyond the sampled
    candidates. `cut_off` is None if no candidate was cut off.
    """

    pool: str
    settings: Mapping[str, Any]
    problems: int
    candidates: int
    level: float
    seed: int
    bootstrap: int
    ks: tuple[int, ...]
    rules: tuple[RuleCurve, ...]
    comparisons: tuple[Comparison, ...]
    cost: Cost
    forecast: Forecast | None
    kl: tuple[float, ...]
    advice: Advice
    scorers: tuple[ScorerQuality, ...]
    abstentions: int
    left_out: tuple[LeftOut, ...] = ()
    unfinished: Unfinished | None = None
    cut_off: CutOff | None = None

    @property
    def graded(self) -> str | None:
        """The extractor by which candidates were marked, where the pool tells."""
        return graded_with(self.settings)

    def trained_on(self, scorer: str | None) -> int:
        """How many of these problems a scorer was trained on."""
        return sum(one.trained_on for one in self.scorers if one.scorer == scorer)

    def by_trust(self) -> list[RuleCurve]:
        """The rules in their order; behind them those whose scorer has seen these problems."""
        return sorted(self.rules, key=lambda rule: self.trained_on(rule.scorer) > 0)

    def _line(self) -> str:
        last = {rule.label: rule.accuracy[-1] for rule in self.by_trust()}
        measured = f"{counted(self.problems, 'problem')}, k up to {self.ks[-1]}"
        where = f"of {self.pool}: " if self.pool else ""
        return f"{where}{measured}; {first_of(last)}"

    def _table(self) -> Table:
        rows = ((rule.label, *map(number, rule.accuracy)) for rule in self.by_trust())
        return ("accuracy at k", *map(str, self.ks)), rows

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON; unknown numbers are None, never NaN."""
        plain = {"kind": "curve", "schema": SCHEMA, **asdict(self)}
        result: dict[str, Any] = json.loads(json.dumps(plain, allow_nan=False))
        return result
