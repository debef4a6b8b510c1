"""The built-in rules: pure functions of candidates and scores. Knows no model and no tensor.

Sums are exact before they are rounded, so no choice depends on the order of the candidates. The
lowest index wins ties.
"""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from edifice_tt.contract.options import check_seed
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.given import check_candidates
from edifice_tt.selection.answers import Named, find_answers, whole_text, without_thinking
from edifice_tt.selection.select import Choice
from edifice_tt.selection.usable import check_scores, scorer_of

CUT_OFF = ("abstain", "vote")  # what an answer does that was cut off before its end
DELTA = 0.1  # how often the bound of `pessimistic` may fail, unless told otherwise


def best_of_n(candidates: Sequence[Candidate], scorer: str | None = None) -> Choice:
    """The candidate with the highest score; the lowest index wins ties, NaN never wins.

    `scorer` may be omitted when only one has scored the candidates. `tally` maps an index to its
    score. A candidate without a score, or with NaN, abstains. Raises `ValueError` when all abstain.
    Source: Nakano et al., 2021, arXiv:2112.09332.

    >>> best_of_n([Candidate(0, "a", scores={"s": 1.0}), Candidate(1, "b", scores={"s": 3.0})]).text
    'b'
    """
    scorer = scorer_of(candidates, scorer)
    scored = [c for c in _in_order(candidates) if not math.isnan(c.scores.get(scorer, math.nan))]
    if not scored:
        raise ValueError(f"no candidate has a score of {scorer!r} that is a number")
    best = min(scored, key=lambda c: (-c.scores[scorer], c.index))
    tally = {str(c.index): c.scores[scorer] for c in scored}
    return Choice(best, "best_of_n", tally, len(candidates) - len(scored))


def majority(
    candidates: Sequence[Candidate], answer: Named | None = None, cut_off: str = "abstain"
) -> Choice:
    """The candidate with the most common answer; the lowest index among those.

    `answer` names an extractor (see `answers_of`). `cut_off` says whether an answer that was cut
    off or dropped (`finish_reason` is `length` or `dropped`) may `vote` or must `abstain`: it is no
    answer yet. `tally` maps an answer to its votes. Raises `ValueError` when all abstain. Source:
    self-consistency, Wang et al., 2022, arXiv:2203.11171.

    >>> majority([Candidate(0, "8"), Candidate(1, "so 7"), Candidate(2, "7.0")], "number").tally
    {'8': 1.0, '7': 2.0}
    """
    return _elect("majority", candidates, answer, cut_off, lambda group: float(len(group)))


def weighted(
    candidates: Sequence[Candidate],
    scorer: str | None = None,
    answer: Named | None = None,
    cut_off: str = "abstain",
) -> Choice:
    """The candidate whose answer has the largest sum of scores; the lowest index among those.

    `scorer` as in `best_of_n`, `answer` and `cut_off` as in `majority`; `tally` maps an answer to
    its sum. Raises `ValueError` unless every candidate's score is a probability, and when all
    abstain. Source: verifier-weighted voting, Li et al., 2022, arXiv:2206.02336.

    >>> scored = [("8", 0.75), ("7", 0.5), ("7", 0.5)]
    >>> weighted([Candidate(i, t, scores={"s": s}) for i, (t, s) in enumerate(scored)]).tally
    {'8': 0.75, '7': 1.0}
    """
    name = scorer_of(candidates, scorer)
    check_scores("weighted", "probability", candidates, name)

    def weigh(group: Sequence[Candidate]) -> float:
        return math.fsum(c.scores[name] for c in group)

    return _elect("weighted", candidates, answer, cut_off, weigh)


def weighted_logit(
    candidates: Sequence[Candidate],
    scorer: str | None = None,
    answer: Named | None = None,
    cut_off: str = "abstain",
) -> Choice:
    """`weighted` with the sigmoid of each score, for a scorer that declares logits.

    >>> scored = [("8", 1.0), ("7", 0.0), ("7", 0.0)]
    >>> weighted_logit([Candidate(i, t, scores={"s": s}) for i, (t, s) in enumerate(scored)]).tally
    {'8': 0.7310585786300049, '7': 1.0}
    """
    name = scorer_of(candidates, scorer)
    check_scores("weighted_logit", "logit", candidates, name)

    def weigh(group: Sequence[Candidate]) -> float:
        return math.fsum(sigmoid(c.scores[name]) for c in group)

    return _elect("weighted_logit", candidates, answer, cut_off, weigh)


def pessimistic(
    candidates: Sequence[Candidate],
    scorer: str | None = None,
    answer: Named | None = None,
    delta: float = DELTA,
    cut_off: str = "abstain",
) -> Choice:
    """The answer with the highest lower bound on its mean score, which rewards many votes.

    An answer's weight is Hoeffding's lower bound on the mean of its n scores, which holds with
    probability 1 - `delta`: mean - sqrt(ln(1 / delta) / (2 n)). With `delta=1` this compares plain
    means; a tiny `delta` almost equals `majority`. `scorer` and `answer` as in `weighted`; `tally`
    maps an answer to its bound, which may be negative. Raises `ValueError` unless every candidate's
    score is a probability, for `delta` outside (0, 1], and when all abstain. Source: the bound,
    Hoeffding, 1963; pessimism in choosing an answer, Shi and Jin, 2025, arXiv:2504.10337.
    """
    if not 0 < delta <= 1:
        raise ValueError(f"delta={delta} must be above 0 and at most 1; use 0.1")
    name = scorer_of(candidates, scorer)
    check_scores("pessimistic", "probability", candidates, name)

    def bound(group: Sequence[Candidate]) -> float:
        return float(lower_bound(math.fsum(c.scores[name] for c in group), len(group), delta))

    return _elect("pessimistic", candidates, answer, cut_off, bound)


def random(candidates: Sequence[Candidate], seed: int = 0) -> Choice:
    """A candidate drawn uniformly: the baseline of a single sample.

    The draw depends only on `seed` and the candidates' indices; `edifice_tt.select` mixes the
    problem's id into the seed. `tally` maps an index to its probability. Raises `ValueError` unless
    the seed is a whole number from 0 to 2^64 - 1.
    """
    check_seed(seed)
    ordered = _in_order(candidates)
    # Not `choice`: only `random` draws the same in every version of Python.
    pick = ordered[int(Random(seed).random() * len(ordered))]
    return Choice(pick, "random", {str(c.index): 1 / len(ordered) for c in ordered})


def oracle(candidates: Sequence[Candidate]) -> Choice:
    """The first correct candidate, else the lowest index: the ceiling for every rule.

    `tally` maps an index to 1 if it is correct, to 0 if not. Raises `ValueError` for a candidate
    whose `correct` is None.
    """
    ordered = _in_order(candidates)
    if unmarked := [candidate.index for candidate in ordered if candidate.correct is None]:
        raise ValueError(
            f"rule 'oracle' needs to know what is right, but candidate {unmarked[0]} has "
            "correct=None; mark them first: edifice_tt.grade in Python, `edifice-tt grade POOL "
            "--answer ...` on the command line"
        )
    right = [candidate for candidate in ordered if candidate.correct]
    tally = {str(c.index): float(bool(c.correct)) for c in ordered}
    return Choice((right or ordered)[0], "oracle", tally)


def answers_of(candidates: Sequence[Candidate], answer: Named | None = None) -> list[str | None]:
    """Each candidate's answer in canonical form, in the given order; None abstains.

    `answer` names an extractor (see `answers.extractor`). Where it has an `equal` of its own, an
    answer has the form of the first that it is equal to, in the order of the indices. Without an
    extractor a candidate's own `answer` counts, or its whole text when nobody has looked for any,
    `without_thinking` and the white space around. Raises `ValueError` when somebody has looked in
    some of them only.

    >>> answers_of([Candidate(0, "so 7.0"), Candidate(1, "no idea")], "number")
    ['7', None]
    """
    if answer is not None:
        kind = find_answers(answer)
        order = sorted(range(len(candidates)), key=lambda i: candidates[i].index)
        merged = kind.merge(kind.extract(candidates[i].text) for i in order)
        by_place = dict(zip(order, merged, strict=True))
        return [by_place[i] for i in range(len(candidates))]
    if all(c.answer is None for c in candidates):
        return [whole_text(without_thinking(c.text)) for c in candidates]
    # A marked candidate was graded: in older pools None also stands for "no answer found".
    if not_looked := [c.index for c in candidates if c.answer is None and c.correct is None]:
        raise ValueError(
            f"candidate {min(not_looked)} has not been looked at for its answer, others have; "
            "grade the pool, or name an extractor (answer=..., --answer)"
        )
    return [whole_text(c.answer or "") for c in candidates]


def group_by_answer(
    candidates: Sequence[Candidate], answer: Named | None = None, cut_off: str = "abstain"
) -> dict[str, list[Candidate]]:
    """Candidates grouped by answer, in the order of their indices; without those that abstain.

    `answer` and `cut_off` as in `majority`, so that every rule that votes has the same default.
    Raises `ValueError` when all abstain.
    """
    check_cut_off(cut_off)
    check_candidates(candidates)
    ordered = _in_order(candidates)
    groups: dict[str, list[Candidate]] = {}
    num_cut = 0
    for candidate, form in zip(ordered, answers_of(ordered, answer), strict=True):
        if form is not None and not candidate.is_whole and cut_off == "abstain":
            num_cut += 1
        elif form is not None:
            groups.setdefault(form, []).append(candidate)
    if num_cut and not groups:
        raise ValueError(
            f"no candidate that reached its end has an answer, and the {num_cut} of {len(ordered)} "
            "that have one were cut off, so all abstain; allow longer ones (max_tokens=, "
            "--max-tokens), or let them vote as they are (cut_off='vote', --cut-off vote)"
        )
    if not groups:
        kind = f" of the kind {answer!r}" if answer else ""
        raise ValueError(
            f"no candidate has an answer{kind}; use another kind (answer=..., --answer), or rule "
            "best_of_n"
        )
    return groups


def check_cut_off(cut_off: str) -> None:
    """Raise `ValueError` unless it says what an answer does that was cut off."""
    if cut_off not in CUT_OFF:
        raise ValueError(f"cut_off={cut_off!r:.40} must be one of {', '.join(CUT_OFF)}")


def _elect(
    rule: str,
    candidates: Sequence[Candidate],
    answer: Named | None,
    cut_off: str,
    weigh: Callable[[Sequence[Candidate]], float],
) -> Choice:
    groups = group_by_answer(candidates, answer, cut_off)
    tally = {key: weigh(group) for key, group in groups.items()}
    winner = max(groups, key=lambda key: (tally[key], -groups[key][0].index))
    abstained = len(candidates) - sum(map(len, groups.values()))
    return Choice(groups[winner][0], rule, tally, abstained)


def _in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda c: c.index)


def lower_bound(total: Any, count: Any, delta: float = DELTA) -> Any:
    """Hoeffding's, on the mean of `count` probabilities of this sum; numbers or arrays."""
    return total / count - (-math.log(delta) / (2 * count)) ** 0.5


def sigmoid(logit: float) -> float:
    # The exponent is never positive, so it cannot overflow.
    small = math.exp(-abs(logit))
    return 1 / (1 + small) if logit >= 0 else small / (1 + small)
