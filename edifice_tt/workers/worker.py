"""What runs inside a worker: compares versions, begins once, and makes a record of every fault.

Knows no executor and no kind of work.
"""

import pickle
import socket
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, TypeAlias

from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.registry import one_registry
from edifice_tt.contract.tracing import one_line
from edifice_tt.machine.toolchain import limit_cores
from edifice_tt.workers.items import Failed, Item
from edifice_tt.workers.sending import pack

Give: TypeAlias = Callable[[Any], None]
Do: TypeAlias = Callable[[Any, Give], object]  # (work, where each result goes)


def versions() -> dict[str, str]:
    """Of all that decides which bits are computed."""
    return {name: version(name) for name in ("edifice-tt", "tinygrad", "numpy")}


def starter(begin: Callable[[], Do], cores: int | None) -> Callable[[], "Worker"]:
    """What an executor calls once in each worker; `begin` gives the function for each item.

    It holds plain values, so that any version of this library can read it.
    """
    return partial(start, versions(), cores, pack(begin))


def start(expected: Mapping[str, str], cores: int | None, begin: bytes) -> "Worker":
    """Begin; whatever is wrong is the reason for which the worker is refused."""
    here = f"worker on {socket.gethostname()}"
    found = versions()
    for name, wanted in expected.items():
        if found.get(name) != wanted:
            told = f"it has {name} {found.get(name)}, and the driver {wanted}"
            return Worker(f"{here}: {told}; install the same on both")
    try:
        limit_cores(cores)
        with one_registry():
            return Worker("", pickle.loads(begin)())
    except Exception as error:  # a model that is not there, a full disk, a plugin
        return Worker(f"{here}: {one_line(error)}")


class Worker:
    """A worker that has begun, or was refused for a reason."""

    def __init__(self, refused: str, do: Do | None = None) -> None:
        self.refused = refused
        self._do = do

    def __call__(self, item: Item, give: Give | None = None) -> list[Any]:
        """Work on an item; each result goes to `give` at once, or into the list.

        A result is a pair: the problem, and what was made or `Failed`.
        """
        results: list[Any] = []
        put: Give = give or results.append
        assert self._do is not None, self.refused
        try:
            with one_registry():
                self._do(item.work, lambda value: put((item.problem, value)))
        except Exception as error:
            told = one_line(error)
            where = "" if isinstance(error, EdificeError | ValueError) else _where()
            put((item.problem, Failed(told + where)))
        return results


def _where() -> str:
    return f" (worker on {socket.gethostname()})"
