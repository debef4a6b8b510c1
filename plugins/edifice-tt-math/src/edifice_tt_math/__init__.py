"""Mathematical answers: found in a text, compared as mathematics, counted by a majority rule.

Registers the selection rule `math_majority` and the text scorer `math_valid`. Importing it costs
nothing: what it exports is loaded at first use, and sympy runs in a process of its own.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edifice_tt import hookimpl

if TYPE_CHECKING:
    from edifice_tt.inference.candidates import Candidate
    from edifice_tt.inference.select import Choice

_HOMES = {
    "canonical": "equality",
    "check": "arithmetic",
    "equal": "equality",
    "extract": "answers",
    "math_valid": "arithmetic",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    register(
        "math_valid",
        _math_valid,
        reads="text",
        range="probability",
        summary="the share of an answer's arithmetic statements that are true",
    )


def _math_valid() -> Callable[[str, list[str]], list[float]]:
    from edifice_tt_math.arithmetic import math_valid

    return math_valid


@hookimpl
def register_selectors(register: Callable[..., None]) -> None:
    register("math_majority", math_majority, summary="the most common answer, as mathematics")


def math_majority(candidates: Sequence["Candidate"], answer: str | None = None) -> "Choice":
    """The most common answer, where answers count as one when they are equal as mathematics.

    `answer` names one of edifice_tt's extractors; without it a candidate's own `answer` counts, or
    `extract` of its text when nobody has looked for one. Candidates without an answer abstain. Of
    equally common answers the one that the lowest index gave wins, by its candidate of the lowest
    index. `tally` maps each answer, in canonical form, to its votes; `abstained` counts the
    candidates without one. Raises `ValueError` when all abstain, and where only some have been
    looked at.
    """
    from edifice_tt.inference.answers import extractor
    from edifice_tt.inference.rules import own_answers
    from edifice_tt.inference.select import Choice
    from edifice_tt_math.answers import extract
    from edifice_tt_math.equality import group

    find = extract if answer is None else extractor(answer)
    ordered = sorted(candidates, key=lambda c: c.index)
    own = own_answers(ordered) if answer is None else None
    answers = [text or "" for text in own or (find(c.text) for c in ordered)]
    voters = [(c, text) for c, text in zip(ordered, answers, strict=True) if text.strip()]
    if not voters:
        raise ValueError(
            f"no candidate has an answer of the kind {answer or 'math'!r}; use another kind "
            "(answer=..., --answer), or rule best_of_n"
        )
    groups = group(text for _, text in voters)
    tally = {form: float(len(positions)) for form, positions in groups.items()}
    winner = max(groups, key=lambda form: (tally[form], -groups[form][0]))
    chosen = voters[groups[winner][0]][0]
    return Choice(chosen, "math_majority", tally, abstained=len(ordered) - len(voters))
