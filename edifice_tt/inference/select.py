"""Pool -> choice: pure rules on candidates and their scores. Needs no model and no tensor."""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edifice_tt import registry
from edifice_tt.errors import EdificeError, PluginError, unknown_name
from edifice_tt.inference.answers import extractor
from edifice_tt.inference.candidates import Candidate, Pool, score_of


@dataclass(frozen=True)
class Choice:
    """The candidate that a rule chose, and what each option got.

    `tally` maps an option to its weight: a candidate's index to its score for `best_of_n`, an
    answer to its votes for `majority`.
    """

    candidate: Candidate
    rule: str
    tally: Mapping[str, float]

    @property
    def index(self) -> int:
        return self.candidate.index

    @property
    def text(self) -> str:
        return self.candidate.text

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON."""
        return {
            "index": self.index,
            "text": self.text,
            "rule": self.rule,
            "tally": dict(self.tally),
        }


def select(pool: Pool | Sequence[Candidate], rule: str = "best_of_n", **options: Any) -> Choice:
    """Choose one candidate by a registered rule.

    `options` go to the rule: `scorer=` for `best_of_n`, `answer=` for `majority`. Raises
    `UnknownNameError` for an unknown rule or option, `ValueError` for an empty pool and
    `PluginError` for a rule that gives no `Choice`.
    """
    record = registry.selector(rule)
    check_options(rule, options)
    candidates = tuple(pool)
    if not candidates:
        raise ValueError("the pool is empty: there is nothing to choose from")
    try:
        choice = record.function(candidates, **options)
    except (EdificeError, ValueError):
        raise
    except Exception as error:  # foreign code: whatever it raises, the caller learns whose it is
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"rule {rule!r} of {record.owner} failed: {reason}") from error
    if not isinstance(choice, Choice):
        raise PluginError(f"rule {rule!r} of {record.owner} gave {choice!r:.60}, expected a Choice")
    return choice


def check_options(rule: str, options: Iterable[str]) -> None:
    """Raise `UnknownNameError` for an unknown rule, or an option that the rule does not take."""
    parameters = inspect.signature(registry.selector(rule).function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    taken = list(parameters)[1:]  # after the candidates
    for option in options:
        if option not in taken:
            raise unknown_name(f"option of {rule}", option, taken)


def best_of_n(candidates: Sequence[Candidate], scorer: str | None = None) -> Choice:
    """The candidate with the highest score; the lowest index wins ties, NaN never wins.

    `scorer` may be left out when the candidates have scores of one only. Raises `ValueError` when
    no candidate has a number.
    """
    scorers = sorted({name for candidate in candidates for name in candidate.scores})
    scorer = score_of(scorers, scorer)
    tally = {
        str(c.index): c.scores[scorer]
        for c in candidates
        if scorer in c.scores and not math.isnan(c.scores[scorer])
    }
    scored = [c for c in candidates if str(c.index) in tally]
    if not scored:
        raise ValueError(f"no candidate has a score of {scorer!r} that is a number")
    best = min(scored, key=lambda c: (-c.scores[scorer], c.index))
    return Choice(best, "best_of_n", tally)


def majority(candidates: Sequence[Candidate], answer: str | None = None) -> Choice:
    """The most common answer; of its candidates, the one with the lowest index.

    `answer` names an extractor (see `answers.extractor`); without it a candidate's own `answer`
    counts, or its whole text when no candidate has one. Candidates without an answer abstain. Of
    equally common answers the one that the lowest index gave wins. Raises `ValueError` when all
    abstain. Source: self-consistency, Wang et al., 2022, arXiv:2203.11171.
    """
    groups = group_by_answer(candidates, answer)
    tally = {key: float(len(group)) for key, group in groups.items()}
    winner = max(groups, key=lambda key: (tally[key], -groups[key][0].index))
    return Choice(groups[winner][0], "majority", tally)


def group_by_answer(
    candidates: Sequence[Candidate], answer: str | None
) -> dict[str, list[Candidate]]:
    """Candidates by their answer, in the order of their indices; those without one are left out."""
    if answer is not None:
        extract = extractor(answer)
        answers = {c.index: extract(c.text) for c in candidates}
    elif any(c.answer is not None for c in candidates):
        answers = {c.index: c.answer for c in candidates}
    else:
        answers = {c.index: extractor("text")(c.text) for c in candidates}
    groups: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda c: c.index):
        if (found := answers[candidate.index]) is not None:
            groups.setdefault(found, []).append(candidate)
    if not groups:
        raise ValueError(
            f"no candidate has an answer of the kind {answer or 'text'!r}; use another answer=..., "
            "or rule='best_of_n'"
        )
    return groups
