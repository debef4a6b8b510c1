"""Measures the speed of sampling at several batch sizes. Never downloads a model."""

import os
import time
from collections.abc import Callable
from typing import Any

from edifice_tt.contract.errors import CheckpointError, EdificeError, reason_of
from edifice_tt.contract.registry import build
from edifice_tt.doctor.check import Check
from edifice_tt.engine.lockstep import cores_for, decode, devices_to_decode
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.nn.buffers import in_memory
from edifice_tt.sampling.draws import Sampler
from edifice_tt.weights import catalog
from edifice_tt.weights.gguf_model import load_gguf

MODEL = catalog.WHEELS[0]  # the default of the commands
ROWS = (1, 8, 32)
TOKENS = 17  # tokens per row; the first needs no step
LONGEST_S = 12.0  # seconds after which no further size is measured
FEW_S = 5.0  # but on the CPU, which compiles once for all sizes, those that take so few seconds are


def find_model() -> Check:
    """Whether the complete default model is on this machine."""
    elsewhere = "mend it, or set EDIFICE_TT_HOME to a folder that may be written to"
    try:
        path = catalog.local_path(MODEL)
        if not path.exists():
            there = next(one for one in path.parents if one.exists())
            if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
                words = f"{MODEL.name} is not here, and {there} is no folder that may be written to"
                return Check("model", words, False, elsewhere)
            advice = f"for real answers: edifice-tt pull {MODEL.name}"
            return Check("model", f"{MODEL.name} is not here", None, advice)
        catalog.verify(path, MODEL)
    except CheckpointError as error:
        advice = f"edifice-tt pull {MODEL.name} --force fetches it anew"
        return Check("model", f"{MODEL.name}: {error}", False, advice)
    except OSError as error:
        words = f"{MODEL.name}: {error.filename} cannot be read ({error.strerror})"
        return Check("model", words, False, elsewhere)
    except EdificeError as error:  # it says what to do
        return Check("model", f"{MODEL.name} cannot be looked for", False, str(error))
    return Check("model", f"{MODEL.name} in {path}", True)


def check_speed(device: str, say: Callable[[str], None], has_model: bool) -> Check:
    """Tokens per second at several numbers of candidates."""
    try:
        lm, name = _open(device, has_model)
        rates = measure(lm, say)
    except Exception as error:  # a driver or a compiler raises what it likes
        advice = "try another --device, and report this"
        return Check("speed", f"{device}: {reason_of(error)}", False, advice)
    speeds = ", ".join(f"{rate:.0f} at N={n}" for n, rate in rates.items())
    last = max(rates)
    times = f"{rates[last] / rates[min(rates)]:.1f} times one"
    gain = f"; {last} together: {times}" if len(rates) > 1 else ""
    left = [n for n in ROWS if n not in rates]
    skipped = f"; not measured, for it takes long here: N={left}" if left else ""
    return Check("speed", f"{name} on {device}: tokens per second {speeds}{gain}{skipped}")


def measure(lm: Any, say: Callable[[str], None]) -> dict[int, float]:
    """Tokens per second by the number of candidates, without the time to compile."""
    rates: dict[int, float] = {}
    started, one = time.perf_counter(), FEW_S  # seconds of one candidate
    for rows in ROWS:
        soon = in_memory(lm.device) and rows * one <= FEW_S
        if rates and not soon and time.perf_counter() - started > LONGEST_S:
            break
        say(f"speed of {rows} candidates")
        _time(lm, rows, 2)  # compiles
        seconds = _time(lm, rows, TOKENS)
        rates[rows], one = rows * (TOKENS - 1) / seconds, seconds / rows
    return rates


def _time(lm: Any, rows: int, tokens: int) -> float:
    """Seconds from the first draw to the last."""
    prompt, sampler, times = [1, 2, 3, 4, 5], Sampler(seed=0), []

    def draw(row: int, logits: Any, position: int) -> int:
        times.append(time.perf_counter())
        return sampler.draw(logits, row, position)[0]

    with workspace_of(lm) as workspace:
        decoders = workspace.decoders(devices_to_decode(lm, None, rows, 32))
        decode(decoders, prompt, range(rows), tokens, 32, draw, cores_for(lm, None))
    return max(times) - min(times)


def _open(device: str, has_model: bool) -> tuple[Any, str]:
    if has_model:
        return load_gguf(catalog.local_path(MODEL), device), MODEL.name
    lm = build("causal_lm", vocab_size=4096, hidden_size=256, num_layers=4, device=device)
    return lm, "a model of random weights (4 layers of 256)"
