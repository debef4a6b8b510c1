"""How things look on a terminal: tables, progress. Progress appears on a terminal only."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def say(message: str) -> None:
    """Tell a waiting person what goes on; silent when nobody watches."""
    if sys.stderr.isatty():
        print(message, file=sys.stderr)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need; an empty header line is left out."""
    lines = [header, *rows] if any(header) else list(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def show_candidates(pool: Any, chosen: int | None = None) -> str:
    """A table of candidates with their scores; `>` marks the chosen one."""
    scorers = pool.scorers
    width = max(30, shutil.get_terminal_size((100, 24)).columns - 30 - 12 * len(scorers))
    rows = [
        (
            ">" if c.index == chosen else "",
            str(c.index),
            *(f"{c.scores[name]:.4f}" for name in scorers),
            str(len(c.token_ids)),
            c.finish_reason,
            textwrap.shorten(c.text, width, placeholder=" ..."),
        )
        for c in pool
    ]
    return table(("", "#", *scorers, "tokens", "end", "text"), rows)


@contextmanager
def sampling_progress(n: int, max_tokens: int) -> Iterator[Callable[[Any], None] | None]:
    """A bar over the tokens of all candidates; yields the callback that moves it."""
    if not sys.stderr.isatty():
        yield None
        return
    from tinygrad.helpers import tqdm

    bar = tqdm(total=max(n, 0) * max(max_tokens, 0), desc=f"0/{n} finished", unit=" tokens")
    counts = [0] * max(n, 0)
    finished = 0

    def on_token(event: Any) -> None:
        nonlocal finished
        counts[event.index] += 1
        step = 1
        if event.finish_reason:
            finished += 1
            step += max_tokens - counts[event.index]  # those it will not need
            bar.set_description(f"{finished}/{n} finished")
        bar.update(step)

    try:
        yield on_token
    finally:
        bar.update(close=True)
