"""Workers on a Dask cluster. Knows the hook; Dask is imported when it is used."""

from collections.abc import Callable
from typing import Any

from edifice_tt import hookimpl


@hookimpl
def register_executors(register: Callable[..., None]) -> None:
    register("dask", make, summary="workers of a Dask cluster")


def make(address: str = "", workers: int | None = None, cores: int = 1, gpus: int = 0) -> Any:
    """Connect to the scheduler at an address; see the README."""
    from edifice_tt_dask.executor import Dask

    return Dask(address, workers, cores, gpus)
