"""Saves and restores the state of a training run, so that it can be resumed exactly.

Knows names, arrays and a file; no head and no loss.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor

from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.json_text import parse_record, take, take_all
from edifice_tt.weights.safetensors import open_safetensors, write_safetensors
from edifice_tt.weights.safetensors_header import Format

FORMAT = Format("edifice_tt_training", "not the checkpoint of a training run; use another name")
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Epoch:
    """The losses of one epoch, and the AUROC within held-out problems.

    `fold` counts from 1; it is 0 in the final training on all problems, without held-out ones.
    """

    fold: int
    epoch: int
    loss: float
    held_out_loss: float | None = None
    held_out_auroc: float | None = None


@dataclass(frozen=True)
class Progress:
    """The epochs of one training so far, with the weights of the last and of the best."""

    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    state: Arrays = field(default_factory=dict)
    best: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Fold:
    """A finished training, with the logits of the candidates of each held-out problem."""

    history: tuple[Epoch, ...]
    best_epoch: int
    stopped: str
    logits: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Run:
    """The finished folds, and the progress of the training after them."""

    folds: tuple[Fold, ...] = ()
    current: Progress = Progress()


@exclusive
def save_run(run: Run, path: str | os.PathLike[str], key: str, device: str) -> None:
    """Write the state of a run atomically; `key` identifies the run."""
    current = run.current
    parts = {"state": current.state, "best": current.best}
    tensors = {
        f"{part}.{name}": Tensor(array, device=device)
        for part, arrays in parts.items()
        for name, array in arrays.items()
    }
    history = [asdict(epoch) for epoch in current.history]
    folds = [asdict(fold) for fold in run.folds]
    record = {"key": key, "folds": folds, "best_epoch": current.best_epoch, "history": history}
    write_safetensors(path, tensors, {**FORMAT.metadata, "run": json.dumps(record)})


@exclusive
def load_run(path: str | os.PathLike[str], key: str, held_out: Sequence[Sequence[int]] = ()) -> Run:
    """Read what `save_run` wrote; an empty run if there is no file.

    `held_out` holds, per fold, the numbers of candidates of the held-out problems. Raises
    `CheckpointError` for a damaged or foreign file, `EdificeError` for a run with other data or
    options.
    """
    if not Path(path).exists():
        return Run()
    file = open_safetensors(path, FORMAT)
    parts: dict[str, dict[str, NDArray[np.generic]]] = {"state": {}, "best": {}}
    try:
        record = parse_record(file.metadata["run"])
        folds = tuple(map(_fold, take_all(record, "folds", dict)))
        theirs, best_epoch = take(record, "key", str), take(record, "best_epoch", int)
        history = _history(record, best_epoch)
        for name in file.entries:
            part, _, rest = name.partition(".")
            parts[part][rest] = file.read(name, "CPU").numpy()
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its description is damaged ({error})") from error
    if theirs != key:
        raise EdificeError(
            f"{path} is the checkpoint of a training with other problems or options; give those, "
            "or delete it to begin anew"
        )
    counts = [list(map(len, fold.logits)) for fold in folds]
    if counts != [list(some) for some in held_out[: len(folds)]]:
        raise CheckpointError(f"{path}: its folds are not those of this training; delete it")
    return Run(folds, Progress(history, best_epoch, parts["state"], parts["best"]))


def _history(record: Mapping[str, Any], best_epoch: int) -> tuple[Epoch, ...]:
    history = tuple(map(_epoch, take_all(record, "history", dict)))
    if not 1 <= best_epoch <= len(history):
        raise ValueError(f"best_epoch={best_epoch!r:.60} is none of its {len(history)} epochs")
    return history


def _epoch(record: Mapping[str, Any]) -> Epoch:
    kinds: dict[str, type] = {"fold": int, "epoch": int, "loss": float}
    held_out = ("held_out_loss", "held_out_auroc")
    kinds |= {name: float for name in held_out if record.get(name) is not None}
    return Epoch(**{name: take(record, name, kind) for name, kind in kinds.items()})


def _fold(record: Mapping[str, Any]) -> Fold:
    rows = take_all(record, "logits", list)
    logits = tuple(tuple(take_all({"logits": row}, "logits", float)) for row in rows)
    best_epoch, stopped = take(record, "best_epoch", int), take(record, "stopped", str)
    return Fold(_history(record, best_epoch), best_epoch, stopped, logits)


_one_training = RLock()  # tinygrad has one generator, shared by all threads


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed tinygrad's random numbers within this context; then restore the caller's state."""
    names = ("_seed", "_device_seeds", "_device_rng_counters")
    with _one_training:
        before = {name: getattr(Tensor, name) for name in names}
        Tensor.manual_seed(seed)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(Tensor, name, value)


@exclusive
def random_counter(device: str) -> Tensor:
    """The count of random numbers drawn on a device; with the seed it determines the next."""
    if device not in Tensor._device_rng_counters:
        Tensor.rand(1, device=device).realize()
    counter: Tensor = Tensor._device_rng_counters[device]
    return counter.realize()
