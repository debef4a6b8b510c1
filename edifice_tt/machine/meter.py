"""How far long work is, on standard error: one line that moves, or a line every ten seconds.

Counts what was done and the tokens that were really made. Knows no command.
"""

import sys
import time
from contextlib import suppress
from shutil import get_terminal_size
from threading import Event, Thread
from typing import Any, Self

SECONDS = 10.0  # between two lines where no terminal is
_MOVES = 0.1  # between two states of a line on a terminal
_STILL = 3.0  # without anything done, after which a line on a terminal says so
_KERNELS = "compiling kernels, if no earlier run kept them"
_WAITING = "waiting (compiling kernels?)"
clock = time.monotonic


class Meter:
    """Counts work against its total, and tells how far it is.

    `total` is None where nobody knows it. A context: at its end the line that moves is ended. Work
    that takes less than ten seconds prints nothing where no terminal is. Until something is done
    the line says what comes `first`, if that may take long. Then it also says for how long nothing
    came, at any time: the next step may need other kernels.
    """

    first = ""

    def __init__(self, total: int | None, what: str, done: int = 0) -> None:
        self.total, self.what, self.done, self.tokens = total, what, done, 0
        self._before, self._moves = done, sys.stderr.isatty()
        self._begun = self._told = self._moved = clock()
        self._ended, self._watching = Event(), Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._moves:
            self._write(text=f"{self.line()}, {self.first}" if self.first else "")
        if self.first:
            self._watching.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._watching.is_alive():
            self._watching.join(1)  # so that it says no more
        if self._moves:
            self._write("\n")

    @property
    def seconds(self) -> float:
        """The time since the work began."""
        return max(clock() - self._begun, 1e-9)

    def add(self, done: int = 0, tokens: int = 0) -> None:
        """Count work that was done."""
        self.done += done
        self.tokens += tokens
        now = self._moved = clock()
        if now - self._told >= (_MOVES if self._moves else SECONDS):
            self._told = now
            self._write("" if self._moves else "\n")

    def line(self) -> str:
        """How far it is, how fast, and how long it will take at this pace."""
        made, total = self.done - self._before, "" if self.total is None else f"/{self.total}"
        left = 0 if self.total is None else self.total - self.done
        parts = [f"{self.done}{total} {self.what}"]
        if self.tokens:
            parts.append(f"{self.tokens / self.seconds:.1f} tokens per second")
        if made > 0 and left > 0:
            parts.append(f"about {_words(self.seconds / made * left)} left")
        return ", ".join(parts)

    def _watch(self) -> None:
        """Say again and again for how long nothing came, where that is long."""
        least = _STILL if self._moves else SECONDS
        while not self._ended.wait(1.0 if self._moves else SECONDS):
            now = clock()
            if (still := now - self._moved) >= least:
                self._told = now
                what = self.first if self._moved == self._begun else _WAITING
                self._write(
                    "" if self._moves else "\n", f"{self.line()}, {what}, for {_words(still)}"
                )

    def _write(self, end: str = "", text: str = "") -> None:
        text = text or self.line()
        if self._moves:
            text = f"\r\x1b[K{text[: get_terminal_size().columns - 1]}"
        _print(text, end)


class SamplingMeter(Meter):
    """Counts the tokens of candidates; it is the callback of `edifice_tt.generate`.

    `cut_off` counts the candidates that ended because they were long.
    """

    first = _KERNELS

    def __init__(self, total: int, done: int = 0) -> None:
        super().__init__(total, "finished", done)
        self.made = self.cut_off = 0

    def __call__(self, event: Any) -> None:
        ended = event.finish_reason is not None
        self.made += ended
        self.cut_off += event.finish_reason == "length"
        self.add(int(ended), 1)

    def on_candidate(self, candidate: Any) -> None:
        """Count a candidate that comes as a whole."""
        self.made += 1
        self.cut_off += candidate.is_cut_off
        self.add(1, candidate.num_tokens)


class SearchMeter(Meter):
    """Counts the tokens that searches spend, against their budget, and shows what leads.

    `on_token`, `on_step` and `on_problem` are what a search tells.
    """

    first = _KERNELS

    def __init__(self, problems: int = 1, budget: int | None = None) -> None:
        super().__init__(problems, "problems")
        self._problems, self._budget, self._spent, self._leading = problems, budget, 0, ""

    def on_token(self, event: Any) -> None:
        self._spent += 1
        self.add(0, 1)

    def on_step(self, standing: Any) -> None:
        self._spent = standing.spent
        leads = "" if standing.leading is None else f", leading: {standing.leading:.30}"
        weight = f" ({standing.weight:.4g})" if leads else ""
        self._leading = f", {standing.rows} rows{leads}{weight}"

    def on_problem(self, pool: Any) -> None:
        self._spent, self._leading = 0, ""
        self.add(1)

    def line(self) -> str:
        """What is spent of the budget, what leads, and how fast it is."""
        of = "" if self._budget is None else f"/{self._budget}"
        many = f"problem {min(self.done + 1, self._problems)}/{self._problems}, " * (
            self._problems > 1
        )
        speed = f", {self.tokens / self.seconds:.1f} tokens per second" if self.tokens else ""
        leading = " ".join(self._leading.split())
        return f"{many}{self._spent}{of} tokens{leading}{speed}"


class Now:
    """Tells whether it is time to print another line: always on a terminal."""

    def __init__(self) -> None:
        self._told = clock()

    def __call__(self) -> bool:
        now = clock()
        if not sys.stderr.isatty() and now - self._told < SECONDS:
            return False
        self._told = now
        return True


class Working:
    """Work of which nobody knows how far it is: said at once on a terminal, else as it goes on.

    A context, in which `begin` says what the work is. A line comes every ten seconds until its end.
    """

    def __init__(self) -> None:
        self._ended = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def begin(self, what: str) -> None:
        """Say what is done from here on."""
        if sys.stderr.isatty():
            _print(what)
        else:
            Thread(target=self._tell, args=(what, clock()), daemon=True).start()

    def _tell(self, what: str, begun: float) -> None:
        while not self._ended.wait(SECONDS):
            _print(f"{what}, for {_words(clock() - begun)}")


def _print(text: str, end: str = "\n") -> None:
    with suppress(OSError):
        sys.stderr.write(text + end)
        sys.stderr.flush()


def _words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
