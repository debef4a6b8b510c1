"""Arithmetic statements in a text, checked with exact fractions. Knows text only.

A statement is an equation of numbers with at least one operation: `3 + 4 = 7`. Equations that
contain, or may contain, more than numbers are not checked; unchecked does not mean wrong.
"""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

MAX_SIDE = 200  # characters
MAX_BITS = 4096  # of a power

_REWRITES = (
    (r"(?m)^[ \t]*\d+[.)]\s", "\n"),  # the number of a list item
    (r"\\(?:times|cdot)(?![A-Za-z])|[\u00d7·]", "*"),
    (r"\\div(?![A-Za-z])|÷", "/"),
    ("\N{MINUS SIGN}", "-"),
    (r"\\[dt]?frac\{([\d.]+)\}\{([\d.]+)\}", r"((\1)/(\2))"),
    (r"\^\{(-?\d+)\}", r"^(\1)"),
    (r"\\boxed\{([^{}]*)\}", r"(\1)"),
    (r"\\(?:left|right)(?=[()])|\\[,;:! ()\[\]]|\\?\$", " "),
    (r"(?<=\d),(?=\d{3}(?!\d))", ""),
    (r"(?<=[\d)])(?=\()", "*"),
)
_RUN = re.compile(r"(?:[\d+\-*/^()= ]|\.(?=\d))+")
# Matches what is, or may be, part of the first side: an attached term, or a function's name.
_BEFORE = re.compile(r"[\w\\{}:%.]$|\b[A-Za-z] *\($|\b(?:log|ln|sin|cos|tan|sqrt|of|by) *\(?$")
# The same for the last side: `7x`, `7 x`, `7 \pi`, `7!`, `7 mod 3`; but not `7 apples`.
_AFTER = re.compile(r"[\w{%!]|:\d| *(?:\\|[A-Za-z]\b|mod\b)")
_WORKED = re.compile(r"[\d)] *[-+*/^]")
_ROUNDED = re.compile(r"-?\d*\.(\d+)")


def math_valid(prompt: str, completions: list[str]) -> list[float]:
    """For each completion, the share of its arithmetic statements that are true; 0.5 without any.

    >>> math_valid("", ["2 + 3 = 5, so 5 * 4 = 20.", "2 + 3 = 6, so 6 * 4 = 24.", "It is 20."])
    [1.0, 0.5, 0.5]
    """
    checked = [check(completion) for completion in completions]
    return [sum(found) / len(found) if found else 0.5 for found in checked]


def check(text: str) -> list[bool]:
    """Whether each arithmetic statement of a text is true, in order.

    In a chain `a = b = c` each equals sign makes a statement. A decimal number may be rounded to
    its last digit: `10 / 3 = 3.33` is true, `10 / 3 = 3` is not.
    """
    for pattern, replacement in _REWRITES:
        text = re.sub(pattern, replacement, text)
    statements = []
    for run in _RUN.finditer(text):
        sides = [side.strip() for side in run[0].split("=")]
        if len(sides) == 1:
            continue
        start = run.start() + len(run[0]) - len(run[0].lstrip())
        end = run.end() - len(run[0]) + len(run[0].rstrip())
        opening = "(" if sides[0].startswith("(") else ""
        # A leading sign may be an operator, unless it begins a line.
        inside = text[max(run.start() - 1, 0) : run.start()] not in ("", "\n")
        sign = inside and sides[0].startswith(("+", "-"))
        if sign or _BEFORE.search(text[max(start - 8, 0) : start] + opening):
            sides[0] = ""
        if _AFTER.match(text, end):
            sides[-1] = ""
        if not _WORKED.search("=".join(sides)):
            continue
        values = [_value(side) for side in sides]
        for pair, (left, right) in zip(pairwise(sides), pairwise(values), strict=True):
            if left is not None and right is not None:
                statements.append(abs(left - right) <= max(map(_slack, pair)))
    return statements


def _slack(side: str) -> Fraction:
    """Half a unit in the last place of a decimal number, 0 for anything else."""
    decimals = _ROUNDED.fullmatch(side)
    return Fraction(1, 2 * 10 ** len(decimals[1])) if decimals else Fraction(0)


def _value(side: str) -> Fraction | None:
    """The exact value of an expression of numbers, or None."""
    if len(side) > MAX_SIDE:
        return None
    side = side.replace("^", "**")
    try:
        return _evaluate(ast.parse(side, mode="eval").body, side)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _power(base: Fraction, power: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if power.denominator != 1 or abs(power) * bits > MAX_BITS:
        raise ValueError(f"{base}^{power} is no rational number of a printable size")
    return base ** int(power)


_OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: _power,
}


def _evaluate(node: ast.expr, side: str) -> Fraction:
    match node:
        case ast.Constant():
            return Fraction(side[node.col_offset : node.end_col_offset])  # exact, unlike a float
        case ast.UnaryOp(op=ast.USub()):
            return -_evaluate(node.operand, side)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            left, right = _evaluate(node.left, side), _evaluate(node.right, side)
            return _OPERATORS[type(node.op)](left, right)
    raise ValueError(f"{side!r} is not arithmetic")
