"""Hugging Face folders of the known families -> `causal_lm`.

Reads `config.json`, safetensors (one file, or several with an index) and `tokenizer.json`; runs no
code that a folder may hold. On the CPU matrices stay in 16 bits where they are; other weights
become float32 unless told otherwise.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.architectures.fingerprint import Stored, identify
from edifice_tt.contract.errors import CheckpointError, reading
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.json_text import parse_record, take
from edifice_tt.machine.toolchain import open_device
from edifice_tt.nn.buffers import give_back, held_to, pieces, put, room, view
from edifice_tt.nn.cpu.bridge import compiles_c
from edifice_tt.nn.stored.halves import DTYPES, HALVES, choose_dtype, hold, narrows, widen
from edifice_tt.weights.families.family import FOLDER, Family, Places, found_in
from edifice_tt.weights.footprint import check_weights, work_bytes
from edifice_tt.weights.huggingface_config import read_config
from edifice_tt.weights.rewards.kinds import check_no_judge
from edifice_tt.weights.safetensors import (
    SafetensorsFile,
    check_finite,
    check_fit,
    damaged,
    differences,
    open_safetensors,
)
from edifice_tt.weights.safetensors_header import Entry
from edifice_tt.weights.tokenizer import Tokenizer

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


def is_huggingface(path: Path) -> bool:
    """Whether a folder holds a model's `config.json`."""
    return (path / "config.json").is_file()


@exclusive
def load_huggingface(
    path: Path,
    device: str | None = None,
    dtype: str | None = None,
    files: Sequence[SafetensorsFile] | None = None,
) -> CausalLM:
    """Build the language model that a folder holds, with its tokenizer.

    `files` are the tensors of a judge without its head; then no head is needed that gives logits.
    Raises `CheckpointError` for an unknown model type, a damaged or incomplete folder,
    and with all differences in the weights at once.
    """
    opened = open_device(device)
    dtype = choose_dtype(dtype, opened)
    (family, config), bare = read_config(path / "config.json"), files is not None
    files = open_files(path) if files is None else files
    files = [_of_text(family, file) for file in files]
    if bare:
        config = replace(config, tied_embeddings=True)
    shapes_there = (entry.shape for file in files for entry in file.entries.values())
    with reading(path / "config.json"), held_to(shapes_there):
        model = CausalLM(config)
    tokenizer = Tokenizer.from_folder(path)
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{path / 'tokenizer.json'}: {tokenizer.vocab_size} tokens for {config.vocab_size} "
            "embeddings (vocab_size of config.json); use the tokenizer of this model"
        )
    weights = get_state_dict(model)
    places = family.places(weights, FOLDER, config.experts)
    sources = _sources(files)
    if not bare:
        check_no_judge(path, sources)
        _check_head(path, sources, config)
    if config.tied_embeddings:
        sources.pop(_HEAD, None)
    entries = {name: file.entries[name] for name, file in sources.items()}
    kinds = {name: dtypes.float32 if e.dtype in HALVES else e.dtype for name, e in entries.items()}
    shapes = found_in({name: entry.shape for name, entry in entries.items()}, places)
    found = {
        name: (shape, kinds[places[name][0].name if name in places else name])
        for name, shape in shapes.items()
    }
    check_fit(path, differences(weights, found))
    kept = {} if dtype is not None else _kept(weights, places, entries, opened)
    looking = work_bytes(max((weights[name].numel() for name in kept), default=0))
    halves = 2 * sum(weights[name].numel() for name in kept)
    shapes_left = [tuple(weight.shape) for name, weight in weights.items() if name not in kept]
    check_weights(path, shapes_left, opened, dtype, beside=halves + looking)
    loaded, halves_of = {}, {}
    for name, parts in places.items():
        if name in kept:
            bits = _joined([(sources[one].halves, one, rows) for one, rows in parts])
            if not all(np.isfinite(widen(piece, kept[name])).all() for piece in pieces(bits)):
                raise damaged(path, parts[0].name)
            halves_of[name] = bits
            loaded[name] = put(bits, opened, DTYPES[kept[name]])
            continue
        exact = _joined([(sources[one].floats, one, rows) for one, rows in parts])
        check_finite(path, parts[0].name, exact)
        exact = family.from_folder(name, exact).reshape(weights[name].shape)
        loaded[name] = hold(name, exact, dtype, opened)
        del exact  # before the next is read
    for name, tensor in loaded.items():
        weights[name].replace(tensor)
    give_back(opened)
    model.tokenizer = tokenizer
    if kept:
        identify(model, partial(_stored, loaded, halves_of, kept))
    return model


def _kept(
    weights: Mapping[str, Tensor],
    places: Mapping[str, Places],
    entries: Mapping[str, Entry],
    device: str,
) -> dict[str, str]:
    """The weights that stay in the 16 bits that the file has, and their dtype: on the CPU."""
    kept: dict[str, str] = {}
    for name, parts in places.items():
        kind, *others = {entries[one.name].dtype for one in parts}
        stays = kind in HALVES and not others and narrows(weights[name].shape, device)
        if stays and compiles_c(device):
            kept[name] = HALVES[kind]
    return kept


def _stored(
    weights: Mapping[str, Tensor], halves: Mapping[str, NDArray[np.uint16]], kept: Mapping[str, str]
) -> Stored:
    """The weights as float32, so that a model is the same on every device."""
    for name, weight in sorted(weights.items()):
        parts: Iterator[NDArray[np.float32]]
        if name in kept:
            parts = (widen(one, kept[name]) for one in pieces(halves[name]))
        else:
            parts = pieces(view(weight))
        yield [name, list(weight.shape), str(dtypes.float32)], (part.data for part in parts)


def _joined(parts: Sequence[tuple[Callable[[str], NDArray[Any]], str, slice]]) -> NDArray[Any]:
    """The rows of several tensors of one shape, of which one at a time is in memory beside them."""
    whole: NDArray[Any] | None = None
    for i, (read, name, rows) in enumerate(parts):
        part = read(name)[rows]
        if len(parts) == 1:
            return part
        if whole is None:
            whole = room(len(parts) * len(part), *part.shape[1:], dtype=part.dtype)
        whole[i * len(part) : (i + 1) * len(part)] = part
        del part  # before the next is read
    assert whole is not None
    return whole


def _check_head(path: Path, sources: dict[str, SafetensorsFile], config: CausalLMConfig) -> None:
    """Some folders store the shared weight twice; raises unless the two are the same."""
    if not config.tied_embeddings and _HEAD not in sources:
        raise CheckpointError(
            f"{path}: {_HEAD} is missing, and config.json does not say tie_word_embeddings=true; "
            "say it if the embedding serves as the head, else download the folder again"
        )
    if config.tied_embeddings and _HEAD in sources and _EMBEDDING in sources:
        parts = (sources[name].parts(name) for name in (_HEAD, _EMBEDDING))
        if not all(itertools.starmap(np.array_equal, itertools.zip_longest(*parts))):
            raise CheckpointError(
                f"{path}: config.json says tie_word_embeddings=true, but {_HEAD} is another weight "
                f"than {_EMBEDDING}; say tie_word_embeddings=false if the model has a head of its "
                f"own, else remove {_HEAD}"
            )


def open_files(path: Path) -> list[SafetensorsFile]:
    """The safetensors files of a folder, by its index where it has one."""
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return [open_safetensors(path / "model.safetensors")]
    with reading(index, "damaged ({}); download it again"):
        where = take(parse_record(index.read_bytes()), "weight_map", dict)
        names = sorted({take(where, name, str) for name in where})
        if outside := [name for name in names if name in ("", "..") or Path(name).name != name]:
            raise ValueError(f"{outside[0]!r:.60} names a file outside its folder")
    return [open_safetensors(path / name) for name in names]


def _of_text(family: Family, file: SafetensorsFile) -> SafetensorsFile:
    """The tensors of a file that a text reaches, by the names of a folder that holds no more."""
    own = {name: theirs for name in file.entries if (theirs := family.of_text(name)) is not None}
    if len({*own.values()}) < len(own):
        raise CheckpointError(f"{file.path}: a weight is there by two names; download it again")
    return replace(file, entries={theirs: file.entries[name] for name, theirs in own.items()})


def _sources(files: Sequence[SafetensorsFile]) -> dict[str, SafetensorsFile]:
    """In which file each tensor lies; raises `CheckpointError` for one that lies in two."""
    sources: dict[str, SafetensorsFile] = {}
    for file in files:
        for name in file.entries:
            if name in sources:
                raise CheckpointError(
                    f"{file.path}: weight {name!r:.60} is in {sources[name].path.name}, too; "
                    "remove one of them"
                )
            sources[name] = file
    return sources
