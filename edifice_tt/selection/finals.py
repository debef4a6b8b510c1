"""Finds the number that a text gives as its final answer. Knows text only."""

import re

from edifice_tt.selection.answers import boxed
from edifice_tt.selection.numerals import last_number

_BOX = r"\\(?:boxed|fbox)(?![A-Za-z])"
_GIVEN = re.compile(
    rf"####|{_BOX}|\banswers?\b[^\n.:=?]{{0,60}}?(?:\b(?:is|are|was|equals)\b|[:=])", re.IGNORECASE
)
_LEAD = re.compile(r"[\s:=*_]*")  # between the words and the number
# The first number with the signs and numbers that follow, and the unit or scale behind it.
_FIRST = re.compile(r"\D*\d\S*(?:\s+[^A-Za-z\s]\S*)*(?:\s+and\s+\d+/\d+)?(?:\s+[A-Za-z]\S*)?")
_END = re.compile(r"\n|[.;!?](?=\s)")


def final_number(text: str) -> str | None:
    r"""The number behind the last `####`, `\boxed` or "answer is"; without one, the last number.

    Behind these it is the first number of the line or sentence, or the last where there is an
    equals sign. So what is said later does not count. A mark without a number behind it is passed
    over. Numbers are as `last_number` has them.

    >>> final_number("#### 20 \n Sam reads 20 pages in 3 days.")
    '20'
    >>> final_number("So the answer is 150 miles in 3 hours."), final_number("2, then 3")
    ('150', '3')
    """
    end = len(text)
    for given in reversed([*_GIVEN.finditer(text)]):
        if given[0].startswith("\\"):
            found = last_number(boxed(text[given.start() : end]) or "")
        else:
            line = _first_line(text, given.end(), end)
            first = None if "=" in line else _FIRST.match(line)
            found = last_number(first[0] if first else line)
        if found is not None:
            return found
        end = given.start()
    return last_number(text)


def _first_line(text: str, begin: int, end: int) -> str:
    """The rest of the line or sentence, or the one below where nothing is left of it."""
    lead = _LEAD.match(text, begin, end)
    begin = lead.end() if lead else begin
    stop = _END.search(text, begin, end)
    return text[begin : stop.start() if stop else end]
