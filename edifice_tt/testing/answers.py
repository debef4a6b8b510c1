"""Checks an answer extractor on real texts; needs no tensor.

Knows the contract of an extractor; does not know the right answers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

from edifice_tt.contract import records
from edifice_tt.selection.answers import whole_text
from edifice_tt.testing import examples
from edifice_tt.testing.promises import BrokenPromise, attempt, find

# With unclosed boxes and answers in words.
TEXTS = (
    *examples.TEXTS,
    r"\frac{1}{2} or 0.5",
    r"\boxed{\boxed{",
    "The answer is (B).",
    "1,000 and 10^3",
)

UNREAD = ("unknown", "not known")  # where an extractor finds nothing, as in most


def check_answers(
    name_or_function: str | Callable[[str], str | None],
    equal: Callable[[str, str], bool] | None = None,
    texts: Sequence[str] = TEXTS,
) -> None:
    """Raise `BrokenPromise` unless an extractor keeps the contract of `register_answers`.

    Give the registered name, or a function and the `equal` that would be registered with it.
    `texts` are the texts to read; add your own. For each, the extractor must return a str or None,
    the same twice, and never raise. `equal` must return True or False for every pair of answers,
    True for identical ones, and the same in both orders. A right answer in which the extractor
    finds nothing reaches `equal` as it is, so texts of that kind are tried as its second argument.

    Raises `UnknownNameError` for an unknown name.

    >>> check_answers("number")
    >>> check_answers(lambda text: len(text))
    Traceback (most recent call last):
    edifice_tt.testing.promises.BrokenPromise: extractor '<lambda>' gives 12 for 'There are 8.', \
expected a str or None
    """
    function: Any = name_or_function
    make = partial(records.Extractor, function=function, equal=equal)
    who, record = find("answer extractor", function, make)
    read = {text: _read(who, record, text) for text in (*texts, *UNREAD)}
    answers = [answer for answer in read.values() if answer is not None]
    if record.equal is None:
        return
    for one, other in product(answers, answers):
        _check_pair(who, record.equal, one, other)
    for text, other in product(answers, [text.strip() for text in read if read[text] is None]):
        when = f"in equal on {text!r:.60} and {other!r:.60}, a right answer with nothing to extract"
        if not isinstance(same := attempt(who, when, partial(record.equal, text, other)), bool):
            raise BrokenPromise(f"{who} gives {same!r:.60} {when}, expected True or False")


def _read(who: str, record: records.Extractor, text: str) -> str | None:
    first, again = (attempt(who, f"on {text!r:.30}", partial(record.function, text)) for _ in "12")
    if first is not None and not isinstance(first, str):
        raise BrokenPromise(f"{who} gives {first!r:.60} for {text!r:.30}, expected a str or None")
    if first != again:
        raise BrokenPromise(
            f"{who} gives {first!r:.60} at first and then {again!r:.60} for {text!r:.30}"
        )
    return None if first is None else whole_text(first)


def _check_pair(who: str, equal: Callable[[str, str], bool], one: str, other: str) -> None:
    pair = f"{one!r:.60} and {other!r:.60}"
    same = attempt(who, f"in equal on {pair}", lambda: equal(one, other))
    back = attempt(who, f"in equal on {pair}", lambda: equal(other, one))
    if not isinstance(same, bool):
        raise BrokenPromise(f"{who}: equal gives {same!r:.60} for {pair}, expected True or False")
    if one == other and not same:
        raise BrokenPromise(f"{who}: its equal says that {one!r:.60} is not equal to itself")
    if same != back:
        raise BrokenPromise(f"{who}: whether {pair} are equal depends on their order")
