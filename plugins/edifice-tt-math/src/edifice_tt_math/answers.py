"""Extracts the mathematical answer from a text. Knows text only."""

import re
from collections.abc import Callable
from functools import cache

import edifice_tt
from edifice_tt_math.equality import canonical

TAIL = 10_000  # characters; the answer is at the end of a text

_FORMULA = r"(?<!\\)\$(?! )[^$\n]{1,300}(?<! )\$(?!\d)|\\\([^\n]{1,300}?\\\)|\\\[.{1,300}?\\\]"
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_POWER = r"[eE][+-]?\d+|(?: ?(?:\\times|\\cdot|[*\u00d7·]) ?10)?\^(?:\{-?\d+\}|-?\d+)"
_NUMBER = (
    r"(?:(?<![\w)\]}.])-\s?)?"
    r"(?:\d{1,4}(?:[-/]\d{1,4}){2}|\d{1,2}(?::\d\d)+"  # a date, a time of day
    rf"|\\[dt]?frac\{{\d+\}}\{{\d+\}}|(?:{_DIGITS})(?:/\d+|{_POWER})?)(?:\s?\\?%)?"
)
_FOUND = re.compile(rf"(?P<formula>{_FORMULA})|{_NUMBER}", re.DOTALL)
_STATED = re.compile(r"(?i:answer)(?:\s+is\b|\s*:)[\s:*]*([^\n]{1,300})")
_WORD = re.compile(r"(?<!\\)\b[A-Za-z]{2,}")
_LISTED = re.compile(r"\\(?:text|textbf|mbox|mathrm) ?\{[^{}]*\}|\b(?:and|or)\b")
_BARE = re.compile(r"(?!.*\\f?box)[^\n#]{1,300}")


def extract(text: str) -> str | None:
    r"""The final answer of a text in canonical form, or None when there is none.

    It is the content of the last `\boxed{}`, else what follows the last "answer is" or "answer:".
    Failing that, it is the whole text if that is one formula, as gold answers often are, else the
    last formula or number. Of an equation the right-hand side counts. The model's thinking is
    ignored.

    >>> extract(r"Hence \boxed{\frac{1}{2}}."), extract("The answer is 1,000."), extract("Hm.")
    ('0.5', '1000', None)
    """
    text = edifice_tt.without_thinking(text)[-TAIL:]
    found = _boxed()(text) or _stated(text) or _bare(text) or _last(text)
    return (canonical(found) or None) if found else None


@cache
def _boxed() -> Callable[[str], str | None]:
    return edifice_tt.extractor("boxed")


def _bare(text: str) -> str | None:
    formula = _BARE.fullmatch(text.strip())
    if not formula or _WORD.search(_LISTED.sub("", text)) or not re.search("[A-Za-z0-9]", text):
        return None
    return _right_side(formula)


def _stated(text: str) -> str | None:
    if not (stated := _STATED.findall(text)):
        return None
    sentence = re.split(r"[.;!?](?:\s|$)", stated[-1])[0].strip(" *")
    if (found := _FOUND.search(sentence)) and (found["formula"] or _WORD.search(sentence)):
        return _right_side(found)
    return None if _WORD.search(sentence) else sentence


def _last(text: str) -> str | None:
    found = list(_FOUND.finditer(text))
    return _right_side(found[-1]) if found else None


def _right_side(found: re.Match[str]) -> str:
    return re.split(r"(?<![<>!\\])=", found[0])[-1]
