"""Plays the kernels of a GPU, as they are written in Metal or CUDA, on a CPU.

The source is compiled as C++ by clang against `played/`, where a fiber stands for each thread.
Finds what a GPU may leave unseen: races, missing barriers, reads of memory that nobody wrote,
accesses outside of a buffer. Knows no speed, no driver and no rounding but the CPU's.
"""

import ctypes
import hashlib
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import dialects
import numpy as np

HEADERS = Path(__file__).parent / "played"
LANES, MOST_THREADS = 32, 1024  # of a SIMD group, of a group
STACK_BYTES, GAP, CELL_BYTES = 1 << 16, 1 << 17, 24
BASE = ["-x", "c++", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-nostdinc", f"-I{HEADERS}"]
BASE += ["-mf16c", "-mfma"]
# A product and a sum are rounded once, as compilers for GPUs do it (`-ffp-contract`).
# Every access to memory calls `played/races.cpp`, where no larger one takes its place.
SEEN = ["-O1", "-fsanitize=thread", "-mllvm", "-tsan-instrument-func-entry-exit=0"]
SEEN += ["-mllvm", "-tsan-instrument-read-before-write"]
SEEN += ["-fsanitize=alignment,array-bounds,local-bounds,shift,integer-divide-by-zero"]
SEEN += ["-fno-sanitize-recover=all", "-fno-sanitize-trap=all"]
SEEN += ["-fno-vectorize", "-fno-slp-vectorize", "-ffp-contract=fast", "-Wno-everything"]
SEEN += [f"-Wframe-larger-than={STACK_BYTES // 4}", "-Werror=frame-larger-than"]
KINDS = ["", "race", "outside", "unwritten", "parted", "lane", "read only"]
KINDS += ["bounds", "misaligned", "shift", "division"]


class Misplayed(Exception):
    """What a kernel must not do, and did."""


class Index(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


class Fault(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int),
        *((name, ctypes.c_uint) for name in ("thread", "group", "other_thread", "other_group")),
        ("buffer", ctypes.c_int),
        ("offset", ctypes.c_int64),
        *((name, ctypes.c_int) for name in ("writes", "line", "other_line")),
    ]

    def __str__(self) -> str:
        who = f"thread {self.thread} of group {self.group}"
        other = f"thread {self.other_thread} of group {self.other_group}"
        buffer = "shared memory" if self.buffer == -1 else f"buffer {self.buffer}"
        where = f"{buffer}, at byte {self.offset}" if self.buffer > -2 else "no buffer"
        does = "writes" if self.writes else "reads"
        lines = f"line {self.line}", f"line {self.other_line}" if self.other_line else "its end"
        return {
            "race": f"race: {who} {does} {where}, and {other} is there with no barrier between",
            "outside": f"outside: {who} {does} outside of {where}",
            "unwritten": f"unwritten: {who} reads what nobody wrote: {where}",
            "parted": f"parted: {who} waits at {lines[0]}, {other} is at {lines[1]}",
            "lane": f"lane: {who} asks at line {self.line} for a lane that is not there",
            "read only": f"read only: {who} writes what is given to be read: {where}",
            "bounds": f"bounds: {who} is outside of an array, at {lines[0]}",
            "misaligned": f"misaligned: {who} is at part of a vector, at {lines[0]}",
            "shift": f"shift: {who} shifts by too many bits, at {lines[0]}",
            "division": f"division: {who} divides by 0, at {lines[0]}",
        }[KINDS[self.kind]]


class Region(ctypes.Structure):
    _fields_ = [
        ("begin", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("grain", ctypes.c_uint64),
        ("cells", ctypes.c_void_p),
    ]


class Play(ctypes.Structure):
    _fields_ = [
        ("groups", Index),
        ("threads", Index),
        ("backwards", ctypes.c_uint),
        ("order", ctypes.c_void_p),
        ("entry", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("stacks", ctypes.c_void_p),
        ("stack_bytes", ctypes.c_uint64),
        ("regions", ctypes.c_void_p),
        ("region_count", ctypes.c_uint64),
        ("fault", Fault),
    ]


@dataclass(frozen=True)
class Given:
    """Memory that a kernel is given: where, how many bytes, of how many each number is."""

    address: int
    bytes: int
    grain: int


def orders(threads: int) -> list[np.ndarray]:
    """Orders of a group's threads: of each two, each is first once; and a mixed one."""
    forward = np.arange(threads, dtype=np.uint32)
    simd_groups = np.split(forward, range(LANES, threads, LANES))
    rng = np.random.default_rng(threads)
    mixed = [rng.permutation(simd_groups[i]) for i in rng.permutation(len(simd_groups))]
    return [forward, forward[::-1].copy(), np.concatenate(mixed)]


class Player:
    """Compiles kernels with a clang, into a folder of its own.

    With `cut` sums of tensor cores are cut off, as some do it, and not rounded.
    """

    def __init__(self, clang: str, folder: Path, cut: bool = False) -> None:
        self.clang, self.folder, self.played = clang, folder, ["-DPLAYED", f"-DCUT={int(cut)}"]
        self.runtime = [self._runtime(name) for name in ("player", "races", "types")]

    def _runtime(self, name: str) -> str:
        made = str(self.folder / f"{name}.o")
        self._run(*BASE, "-O2", "-c", str(HEADERS / f"{name}.cpp"), "-o", made)
        return made

    def _run(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            [self.clang, *words], input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ValueError(done.stderr)
        return done.stdout

    def metal(self, source: str) -> "Program":
        return self._compile(source, dialects.metal)

    def cuda(self, source: str) -> "Program":
        return self._compile(f'#include "cuda.h"\n#line 1 "kernel"\n{source}', dialects.cuda)

    def _compile(self, source: str, translate: Callable[[str], str]) -> "Program":
        text = translate(self._run(*BASE, *self.played, "-E", "-", given=source))
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        made = self.folder / f"{name}.so"
        if not made.exists():
            link = ["-shared", "-nostdlib", "-fuse-ld=lld", "-fno-sanitize-link-runtime"]
            words = [*BASE, *SEEN, *link, "-", "-x", "none", *self.runtime]
            self._run(*words, "-o", str(made), given=text)
        return Program(made)


class Program:
    """The kernels of one source."""

    def __init__(self, library: Path) -> None:
        ctypes.CDLL("libm.so.6", ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(library))
        self._library.player_shared.restype = ctypes.c_void_p
        self._library.player_shared_bytes.restype = ctypes.c_uint64
        self.shared = Given(self._library.player_shared(), self._library.player_shared_bytes(), 1)

    def play(
        self,
        name: str,
        *arguments: np.ndarray | np.generic | int,
        groups: Sequence[int],
        threads: Sequence[int],
    ) -> list[np.ndarray]:
        """The arrays as the kernel leaves them, each after the other of its arguments.

        It is played in several orders, which must all give the same bits. A Python int is an `int`.
        """
        results = []
        for number, order in enumerate(orders(prod(threads))):
            arena, given = _copied(arguments)
            self.run(name, given, groups, threads, order, backwards=number == 1)
            results.append([part.copy() for part in arena])
        for other in results[1:]:
            for at, (a, b) in enumerate(zip(results[0], other, strict=True)):
                if a.tobytes() != b.tobytes():
                    raise Misplayed(f"order: buffer {at} depends on which thread is first")
        return results[0]

    def run(
        self,
        name: str,
        given: Sequence["Given | np.ndarray"],
        groups: Sequence[int],
        threads: Sequence[int],
        order: np.ndarray | None = None,
        backwards: bool = False,
    ) -> None:
        """Play once, in place. A number is an array of its own."""
        count = prod(threads)
        if count > MOST_THREADS:
            raise ValueError(f"a group of {count} threads, expected {MOST_THREADS} at most")
        if order is None:
            order = np.arange(count, dtype=np.uint32)
        reads = (ctypes.c_ubyte * len(given)).in_dll(self._library, f"player_reads_{name}")
        memory = [(self.shared, False), *zip(given, reads, strict=True)]
        memory = [(one, is_read) for one, is_read in memory if isinstance(one, Given)]
        cells = [np.zeros(-(-one.bytes // one.grain) * CELL_BYTES, np.uint8) for one, _ in memory]
        regions = (Region * len(memory))(
            *(
                Region(one.address, one.bytes, one.grain, None if is_read else cell.ctypes.data)
                for (one, is_read), cell in zip(memory, cells, strict=True)
            )
        )
        pointers = (ctypes.c_void_p * len(given))(
            *(one.address if isinstance(one, Given) else one.ctypes.data for one in given)
        )
        stacks = np.empty(count * STACK_BYTES + 64, np.uint8)
        play = Play(
            Index(*groups),
            Index(*threads),
            backwards,
            order.ctypes.data,
            ctypes.cast(getattr(self._library, f"player_entry_{name}"), ctypes.c_void_p),
            ctypes.cast(pointers, ctypes.c_void_p),
            stacks.ctypes.data + -stacks.ctypes.data % 64,
            STACK_BYTES,
            ctypes.cast(regions, ctypes.c_void_p),
            len(memory),
        )
        self._library.player_play(ctypes.byref(play))
        if play.fault.kind:
            raise Misplayed(str(play.fault))


def _copied(arguments):
    """Copies of the arrays, far apart, so that an access beyond one meets none."""
    arrays = [one for one in arguments if isinstance(one, np.ndarray)]
    memory = np.empty(sum(array.nbytes + 2 * GAP for array in arrays) + GAP, np.uint8)
    begin, parts, given = -memory.ctypes.data % 64 + GAP, [], []
    for one in arguments:
        if isinstance(one, np.ndarray):
            part = memory[begin : begin + one.nbytes].view(one.dtype).reshape(one.shape)
            part[...] = one
            parts.append(part)
            given.append(Given(part.ctypes.data, part.nbytes, one.itemsize))
            begin += -(-one.nbytes // 64) * 64 + GAP
        else:
            given.append(np.array([one], np.int32 if isinstance(one, int) else None))
    return parts, given
