"""How far a call is: told to a function, drawn as a bar in a notebook, or else as a line.

Knows no work.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from edifice_tt.machine.meter import Meter

Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """How far a call is: what it counts, how many are done, and the tokens that were made.

    `total` is None where nobody knows it, as for epochs that end when nothing improves.
    """

    what: str
    done: int
    total: int | None
    tokens: int = 0


Shows: TypeAlias = bool | Callable[[Progress], object]
Add: TypeAlias = Callable[[int, int], object]  # work that was done, and tokens


@contextmanager
def showing(progress: Shows, total: int | None, what: str) -> Iterator[Add]:
    """The function to call with what was done.

    `progress` is a function that is called with each `Progress`. True is a bar in a notebook (with
    the extra `notebook`) and a line on standard error elsewhere; False is neither.
    """
    if callable(progress):
        yield _Told(progress, total, what)
    elif not isinstance(progress, bool):
        raise ValueError(f"progress={progress!r:.60} must be True, False or a function")
    elif not progress:
        yield lambda done, tokens: None
    elif (bar := _bar_of_notebook()) is not None:
        with bar(total=total, desc=what) as shown:
            yield lambda done, tokens: shown.update(done)
    else:
        with Meter(total, what) as meter:
            yield meter.add


def each(progress: Shows, items: Iterable[Item], total: int | None, what: str) -> Iterator[Item]:
    """The items, each counted when the next is asked for."""
    with showing(progress, total, what) as add:
        for item in items:
            yield item
            add(1, 0)


def length_of(items: Iterable[object]) -> int | None:
    """How many there are; None for a stream."""
    return len(items) if isinstance(items, Sized) else None


class _Told:
    """Tells a function, first that nothing is done."""

    def __init__(self, tell: Callable[[Progress], object], total: int | None, what: str) -> None:
        self.tell, self.total, self.what, self.done, self.tokens = tell, total, what, 0, 0
        self(0, 0)

    def __call__(self, done: int, tokens: int) -> None:
        self.done += done
        self.tokens += tokens
        self.tell(Progress(self.what, self.done, self.total, self.tokens))


def _bar_of_notebook() -> Any:
    """tqdm's bar, if this is a notebook and it is installed; else None."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel"):
        return None
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        return None
    return tqdm
