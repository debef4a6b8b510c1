"""The models that are on this machine already, whoever fetched them; reads only their headers."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.errors import EdificeError, ToolchainError, reading
from edifice_tt.contract.shown import Shown, Table
from edifice_tt.contract.tracing import one_line
from edifice_tt.machine.memory import available_bytes, in_words
from edifice_tt.machine.toolchain import open_device, require
from edifice_tt.nn.cache import choose_kv_dtype
from edifice_tt.nn.cpu.bridge import compiles_c
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.stored.blocks import keeps_blocks
from edifice_tt.nn.stored.halves import HALVES, choose_dtype, narrows
from edifice_tt.weights import catalog, gguf_config, huggingface_config, ollama
from edifice_tt.weights.footprint import stored_bytes
from edifice_tt.weights.gguf_names import is_model, part_names
from edifice_tt.weights.gguf_parts import open_gguf
from edifice_tt.weights.huggingface import is_huggingface, open_files
from edifice_tt.weights.rewards.kinds import check_no_judge

Found = Iterator[tuple[str, Callable[[], Path]]]  # a name, and what finds its path or raises


@dataclass(frozen=True, repr=False)
class LocalModel(Shown):
    """A model on this machine.

    `name` is what `load_pretrained` and `--model` take, and `place` tells who keeps it. The memory
    is that of a text of 2048 tokens on a device, and `fits` whether as much is free there; None is
    unknown.
    `problem` says why it cannot be loaded, and is empty for one that can.
    """

    name: str
    place: str
    path: Path
    size_bytes: int
    family: str
    memory_bytes: int | None
    fits: bool | None
    problem: str

    def _line(self) -> str:
        memory = "" if self.memory_bytes is None else f", takes {in_words(self.memory_bytes)}"
        room = {True: ", fits", False: ", needs more memory than is free", None: ""}[self.fits]
        told = f": {self.problem}" if self.problem else f"{memory}{room}"
        return f"{self.name} of {self.place}, {in_words(self.size_bytes)}{told}"

    def _table(self) -> Table:
        return (), vars(self).items()


def local_models(device: str | None = None, dtype: str | None = None) -> list[LocalModel]:
    """The models that this library, ollama, llama.cpp, LM Studio and Hugging Face keep here.

    Their memory is that on `device` (default: the one that models are loaded on), with `dtype` as
    in `load_pretrained`. Only headers are read, so a damaged weight is not noticed. One that cannot
    be loaded is listed with its problem. Nothing is downloaded. Raises `ToolchainError` for a
    device that does not open.
    """
    opened = default_device() if device is None else open_device(device)
    dtype = choose_dtype(dtype, opened)
    free, seen, models = available_bytes(opened), set[Path](), list[LocalModel]()
    for place, found in _PLACES.items():
        for name, locate in found():
            model = _look(name, place, locate, (opened, dtype), free)
            if (real := Path(os.path.realpath(model.path))) not in seen:
                seen.add(real)
                models.append(model)
    return models


def default_device() -> str:
    """The device that models are loaded on; the CPU where none opens."""
    try:
        return open_device(None)
    except EdificeError:
        return "CPU"


def _look(
    name: str, place: str, locate: Callable[[], Path], on: tuple[str, str | None], free: int | None
) -> LocalModel:
    path, size, family, memory, problem = Path(), 0, "", None, ""
    try:
        path = locate()
        size = sum(one.stat().st_size for one in _files(path))
        family, config, stored = _describe(path, *on)
        kept = choose_kv_dtype(None, on[0])
        memory = stored + config.backbone.cache_bytes(1, catalog.CONTEXT, kept)
    except Exception as error:  # one that is broken hides no other
        problem = one_line(error).removeprefix(f"{path}: ")
    fits = None if memory is None or free is None else memory <= free
    return LocalModel(name, place, path, size, family, memory, fits, problem)


def _describe(path: Path, device: str, dtype: str | None) -> tuple[str, CausalLMConfig, int]:
    """The family, the options, and the bytes of the weights as the device stores them."""
    if path.is_dir():
        family, config = huggingface_config.read_config(path / "config.json")
        entries = {name: one for file in open_files(path) for name, one in file.entries.items()}
        check_no_judge(path, entries)
        halves = dtype is None and compiles_c(device)  # which a CPU keeps as they are
        kept = {n for n, one in entries.items() if halves and _is_half(one, device)}
        left = [one.shape for name, one in entries.items() if name not in kept]
        stay = sum(2 * math.prod(entries[name].shape) for name in kept)
        return family.name, config, stay + stored_bytes(left, dtype, device)
    header = open_gguf(path)
    with reading(path):
        family, config = gguf_config.read_config(header)
    check_no_judge(path, header.entries)
    forms = [form for form in FORMATS.values() if dtype in (None, form.dtype)]
    types = [form.ggml_type for form in forms] if keeps_blocks(device) else []
    sizes = (
        one.stop - one.start
        if one.ggml_type in types
        else stored_bytes([one.shape], dtype, device)  # the rest is unpacked
        for one in header.entries.values()
    )
    return family.name, config, sum(sizes)


def _is_half(entry: Any, device: str) -> bool:
    return entry.dtype in HALVES and narrows(tuple(entry.shape), device)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [one for one in path.iterdir() if one.suffix == ".safetensors"]
    return [one for name in part_names(path.name) if (one := path.with_name(name)).exists()]


def _own() -> Found:
    for model in catalog.WHEELS:
        try:
            path = catalog.local_path(model)
        except EdificeError:  # no folder for models, so none in it
            return
        if path.exists():
            yield model.name, partial(Path, path)


def _of_ollama() -> Found:
    for name, manifest in ollama.manifests():
        yield name, partial(ollama.model_of, manifest)


def _of_llama_cpp() -> Found:
    if home := os.environ.get("LLAMA_CACHE"):
        folder = Path(home)
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "llama.cpp"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llama.cpp"
    yield from _in_folder(folder)


def _of_lm_studio() -> Found:
    for folder in (".lmstudio/models", ".cache/lm-studio/models"):
        yield from _in_folder(Path.home() / folder)


def _in_folder(folder: Path) -> Found:
    for path in ollama.files_under(folder):
        if is_model(path.name):
            yield str(path), partial(Path, path)


def _of_hugging_face() -> Found:
    try:
        constants = require("huggingface_hub.constants", extra="lm")
        errors = require("huggingface_hub.errors", extra="lm")
        scan = require("huggingface_hub", extra="lm").scan_cache_dir
    except ToolchainError:  # without the library there is nothing of it
        return
    try:
        cache = scan(constants.HF_HUB_CACHE)
    except errors.CacheNotFound:
        return
    for repository in sorted(cache.repos, key=lambda one: str(one.repo_id)):
        if repository.repo_type != "model":
            continue
        for revision in repository.revisions:
            folder = Path(revision.snapshot_path)
            if is_huggingface(folder) and any(folder.glob("*.safetensors")):
                yield repository.repo_id, partial(Path, folder)
            for path in ollama.files_under(folder):
                if is_model(path.name):
                    name = f"{repository.repo_id}/{path.relative_to(folder).as_posix()}"
                    yield name, partial(Path, path)


_PLACES: dict[str, Callable[[], Found]] = {
    "edifice-tt": _own,
    "ollama": _of_ollama,
    "llama.cpp": _of_llama_cpp,
    "LM Studio": _of_lm_studio,
    "Hugging Face": _of_hugging_face,
}
