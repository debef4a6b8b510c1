"""Output on a terminal: tables, JSON, errors, and progress.

Printed text is escaped, so that it cannot control the terminal.
"""

import re
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from shutil import get_terminal_size
from typing import Any, TextIO, TypeVar

Item = TypeVar("Item")
PERIOD = 10.0  # seconds between two lines of progress


def show_each_once() -> Callable[..., None]:
    """A `warnings.showwarning` that prints each warning once, in one line, without source code."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            warn(str(message))

    return show


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


def _bar(total: int, what: str, unit: str) -> Any:
    """The context of a progress bar if standard error is a terminal, else of None."""
    if not sys.stderr.isatty():
        return nullcontext()
    from tinygrad.helpers import tqdm

    return tqdm(total=total, desc=what, unit=unit)


def progress(
    items: Iterable[Item],
    total: int,
    what: str,
    *,
    lines: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Yield the items, with a progress bar if standard error is a terminal.

    With `lines`, standard error that is none gets a line when `PERIOD` seconds have passed.
    """
    told = clock()
    with _bar(total, what, " problems") as bar:
        for done, item in enumerate(items, 1):
            yield item
            if bar:
                bar.update(1)
            elif lines and done < total and (now := clock()) - told >= PERIOD:
                told = now
                tell(f"{what}: {done} of {total} problems")


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
    """A line per pool and its choice: the problem's id, the index, and the answer or the text."""
    rows = [
        (pool.problem, str(choice.index), _cut(choice.candidate.answer or choice.text, 30))
        if choice
        else (pool.problem, "-", "")
        for pool, choice in choices
    ]
    return table(("problem", "#", "answer"), rows)


@contextmanager
def sampling_progress(
    n: int, max_tokens: int, done: int = 0
) -> Iterator[Callable[[Any], None] | None]:
    """A bar over the tokens of `n` candidates; yields the callback that moves it.

    They may belong to several problems, one after the other; `done` were finished before.
    """
    finished, total = done, done + n
    counts: Counter[int] = Counter()
    with _bar(n * max_tokens, f"{done}/{total} finished", " tokens") as bar:

        def on_token(event: Any) -> None:
            nonlocal finished
            counts[event.index] += 1
            step = 1
            if event.finish_reason:
                finished += 1
                step += max_tokens - counts.pop(event.index)  # those it will not need
                bar.set_description(f"{finished}/{total} finished")
            bar.update(step)

        yield on_token if bar else None
