"""Canonical form and equality of mathematical answers. Knows strings only.

Plain numbers are compared here, exactly. A worker process compares all else with math-verify. It
can be ended after `TIMEOUT_S` whatever sympy does, from any thread and on any system.
"""

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

from edifice_tt import EdificeError

TIMEOUT_S, START_S = 4.0, 60.0
# Timeouts allowed, per pool and per text in a row, before answers are compared as text.
PATIENCE = 3
MOST_STRUCK = 10_000  # texts whose timeouts are remembered
MAX_LENGTH = 300
MAX_DECIMALS = 12
MAX_PASSES = 5

# Signs that math-verify reads itself (such as ≤) are left unchanged.
_SYMBOLS = str.maketrans(
    {"\N{MINUS SIGN}": "-", "·": r"\cdot ", "∞": r"\infty ", "π": r"\pi ", "°": r"^\circ "}
)
_REWRITES = (
    (r"(?<!\\)%", r"\\%"),
    (r"\\[dt]frac", r"\\frac"),
    (r"\*\*", ""),
    (r"√ ?(?:\(([^()]*)\)|(\w+))", r"\\sqrt{\1\2}"),
    (r"(?<!\\)\\(?:text|textbf|textit|mbox|mathrm|mathbf) ?\{([^{}]*)\}", r" \1 "),
    (r"(?<!\\)\\(?:(?:left|right|displaystyle)(?![A-Za-z])|[,;:! ()\[\]])", " "),
    (r"\\?\$|~|\s+", " "),
    (r"(?<![\\A-Za-z])(pi|sin|cos|tan|log|ln)(?![A-Za-z])", r"\\\1 "),
    (r"\\sqrt ?(\d+)", r"\\sqrt{\1}"),  # as meant; TeX itself takes one digit
    (r"\\frac ?(\\[A-Za-z]+|\w)", r"\\frac{\1}"),
    (r"(\\frac ?\{[^{}]*\}) ?(\\[A-Za-z]+|\w)", r"\1{\2}"),
    (r"([_^])\{(\w)\}", r"\1\2"),
    # The unit of a number, written as a word; math-verify knows the abbreviations.
    (
        r"^ ?([+-]?(?:[\d.,/]+|\\frac\{\d+\}\{\d+\}))"
        r"(?=(?P<words>(?: ?[A-Za-z]{4,}+| [A-Za-z]{3}(?![A-Za-z]))+))(?P=words)[ .]*$",
        r"\1",
    ),
    (r"^ ?(-?)(\d+) (\d+/\d+) ?$", r"\1(\2+\3)"),  # a mixed number
    (r"(?<!\w) | (?!\w)", ""),
    (r"[.,;:]+$", ""),
    (r"^[A-Za-z](?:\([a-z]\))?(?:=(?!.*=)|\\in(?![A-Za-z]) ?)", ""),
)
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:[, ]\d{3})+(?!\d)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+/\d+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?)", re.ASCII)
# Compared as text, since math-verify would misread them: words (as products of their letters),
# numbers in another base (without the base), times of day (as ratios), digits with a space (as a
# sum), dates (as differences), powers of ten with an e (as products).
_TEXT = re.compile(
    r"(?<![\\A-Za-z{])(?!and\b|sqrt)[A-Za-z]{3}|\d_|\d:\d|\d \d|\.\d+\.|'|\d[eE][+-]?\d"
    r"|^(?:\d{4}([-/])\d\d?\1\d\d?|\d\d?([-/])\d\d?\2(?:\d{4}|\d\d))$"
)


Ask = Callable[..., Any]


def canonical(answer: str) -> str:
    r"""The canonical form of an answer that is a number; else the answer with tidied spelling.

    A number becomes a decimal if twelve places suffice, else a fraction.

    >>> canonical(r"$\dfrac{1}{2}$"), canonical(r"50\%"), canonical("1,000"), canonical("4/6")
    ('0.5', '0.5', '1000', '2/3')
    >>> canonical(r"x = \left( 3,\, \frac{\pi}{2} \right).")
    '(3,\\frac{\\pi}{2})'
    """
    return next(iter(_group([answer], _patient)))


def equal(first: str, second: str) -> bool:
    r"""Whether two answers are mathematically equal; symmetric, never raises.

    >>> equal("50%", r"\frac12"), equal(r"\sqrt{8}", r"2\sqrt{2}"), equal("0.33", r"\frac13")
    (True, True, False)
    """
    return len(_group([first, second], _patient)) == 1


def group(answers: Iterable[str]) -> dict[str, list[int]]:
    r"""Canonical form -> positions of the answers equal to it.

    Each answer, in order, joins the first group whose first answer equals it. So the groups are
    disjoint whatever math-verify says.

    >>> group(["1/2", "x+1", "50%", "1+x"])
    {'0.5': [0, 2], 'x+1': [1, 3]}
    """
    return _group(answers, _Patient(PATIENCE))


def _group(answers: Iterable[str], ask: Ask) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for position, answer in enumerate(answers):
        form = _canonical(answer, ask)
        if form not in groups:
            form = next((key for key in groups if _same(key, form, ask)), form)
        groups.setdefault(form, []).append(position)
    return groups


def _canonical(answer: str, ask: Ask) -> str:
    answer = answer.strip()
    if len(answer) > MAX_LENGTH:
        return answer
    tidy, before = answer, ""
    for _ in range(
        MAX_PASSES
    ):  # one pass nearly always suffices; a second handles what the first uncovered
        if tidy == before:
            break
        before, tidy = tidy, tidy.translate(_SYMBOLS)
        for pattern, replacement in _REWRITES:
            tidy = re.sub(pattern, replacement, tidy)
    value = _plain_number(tidy)
    if value is None and _TEXT.search(tidy):
        return tidy.casefold()
    if value is None and (found := ask("rational", tidy)):
        value = Fraction(found)
    return (tidy or answer) if value is None else _show(value)


def _plain_number(text: str) -> Fraction | None:
    percent = text.endswith(r"\%")
    text = _THOUSANDS.sub(lambda match: re.sub("[, ]", "", match[0]), text.removesuffix(r"\%"))
    text = re.sub(r"^([+-]?)\\frac\{(\d+)\}\{(\d+)\}$", r"\1\2/\3", text)
    try:
        return Fraction(text) / (100 if percent else 1) if _NUMBER.fullmatch(text) else None
    except ZeroDivisionError:
        return None


def _show(value: Fraction) -> str:
    if value.denominator == 1 or (value * 10**MAX_DECIMALS).denominator != 1:
        return str(value)
    whole, decimals = divmod(int(abs(value) * 10**MAX_DECIMALS), 10**MAX_DECIMALS)
    return f"{'-' if value < 0 else ''}{whole}.{decimals:0{MAX_DECIMALS}d}".rstrip("0")


def _same(first: str, second: str, ask: Ask) -> bool:
    if any(not form or len(form) > MAX_LENGTH or _TEXT.search(form) for form in (first, second)):
        return False
    if _NUMBER.fullmatch(first) and _NUMBER.fullmatch(second):
        return False  # numbers in canonical form
    return bool(ask("equal", *sorted((first, second))))


class _Patient:
    """Asks the worker, but never again about a text that timed out.

    `left` is the number of timeouts still allowed.
    """

    def __init__(self, left: int | None = None) -> None:
        self.left = left
        self.strikes: Counter[str] = Counter()

    def __call__(self, question: str, *texts: str) -> Any:
        """The worker's answer; None if math-verify cannot tell, times out, or was not asked."""
        if self.left == 0 or any(self.strikes[text] >= PATIENCE for text in texts):
            return None
        alone = len(texts) == 1
        try:
            found = _worker.ask(question, *texts)
        except TimeoutError:
            if self.left is not None:
                self.left -= 1
            if len(self.strikes) > MOST_STRUCK:
                self.strikes.clear()
            # Either of the two texts may be the cause.
            self.strikes.update(dict.fromkeys(texts, PATIENCE if alone else 1))
            return None
        for text in () if alone else texts:
            self.strikes.pop(text, None)
        return found


class _Worker:
    """A process that answers questions; it starts at the first and ends at a timeout."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: Any = None

    def ask(self, *question: str) -> Any:
        """The worker's answer; raises `TimeoutError` if it takes too long."""
        with self.lock:
            try:
                if self.process is None:
                    self._start()
                return self._exchange(json.dumps(question) + "\n", TIMEOUT_S)
            except (
                BaseException
            ) as error:  # Ctrl-C too: an unread answer would be taken for the next one
                self.stop()
                if isinstance(error, (OSError, ValueError)):
                    raise TimeoutError(f"math-verify gave no answer to {question!r}") from error
                raise

    def _start(self) -> None:
        command = [sys.executable, "-P", "-W", "ignore", str(Path(__file__).with_name("worker.py"))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, encoding="ascii"
        )
        try:
            self._exchange("", START_S)
        except ValueError as error:
            raise EdificeError(
                f"math-verify does not start; run `{sys.executable} {command[-1]}` to see why"
            ) from error

    def _exchange(self, line: str, seconds: float) -> Any:
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

    def forget(self) -> None:
        """Drop the worker after a fork: it belongs to the parent process."""
        if self.process is not None:
            self.process.returncode = 0  # only the parent may wait for it
        self.__init__()  # type: ignore[misc]


_worker = _Worker()
_patient = _Patient()
atexit.register(lambda: _worker.stop())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _worker.forget())
