"""The same work by several workers: processes of this machine, or a cluster's. Registers the first.

A worker loads its model once. Whatever it makes goes to one writer. Knows no command.
"""

from collections.abc import Callable
from typing import Any

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_executors(register: Callable[..., None]) -> None:
    register("processes", _processes, summary="processes on this machine")


def _processes(workers: int | None = None, cores: int | None = None) -> Any:
    from edifice_tt.workers.processes import Processes

    return Processes(workers, cores)
