"""The driver's side of a run: one writer for all workers, and a list of what failed.

Knows no executor and no kind of work.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from edifice_tt.contract.errors import EdificeError
from edifice_tt.workers.items import Failed, Item, Items
from edifice_tt.workers.worker import Do, starter


class Executor(Protocol):
    """What `make` of `register_executors` returns, opened as a context."""

    cores: int | None

    def map_unordered(self, start: Callable[[], Any], items: Items) -> Iterable[Any]:
        """What workers make of the items, in any order."""


def drive(
    executor: Executor,
    begin: Callable[[], Do],
    items: Iterable[Item],
    failed: dict[str, str],
    tell: Callable[[str], object],
) -> Iterator[tuple[str, Any]]:
    """Have the items worked on; yields each result with the id of its problem.

    `begin` is pickled and called once in each worker. `failed` is told why problems failed. `tell`
    is given a line for each worker that is refused. Raises `EdificeError` when no worker is left.
    """
    left = Items(items, failed, tell)
    for problem, value in executor.map_unordered(starter(begin, executor.cores), left):
        if isinstance(value, Failed):
            failed[problem] = value.reason
        else:
            yield problem, value
    if left.unfinished:
        raise EdificeError(f"no worker is left; the last one: {left.refused}")
