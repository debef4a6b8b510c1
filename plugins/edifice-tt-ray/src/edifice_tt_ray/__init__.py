"""Workers on a Ray cluster. Knows the hook; Ray is imported when it is used."""

from collections.abc import Callable
from typing import Any

from edifice_tt import hookimpl


@hookimpl
def register_executors(register: Callable[..., None]) -> None:
    register("ray", make, summary="workers of a Ray cluster")


def make(address: str = "auto", workers: int | None = None, cores: int = 1, gpus: int = 0) -> Any:
    """Connect to the cluster at an address; see the README."""
    from edifice_tt_ray.executor import Ray

    return Ray(address, workers, cores, gpus)
