"""Models that ollama keeps on this machine: `ollama:NAME` or `ollama:NAME:TAG`. Opens none.

A manifest of a model names its layers, and a layer is a file among the blobs.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from edifice_tt.contract.errors import CheckpointError, reading, unknown_name
from edifice_tt.machine.json_text import parse_record, take, take_all

PREFIX = "ollama:"
SERVICE = Path("/usr/share/ollama/.ollama/models")  # where its service on Linux keeps them
_OWN = ("registry.ollama.ai", "library")  # of which a name says nothing
_LAYER = "application/vnd.ollama.image."


def is_name(text: str) -> bool:
    """Whether a text names a model of ollama's."""
    return text.startswith(PREFIX)


def manifests() -> Iterator[tuple[str, Path]]:
    """The name and the manifest of each model that ollama keeps here."""
    for folder in _folders():
        root = folder / "manifests"
        for path in files_under(root):
            *where, tag = path.relative_to(root).parts
            for own in _OWN:
                where = where[1:] if where[:1] == [own] else where
            if where and not tag.startswith("."):
                yield f"{PREFIX}{'/'.join(where)}:{tag}", path


def files_under(folder: Path) -> list[Path]:
    """The files of a folder and of those in it; what may not be looked into is left out."""
    return sorted(Path(where, file) for where, _, files in os.walk(folder) for file in files)


def find(name: str) -> Path:
    """The GGUF file of a model; the tag is `latest` where none is given.

    Raises `UnknownNameError` with the nearest names, and `CheckpointError` as `model_of` does.
    """
    tagged = name if ":" in name.removeprefix(PREFIX).rpartition("/")[2] else f"{name}:latest"
    known = dict(manifests())
    if tagged not in known:
        raise unknown_name("model", tagged, known, "; to have it here: ollama pull")
    return model_of(known[tagged])


def model_of(manifest: Path) -> Path:
    """The file of a manifest's model; `CheckpointError` for one that cannot be loaded as meant."""
    with reading(manifest):
        record = parse_record(manifest.read_bytes())
        layers: dict[str, list[str]] = {}
        for layer in take_all(record, "layers", dict):
            kind = take(layer, "mediaType", str).removeprefix(_LAYER)
            layers.setdefault(kind, []).append(take(layer, "digest", str))
        models = layers.get("model", [])
        if len(models) != 1:
            raise ValueError(f"{len(models)} layers of type {_LAYER}model, expected 1")
        if "adapter" in layers:
            raise ValueError("its adapter would not be applied; merge it into the model")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", models[0]):
            raise ValueError(f"digest {models[0]!r:.80}, expected sha256: and 64 digits")
    root = next(one for one in manifest.parents if one.name == "manifests").parent
    path = root / "blobs" / models[0].replace(":", "-")
    if not path.exists():
        raise CheckpointError(f"{manifest}: its file {path} is not there; run ollama pull again")
    return path


def _folders() -> list[Path]:
    if home := os.environ.get("OLLAMA_MODELS"):
        return [Path(home)]
    return [Path.home() / ".ollama" / "models", SERVICE]
