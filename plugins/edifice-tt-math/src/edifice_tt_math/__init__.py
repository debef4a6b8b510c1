"""Extracts mathematical answers, compares them as mathematics and counts their votes.

Registers the answer extractor `math`, the selection rule `math_majority` and the text scorer
`math_valid`. The import is cheap: exports load on first use, and sympy runs in a separate process.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edifice_tt import hookimpl

if TYPE_CHECKING:
    from edifice_tt import Candidate, Choice

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
def register_answers(register: Callable[..., None]) -> None:
    register("math", _extract, equal=_equal, summary="the final answer, compared as mathematics")


def _extract(text: str) -> str | None:
    from edifice_tt_math.answers import extract

    return extract(text)


def _equal(answer: str, other: str) -> bool:
    from edifice_tt_math.equality import equal

    return equal(answer, other)


@hookimpl
def register_selectors(register: Callable[..., None]) -> None:
    register("math_majority", math_majority, summary="the most common answer, as mathematics")


def math_majority(
    candidates: "Sequence[Candidate]", answer: str | None = None, cut_off: str = "abstain"
) -> "Choice":
    """The most common answer, where mathematically equal answers count as one.

    A graded candidate's own `answer` counts, else what the extractor `math` finds in its text;
    `answer` names another extractor. Candidates without an answer abstain, and so do those that
    were cut off, unless `cut_off` is `vote`. The lowest index wins ties. `tally` maps each answer,
    in canonical form, to its votes. Raises `ValueError` when all abstain, and when only some were
    graded.
    """
    import edifice_tt
    from edifice_tt_math.equality import group

    if answer is None and all(candidate.answer is None for candidate in candidates):
        answer = "math"
    by_text = edifice_tt.group_by_answer(candidates, answer, cut_off)
    texts = list(by_text.values())
    voters = {form: [c for i in same for c in texts[i]] for form, same in group(by_text).items()}
    tally = {form: float(len(some)) for form, some in voters.items()}
    first = {form: min(c.index for c in some) for form, some in voters.items()}
    winner = max(voters, key=lambda form: (tally[form], -first[form]))
    chosen = next(c for c in voters[winner] if c.index == first[winner])
    abstained = len(candidates) - sum(map(len, texts))
    return edifice_tt.Choice(chosen, "math_majority", tally, abstained=abstained)
