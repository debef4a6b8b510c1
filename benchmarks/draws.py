"""How long the draw of one token takes from logits on the host, in C and by the formula in NumPy.

The logits lie as those of a language model do: of a few tokens high, of all others far below. Both
draw the same tokens with the same log-probabilities. One thread draws row by row, alone and with a
team, whose threads share each row; and then a thread per core, whose time is that of all rows by
their number.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import machine
import numpy as np
from timing import OURS, Report, arguments, cores, take_turns

from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.cpu.team import gather
from edifice_tt.sampling.draws import Sampler

SIZES = (49_152, 151_936)
SETTINGS = (
    *(Sampler(), Sampler(temperature=1), Sampler(temperature=0)),
    *(Sampler(top_k=50), Sampler(top_p=0.95), Sampler(top_k=40, top_p=0.95)),
)
Draw = Callable[[np.ndarray, int, int], tuple[int, float]]


def main() -> None:
    options = arguments(__doc__ or "", rows={"type": int, "default": 16, "help": "of logits"})
    open_device("CPU")
    report = Report(
        "draws from logits, ms each",
        machine.versions(),
        machine.limits(options.peers),
        options,
        note="ratio: seconds of the formula / those of the C",
    )
    with ThreadPoolExecutor(cores()) as pool:
        for size in SIZES[:1] if options.quick else SIZES:
            logits = np.array([as_a_model(seed, size) for seed in range(options.rows)])
            for sampler in SETTINGS:
                by_formula = sampler.draw_by_formula
                for at, row in enumerate(logits):
                    if sampler.draw(row, at, 0) != by_formula(row, at, 0):
                        raise SystemExit(f"{sampler} draws otherwise than its formula")
                subjects = {
                    OURS: partial(seconds, logits, sampler.draw),
                    f"{OURS}, a team of {cores()}": partial(
                        seconds_of_a_team, logits, sampler.draw
                    ),
                    f"{OURS}, {cores()} threads": partial(seconds, logits, sampler.draw, pool),
                    "formula": partial(seconds, logits, by_formula),
                }
                t, k, p = sampler.temperature, sampler.top_k, sampler.top_p
                case = f"{size}, temperature={t}, top_k={k}, top_p={p}"
                report.add(case, take_turns(subjects, options.repeats, warm_up=2))
    report.show()


def as_a_model(seed: int, size: int) -> np.ndarray:
    """Logits such as SmolLM2-135M gives: all but 3 % are more than 12 below the highest."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=size) - 19
    logits[rng.choice(size, 100, replace=False)] = -np.linspace(0, 10, 100)
    return logits.astype(np.float32)


def seconds(logits: np.ndarray, draw: Draw, pool: ThreadPoolExecutor | None = None) -> float:
    """Of the draws of one token per row, by the number of rows."""
    rows, start = len(logits), time.perf_counter()
    if pool is None:
        for at, row in enumerate(logits):
            draw(row, at, 1)
    else:
        share = -(-rows // cores())
        parts = [range(first, min(rows, first + share)) for first in range(0, rows, share)]
        list(pool.map(lambda part: [draw(logits[at], at, 1) for at in part], parts))
    return (time.perf_counter() - start) / rows


def seconds_of_a_team(logits: np.ndarray, draw: Draw) -> float:
    """The same where all cores share each row."""
    with gather(cores()) as team, team or nullcontext():
        draw(logits[0], 0, 1)  # by then the helpers are awake
        return seconds(logits, draw)


if __name__ == "__main__":
    main()
