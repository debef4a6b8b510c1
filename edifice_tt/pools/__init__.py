"""Problems, candidates, pools and their file. Knows no model. Registers the built-in tasks."""

from collections.abc import Callable

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_tasks(register: Callable[..., None]) -> None:
    from edifice_tt.pools import families

    def words(name: str, make: Callable[..., tuple[str, str]], summary: str, seed: int) -> None:
        register(name, make, summary, answer="text", examples_seed=seed)

    register("add", families.add, "a two-digit and a one-digit number")
    words("common-word", families.common_word, "the word that two lists share", 1)
    register(
        "count-letter",
        families.count_letter,
        "how often a letter stands in a row",
        examples_seed=2,
    )
    register(
        "count-things", families.count_things, "how many apples are in a basket", examples_seed=2
    )
    words("days-later", families.days_later, "the day of the week so many days later", 1)
    words(
        "first-in-alphabet",
        families.first_in_alphabet,
        "the first of four words in the alphabet",
        1,
    )
    register("largest", families.largest, "the largest of four two-digit numbers", examples_seed=7)
    words("longest-word", families.longest_word, "the longest of four words", 7)
    register("removed-number", families.removed_number, "the number that a list lost")
    words("repeated-word", families.repeated_word, "the word that stands twice", 2)
    register(
        "smallest", families.smallest, "the smallest of four two-digit numbers", examples_seed=3
    )
