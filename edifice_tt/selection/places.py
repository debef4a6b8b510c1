"""Where in a text an extractor has read its answer. Knows pools; marks nothing."""

import re
from collections.abc import Callable, Iterator
from itertools import islice

from edifice_tt.contract.errors import EdificeError, PluginError
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool
from edifice_tt.selection.answers import Extractor, find_answers, opened_thinking, whole_text
from edifice_tt.selection.grade import graded_with

_WORD = re.compile(r"\S+")
_EDGES = "*_$`\"'()[].,;:!?"  # around a word, no part of an answer
_MOST = 64  # places that are tried


def place_of(text: str, answer: str, extract: Extractor) -> tuple[int, int] | None:
    """Where the answer stands that the extractor reads: from, to. None where that is not one place.

    Each place that says the same is altered in turn, and where that changes what is read, it was
    read there.

    >>> from edifice_tt.selection.answers import extractor
    >>> place_of("7 pages a day, 7 days: 49 pages", "49", extractor("number"))
    (23, 25)
    """
    if not answer or whole_text(text) == answer:
        return None
    for begin, end in islice(_places(text, answer, extract), _MOST):
        if extract(text[:begin] + _altered(text[begin:end]) + text[end:]) != answer:
            return begin, end
    return None


def reader_of(pool: Pool) -> Callable[[Candidate], tuple[int, int] | None]:
    """What tells where in a candidate its answer was read, if the extractor is known and here."""
    name = graded_with(pool.settings)
    try:
        extract = None if name is None else find_answers(name).extract
    except (EdificeError, ValueError):  # of a plugin that is not installed
        extract = None
    sign = opened_thinking(pool.prompt)

    def place(candidate: Candidate) -> tuple[int, int] | None:
        if extract is None or not candidate.answer:
            return None
        try:
            found = place_of(sign + candidate.text, candidate.answer, extract)
        except PluginError:  # an altered text may be none of its kind
            return None
        return found and (found[0] - len(sign), found[1] - len(sign))

    return place


def _places(text: str, answer: str, extract: Extractor) -> Iterator[tuple[int, int]]:
    """Places that say this answer, the last first: so spelled, then words of the same form."""
    at = text.rfind(answer)
    while at >= 0:
        yield at, at + len(answer)
        at = text.rfind(answer, 0, at + len(answer) - 1)
    for word in reversed([*_WORD.finditer(text)]):
        bare = word[0].strip(_EDGES)
        if not set(bare).isdisjoint(answer) and extract(bare) == answer:
            begin = word.start() + word[0].index(bare)
            yield begin, begin + len(bare)


def _altered(text: str) -> str:
    """The text with each digit and letter replaced by another."""
    return "".join(_other(sign) for sign in text)


def _other(sign: str) -> str:
    if sign.isdecimal():
        return "7" if sign != "7" else "3"
    return ("x" if sign != "x" else "y") if sign.isalpha() else sign
