"""Canonical form and equality of mathematical answers. Knows strings only.

Plain numbers are compared here, exactly. All else is asked of math-verify in a worker process: it
can be ended after `TIMEOUT_S` whatever sympy does there, from any thread and on any system.
"""

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

from edifice_tt.errors import EdificeError

TIMEOUT_S = 4.0
START_S = 60.0
PATIENCE = 3  # questions of one pool that may run out of time before it is compared as text
MAX_LENGTH = 300
MAX_DECIMALS = 12
MAX_PASSES = 5

_SYMBOLS = {
    "\N{MINUS SIGN}": "-",
    "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{UNION}": r"\cup ",
    "·": r"\cdot ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "∞": r"\infty ",
    "π": r"\pi ",
    "°": r"^\circ ",
    "%": r"\%",
    r"\%": r"\%",  # so that the one above does not match inside it
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    "{,}": ",",
    "**": "",
}
_SYMBOL = re.compile("|".join(map(re.escape, sorted(_SYMBOLS, key=len, reverse=True))))
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"√ ?(?:\(([^()]*)\)|(\w+))", r"\\sqrt{\1\2}"),
        (r"(?<!\\)\\(?:text|textbf|textit|mbox|mathrm|mathbf) ?\{([^{}]*)\}", r" \1 "),
        (r"(?<!\\)\\(?:(?:left|right|displaystyle)(?![A-Za-z])|[,;:! ()\[\]])", " "),
        (r"\\?\$|~|\s+", " "),
        (r" +", " "),
        (r"(?<![\\A-Za-z])(pi|sin|cos|tan|log|ln)(?![A-Za-z])", r"\\\1 "),
        (r"\\sqrt ?(\d+)", r"\\sqrt{\1}"),  # as it is meant; TeX would take one digit
        (r"\\frac ?(\\[A-Za-z]+|\w)", r"\\frac{\1}"),
        (r"(\\frac ?\{[^{}]*\}) ?(\\[A-Za-z]+|\w)", r"\1{\2}"),
        (r"([_^])\{(\w)\}", r"\1\2"),
        # The unit of a number, where it is a word; math-verify knows the short ones.
        (
            r"^ ?([+-]?(?:[\d.,/]+|\\frac\{\d+\}\{\d+\}))(?: ?[A-Za-z]{4,}| [A-Za-z]{3})+[ .]*$",
            r"\1",
        ),
        (r"^ ?(-?)(\d+) (\d+/\d+) ?$", r"\1(\2+\3)"),  # a mixed number
        (r"(?<!\w) | (?!\w)", ""),
        (r"[.,;:]+$", ""),
        (r"^[A-Za-z](?:\([a-z]\))?(?:=(?!.*=)|\\in(?![A-Za-z]) ?)", ""),
    )
]
_DIGITS = r"(?:\d{1,3}(?:[, ]\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_PLAIN = re.compile(
    rf"([+-]?)(?:({_DIGITS})(?:/(\d+))?|\\frac\{{(-?\d+)\}}\{{(-?\d+)\}})(\\%)?", re.ASCII
)
_NUMBER = re.compile(r"-?\d+(?:[./]\d+)?", re.ASCII)
# Compared as text, for math-verify would misread it: words (as products of their letters), numbers
# in another base (without the base), times of day (as ratios), digits with a space (as a sum).
_TEXT = re.compile(r"(?<![\\A-Za-z{])(?!and\b|sqrt)[A-Za-z]{3}|\d_|\d:\d|\d \d|\.\d+\.|'")


def canonical(answer: str) -> str:
    r"""One spelling for answers that are the same number; else the answer, tidied.

    A number is written in decimals where twelve suffice, else as a fraction.

    >>> canonical(r"$\dfrac{1}{2}$"), canonical(r"50\%"), canonical("1,000"), canonical("4/6")
    ('0.5', '0.5', '1000', '2/3')
    >>> canonical(r"x = \left( 3,\, \frac{\pi}{2} \right).")
    '(3,\\frac{\\pi}{2})'
    """
    return _canonical(answer, _Patience())


def equal(first: str, second: str) -> bool:
    r"""Whether two answers are mathematically equal; symmetric, never raises.

    >>> equal("50%", r"\frac12"), equal(r"\sqrt{8}", r"2\sqrt{2}"), equal("0.33", r"\frac13")
    (True, True, False)
    """
    patience = _Patience()
    return _same(_canonical(first, patience), _canonical(second, patience), patience)


def group(answers: Iterable[str]) -> dict[str, list[int]]:
    r"""Canonical form -> positions of the answers equal to it.

    Each answer, in order, joins the first group whose first answer it is equal to, so the groups
    are disjoint whatever math-verify says.

    >>> group(["1/2", "x+1", "50%", "1+x"])
    {'0.5': [0, 2], 'x+1': [1, 3]}
    """
    patience = _Patience()
    groups: dict[str, list[int]] = {}
    for position, answer in enumerate(answers):
        form = _canonical(answer, patience)
        if form not in groups:
            form = next((key for key in groups if _same(key, form, patience)), form)
        groups.setdefault(form, []).append(position)
    return groups


class _Patience:
    """Asks the worker; None for what it cannot say, runs out of time on, or was not asked."""

    def __init__(self) -> None:
        self.left = PATIENCE
        self.slow: set[str] = set()  # answers that ran out of time on their own

    def ask(self, question: str, *answers: str) -> Any:
        if self.left == 0 or self.slow.intersection(answers):
            return None
        try:
            return _worker.ask(question, *answers)
        except TimeoutError:
            self.left -= 1
            if len(answers) == 1:
                self.slow.update(answers)
            return None


def _canonical(answer: str, patience: _Patience) -> str:
    answer = answer.strip()
    if len(answer) > MAX_LENGTH:
        return answer
    tidy, before = answer, ""
    for _ in range(MAX_PASSES):  # one nearly always does; a second sees what the first uncovered
        if tidy == before:
            break
        before, tidy = tidy, _SYMBOL.sub(lambda match: _SYMBOLS[match[0]], tidy)
        for pattern, replacement in _REWRITES:
            tidy = pattern.sub(replacement, tidy)
    value = _plain_number(tidy)
    if value is None and _TEXT.search(tidy):
        return tidy.casefold()
    if value is None and (found := patience.ask("rational", tidy)):
        value = Fraction(found)
    return (tidy or answer) if value is None else _show(value)


def _plain_number(text: str) -> Fraction | None:
    if not (match := _PLAIN.fullmatch(text)):
        return None
    sign, number, under, above, below, percent = match.groups()
    value = Fraction(re.sub("[, ]", "", number or above))
    if (bottom := int(under or below or 1)) == 0:
        return None
    return (-value if sign == "-" else value) / bottom / (100 if percent else 1)


def _show(value: Fraction) -> str:
    if value.denominator == 1 or (value * 10**MAX_DECIMALS).denominator != 1:
        return str(value)
    whole, decimals = divmod(int(abs(value) * 10**MAX_DECIMALS), 10**MAX_DECIMALS)
    return f"{'-' if value < 0 else ''}{whole}.{decimals:0{MAX_DECIMALS}d}".rstrip("0")


def _same(first: str, second: str, patience: _Patience) -> bool:
    if first == second:
        return True
    for form in (first, second):
        if not form or len(form) > MAX_LENGTH or _TEXT.search(form):
            return False
    if _NUMBER.fullmatch(first) and _NUMBER.fullmatch(second):
        return False  # one spelling for each number
    return bool(patience.ask("equal", *sorted((first, second))))


class _Worker:
    """A process that answers questions; started at the first, ended when one takes too long."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[str] | None = None

    def ask(self, *question: str) -> Any:
        """The worker's answer; `TimeoutError` when there is none in time."""
        with self.lock:
            try:
                if self.process is None:
                    self._start()
                return self._exchange(json.dumps(question) + "\n", TIMEOUT_S)
            except BaseException as error:  # Ctrl-C too: an answer not read would be the next one's
                self.stop()
                if isinstance(error, (OSError, ValueError)):
                    raise TimeoutError(f"math-verify gave no answer to {question!r}") from error
                raise

    def _start(self) -> None:
        program = str(Path(__file__).with_name("worker.py"))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",  # JSON escapes everything else
        )
        try:
            self._exchange("", START_S)
        except ValueError as error:
            raise EdificeError(
                f"math-verify does not start; run `{sys.executable} {program}` to see why"
            ) from error

    def _exchange(self, line: str, seconds: float) -> Any:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())  # "" when it was ended: ValueError
        finally:
            timer.cancel()

    def stop(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def _renew() -> None:
    global _worker, _inherited
    _inherited = _worker  # kept as it is: its process and pipes are the parent's to close
    if _inherited.process is not None:
        _inherited.process.returncode = 0
    _worker = _Worker()


_worker = _Worker()
_inherited: _Worker | None = None
atexit.register(lambda: _worker.stop())
if hasattr(os, "register_at_fork"):  # a forked process must not read its parent's answers
    os.register_at_fork(after_in_child=_renew)
