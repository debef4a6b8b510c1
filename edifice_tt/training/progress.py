"""What a broken training run leaves behind, so that it goes on as if nothing had happened.

Knows names, arrays and a file; no head and no loss.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor

from edifice_tt.errors import CheckpointError, EdificeError
from edifice_tt.weights.safetensors import open_safetensors, write_safetensors

FORMAT = "edifice_tt_training"
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Epoch:
    """Losses of one pass over the problems; the share of right-above-wrong pairs held out."""

    epoch: int
    loss: float
    held_out_loss: float
    held_out_auroc: float


@dataclass(frozen=True)
class Progress:
    """The epochs so far, the weights after the last and those of the best."""

    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    state: Arrays | None = None
    best: Arrays | None = None


def save_progress(progress: Progress, path: str | os.PathLike[str], key: str, device: str) -> None:
    """Write the state of a run, atomically; `key` tells it from any other run."""
    assert progress.state is not None
    assert progress.best is not None
    parts = {"state": progress.state, "best": progress.best}
    tensors = {
        f"{part}.{name}": Tensor(array, device=device)
        for part, arrays in parts.items()
        for name, array in arrays.items()
    }
    history = [asdict(epoch) for epoch in progress.history]
    run = {"key": key, "best_epoch": progress.best_epoch, "history": history}
    write_safetensors(path, tensors, {"format": FORMAT, "run": json.dumps(run)})


def load_progress(path: str | os.PathLike[str], key: str) -> Progress:
    """What `save_progress` wrote, or nothing where there is no file.

    Raises `CheckpointError` for a damaged or foreign file, `EdificeError` for that of a run with
    other data or options.
    """
    if not Path(path).exists():
        return Progress()
    file = open_safetensors(path)
    if file.metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not the checkpoint of a training run; use another name")
    try:
        run = json.loads(file.metadata["run"])
        history = tuple(Epoch(**epoch) for epoch in run["history"])
        theirs, best_epoch = run["key"], int(run["best_epoch"])
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its description is damaged ({error})") from error
    if theirs != key:
        raise EdificeError(
            f"{path} is the checkpoint of a training with other problems or options; give those, "
            "or delete it to begin anew"
        )
    parts: dict[str, dict[str, NDArray[np.generic]]] = {"state": {}, "best": {}}
    for name in file.entries:
        part, _, rest = name.partition(".")
        parts[part][rest] = file.read(name, "CPU").numpy()
    return Progress(history, best_epoch, parts["state"], parts["best"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw tinygrad's random numbers from `seed` here, and leave the caller's as they were."""
    names = ("_seed", "_device_seeds", "_device_rng_counters")
    before = {name: getattr(Tensor, name) for name in names}
    Tensor.manual_seed(seed)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(Tensor, name, value)


def random_counter(device: str) -> Tensor:
    """How many random numbers were drawn on a device: what, beside the seed, decides the next."""
    if device not in Tensor._device_rng_counters:
        Tensor.rand(1, device=device).realize()
    counter: Tensor = Tensor._device_rng_counters[device]
    return counter.realize()
