"""What a rule that votes has counted, in words: each candidate's answer, and the votes of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from edifice_tt.cli.terminal import shortened, table_with_texts
from edifice_tt.pools.candidates import RIGHT

_MOST = 5  # answers that are listed
ALL_DIFFER = (
    "whole texts voted, and no two are the same; name what an answer is, as with --answer number"
)


def votes(rule: Any) -> bool:
    """Whether a rule compares answers, so that its tally is of answers."""
    return "answer" in rule.options


def answers_of(pool: Any, rule: Any, options: Mapping[str, Any]) -> list[str]:
    """The answer of each candidate as the rule reads it, in brackets if it was cut off.

    Empty if the rule compares whole texts, or none at all.
    """
    from edifice_tt.selection import rules

    answer = options.get("answer")
    if not votes(rule) or (answer is None and all(one.answer is None for one in pool)):
        return []
    found = rules.answers_of(pool.candidates, answer)
    abstains = options.get("cut_off", "abstain") == "abstain"
    return [
        f"({form})" if form and one.is_cut_off and abstains else form or "-"
        for form, one in zip(found, pool, strict=True)
    ]


def all_differ(rule: Any, options: Mapping[str, Any], pool: Any, choice: Any) -> bool:
    """Whether whole texts were compared, and each of three or more had a vote of its own."""
    whole = options.get("answer") is None and all(one.answer is None for one in pool)
    alone = len(choice.tally) == len(pool) - choice.abstained
    return votes(rule) and whole and alone and len(choice.tally) > 2


def elected(choice: Any) -> str:
    return max(choice.tally, key=choice.tally.__getitem__, default="")


def share(choice: Any) -> str:
    """How many votes the answer had, of how many."""
    weights = choice.tally.values()
    top = max(weights, default=0.0)
    if all(float(weight).is_integer() for weight in weights):
        return f"{top:g} of {sum(weights):g}"
    return f"{top:.3g}"


def tally(choice: Any) -> str:
    """The votes of each answer, the most first, in one line."""
    by_weight = sorted(choice.tally.items(), key=lambda pair: -pair[1])
    parts = [f"{shortened(answer, 30)}: {weight:.4g}" for answer, weight in by_weight[:_MOST]]
    more = len(by_weight) - _MOST
    others = f", and {more} other answers" if more > 0 else ""
    abstained = f"; {choice.abstained} abstained" if choice.abstained else ""
    return f"votes: {', '.join(parts)}{others}{abstained}"


def show_choices(rule: Any, choices: Sequence[tuple[Any, Any]]) -> str:
    """A line per pool and its choice: the problem's id, the index, and the answer or the text.

    And whether it is right, if that is known of any; the votes, if the rule votes.
    """
    right = [RIGHT[choice.candidate.correct] if choice else "" for _, choice in choices]
    header, rows, texts = ["problem", "#"], [], []
    header += [""] if any(right) else []
    header += ["votes"] if votes(rule) else []
    for mark, (pool, choice) in zip(right, choices, strict=True):
        row = [pool.problem, str(choice.index) if choice else "-"]
        row += [mark] if any(right) else []
        row += [share(choice) if choice else ""] if votes(rule) else []
        rows.append(row)
        won = elected(choice) if choice and votes(rule) else ""
        texts.append(won or choice.candidate.answer or choice.text if choice else "")
    return table_with_texts([*header, "answer"], rows, texts)
