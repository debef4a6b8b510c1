"""Extracts answers and selects candidates. Registers the built-in rules and extractors."""

from collections.abc import Callable

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_selectors(register: Callable[..., None]) -> None:
    from edifice_tt.selection import rules

    bound = "the answer with the highest lower bound on its mean probability"
    for name, needs, summary in (
        ("best_of_n", None, "the highest score"),
        ("majority", None, "the most common answer"),
        ("weighted", "probability", "the answer with the largest sum of probabilities"),
        ("weighted_logit", "logit", "the same for logits, by their sigmoid"),
        ("pessimistic", "probability", bound),
        ("random", None, "a candidate drawn uniformly: the baseline"),
        ("oracle", None, "a correct candidate, if there is one: the ceiling"),
    ):
        register(name, getattr(rules, name), needs=needs, summary=summary)


@hookimpl
def register_answers(register: Callable[..., None]) -> None:
    from edifice_tt.selection.answers import boxed, whole_text
    from edifice_tt.selection.finals import final_number
    from edifice_tt.selection.numerals import last_number

    register("text", whole_text, summary="the whole text")
    register("number", last_number, summary="the last number, in its shortest form")
    final = r"the number behind the last ####, \boxed or 'answer is', else the last number"
    register("final_number", final_number, summary=final)
    register("boxed", boxed, summary=r"what stands in the last \boxed{...}")
