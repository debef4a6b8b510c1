r"""Finds the last number of a text, exactly or not at all. Knows text only.

The text gets canonical spelling (`spelling.py`). Then its last numeric expression
(`expressions.py`) must be one number as a whole.
"""

import re
import sys
from collections import deque
from fractions import Fraction

from edifice_tt.selection.expressions import Expression, expressions, without_marks
from edifice_tt.selection.spelling import plain_characters, plain_latex

# Of a computed value: Python prints as many, whatever limit the user has set.
_MAX_DIGITS = sys.int_info.str_digits_check_threshold
_LARGEST = 10**_MAX_DIGITS - 1
_POWERS = (
    *((2, "hundred"), (3, "thousand"), (5, "lakh"), (6, "million"), (6, "mn"), (7, "crore")),
    *((9, "billion"), (9, "bn"), (12, "trillion"), (12, "tn")),
)
# In the plural alone: `3 fifth graders` are three.
_PARTS = (
    *("halves", "thirds", "fourths", "fifths", "sixths"),
    *("sevenths", "eighths", "ninths", "tenths"),
)
_SCALES = {
    "dozen": Fraction(12),
    **{name: Fraction(10**power) for power, name in _POWERS},
    **{name: Fraction(1, part) for part, name in enumerate(_PARTS, 2)},
    "hundredths": Fraction(1, 100),
    "thousandths": Fraction(1, 1000),
}

_NUMERIC = (*"0123456789∞π", r"\infty", r"\pi", "infinity")

_GROUPED = re.compile(
    r"[1-9]\d{0,2}(?P<mark>[,'_])\d{3}(?=(?P<rest>(?:(?P=mark)\d{3})*))(?P=rest)(?:\.\d+)?"
    r"|[1-9]\d?(?:,\d\d)+,\d{3}(?:\.\d+)?"
)
_UNGROUPED = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_SCALE = re.compile(rf"[\s{{]*({'|'.join(_SCALES)})s?(?![\w-])")
_BRACKETED = re.compile(r"([+-]? ?)[(\[{](.*)[)\]}]")

_DIGITS = r"\.?\d[\d.,'_]*+"
_OPERAND = rf"(?:{_DIGITS}|[({{] ?[+-]?{_DIGITS} ?[)}}])"
_ARGUMENT = rf"(?:\{{ ?[+-]? ?{_DIGITS} ?\}}|\d)"
_POWER = r"\^ ?(?P<power>\{ ?[+-]?\d+ ?\}|\( ?[+-]?\d+ ?\)|[+-]?\d+)"
_FORMS = tuple(
    re.compile(rf" *(?P<sign>[+-]?) *{form}[ %°]*")
    for form in (
        rf"(?P<digits>{_DIGITS})",
        rf"(?P<digits>{_DIGITS})[eE](?P<power>[+-]?\d+)",
        r"(?P<digits>\d+)\.(?P<once>\d*)" "\N{OVERLINE}(?P<cycle>\\d+)\N{OVERLINE}",
        rf"(?:(?P<whole>\d[\d,'_]*+) +)?(?P<top>{_OPERAND}) ?/ ?(?P<bottom>{_OPERAND})",
        rf"(?:(?P<whole>\d[\d,'_]*+) *)?\\frac ?(?P<top>{_ARGUMENT}) ?(?P<bottom>{_ARGUMENT})",
        rf"(?P<base>{_OPERAND}) ?{_POWER}",
        rf"(?P<digits>{_OPERAND}) *\* *10 ?{_POWER}",
    )
)


def last_number(text: str) -> str | None:
    r"""The last number in the text as the shortest decimal, or else as a reduced fraction.

    None without a number, and when the last expression with digits is not exactly one number:
    `\sqrt{2}`, `5 - 3`, `(1, 2)`, `2024-05-01`, `12:30`, `1,5`, `2x`. Names that contain digits
    (`CO2`, `x_1`) are words. Units are ignored: `50%` is 50, and `3rd` is 3.

    >>> last_number("It is 12 - 5 = 7.0"), last_number(r"so $\frac{3}{8}$"), last_number("2/6")
    ('7', '0.375', '1/3')
    >>> last_number(r"6.02 \times 10^{3} km"), last_number("1 1/2"), last_number(r"2\sqrt{3}")
    ('6020', '1.5', None)
    """
    text = plain_characters(text)
    if (place := max(map(text.rfind, _NUMERIC))) < 0:
        return None
    last = _last_expression(_sentence(text, place)) or _last_expression(text)
    if last is None or (body := without_marks(last)) is None:
        return None
    scale = _SCALE.match(last.after)
    try:
        return _number(body, _SCALES[scale[1]] if scale else Fraction(1))
    except (ValueError, ZeroDivisionError):
        return None


def _sentence(text: str, place: int) -> str:
    """The text from the sentence with this place on; all of it if the place is inside a brace."""
    begin = max(text.rfind("\n", 0, place), text.rfind(". ", 0, place), 0)
    inside = text.count("{", 0, begin) != text.count("}", 0, begin)
    return text if inside else text[begin:]


def _last_expression(text: str) -> Expression | None:
    last = deque(expressions(plain_latex(text)), maxlen=1)
    return last[0] if last else None


def _number(body: str, scale: Fraction) -> str:
    for _ in range(5):  # pairs of brackets around it
        for form in _FORMS:
            if match := form.fullmatch(body):
                parts = {name: part for name, part in match.groupdict().items() if part}
                return _canonical(parts, scale)
        if not (pair := _BRACKETED.fullmatch(body)):
            break
        body = pair[1] + pair[2].strip()
    raise ValueError("no number")


def _canonical(parts: dict[str, str], scale: Fraction) -> str:
    minus = "-" if parts.get("sign") == "-" else ""
    if scale == 1 and parts.keys() <= {"sign", "digits"}:
        return _shortest(minus + _ungrouped(parts["digits"]))
    value = _value(parts) * scale
    return _show(-value if minus else value)


def _value(parts: dict[str, str]) -> Fraction:
    """The value of the parts of a form; `ValueError` if they are no number, or too long a one."""
    power = int(_short(parts.get("power", "0").strip("{( )}")))
    if "base" in parts:
        return _power(_fraction(parts["base"]), power)
    if "cycle" in parts:
        once, cycle = parts.get("once", ""), _short(parts["cycle"])
        repeating = Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(_short(once)))
        return _fraction(f"{parts['digits']}.{once or 0}") + repeating
    if "top" not in parts:
        return _fraction(parts["digits"]) * _power(Fraction(10), power)
    part = _fraction(parts["top"]) / _fraction(parts["bottom"])
    if "whole" not in parts:
        return part
    if not 0 < part < 1:
        raise ValueError("no mixed number")
    return _fraction(parts["whole"]) + part


def _fraction(text: str) -> Fraction:
    bare = text.strip("({ })").replace(" ", "")
    sign = bare[:1] if bare[:1] in "+-" else ""
    return Fraction(sign + _short(_ungrouped(bare.removeprefix(sign))))


def _short(digits: str) -> str:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"more than {_MAX_DIGITS} digits")
    return digits


def _power(base: Fraction, power: int) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(power) * bits > 4 * _MAX_DIGITS:
        raise ValueError("too large to be worked out")
    return base**power


def _ungrouped(digits: str) -> str:
    """The digits without thousands separators."""
    if _GROUPED.fullmatch(digits):
        return re.sub("[,'_]", "", digits)
    if _UNGROUPED.fullmatch(digits):
        return digits
    raise ValueError("neither decimals nor thousands")


def _shortest(decimals: str) -> str:
    """The decimals without needless zeros. As text: `Decimal` would round, and `int` is slow."""
    sign = "-" if decimals.startswith("-") else ""
    whole, _, part = decimals.removeprefix("-").partition(".")
    whole, part = whole.lstrip("0"), part.rstrip("0")
    shortest = f"{whole or 0}.{part}" if part else whole or "0"
    return "0" if shortest == "0" else sign + shortest


def _show(value: Fraction) -> str:
    """The value as a decimal if it terminates, else as a fraction."""
    top, bottom = abs(value.numerator), value.denominator
    rest, places = bottom, 0
    for factor in (2, 5):
        count = 0
        while rest % factor == 0:
            rest, count = rest // factor, count + 1
        places = max(places, count)
    if rest == 1:
        top = top * 10**places // bottom
    if max(top, bottom) > _LARGEST:
        raise ValueError("too large to be written")
    if rest > 1:
        return str(value)
    digits = str(top).rjust(places + 1, "0")
    cut = len(digits) - places
    return _shortest(f"{'-' if value < 0 else ''}{digits[:cut]}.{digits[cut:]}")
