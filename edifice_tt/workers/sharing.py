"""Who shares the work on many problems: options -> an executor, and what it left undone."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError, PoolWarning, unknown_name
from edifice_tt.contract.options import check_count
from edifice_tt.contract.wording import counted

if TYPE_CHECKING:
    from edifice_tt.workers.driving import Executor

_PARAMETERS = {  # of an executor
    "workers": "workers",
    "cores_per_worker": "cores",
    "gpus_per_worker": "gpus",
    "address": "address",
}
PLUGINS = ("ray", "dask")  # of ours
TOLD = 3  # problems that failed, in an error


class Sharing(TypedDict, total=False):
    """The options that have the work done by several workers, for type checkers."""

    workers: int | None
    executor: str | None
    address: str | None
    cores_per_worker: int | None
    gpus_per_worker: int | None


NAMES = Sharing.__annotations__.keys()


def is_shared(sharing: Sharing) -> bool:
    """Whether several workers are to do the work; raises `ValueError` for what is for them only."""
    if sharing.get("executor") is not None or sharing.get("workers") is not None:
        return True
    for name, value in sharing.items():
        if value is not None:
            raise ValueError(
                f"{name}={value!r:.60} is for several workers; say how many, or name an executor"
            )
    return False


@contextmanager
def open_executor(
    *,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    cores_per_worker: int | None = None,
    gpus_per_worker: int | None = None,
) -> Iterator["Executor"]:
    """The executor of that name, by default that of processes; its workers end with the context."""
    record = _find(executor or "processes")
    given = {
        "workers": workers,
        "cores_per_worker": cores_per_worker,
        "gpus_per_worker": gpus_per_worker,
        "address": address,
    }
    options = {}
    for name, value in given.items():
        if value is None:
            continue
        if _PARAMETERS[name] not in record.options:
            raise ValueError(
                f"{name}={value!r:.60} is nothing that {record.name!r} takes; leave it out"
            )
        if name != "address":
            check_count(name, value)
        options[_PARAMETERS[name]] = value
    with record.make(**options) as opened:
        yield opened


def _find(executor: str) -> registry.Executor:
    registered = registry.load_registry()
    absent = executor in PLUGINS and executor not in registered.executors
    if absent and not registered.failures:
        raise EdificeError(
            f"executor {executor!r} is of the plugin edifice-tt-{executor}, which is not loaded; "
            f"install it (docs/scale.md), or use {', '.join(registered.executors)}"
        )
    found: registry.Executor = registered.find("executor", executor)
    return found


def divide(
    options: Mapping[str, Any], call: str, others: Iterable[str]
) -> tuple[Sharing, dict[str, Any]]:
    """The options that say who does the work, and the others of a call.

    Raises `UnknownNameError` for what is none of them.
    """
    for name in options:
        if name not in (known := [*NAMES, *others]):
            raise unknown_name(f"option of {call}", name, known)
    sharing: Any = {name: options[name] for name in NAMES if name in options}
    return sharing, {name: value for name, value in options.items() if name not in NAMES}


def warn_of_refused(line: str) -> None:
    """Tell why a worker could not begin, while the others go on."""
    warnings.warn(line, PoolWarning, stacklevel=2)


def check_done(failed: Mapping[str, str], total: int, what: str) -> None:
    """Raise `EdificeError` for problems that failed; it says why."""
    if failed:
        reasons = [f"{problem}: {reason}" for problem, reason in failed.items()]
        more = [f"and {len(reasons) - TOLD} others"] if len(reasons) > TOLD else []
        told = "; ".join([*reasons[:TOLD], *more])
        raise EdificeError(f"{len(failed)} of {counted(total, 'problem')} {what}: {told}")
