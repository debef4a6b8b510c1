"""The hidden states that heads train on, kept in a file beside the pool.

Prompt and tokens identify an answer, so a file serves every pool that contains the answer. The
states are stored in half precision. Knows no labels and no head.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.engine.hidden import check_layer, read_layers
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.files import working_alone
from edifice_tt.machine.json_text import parse_record, take, take_all
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.chat_text import plain_of
from edifice_tt.pools.pool import Pool, PoolFile
from edifice_tt.pools.writer import differing
from edifice_tt.sampling.settings import rounding_of
from edifice_tt.scoring.verifier import tokenizer_digest
from edifice_tt.weights.safetensors import (
    SafetensorsFile,
    check_finite,
    open_safetensors,
    write_safetensors,
)
from edifice_tt.weights.safetensors_header import Format

FORMAT = Format(
    "edifice_tt_features", "not a file of features that this edifice_tt reads; delete it", "1"
)
POSITIONS = ("last", "all")

HalfStates = NDArray[np.float16]
Watch = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True)
class Source:
    """The origin of hidden states: model, tokenizer, layer and positions."""

    fingerprint: str
    tokenizer: str
    layer: int
    positions: str
    hidden_size: int

    @classmethod
    def of(cls, lm: CausalLM, layer: int | None = None, positions: str = "last") -> "Source":
        """The source for a model; raises `ValueError` for a missing layer or unknown positions."""
        if positions not in POSITIONS:
            raise ValueError(f"positions={positions!r} must be one of {', '.join(POSITIONS)}")
        digest = tokenizer_digest(lm)
        layer = check_layer(lm, layer)
        # Rounding changes the states, though not the model's fingerprint.
        rounded = rounding_of(lm)
        of_kv = [f"kv_{rounded.pop('kv_dtype')}"] if "kv_dtype" in rounded else []
        model = "-".join([lm.fingerprint, *rounded.values(), *of_kv])
        return cls(model, digest, layer, positions, lm.config.hidden_size)


@dataclass(frozen=True, eq=False)
class Features:
    """Hidden states (T, D) of answers, by `key_of`; T is 1 if only the last is kept."""

    source: Source
    states: Mapping[str, HalfStates]

    def holds(self, pool: Pool) -> bool:
        """Whether it holds the states of all candidates of a pool."""
        return all(key_of(pool.prompt, candidate) in self.states for candidate in pool)

    def of(self, pool: Pool) -> list[HalfStates]:
        """The states of a pool's candidates; raises `EdificeError` if one is missing."""
        for candidate in pool:
            if key_of(pool.prompt, candidate) not in self.states:
                raise EdificeError(
                    f"these features hold no candidate {candidate.index} of problem "
                    f"{pool.problem!r}; compute them from this pool"
                )
        return [self.states[key_of(pool.prompt, candidate)] for candidate in pool]


def key_of(prompt: str, candidate: Candidate) -> str:
    """A short digest of an answer and the prompt before it."""
    parts = [prompt, list(candidate.token_ids) or candidate.text, *plain_of(prompt)]
    return sha256(json.dumps(parts).encode()).hexdigest()[:24]


def read_features(
    lm: CausalLM,
    pools: Iterable[Pool],
    layer: int | None = None,
    positions: str = "last",
    watch: Watch | None = None,
) -> Features:
    """Compute the hidden states of all candidates of `pools`; `layer` as in `read_hidden`.

    `positions` is `last` (only the last token) or `all`, `watch` as in `read_features_at`. Raises
    `EdificeError` for a pool that another model sampled.
    """
    layer = check_layer(lm, layer)
    return read_features_at(lm, pools, [layer], positions, watch=watch)[layer]


def read_features_at(
    lm: CausalLM,
    pools: Iterable[Pool],
    layers: Sequence[int],
    positions: str = "last",
    known: Mapping[int, Features] | None = None,
    watch: Watch | None = None,
) -> dict[int, Features]:
    """`read_features` at several layers, with one pass of the model.

    What is `known` of a layer is not computed again. `watch` is given an iterable of the problems
    that are read, their number and what is done, and yields them again.
    """
    sources = {layer: Source.of(lm, layer, positions) for layer in layers}
    by_layer = {at: dict(known[at].states) if known and at in known else {} for at in layers}
    missing = []
    for pool in pools:
        check_model(lm, pool)
        keys = [key_of(pool.prompt, candidate) for candidate in pool]
        if not all(key in by_layer[layer] for layer in layers for key in keys):
            missing.append((pool, keys))
    bare = [pool for pool, _ in missing]
    readings = read_layers(lm, bare, layers, last_only=positions == "last")
    read = zip(missing, readings, strict=True)
    for (_, keys), states in watch(read, len(missing), "reading") if watch and missing else read:
        for layer in layers:
            halves = (_half(one, positions, layer) for one in states[layer])
            by_layer[layer] |= dict(zip(keys, halves, strict=True))
    return {layer: Features(sources[layer], by_layer[layer]) for layer in layers}


def check_model(lm: CausalLM, pool: Pool) -> None:
    """Raise `EdificeError` for a pool that another model sampled."""
    theirs = pool.settings.get("fingerprint")
    if theirs not in (None, lm.fingerprint):
        raise EdificeError(
            f"problem {pool.problem!r} was sampled by model {pool.settings.get('model')!r} with "
            f"fingerprint {theirs}, given {lm.name!r} with {lm.fingerprint}; a head reads the "
            "states of the model that sampled"
        )


def check_source(lm: CausalLM, features: Features, layer: int | None, positions: str) -> None:
    """Raise `EdificeError` for features that are not those of this model, layer and positions."""
    if different := differing(vars(features.source), vars(Source.of(lm, layer, positions))):
        name, theirs, ours = different
        raise EdificeError(
            f"the features are of {name}={theirs!r}, this training needs {ours!r}; compute them "
            "again"
        )


def _half(states: NDArray[np.float32], positions: str, layer: int) -> HalfStates:
    with np.errstate(over="ignore"):
        half = (states[-1:] if positions == "last" else states).astype(np.float16)
    if not np.isfinite(half).all():
        raise EdificeError(
            f"a hidden state of layer {layer} is not finite in half precision; use another layer"
        )
    return half


def features_beside(
    lm: CausalLM,
    path: str | os.PathLike[str],
    layers: Sequence[int],
    positions: str = "last",
    watch: Watch | None = None,
) -> dict[int, Features]:
    """The features of a pool file at each layer, stored in files beside it.

    Each is called as the pool file, the layer and the positions; those that are not there, or lack
    candidates, are made from one reading. Raises `CheckpointError` for one that is damaged, or of
    another model, and `BlockingIOError` while another process makes one that lacks some.
    """
    sources = {layer: Source.of(lm, layer, positions) for layer in layers}
    files = {layer: file_beside(path, layer, positions) for layer in layers}
    known = {at: load_features(file, sources[at]) for at, file in files.items() if file.exists()}
    pools = PoolFile(path).with_problems()
    keys = {key_of(pool.prompt, candidate) for pool in pools for candidate in pool}
    with ExitStack() as locks:  # another process is refused now, not after the reading
        lacking = [at for at in layers if at not in known or not keys <= known[at].states.keys()]
        for layer in lacking:
            locks.enter_context(working_alone(files[layer]))
        features = read_features_at(lm, pools, layers, positions, known, watch)
        for layer in lacking:
            save_features(features[layer], files[layer], lm.device, Path(path).name)
    return features


def file_beside(path: str | os.PathLike[str], layer: int, positions: str) -> Path:
    """Where the features of a pool file are kept."""
    return Path(f"{os.fspath(path)}.layer{layer}-{positions}.safetensors")


@exclusive
def save_features(
    features: Features, path: str | os.PathLike[str], device: str, pool: str = ""
) -> None:
    """Write features and their source to a file, atomically."""
    arrays = list(features.states.values())
    lengths = np.array([len(one) for one in arrays], np.int32)
    parts = {"states": np.concatenate(arrays), "lengths": lengths}
    tensors = {name: Tensor(array, device=device) for name, array in parts.items()}
    described = {**vars(features.source), "pool": pool, "keys": list(features.states)}
    write_safetensors(path, tensors, {**FORMAT.metadata, "features": json.dumps(described)})


@exclusive
def load_features(path: str | os.PathLike[str], expected: Source) -> Features:
    """Read what `save_features` wrote.

    Raises `CheckpointError` for a damaged or foreign file, and for an unexpected model, tokenizer,
    layer, positions or hidden size.
    """
    file = open_safetensors(path, FORMAT)
    try:
        described = parse_record(file.metadata["features"])
        source = {name: take(described, name, type(ours)) for name, ours in vars(expected).items()}
        keys = take_all(described, "keys", str)
        lengths = _read_lengths(file, source["hidden_size"])
        if not len(set(keys)) == len(keys) == len(lengths):
            raise ValueError("its parts do not fit together")
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged features ({error})") from error
    if different := differing(source, vars(expected)):
        name, theirs, ours = different
        raise CheckpointError(
            f"{path}: its features are of {name}={theirs!r}, expected {ours!r}; delete the file to "
            "compute them again"
        )
    tensor = file.read("states", "CPU")
    check_finite(file.path, "states", tensor)
    parts = np.split(tensor.numpy(), np.cumsum(lengths))[:-1]
    return Features(expected, dict(zip(keys, parts, strict=True)))


def _read_lengths(file: SafetensorsFile, hidden_size: int) -> NDArray[np.int32]:
    """The number of states per answer; raises `ValueError` if the tensors do not fit."""
    entries = {name: (entry.dtype, len(entry.shape)) for name, entry in file.entries.items()}
    if entries != {"states": (dtypes.float16, 2), "lengths": (dtypes.int32, 1)}:
        raise ValueError("expected the tensors states, in half precision, and lengths")
    lengths: NDArray[np.int32] = file.read("lengths", "CPU").numpy()
    if (lengths < 1).any() or file.entries["states"].shape != (lengths.sum(), hidden_size):
        raise ValueError("its parts do not fit together")
    return lengths
