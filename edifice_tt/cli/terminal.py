"""Output on a terminal: tables, JSON, errors, and progress.

Printed text is escaped, so that it cannot control the terminal.
"""

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from typing import Any, TextIO, TypeVar

from edifice_tt.machine.meter import Meter, Now, SamplingMeter
from edifice_tt.machine.meter import Working as Working

Item = TypeVar("Item")


_OWN = re.compile(r"'[^']*'|\d+")  # what differs where a warning repeats per problem


class Warnings:
    """A `warnings.showwarning` that prints each warning once, in one line, without source code.

    Those about a problem are counted instead, and each kind of them is one line of `close`.
    """

    def __init__(self) -> None:
        self._shown: set[str] = set()
        self._kinds: dict[str, list[str]] = {}

    def __call__(self, message: Warning | str, *_: Any, **__: Any) -> None:
        text = str(message)
        if text in self._shown:
            return
        self._shown.add(text)
        if "problem '" in text:
            self._kinds.setdefault(_OWN.sub("", text), []).append(text)
        else:
            warn(text)

    def close(self) -> None:
        """Print what was counted."""
        for first, *others in self._kinds.values():
            warn(f"{first} (and {len(others):,} more like it)" if others else first)
        self._kinds.clear()


_results: TextIO | None = None  # where results go while others may print


@contextmanager
def results_apart() -> Iterator[None]:
    """Keep standard output for results: all other prints go to standard error.

    tinygrad prints with DEBUG=1, and a plugin's scorer may.
    """
    global _results
    _results, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, _results = _results, None


def print_json(value: Any) -> None:
    """Print a value as JSON that any reader accepts: NaN is an error."""
    import json

    out = _results or sys.stdout
    utf8 = (out.encoding or "").lower().replace("-", "").startswith("utf8")
    print(json.dumps(value, ensure_ascii=not utf8, allow_nan=False, indent=2), file=out)


# Control characters but for line ends and tabs, what changes the direction of a line or ends it
# unseen, and bytes of a path that are no UTF-8.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with everything that controls a terminal escaped.

    >>> print(visible(chr(27) + "[2J"))
    \\x1b[2J
    """
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def show(text: object, end: str = "\n") -> None:
    """Print a result for a person to read."""
    print(visible(str(text)), end=end, file=_results or sys.stdout)


_STYLES = {"right": "32", "wrong": "31", "head": "1", "note": "2"}


def show_styled(parts: Iterable[tuple[str, str]], colours: bool) -> None:
    """Print texts, each in its style: `right`, `wrong`, `head`, `note`, or "" for none."""
    for text, style in parts:
        code = _STYLES.get(style) if colours else None
        plain = visible(text)
        print(f"\x1b[{code}m{plain}\x1b[0m" if code else plain, end="", file=_results or sys.stdout)


def wants_colours(when: str) -> bool:
    """Whether results have colours: `always`, `never`, or `auto`, which asks the terminal."""
    if when != "auto":
        return when == "always"
    out = _results or sys.stdout
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_result(
    arguments: Any, value: Any, text: object, show_text: Callable[[Any], None] = show
) -> None:
    """Print a result: its value as JSON where `--json` asks for that, else as text."""
    if arguments.json:
        print_json(value)
    else:
        show_text(text)


def tell(message: str) -> None:
    """Print a message to standard error, if that is open."""
    with suppress(OSError):
        print(visible(f"edifice-tt: {message}"), file=sys.stderr)


def warn(message: str) -> None:
    """Tell what a result lacks, whoever reads it."""
    tell(f"warning: {message}")


def say(message: str) -> None:
    """Print progress to standard error if it is a terminal."""
    if sys.stderr.isatty():
        with suppress(OSError):
            print(visible(message), file=sys.stderr)


def say_now_and_then() -> Callable[[str], None]:
    """A function that prints progress: each message on a terminal, else one every ten seconds."""
    now = Now()

    def say_sometimes(message: str) -> None:
        if now():
            with suppress(OSError):
                print(visible(message), file=sys.stderr)

    return say_sometimes


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Yield the items, and tell how far that is: on a terminal, or every ten seconds."""
    with Meter(total, f"problems, {what}") as meter:
        for item in items:
            yield item
            meter.add(1)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need; an empty header line is left out."""
    lines = [
        [visible(cell).replace("\n", "\\n").replace("\t", "\\t") for cell in line]
        for line in ([header] if any(header) else []) + list(rows)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cut(text: str, others: int) -> str:
    """A text cut to the terminal's width, less that of the other columns."""
    width = get_terminal_size((100, 24)).columns - others
    return textwrap.shorten(text, max(30, width), placeholder=" ...")


def show_candidates(pool: Any, chosen: int | None = None) -> str:
    """A table of candidates with their scores; `>` marks the chosen one."""
    scorers = pool.scorers
    rows = [
        (
            ">" if c.index == chosen else "",
            str(c.index),
            *(f"{c.scores[name]:.4f}" for name in scorers),
            str(len(c.token_ids)),
            c.finish_reason,
            _cut(c.text, 30 + 12 * len(scorers)),
        )
        for c in pool
    ]
    return table(("", "#", *scorers, "tokens", "end", "text"), rows)


def show_choices(choices: Sequence[tuple[Any, Any]]) -> str:
    """A line per pool and its choice: the problem's id, the index, and the answer or the text.

    And whether it is right, if that is known of any.
    """
    marks = {True: "right", False: "wrong", None: ""}
    rows = [
        (
            pool.problem,
            str(choice.index) if choice else "-",
            marks[choice.candidate.correct] if choice else "",
            _cut(choice.candidate.answer or choice.text, 40) if choice else "",
        )
        for pool, choice in choices
    ]
    if not any(row[2] for row in rows):
        return table(("problem", "#", "answer"), [(*row[:2], row[3]) for row in rows])
    return table(("problem", "#", "", "answer"), rows)


def sampling_progress(n: int, *, done: int = 0) -> SamplingMeter:
    """The context of sampling `n` candidates, and the callback for their tokens.

    They may belong to several problems, one after the other; `done` were finished before.
    """
    return SamplingMeter(done + n, done)
