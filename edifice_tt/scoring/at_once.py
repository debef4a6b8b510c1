"""Several calls at once, for scorers that wait for an answer. Knows no scorer."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def call_at_once(
    function: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[Result]:
    """The results for all items in the order in which they are ready, `count` calls at a time.

    After an error no call begins; those that had begun give their results first. So does Ctrl-C.
    """
    left = iter(items)
    if count == 1:
        yield from map(function, left)
        return
    waiting: set[Future[Result]] = set()
    error: BaseException | None = None
    with ThreadPoolExecutor(count) as threads:
        while True:
            try:
                for item in islice(left, 0 if error else count - len(waiting)):
                    waiting.add(threads.submit(copy_context().run, function, item))
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt as interrupt:
                if error is not None:
                    raise
                error = interrupt
                continue
            if not done:
                break
            for one in done:
                if (failed := one.exception()) is None:
                    yield one.result()
                else:
                    error = error or failed
    if error is not None:
        raise error
