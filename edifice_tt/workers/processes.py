"""Workers as processes on this machine: begun, given items, replaced when they end, ended.

Knows pipes and processes; knows no work.
"""

import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import IO, Any, Self

from edifice_tt.contract.options import check_count
from edifice_tt.machine.toolchain import devices_beside
from edifice_tt.workers.items import TRIES, Items
from edifice_tt.workers.process import DONE

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from edifice_tt.workers.process import main; main(int(sys.argv[1]))"
)


class Processes:
    """So many workers on this machine, each with a share of its cores.

    Raises `ValueError` for more cores than this process may use.
    """

    def __init__(self, workers: int | None, cores: int | None) -> None:
        here = len(devices_beside("CPU"))
        if workers is None:
            raise ValueError("say how many processes are to work: workers=2 (--workers 2)")
        self.workers = check_count("workers", workers)
        self.cores = max(here // workers, 1) if cores is None else check_count("cores", cores)
        if cores is not None and workers * cores > here:
            raise ValueError(
                f"{workers} workers of {cores} cores need {workers * cores} cores, and {here} are "
                "here; give fewer"
            )
        self._alive: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._alive:
            process.end()
        self._alive.clear()

    def map_unordered(self, start: Callable[[], Any], items: Items) -> Iterator[Any]:
        """What the workers make of the items, each result as soon as it is there."""
        program, failures = pickle.dumps(start), 0
        self._alive = [_Process(program) for _ in range(self.workers)]
        while self._alive and (items.waiting or any(one.has is not None for one in self._alive)):
            for process in [one for one in self._alive if one.rests]:
                process.give(items.take())
            busy = [one for one in self._alive if not one.rests]
            heard_of = wait([one.pipe for one in busy]) if busy else []
            for process in [one for one in busy if one.pipe in heard_of]:
                try:
                    heard = process.pipe.recv()
                except (EOFError, OSError, pickle.UnpicklingError):
                    self._alive.remove(process)
                    failures += not process.ready
                    self._replace(process, program, items, failures)
                    continue
                if not process.ready:
                    process.ready = process.rests = not heard
                    if heard:
                        items.refuse(heard)
                        process.end()
                        self._alive.remove(process)
                elif heard == DONE:
                    items.done(process.take_back())
                else:
                    yield heard

    def _replace(self, process: "_Process", program: bytes, items: Items, failures: int) -> None:
        """Another in place of one that has ended, unless each ends before it has begun."""
        told = process.end()
        if process.has is not None:
            items.lost(process.has, told)
        if failures < TRIES:
            self._alive.append(_Process(program))
        else:
            items.refuse(f"{told} before it had begun")


class _Process:
    """One worker; `has` is the number of the item that it works on."""

    def __init__(self, program: bytes) -> None:
        self.pipe, theirs = Pipe()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, to the end
        number, where = theirs.fileno(), json.dumps(sys.path)
        # A session of its own: Ctrl-C is the driver's, which ends its workers.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(number), where],
            pass_fds=(number,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
        )
        theirs.close()
        self.has: int | None = None
        self.ready = self.rests = False
        self._send(program)

    def give(self, taken: tuple[int, Any] | None) -> None:
        """Give an item, if there is one."""
        if taken is not None:
            self.has, item = taken
            self.rests = False
            self._send(pickle.dumps(item))

    def take_back(self) -> int:
        """The number of the item that is done."""
        assert self.has is not None
        number, self.has, self.rests = self.has, None, True
        return number

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # it has ended, which its pipe tells
            self.pipe.send_bytes(message)

    def end(self) -> str:
        """End the process; tells how it had ended, if it had."""
        status = self._process.poll()
        self._process.kill()
        self._process.wait()
        self.pipe.close()
        self._said.seek(0)
        last = self._said.read().decode(errors="replace").strip().rpartition("\n")[2]
        self._said.close()
        how = status if status is not None else self._process.returncode
        by = f"signal {-how}" if how < 0 else f"status {how}"
        return f"a worker ended with {by}" + (f" ({last:.200})" if last else "")
