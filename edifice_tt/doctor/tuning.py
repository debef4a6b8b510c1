"""Measures which sizes of the CPU's kernels suit this processor best. `nn/cpu/tuning` keeps them.

Each size is measured by products that it matters to: its candidates take turns, in seconds of this
thread, and the best of many rounds counts.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from tinygrad import Tensor

from edifice_tt.contract.errors import EdificeError, ToolchainError
from edifice_tt.doctor.check import Check
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.progress import Shows, showing
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import view, wrap, zeros
from edifice_tt.nn.cpu import kernels, tuning
from edifice_tt.nn.cpu.bridge import compiles_c
from edifice_tt.nn.cpu.formats import name_of
from edifice_tt.nn.cpu.instructions import Vectors
from edifice_tt.nn.cpu.replay import Replay, capture
from edifice_tt.nn.formats import FORMATS

GAIN = 0.03  # of its time that a size must save, or the table's stays: two runs shall agree
ROUNDS, LEAST_S = 24, 2e-3  # and the seconds of a turn


class Case(NamedTuple):
    """Products that a size matters to: of some rows with a weight of a kind (columns, depth)."""

    size: str
    kind: str
    rows: tuple[int, ...]
    columns: int
    depth: int


# Fewer rows than go through a matrix unit; single rows with weights larger than most caches.
CASES = (
    Case("tile_rows", "F32", (4, 16), 512, 1024),
    Case("tile_rows", "Q4_K", (4, 8, 32), 512, 1024),
    Case("most_rows", "Q4_K_grouped", (8, 15), 512, 1024),
    Case("most_rows", "Q6_K_grouped", (8, 15), 512, 1024),
    Case("far", "Q8_0", (1,), 16384, 4096),
    Case("far", "Q4_K_grouped", (1,), 32768, 4096),
)

Seconds = Sequence[float]  # of a product, by line
Measure = Callable[[Case, Sequence[Vectors]], Sequence[Seconds]]


def check_sizes() -> Check:
    """Which sizes the kernels of the CPU compute with, and where these are from."""
    try:
        default, found = tuning.default_line(), tuning.read()
    except ToolchainError:
        return Check("kernel sizes", "not known without a clang that works")
    except EdificeError as error:
        return Check("kernel sizes", tuning.INSTEAD, False, str(error))
    if found is None:
        why = "EDIFICE_TT_TUNED=0" if tuning.is_off() else "edifice-tt doctor --tune measures"
        words = f"{_words(default)}, of the table for {default.name} ({why})"
        return Check("kernel sizes", words)
    are = "as in" if found.line == default else f"{_words(default)} in"
    words = f"measured on {found.day} ({are} the table for {default.name})"
    return Check("kernel sizes", f"{_words(found.line)}, {words}")


def _words(line: Vectors) -> str:
    return ", ".join(f"{name}={getattr(line, name)}" for name in tuning.CANDIDATES)


def tune(progress: Shows = False, measure: Measure | None = None) -> tuning.Choice:
    """Measure each size, and keep the best of them for this processor: about half a minute.

    Raises `EdificeError` if a size changes a result; and whatever ends it early, nothing is kept.
    """
    open_device("CPU")
    if not compiles_c("CPU"):
        raise ToolchainError(
            "tinygrad's CPU device compiles no C here, so it has no kernels to measure; unset DEV"
        )
    tuning.make_folder()  # or all would be measured for nothing
    line = tuning.default_line()
    with showing(progress, len(CASES), "kinds of products, choosing sizes of kernels") as add:
        for name, candidates in tuning.CANDIDATES.items():
            sizes: list[dict[str, Any]] = [{name: size} for size in candidates]
            lines = list(dict.fromkeys([line, *(line._replace(**size) for size in sizes)]))
            costs = [0.0] * len(lines)
            for case in CASES:
                if case.size == name:
                    for seconds in (measure or measured)(case, lines):
                        costs = [c + s / seconds[0] for c, s in zip(costs, seconds, strict=True)]
                    add(1, 0)
            best = costs.index(min(costs))
            line = lines[best if costs[best] < (1 - GAIN) * costs[0] else 0]
    return tuning.keep(line)


@exclusive
def measured(case: Case, lines: Sequence[Vectors]) -> list[list[float]]:
    """The seconds of a case's products with the sizes of each line, for each number of rows.

    Raises `EdificeError` where a product has other bits than with those of the first line.
    """
    rng, most, outs = np.random.default_rng(0), max(case.rows), []
    x = wrap(rng.standard_normal((most, case.depth), np.float32), "CPU")
    weight = _weight(case, rng)
    rows = np.array([*[0] * kernels.HEADER, *range(most)], np.int32)
    programs: list[Replay] = []
    for line in lines:
        with tuning.trying(line):
            captured = capture(partial(_product, weight), x, wrap(rows, "CPU"))
        assert captured is not None, "a product is one program"
        programs.append(Replay((captured, {})))
        outs.append(view(captured.returned))
    times = []
    for count in case.rows:
        rows[2] = count
        times.append(_take_turns(programs))
        for line, out in zip(lines, outs, strict=True):
            if out[:count].tobytes() != outs[0][:count].tobytes():
                raise EdificeError(
                    f"a product of {case.kind} has other bits with {case.size}="
                    f"{getattr(line, case.size)} than with the table's: nothing is kept; report "
                    "this, with what `edifice-tt doctor` says"
                )
    return times


def _product(weight: kernels.Weight, x: Tensor, rows: Tensor) -> Tensor:
    return kernels.linear(x, weight, formula=lambda *given: x, rows=rows)  # of which nobody asks


def _weight(case: Case, rng: np.random.Generator) -> kernels.Weight:
    """A weight whose numbers, scales among them, are small and no two the same by rule."""
    columns, depth = case.columns, case.depth
    if case.kind == "F32":
        array = rng.standard_normal((columns, depth), np.float32)
        return kernels.Weight(wrap(array, "CPU"))
    form = FORMATS[name_of(case.kind)]
    room = zeros(columns, depth // form.weights * form.bytes, dtype=np.uint8)
    some = rng.integers(0x20, 0x30, 1_000_003, dtype=np.uint8)  # halves from 0.008 to 0.12
    room.reshape(-1)[:] = np.resize(some, room.size)
    if case.kind == form.name:
        return kernels.Weight(wrap(room, "CPU"), case.kind)
    return kernels.Weight(wrap(room.reshape(columns // 16, -1), "CPU"), case.kind, out=columns)


def _take_turns(programs: Sequence[Callable[[], object]]) -> list[float]:
    """The least seconds of each program in many rounds."""
    programs[0]()
    turns = max(1, round(LEAST_S / _seconds(programs[0], 1)))
    best = [float("inf")] * len(programs)
    for _ in range(ROUNDS):
        best = [min(b, _seconds(one, turns)) for b, one in zip(best, programs, strict=True)]
    return best


def _seconds(program: Callable[[], object], turns: int) -> float:
    started = time.thread_time()
    for _ in range(turns):
        program()
    return (time.thread_time() - started) / turns
