"""Work without a model, by which executors are tried. Importable wherever this library is."""

import os
import signal

from edifice_tt.contract.errors import EdificeError
from edifice_tt.workers.worker import Do, Give

FATAL = -1  # the item that ends the process that takes it


def begin_squares() -> Do:
    """Two results of each number: itself and its square."""
    return _square


def _square(number: int, give: Give) -> None:
    if number == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    give(number)
    if number % 5 == 4:
        raise OSError(28, "No space left on device")
    give(number * number)


def begin_nothing() -> Do:
    """A worker that cannot begin."""
    raise EdificeError("there is no such model here")
