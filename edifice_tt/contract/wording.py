"""How counts are worded, wherever they are told. Knows no record."""


def held(candidates: int, problems: int) -> str:
    """How many candidates of how many problems.

    >>> held(4, 1)
    '4 candidates of 1 problem'
    """
    return f"{counted(candidates, 'candidate')} of {counted(problems, 'problem')}"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "problem"), counted(2000, "problem")
    ('1 problem', '2,000 problems')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def cut_off_of(cut: int, total: int, max_tokens: object = None) -> str:
    """How many of `total` answers were cut off, and what to do about it.

    >>> cut_off_of(3, 4, 128)
    '3 of 4 answers (75%) were cut off at 128 tokens; --max-tokens allows longer ones.'
    """
    at = f" at {max_tokens} tokens" if type(max_tokens) is int else ""
    were = "was" if cut == 1 else "were"
    return (
        f"{cut:,} of {counted(total, 'answer')} ({cut / total:.0%}) {were} cut off{at}; "
        "--max-tokens allows longer ones."
    )
