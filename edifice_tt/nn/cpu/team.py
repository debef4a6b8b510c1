"""Threads that help another thread through programs of the C kernels. See `c/team.c`.

Between steps helpers wait a little, for draws, and then sleep. What they do not come to in time is
done without them. So a process that is forked meanwhile, where they do not exist, goes on alone.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock, Thread, local
from typing import Any

import numpy as np
from tinygrad import Tensor

from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import CACHE_LINE, wrap, zeros
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu.kernels import MEMBERS
from edifice_tt.nn.cpu.replay import Capture, Replay, capture, memory_of

LEAST = 1 << 16  # weights that are worth a part: microseconds, of which handing over takes a tenth
_GIVE_WAY, _MEMBERS, _LEAST, _OVER = range(4)  # where `team` in C has them
_GOES_ON, _LINGERS, _CLOSED = range(3)  # what `over` says
_WORDS = (3 + MEMBERS) * CACHE_LINE // 8  # of 64 bits


class Team:
    """One thread and its helpers, who work within `with team:` and are gone after `close`."""

    def __init__(self, members: int, give_way: int) -> None:
        self._words = zeros(_WORDS, dtype=np.int64)
        self._words[[_GIVE_WAY, _MEMBERS, _LEAST, _OVER]] = give_way, members, LEAST, _LINGERS
        self.pointer = self._words.ctypes.data
        low, high = np.array([self.pointer], np.int64).view(np.int32)
        self.address = int(low), int(high)  # in two numbers of 32 bits, as `rows` has it
        self._is_closed = False
        self._helpers: list[tuple[Thread, Lock]] = []
        for member in range(1, members):
            bed = Lock()  # is held while its helper sleeps
            bed.acquire()
            thread = Thread(target=self._help, args=(bed, self._assistance(member)), daemon=True)
            with suppress(RuntimeError):  # no more threads are to be had: we do without
                thread.start()
                self._helpers.append((thread, bed))

    def _assistance(self, member: int) -> Replay:
        own = wrap(np.array([member, *self.address], np.int32), "CPU")
        program, place = _assist()
        return Replay((program, {place: memory_of(own)}), held=own)

    def _help(self, bed: Lock, assist: Replay) -> None:
        while True:
            bed.acquire()
            if self._is_closed:
                return
            assist()

    def _wake(self) -> None:
        for _, bed in self._helpers:
            if bed.locked():
                bed.release()

    def __enter__(self) -> None:
        self._words[_OVER] = _GOES_ON
        self._wake()

    def __exit__(self, *error: object) -> None:
        self._words[_OVER] = _LINGERS

    def close(self) -> None:
        self._is_closed = True
        self._words[_OVER] = _CLOSED
        self._wake()
        for thread, _ in self._helpers:
            thread.join()


def make_team(cores: int) -> Team | None:
    """A team for so many cores, or None where one thread works alone."""
    members, give_way = min(cores, MEMBERS), _yield_address()
    return Team(members, give_way) if members > 1 and give_way else None


@contextmanager
def gather(cores: int) -> Iterator[Team | None]:
    """Provide a team for so many cores, as `make_team`, whose leader is this thread."""
    before, team = led(), make_team(cores)
    if team is None:
        yield None
        return
    _of_thread.led = team
    try:
        yield team
    finally:
        _of_thread.led = before
        team.close()


_of_thread = local()


def led() -> Team | None:
    """The team that this thread leads."""
    found: Team | None = getattr(_of_thread, "led", None)
    return found


@cache
def _yield_address() -> int:
    """Where the system's `sched_yield` is; 0 where there is none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0


@cache
def _assist() -> tuple[Capture, int]:
    """The program of a helper, and the memory that tells it who it is, and of which team."""
    source = Path(__file__).with_name("c").joinpath("team.c").read_text(encoding="utf-8")
    library = f"#define LINE {CACHE_LINE}\n#define MEMBERS {MEMBERS}\n#define WIDE\n{source}"

    def assist(own: Tensor) -> Any:
        return cpu.call("helper", library, "assist(team_at(own + 1), own[0]);", {"own": own}, {})[0]

    with exclusive:
        sample = wrap(np.zeros(3, np.int32), "CPU")  # of no team: it returns at once
        program = capture(assist, sample)
    assert program is not None
    return program, memory_of(sample)
