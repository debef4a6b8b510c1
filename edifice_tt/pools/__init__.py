"""Problems, candidates, pools and their file. Knows no model. Registers the built-in tasks."""

from collections.abc import Callable

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_tasks(register: Callable[..., None]) -> None:
    from edifice_tt.pools import families

    for name, summary, answer, examples_seed in (
        ("add", "a two-digit and a one-digit number", "number", 0),
        ("common-word", "the word that two lists share", "text", 1),
        ("count-letter", "how often a letter stands in a row", "number", 2),
        ("count-things", "how many apples are in a basket", "number", 2),
        ("days-later", "the day of the week so many days later", "text", 1),
        ("first-in-alphabet", "the first of four words in the alphabet", "text", 1),
        ("largest", "the largest of four two-digit numbers", "number", 7),
        ("longest-word", "the longest of four words", "text", 7),
        ("removed-number", "the number that a list lost", "number", 0),
        ("repeated-word", "the word that stands twice", "text", 2),
        ("smallest", "the smallest of four two-digit numbers", "number", 3),
    ):
        make = getattr(families, name.replace("-", "_"))
        register(name, make, summary, answer=answer, examples_seed=examples_seed)
