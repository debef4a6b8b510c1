"""The text of the likeliest answer while it is written, on a terminal. Knows no command."""

import sys
import textwrap
import time
from contextlib import suppress
from shutil import get_terminal_size
from typing import Any, Self

from edifice_tt.cli.terminal import can_redraw, visible
from edifice_tt.machine.meter import SamplingMeter

_EACH = 0.1  # seconds between two drawings


class Leader:
    """Draws the text of one candidate while all are sampled; a context that clears it at the end.

    That is the first to begin, and then the finished one with the highest mean log-probability.
    Where nothing can be drawn again, the meter of other commands tells how far it is.
    """

    def __init__(self, n: int) -> None:
        self._texts: dict[int, str] = {}
        self._best: tuple[float, int] | None = None
        self._shown: list[str] = []
        self._drawn = 0.0
        self._meter = SamplingMeter(n)
        self._draws = can_redraw()

    def __enter__(self) -> Self:
        if self._draws:
            self._draw(f"({self._meter.first})")
        else:
            self._meter.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._draws:
            self._clear()
        else:
            self._meter.__exit__()

    def __call__(self, event: Any) -> None:
        """Hear of a token, as the callback of `generate`."""
        self._texts[event.index] = self._texts.get(event.index, "") + event.text
        if not self._draws:
            self._meter(event)
        elif (now := time.monotonic()) - self._drawn >= _EACH:
            self._drawn = now
            self._draw(self._texts[self.index])

    def finished(self, candidate: Any) -> None:
        """Hear of a candidate that is finished."""
        logprobs = candidate.token_logprobs
        mean = sum(logprobs) / max(len(logprobs), 1)
        if self._best is None or (mean, -candidate.index) > self._best:
            self._best = mean, -candidate.index

    @property
    def index(self) -> int:
        return next(iter(self._texts)) if self._best is None else -self._best[1]

    def _draw(self, text: str) -> None:
        """The end of the text, as much as fits the screen."""
        columns, rows = get_terminal_size()
        lines = [
            part
            for line in visible(text).expandtabs(4).splitlines()
            for part in textwrap.wrap(line, columns - 1) or [""]
        ][-max(rows - 2, 1) :]
        if lines == self._shown:
            return
        self._clear()
        with suppress(OSError):
            sys.stderr.write("".join(f"\x1b[2m{line}\x1b[0m\n" for line in lines))
            sys.stderr.flush()
        self._shown = lines

    def _clear(self) -> None:
        if self._shown:
            with suppress(OSError):
                sys.stderr.write(f"\x1b[{len(self._shown)}A\r\x1b[J")
                sys.stderr.flush()
        self._shown = []
