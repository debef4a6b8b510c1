"""Our own files: one safetensors file that says which model it holds and how to build it.

A file names an architecture and a scorer; only what is installed and registered is ever used.
Nothing named in a file is imported or run.
"""

import json
import math
import os
from dataclasses import asdict, is_dataclass
from typing import Any

from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.attached import config_to_save
from edifice_tt.architectures.model import Model
from edifice_tt.contract import registry
from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.contract.providers import asked_for_by, provided_by
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.json_text import parse_record
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import give_back, held_to
from edifice_tt.nn.stored.blocks import float_state_dict
from edifice_tt.nn.stored.halves import HALVES, check_dtype, choose_dtype, is_dense, narrow, store
from edifice_tt.version import __version__
from edifice_tt.weights.footprint import check_weights
from edifice_tt.weights.safetensors import (
    check_fit,
    differences,
    fill,
    open_safetensors,
    write_safetensors,
)
from edifice_tt.weights.safetensors_header import Format

FORMAT = Format(
    "edifice_tt",
    "not saved by edifice_tt.save; for parameters of the original use load_edifice",
    version="1",
)
_RESERVED = ("name", "device", "dtype")  # for the caller, and never in a file


@exclusive
def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Save a model with its architecture, options and versions, atomically.

    Weights that a GGUF file quantised are saved as the float32 numbers that they stand for.

    Any registered architecture can be saved whose model has `architecture` (its name) and `config`
    (a dataclass of the options that `build` takes). Raises `EdificeError` for a model without them,
    and for a scorer head that no registered scorer makes.
    """
    if not hasattr(model, "architecture") or not is_dataclass(getattr(model, "config", None)):
        raise EdificeError(
            f"a {type(model).__name__} cannot be saved: it needs the attributes `architecture` (its"
            " registered name) and `config` (a dataclass of the options that build it)"
        )
    metadata = {
        **FORMAT.metadata,
        "edifice_tt": __version__,
        "architecture": model.architecture,
        "options": json.dumps(asdict(config := config_to_save(model))),
        **provided_by(getattr(config, "scorer", None), model.architecture),
    }
    if (tokenizer := getattr(model, "tokenizer", None)) is not None:
        metadata["tokenizer"] = tokenizer.to_json()
    write_safetensors(path, float_state_dict(model), metadata)


@exclusive
def load(
    path: str | os.PathLike[str], device: str | None = None, dtype: str | None = None
) -> Model:
    """Build the model that a file describes and give it the file's weights.

    `load_pretrained` does the same for a language model, and gives its type.

    `dtype` (`float32`, `float16` or `bfloat16`) is what dense layers are stored as; by default what
    the file has, or float32 where the device has it not, which is one `PrecisionWarning`.

    Names, shapes and dtypes are compared before a weight moves. Raises `CheckpointError` for a
    damaged or foreign file and for any difference (all of them at once), `UnknownNameError` when
    the architecture or scorer is not installed.
    """
    check_dtype(dtype)
    file = open_safetensors(path, FORMAT)
    try:
        name, options = file.metadata["architecture"], parse_record(file.metadata["options"])
        if reserved := [option for option in _RESERVED if option in options]:
            raise ValueError(f"{reserved[0]} is no option of a file")
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its description is damaged ({error})") from error
    shapes = [entry.shape for entry in file.entries.values()]
    # One weight after the other takes the place of what was built.
    largest = max(map(math.prod, shapes), default=0)
    check_weights(file.path, shapes, open_device(device), beside=8 * largest)
    try:
        with asked_for_by(path, file.metadata), held_to(shapes):
            model: Any = registry.build(name, device=device, **options)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if "tokenizer" in file.metadata:
        from edifice_tt.weights.tokenizer import Tokenizer

        try:
            model.tokenizer = Tokenizer.from_json(file.metadata["tokenizer"])
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        size = getattr(model.config, "vocab_size", None)
        if size is not None and model.tokenizer.vocab_size > size:
            raise CheckpointError(
                f"{path}: {model.tokenizer.vocab_size} tokens for {size} embeddings; save the "
                "model again with the tokenizer that it was trained with"
            )
    weights = get_state_dict(model)
    stored = {key: (entry.shape, entry.dtype) for key, entry in file.entries.items()}
    halves = {
        key: HALVES[kind]
        for key, (_, kind) in stored.items()
        if kind in HALVES and key in weights and is_dense(model, key)
    }
    stored |= {key: (stored[key][0], weights[key].dtype) for key in halves}
    check_fit(file.path, differences(weights, stored))
    home = open_device(device)
    common = choose_dtype(dtype, home)
    by_half = {kind: choose_dtype(kind, home) for kind in set(halves.values()) if common is None}

    def as_stored(name: str, tensor: Tensor) -> Tensor:
        return narrow(name, tensor, common or by_half.get(halves.get(name, "")))

    fill(weights, {key: key for key in weights}, file, as_stored)
    model = store(model, common)
    give_back(home)
    loaded: Model = model
    return loaded
