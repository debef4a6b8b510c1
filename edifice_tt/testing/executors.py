"""Checks an executor by work without a model. Knows the contract; knows no cluster."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from edifice_tt.contract.records import Executor
from edifice_tt.contract.tracing import show
from edifice_tt.testing.promises import BrokenPromise, attempt, find
from edifice_tt.workers.items import Failed, Item, Items
from edifice_tt.workers.trial import FATAL, begin_nothing, begin_squares
from edifice_tt.workers.worker import starter

NUMBERS = range(23)  # every fifth of them fails after its first result


def check_executor(name_or_make: str | Callable[..., Any], **options: Any) -> None:
    """Raise `BrokenPromise` unless an executor keeps the contract of `register_executors`.

    Give the registered name or `make`, and the options of it: `workers=2, address="auto"`. All
    results of all items must come, those of an item that fails too. An item that ends its workers
    must be given up, and the others done. Workers that cannot begin must be told of and left.

    Raises `UnknownNameError` for an unknown name.

    >>> check_executor("processes", workers=2)
    """
    make: Any = name_or_make
    who, record = find("executor", make, partial(Executor, make=make))
    items = [Item(f"p{number}", number) for number in NUMBERS]
    made, failed, _ = _run(who, record, options, begin_squares, items)
    wanted = Counter(
        (f"p{n}", value) for n in NUMBERS for value in ([n] if n % 5 == 4 else [n, n * n])
    )
    found = Counter(one for one in made if not isinstance(one[1], Failed))
    for one in [*wanted, *found]:
        if not 0 < wanted[one] <= found[one]:
            raise BrokenPromise(
                f"{who} yields the result {show(one)} {found[one]} times, expected {wanted[one]}"
            )
    if len(faults := {problem for problem, value in made if isinstance(value, Failed)}) != 4:
        raise BrokenPromise(
            f"{who} yields the faults of {sorted(faults)}, expected p4, p9, p14, p19"
        )
    fatal = [Item("fatal", FATAL), *items[:4]]
    made, failed, unfinished = _run(who, record, options, begin_squares, fatal)
    lacking = {f"p{number}" for number in NUMBERS[:4]} - {problem for problem, _ in made}
    if [*failed] != ["fatal"] or lacking or unfinished:
        raise BrokenPromise(
            f"{who}: where one item ends its workers, {sorted(failed)} are given up and "
            f"{sorted(lacking)} lack results, expected that item to be given up, and no other"
        )
    refused: list[str] = []
    made, _, unfinished = _run(who, record, options, begin_nothing, items, refused.append)
    if made or not unfinished or not refused:
        raise BrokenPromise(
            f"{who} yields {len(made)} results of workers that could not begin and refuses "
            f"{len(refused)}; call items.refuse with worker.refused"
        )


def _run(
    who: str,
    record: Executor,
    options: dict[str, Any],
    begin: Callable[[], Any],
    items: Iterable[Item],
    tell: Callable[[str], object] = lambda line: None,
) -> tuple[list[Any], dict[str, str], bool]:
    """What was made, what was given up, and whether some were left."""
    failed: dict[str, str] = {}
    left = Items(items, failed, tell)

    def run() -> list[Any]:
        with record.make(**options) as executor:
            return [*executor.map_unordered(starter(begin, executor.cores), left)]

    made = attempt(who, f"with {options}", run)
    return made, failed, left.unfinished
