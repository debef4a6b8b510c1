"""Extracts answers and selects candidates. Registers the built-in rules and extractors."""

from collections.abc import Callable

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_selectors(register: Callable[..., None]) -> None:
    from edifice_tt.selection import rules

    register("best_of_n", rules.best_of_n, summary="the highest score")
    register("majority", rules.majority, summary="the most common answer")
    register(
        "weighted",
        rules.weighted,
        needs="probability",
        summary="the answer with the largest sum of probabilities",
    )
    register(
        "weighted_logit",
        rules.weighted_logit,
        needs="logit",
        summary="the same for logits, by their sigmoid",
    )
    register(
        "pessimistic",
        rules.pessimistic,
        needs="probability",
        summary="the answer with the highest lower bound on its mean probability",
    )
    register("random", rules.random, summary="a candidate drawn uniformly: the baseline")
    register("oracle", rules.oracle, summary="a correct candidate, if there is one: the ceiling")


@hookimpl
def register_answers(register: Callable[..., None]) -> None:
    from edifice_tt.selection.answers import boxed, whole_text
    from edifice_tt.selection.numerals import last_number

    register("text", whole_text, summary="the whole text")
    register("number", last_number, summary="the last number, in its shortest form")
    register("boxed", boxed, summary=r"what stands in the last \boxed{...}")
