"""METAL and CUDA as tinygrad's devices, played: tinygrad writes the kernels as for a GPU, and the
player executes them.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from absent import pretend
from player import GAP, Given, Player
from player import Program as Played
from tinygrad.device import Allocator, BufferSpec, Compiled, Program, TinyELF

from edifice_tt.machine.toolchain import prepare_compiler

NAMES: set[str] = set()  # of the kernels that were played


@dataclass(frozen=True)
class Memory:
    """Bytes of a buffer, or of a part of one, far from any other buffer."""

    bytes: np.ndarray


class PlayedAllocator(Allocator):
    def _alloc(self, size: int, options: BufferSpec) -> Memory:
        room = np.empty(size + 2 * GAP, np.uint8)
        begin = GAP + -room.ctypes.data % 64
        return Memory(room[begin : begin + size])

    def _copyin(self, dest: Memory, src: memoryview) -> None:
        dest.bytes[:] = np.frombuffer(src, np.uint8)

    def _copyout(self, dest: memoryview, src: Memory) -> None:
        np.frombuffer(dest, np.uint8)[:] = src.bytes

    def _offset(self, buf: Memory, size: int, offset: int) -> Memory:
        return Memory(buf.bytes[offset : offset + size])


class PlayedProgram(Program):
    def __init__(self, dev: Compiled, obj: TinyELF) -> None:
        self.name, self.signature = obj.name, obj.signature
        self.profile_key = obj.profile_key
        self.played = _compiled(dev.device.split(":")[0].lower(), obj.lib.decode())

    def __call__(
        self, *bufs: Memory, global_size=(1, 1, 1), local_size=(1, 1, 1), vals=(), wait=False, **_
    ) -> float:
        NAMES.add(self.name)
        given = []
        for _, slot, dtype, _ in self.signature:
            if slot < len(bufs):
                memory = bufs[slot].bytes
                given.append(Given(memory.ctypes.data, memory.nbytes, dtype.itemsize))
            else:
                given.append(np.array([vals[slot - len(bufs)]], f"i{dtype.itemsize}"))
        self.played.run(self.name, given, global_size, local_size)
        return 1e-3


@cache
def _player() -> tuple[Player, TemporaryDirectory]:
    folder = TemporaryDirectory()
    return Player(prepare_compiler(), Path(folder.name)), folder


@cache
def _compiled(dialect: str, source: str) -> Played:
    return getattr(_player()[0], dialect)(source)


def play(device: str) -> None:
    """Let tinygrad play a device that has not been looked for yet."""
    pretend(device, PlayedAllocator, PlayedProgram)
