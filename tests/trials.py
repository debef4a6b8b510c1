"""Work for the tests of workers, importable in a worker, and an executor that has none."""

import os
import signal
import time
from pathlib import Path

from edifice_tt.machine.toolchain import devices_beside
from edifice_tt.workers.items import Item


class Here:
    """An executor whose one worker is this process."""

    cores = None  # those of this process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map_unordered(self, start, items):
        worker = start()
        if worker.refused:
            items.refuse(worker.refused)
            return
        while (taken := items.take()) is not None:
            number, item = taken
            yield from worker(item)
            items.done(number)


def of(*works):
    """An item of each work, of problems p0, p1, ..."""
    return [Item(f"p{i}", work) for i, work in enumerate(works)]


def begin_echo():
    return lambda work, give: give((work, os.getpid(), len(devices_beside("CPU"))))


def begin_slow():
    """Items that take so long that one is always at work."""

    def do(work, give):
        give((work, os.getpid()))
        time.sleep(60)

    return do


def begin_deadly(folder):
    """The first worker that takes a work of which there is no file ends in its middle."""

    def do(work, give):
        give((work, "begun"))
        mark = Path(folder) / str(work)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        give((work, "ended"))

    return do


def begin_full(what):
    raise OSError(28, "No space left on device", what)


def begin_exit():
    print("out of memory", file=__import__("sys").stderr, flush=True)
    os._exit(9)
