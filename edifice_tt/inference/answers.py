"""Which part of a text is its answer. Knows text only.

An extractor returns the answer in a canonical form, so that equal answers compare equal, or None
when it finds none: the candidate then abstains.
"""

import re
from collections.abc import Callable
from decimal import Decimal

from edifice_tt.errors import unknown_name

Extractor = Callable[[str], str | None]

# A minus right behind a letter, a digit or a closing bracket is an operator, not a sign.
_NUMBER = re.compile(
    r"(?:(?<![\w)\].])-)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\w)-?\.\d+"
)
_BRACE = re.compile(r"(?:\\boxed)?\{|\}")


def extractor(name: str) -> Extractor:
    r"""An extractor by name: `text`, `number`, `boxed`, or `regex:PATTERN`.

    A pattern's first group is the answer (the whole match when it has none); the last match counts.
    Raises `UnknownNameError` for another name and `ValueError` for a pattern that does not compile.

    >>> extractor("number")("3 + 4 = 7, so the answer is 1,007.50.")
    '1007.5'
    >>> extractor(r"regex:answer is (\w+)")("The answer is Paris.")
    'Paris'
    """
    if name.startswith("regex:"):
        try:
            pattern = re.compile(name.removeprefix("regex:"))
        except re.error as error:
            raise ValueError(f"answer={name!r} is not a regular expression: {error}") from error
        return lambda text: _last_match(pattern, text)
    if name not in _EXTRACTORS:
        raise unknown_name("answer extractor", name, [*_EXTRACTORS, "regex:PATTERN"])
    return _EXTRACTORS[name]


def whole_text(text: str) -> str | None:
    """The text without white space around it; None when nothing is left."""
    return text.strip() or None


def last_number(text: str) -> str | None:
    """The last number in the text, without thousands separators and needless zeros.

    >>> last_number("It is 12 - 5 = 7.0"), last_number("none")
    ('7', None)
    """
    found = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    if not found:
        return None
    number = Decimal(found[-1].replace(",", ""))
    # Not `normalize`: that rounds to 28 digits.
    plain = f"{number:f}"
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain if number else "0"


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, with balanced braces; None when there is none.

    >>> boxed(r"so \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    opened: list[tuple[bool, int]] = []  # braces without their match: of a box? where it begins
    begin = end = 0
    for brace in _BRACE.finditer(text):  # once through, for a text may be a million of them
        if brace[0] != "}":
            opened.append((brace[0] != "{", brace.end()))
        elif opened:
            is_box, start = opened.pop()
            if is_box and start > begin:
                begin, end = start, brace.start()
    return text[begin:end].strip() or None


def _last_match(pattern: re.Pattern[str], text: str) -> str | None:
    matches = list(pattern.finditer(text))
    if not matches:
        return None
    answer = matches[-1].group(1 if pattern.groups else 0)
    return (answer or "").strip() or None


_EXTRACTORS: dict[str, Extractor] = {"text": whole_text, "number": last_number, "boxed": boxed}
