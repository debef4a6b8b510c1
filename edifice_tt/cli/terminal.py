"""Output on a terminal: tables, JSON, errors, and progress.

Printed text is escaped, so that it cannot control the terminal.
"""

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from shutil import get_terminal_size
from typing import Any, TextIO, TypeVar

from edifice_tt.machine.meter import Meter, Now, SamplingMeter
from edifice_tt.machine.meter import Working as Working

Item = TypeVar("Item")


_OWN = re.compile(r"'[^']*'|\d+")  # what differs where a warning repeats per problem


class Warnings:
    """A `warnings.showwarning` that prints each warning once, in one line, without source code.

    `spell` gives the text as it is printed. Those about a problem are counted instead, and each
    kind of them is one line of `close`.
    """

    def __init__(self, spell: Callable[[str], str] = str) -> None:
        self._spell = spell
        self._shown: set[str] = set()
        self._kinds: dict[str, list[str]] = {}

    def __call__(self, message: Warning | str, *_: Any, **__: Any) -> None:
        text = self._spell(str(message))
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


def show(text: object, end: str = "\n", flush: bool = False) -> None:
    """Print a result for a person to read."""
    print(visible(str(text)), end=end, file=_results or sys.stdout, flush=flush)


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


def asks() -> bool:
    """Whether a person types what is read."""
    return sys.stdin.isatty()


def ask(prompt: str) -> str:
    """The next line of standard input; a person is shown the prompt, and can edit the line.

    Raises `EOFError` at the end.
    """
    if not asks():
        return input()
    with suppress(ImportError):
        import readline  # noqa: F401, it changes `input`
    ours, sys.stdout = sys.stdout, _results or sys.stdout  # the terminal itself, for `input`
    try:
        return input(prompt)
    finally:
        sys.stdout = ours


def can_redraw() -> bool:
    """Whether standard error is a terminal on which what was printed can be replaced."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


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
    """Columns as wide as they need, if the terminal has room, else with their words wrapped.

    An empty header line is left out. No word is broken, so that it can be copied.
    """
    lines = [
        [visible(cell).replace("\n", "\\n").replace("\t", "\\t") for cell in line]
        for line in ([header] if any(header) else []) + list(rows)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    room = width() - 2 * (len(widths) - 1)
    while sum(widths) > room and (widest := max(widths[1:], default=0)) > _NARROWEST:
        widths[widths.index(widest, 1)] -= 1
    cells = [[_wrap(cell, w) for cell, w in zip(line, widths, strict=True)] for line in lines]
    widths = [max(len(part) for line in cells for part in line[c]) for c in range(len(header))]
    return "\n".join(
        "  ".join(part.ljust(w) for part, w in zip(parts, widths, strict=True)).rstrip()
        for line in cells
        for parts in zip_longest(*line, fillvalue="")
    )


_NARROWEST = 16  # of a column whose words are wrapped


def _wrap(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False)


def width() -> int:
    """How wide a terminal is, 80 where there is none."""
    return get_terminal_size((80, 24)).columns


def shortened(text: str, most: int) -> str:
    """A text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 4]} ..."


def table_with_texts(
    header: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[str]
) -> str:
    """A table whose last column is texts, cut where the terminal ends."""
    columns = zip(header, *rows, strict=False)
    room = width() - sum(max(map(len, column)) + 2 for column in columns)
    lines = [(*row, shortened(text, max(room, 24))) for row, text in zip(rows, texts, strict=True)]
    return table(header, lines)


def show_candidates(pool: Any, chosen: int | None = None, answers: Sequence[str] = ()) -> str:
    """A table of candidates with their scores, and their answers; `>` marks the chosen one."""
    scorers = pool.scorers
    rows = [
        (
            ">" if c.index == chosen else "",
            str(c.index),
            *([shortened(answers[i], 20)] if answers else []),
            *(f"{c.scores[name]:.4f}" for name in scorers),
            str(len(c.token_ids)),
            c.finish_reason,
        )
        for i, c in enumerate(pool)
    ]
    names = (*(["answer"] if answers else []), *scorers)
    return table_with_texts(
        ("", "#", *names, "tokens", "end", "text"), rows, [c.text for c in pool]
    )


def sampling_progress(n: int, *, done: int = 0) -> SamplingMeter:
    """The context of sampling `n` candidates, and the callback for their tokens.

    They may belong to several problems, one after the other; `done` were finished before.
    """
    return SamplingMeter(done + n, done)
