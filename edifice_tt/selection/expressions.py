"""Finds the expressions in a text that may be numbers. Knows canonical text; no values.

An expression is a stretch between words and stops. Dashes, bullets and stars around it are marks,
not operators, unless they have a second operand.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_LETTER = r"[A-Za-z\u00c0-\u024f\u0370-\u03bf\u03c1-\u052f]"  # scripts with spaces, without π
_POWER_OF_NAME = r"\^(?:\{[^{}\n]*\}|-?\w)|_(?:\{[^{}\n]*\}|[A-Za-z0-9])"
# Python before 3.11.5 is wrong about possessive groups, `(?:...)*+`; what stands here for them is
# `(?=(?P<name>(?:...)*))(?P=name)`, which gives nothing back either.
_TOKEN = re.compile(
    rf"""
    (?P<atom>(?<!{_LETTER})(?:(?:sqrt|log|ln|exp|sin|cos|tan|mod|infinity|squared|cubed|factorial)
            (?!{_LETTER})
            |[A-Za-z](?=\())
        |[∞π√∛∜±∓⌊⌋⌈⌉∑∏∫]|(?<=\d)[\u0300-\u036f]|(?<=\d)[.,](?=\d)|\|(?=-)|\d*+\.\d++\.\.+|(?<=\d)\.\.+(?=\d)|(?<=\d)\.(?=\()|(?<=\d)\x20?[十百千万萬亿億兆])
    |(?P<number>(?:(?<![\w.)\]}}])\.)?\d+(?=(?P<groups>(?:[.,'_]\d+)*))(?P=groups)(?:\.?\N{{OVERLINE}}\d+\N{{OVERLINE}})?
        (?:\.?[eE][+-]?\d+)?)
    |(?P<command>\\[A-Za-z]+)
    |(?P<word>{_LETTER}(?=(?P<rest>
        (?:[^\W_\u3040-\uffff]++|['-](?=[^\W_])|(?<=\d)\.(?=\d)|{_POWER_OF_NAME}|/(?={_LETTER}))*))(?P=rest))
    |(?P<open>[(\[{{])
    |(?P<close>[)\]}}])
    |(?P<separator>[,;])
    |(?P<stop>--+|!=|<=|>=|=>|->)
    |(?P<operator>[-+*/^°]|(?<=[\d)}}])\x20?%|(?<=[\dA-Za-z)}}\]])_(?=[\w{{])|(?<=\d):(?=\d)|(?<=\d)\x20:(?=\x20\d)
        |(?<=[\d)}}])!(?![\s"'*]|$))
    |(?P<space>[\x20\t]+)
    |(?P<other>[\s\S])
    """,
    re.VERBOSE,
)
_NUMERIC = re.compile(r"\d|[∞π]|\\(?:pi|infty)(?![A-Za-z])|(?<![A-Za-z])infinity(?![A-Za-z])")
# A single letter after a number is a unit, a variable, or a factor of 1000 (k).
_UNIT = re.compile(
    r"(?!(?:bn|mn|tn)(?![A-Za-z]))(?:[^\W\d_]{2,}|[mgshdlLVWAJNCF])"
    r"(?:\^?[23]|\^\{-?\d\})?(?=(?P<per>(?:[-/][^\W\d_]++(?:\^?[23]|\^\{-?\d\})?)*))(?P=per)"
)
_NAME_BEFORE = re.compile(rf"{_LETTER}[\w^{{}})]*\Z")
_VARIABLE_BEFORE = re.compile(rf"(?<![\w']){_LETTER}(?:[\^_][\w{{}}-]*)?[)}}]*\Z")
_EXPONENT = re.compile(r"\^ ?(?:\{[^{}]*\}|-?\w)")
_VARIABLE_AFTER = re.compile(rf"{_LETTER}(?!\w)")
_ALWAYS = ("number", "atom", "command", "operator", "open")  # part of an expression
_VALUES = ("number", "close", "group")  # an adjacent letter multiplies these
_WITHIN = ("close", "separator")  # part of an expression inside brackets
_BESIDE = 40  # characters that are looked at before and after


class Expression(NamedTuple):
    """A stretch of the text that may be a number, with the text before and after it."""

    text: str
    before: str
    after: str


class _Bracket(NamedTuple):
    place: int
    is_argument: bool  # of a command or an exponent: only its closing bracket ends it
    is_group: bool  # braces that only group, as in a box
    more: int  # arguments that may follow this one


def expressions(text: str) -> Iterator[Expression]:
    """The numeric stretches between words and stops, in order."""
    start, end, arguments, last, apart = -1, 0, 0, "", False
    opened: list[_Bracket] = []  # open brackets
    for token in _TOKEN.finditer(text):
        kind, word = token.lastgroup or "", token[0]
        if kind == "space":
            apart = True
            continue
        inside = bool(opened) and opened[-1].is_argument
        is_suffix = kind == "word" and last in _VALUES and not (apart or _UNIT.fullmatch(word))
        goes_on = inside or is_suffix or kind in _ALWAYS or (bool(opened) and kind in _WITHIN)
        is_group = word == "{" and not inside and arguments <= 0
        two = apart and not opened and {last, "group" if is_group else kind} <= {"number", "group"}
        if start >= 0 and (not goes_on or (two and (is_group or last == "group"))):
            yield from _cut(text, start, end, opened)
            start, arguments = -1, 0
            opened.clear()
        last, apart = kind, False
        if not goes_on:
            continue
        start, end = (token.start() if start < 0 else start), token.end()
        if kind == "open":
            is_argument = inside or (word == "{" and not is_group)
            opened.append(_Bracket(token.start(), is_argument, is_group, arguments - 1))
        arguments = 0
        if kind == "close":
            bracket = opened.pop()
            arguments, last = bracket.more, "group" if bracket.is_group else kind
        elif kind == "command":
            arguments = 2 if word == r"\frac" else len(text)
        elif word in ("^", "_"):
            arguments = 1
    if start >= 0:
        yield from _cut(text, start, end, opened)


def _cut(text: str, start: int, end: int, opened: list[_Bracket]) -> Iterator[Expression]:
    """The expression, if it is numeric; the part inside the bracket if one is left open."""
    if not any(bracket.is_argument for bracket in opened):
        for place in (bracket.place for bracket in reversed(opened)):
            if _NUMERIC.search(text, place, end):
                start = start if "\\" in text[start:place] else place + 1
                break
            end = place
    if _NUMERIC.search(text, start, end) and not _EXPONENT.fullmatch(text, start, end):
        before, after = text[max(start - _BESIDE, 0) : start], text[end : end + _BESIDE]
        yield Expression(text[start:end], before, after)


def without_marks(expression: Expression) -> str | None:
    """The expression without surrounding marks; None where the text continues it."""
    body = expression.text.strip()
    left, right = expression.before.rstrip(" \t"), expression.after.lstrip(" \t")
    name = bool(_NAME_BEFORE.search(left))
    glued = name and left == expression.before
    variable = bool(_VARIABLE_BEFORE.search(left))
    if not left and right == "!":  # the text `5!` alone is ambiguous: a factorial or an exclamation
        return None
    if body.startswith("*"):
        bare = body.lstrip("*")
        if glued or (name and bare.startswith(" ")):
            return None
        body, name, variable = bare.lstrip(), False, False
    if body.startswith("+"):
        if variable or glued or (name and body.startswith("+ ")):
            return None
        body = body[1:].lstrip()
    elif body.startswith("- ") and not left.endswith(("=", "<", ">", "(", "[", "{")):
        if variable or left.endswith(":"):
            return None
        if left or right.strip(" .\n"):  # a dash or a bullet
            body = body[1:].lstrip()
    elif body.startswith("-") and variable:
        return None
    if body.endswith(" *") and not right:
        return None
    if body.endswith("*"):
        if re.match(_LETTER, right) and (right == expression.after or body.endswith(" *")):
            return None
        return body.rstrip("*").rstrip()
    if body.endswith("-"):
        return None if not right or _VARIABLE_AFTER.match(right) else body[:-1]
    if body.endswith("/"):
        return body[:-1] if re.match(_LETTER, right) else None
    return body
