"""Models by their names at Hugging Face: `owner/repo`, or `owner/repo/FILE.gguf`. Opens none.

`huggingface_hub` fetches them and keeps them where other programs find them too; its variables
(`HF_TOKEN`, `HF_HOME`, `HF_ENDPOINT` and so on) hold.
"""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.contract.tracing import one_line
from edifice_tt.machine.json_text import parse_record, take
from edifice_tt.machine.toolchain import require

_FILE = r"\.(?:gguf|safetensors)"
_NAME = re.compile(rf"([\w-][\w.-]*/(?![\w.-]+{_FILE}$)[\w-][\w.-]*)(?:/(.+{_FILE}))?")
_PATTERNS = {"allow_patterns": ["*.json", "*.jinja", "*.safetensors"], "ignore_patterns": ["*/*"]}
_REASONS = {  # of errors by their names, which stay while modules move; the narrower first
    "GatedRepoError": "its terms must be accepted on its page; then run `hf auth login`",
    "RepositoryNotFoundError": "no such repository, or one that only some may see; check the name, "
    "or run `hf auth login`",
    "LocalEntryNotFoundError": "",  # its cause tells more
    "EntryNotFoundError": "the repository has no such file",
}


def is_name(text: str) -> bool:
    """Whether a text names a model there; a path into a folder that is here does not."""
    return bool(_NAME.fullmatch(text)) and not Path(text.partition("/")[0]).exists()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(name: str) -> Path:
    """The file or folder of a model as it is on this machine, else fetched."""
    with suppress(FileNotFoundError, ValueError):
        path = _get(name, local_files_only=True)
        if _is_model(path):
            return path
    return fetch(name)


def fetch(name: str, force: bool = False) -> Path:
    """Bring a model here as it is there now; without a network, as it is here.

    Files that are here whole are kept, unless `force` is given. One whose SHA-256 the repository
    tells, as it does of large ones, must have it. Raises `CheckpointError` for what is not there,
    cannot be fetched or is damaged.
    """
    try:
        path = _get(name, force_download=force)
        if not _is_model(path):
            files = require("huggingface_hub", extra="lm").list_repo_files(name)
            named = ", ".join(file for file in files if file.endswith(".gguf")) or "none"
            raise CheckpointError(
                f"{name} has no config.json with safetensors; name one of its GGUF files, as "
                f"{name}/FILE.gguf; it has: {named}"
            )
    except EdificeError:
        raise
    except Exception as error:  # huggingface_hub raises many kinds
        kinds = {kind.__name__ for kind in type(error).__mro__}
        reason = next((_REASONS[kind] for kind in _REASONS if kind in kinds), "")
        told = error.__cause__ or error
        raise CheckpointError(
            f"{name} is no path here, and is not to be had from Hugging Face: "
            f"{reason or one_line(told):.300}"
        ) from error
    for file in [path] if path.is_file() else path.iterdir():
        _verify(name, file)
    return path


def _get(name: str, **options: Any) -> Path:
    hub, match = require("huggingface_hub", extra="lm"), _NAME.fullmatch(name)
    assert match is not None
    repository, file = match.groups()
    if file:
        return Path(hub.hf_hub_download(repository, file, **options))
    return Path(hub.snapshot_download(repository, **_PATTERNS, **options))


def _is_model(path: Path) -> bool:
    """Whether all that a model needs is here; a download that broke off left some of it."""
    if path.is_file():
        return True
    parts = ["model.safetensors"]
    with suppress(OSError, ValueError):  # no index, or one that loading will complain of
        index = parse_record((path / "model.safetensors.index.json").read_bytes())
        parts = [str(file) for file in take(index, "weight_map", dict).values()]
    return all((path / file).is_file() for file in {"config.json", *parts})


def _verify(name: str, file: Path) -> None:
    expected = Path(os.readlink(file)).name if file.is_symlink() else ""
    if len(expected) == 64 and (sha256 := sha256_of(file)) != expected:
        for damaged in (file.resolve(), file):
            damaged.unlink()
        raise CheckpointError(
            f"{name}: {file.name} has SHA-256 {sha256}, expected {expected}; it is deleted, pull "
            "it again"
        )
