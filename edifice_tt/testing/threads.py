"""Checks that one scorer serves several threads, as many as it declares. Knows no kind of scorer.

The threads run line by line in step, so that what one keeps the next one overwrites.
"""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from threading import Barrier, BrokenBarrierError
from types import FrameType
from typing import Any

import numpy as np

from edifice_tt.testing.promises import BrokenPromise, attempt, first_difference

LINES, SECONDS = 500, 1.0  # of a thread in step; the longest wait for another thread
PAUSE = 5e-5  # seconds that leave another thread its turn
TIMES = 3  # since threads that a busy machine kept apart show nothing
Numbers = tuple[float, ...]


def check_threads(
    who: str,
    ask: Callable[[int, Any], Numbers],
    again: Callable[[int, Any], Numbers],
    items: Sequence[Any],
    count: int,
) -> None:
    """Raise `BrokenPromise` unless `again` gives in many threads what `ask` gives in one.

    Both are asked about an item of the question of that number, and each thread has its own.
    """
    orders = [[*items[at % len(items) :], *items[: at % len(items)]] for at in range(count)]

    def run(at: int, together: Barrier) -> list[Numbers]:
        together.wait()
        sys.settrace(_in_step(together))
        try:
            return [again(at, item) for item in orders[at]]
        finally:
            sys.settrace(None)
            together.abort()

    expected = [[ask(at, item) for item in order] for at, order in enumerate(orders)]
    again(0, orders[0][0])  # what is loaded by a first call takes no part in any race
    for _ in range(TIMES):
        with ThreadPoolExecutor(count) as threads:
            running = threads.map(run, range(count), repeat(Barrier(count)))
            found: list[list[Numbers]] = attempt(
                who, f"when {count} threads call it at once", partial(list, running)
            )
        for at, order in enumerate(orders):
            for item, one, other in zip(order, expected[at], found[at], strict=True):
                same = len(one) == len(other)
                if not same or first_difference(np.array(one), np.array(other), 0) is not None:
                    raise BrokenPromise(
                        f"{who}: {count} threads call it at once, and {item!r:.30} gets "
                        f"{_say(other)} instead of {_say(one)}; one object serves all threads, so "
                        "keep nothing in it during a call"
                    )


def _in_step(together: Barrier) -> Callable[[FrameType, str, Any], Any]:
    """A trace function: a line begins when every thread has ended one, unless one waits long."""
    left = LINES

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if left <= 0 or str(frame.f_globals.get("__name__")).startswith("edifice_tt."):
            return None
        if event == "line":
            left -= 1
            try:
                together.wait(SECONDS)
            except BrokenBarrierError:  # one has ended, or waits for another
                time.sleep(PAUSE)
        return trace

    return trace


def _say(numbers: Numbers) -> str:
    return ", ".join(f"{number:.6g}" for number in numbers)
