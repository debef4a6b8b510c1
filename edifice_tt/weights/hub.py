"""Models by their names at Hugging Face: `owner/repo`, or `owner/repo/FILE.gguf`. Opens none.

`hf:` before a name says that it is one. `huggingface_hub` fetches them and keeps them where other
programs find them too; its variables (`HF_TOKEN`, `HF_HOME`, `HF_ENDPOINT` and so on) hold.
"""

import hashlib
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.contract.tracing import one_line
from edifice_tt.machine.json_text import parse_record, take
from edifice_tt.machine.toolchain import require
from edifice_tt.weights.gguf_names import PREFERRED, choose, is_of, part_names

PREFIX = "hf:"
_FILE = r"\.(?:gguf|safetensors)"
_NAME = re.compile(rf"([\w-][\w.-]*/(?![\w.-]+{_FILE}$)[\w-][\w.-]*)(?:/(.+{_FILE}))?")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PATTERNS = {"allow_patterns": ["*.json", "*.jinja", "*.safetensors"], "ignore_patterns": ["*/*"]}
_TOKEN = "give a token of one who may: HF_TOKEN, or `hf auth login`"
_REASONS = {  # of errors by their names, which stay while modules move; the narrower first
    "GatedRepoError": "accept its terms at {page}, then give your token: HF_TOKEN, or "
    "`hf auth login`",
    "RepositoryNotFoundError": "no such repository, or one that only some may see; check the name, "
    f"or {_TOKEN}",
    "EntryNotFoundError": "the repository has no such file",
}


def is_name(text: str) -> bool:
    """Whether a text names a model there; a path into a folder that is here does not."""
    if text.startswith(PREFIX):
        return True
    return bool(_NAME.fullmatch(text)) and not Path(text.partition("/")[0]).exists()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(name: str) -> Path:
    """The file or folder of a model as it is on this machine, else fetched."""
    repository, file = _parsed(name)
    with suppress(FileNotFoundError, ValueError):
        path = _get(repository, file, local_files_only=True)
        if _is_model(path):
            return path
        # The one that would be taken there too, whatever else there is.
        if (here := choose(_files_in(path))) and is_of(here, PREFERRED[0]):
            return _get(repository, here, local_files_only=True)
    return fetch(name)


def fetch(name: str, force: bool = False) -> Path:
    """Bring a model here as it is there now; without a network, as it is here.

    Of a repository of GGUF files without a name of one, `gguf_names.choose` says which. Files that
    are here whole are kept, unless `force` is given. One whose SHA-256 the repository tells, as it
    does of large ones, must have it. Raises `CheckpointError` for what is not there, cannot be
    fetched or is damaged.
    """
    repository, file = _parsed(name)
    try:
        file = file or _chosen(name, _listed(repository))
        path = _get(repository, file, force_download=force)
    except EdificeError:
        raise
    except Exception as error:  # huggingface_hub raises many kinds
        also = "" if name.startswith(PREFIX) else "is no path here, and "
        raise CheckpointError(
            f"{name} {also}is not to be had from Hugging Face: {_reason(error, repository):.400}"
        ) from error
    if not _is_model(path):
        raise CheckpointError(
            f"{name}: a file of its weights is missing; where there is a network, pull it again"
        )
    for one in part_names(file) if file else [one.name for one in path.iterdir()]:
        _verify(name, repository, one, path.with_name(Path(one).name) if file else path / one)
    return path


def _parsed(name: str) -> tuple[str, str]:
    """The repository and the file of it that a name says, or no file."""
    if (match := _NAME.fullmatch(name.removeprefix(PREFIX))) is None:
        raise CheckpointError(
            f"{name}: expected {PREFIX}OWNER/REPO, or {PREFIX}OWNER/REPO/FILE.gguf"
        )
    return match[1], match[2] or ""


def _get(repository: str, file: str, **options: Any) -> Path:
    hub = require("huggingface_hub", extra="lm")
    if not file:
        return Path(hub.snapshot_download(repository, **_PATTERNS, **options))
    first, *_ = [Path(hub.hf_hub_download(repository, one, **options)) for one in part_names(file)]
    return first


def _files_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")]


def _listed(repository: str) -> list[str]:
    """The files of a repository; without a network those that are here."""
    try:
        return list(require("huggingface_hub", extra="lm").list_repo_files(repository))
    except Exception:
        with suppress(FileNotFoundError, ValueError):
            here = _files_in(_get(repository, "", local_files_only=True))
            if _is_folder(here) or choose(here):
                return here
        raise


def _is_folder(files: list[str]) -> bool:
    return "config.json" in files and any(file in files for file in _WEIGHTS)


def _chosen(name: str, files: list[str]) -> str:
    """The file that a repository without a name of one means; none where it is a folder."""
    if _is_folder(files):
        return ""
    if (file := choose(files)) is None:
        named = ", ".join(file for file in files if file.endswith(".gguf")) or "none"
        raise CheckpointError(
            f"{name} has no config.json with safetensors; name one of its GGUF files, as "
            f"{name}/FILE.gguf; it has: {named}"
        )
    print(f"{name}: taking {file}", file=sys.stderr)
    return file


def _reason(error: Exception, repository: str) -> str:
    """Why a model is not to be had, in words."""
    constants = require("huggingface_hub.constants", extra="lm")
    chain = [one for one in (error, error.__cause__) if one is not None]
    names = [{kind.__name__ for kind in type(one).__mro__} for one in chain]
    kinds = set().union(*(those for those in names if "LocalEntryNotFoundError" not in those))
    if reason := next((_REASONS[kind] for kind in _REASONS if kind in kinds), ""):
        return reason.format(page=f"{constants.ENDPOINT}/{repository}")
    answers = (getattr(one, "response", None) for one in chain)
    status = next((answer.status_code for answer in answers if answer is not None), 0)
    if status in (401, 403):
        return f"it answers {status}, so you may not have it; {_TOKEN}"
    return one_line(chain[-1])


def _is_model(path: Path) -> bool:
    """Whether all that a model needs is here; a download that broke off left some of it."""
    if path.is_file():
        return True
    parts = ["model.safetensors"]
    with suppress(OSError, ValueError):  # no index, or one that loading will complain of
        index = parse_record((path / "model.safetensors.index.json").read_bytes())
        parts = [str(file) for file in take(index, "weight_map", dict).values()]
    return all((path / file).is_file() for file in {"config.json", *parts})


def _verify(name: str, repository: str, file: str, path: Path) -> None:
    expected = _declared(repository, file, path)
    if len(expected) == 64 and (sha256 := sha256_of(path)) != expected:
        for damaged in (path.resolve(), path):
            damaged.unlink(missing_ok=True)
        raise CheckpointError(
            f"{name}: {path.name} has SHA-256 {sha256}, expected {expected}; it is deleted, pull "
            "it again"
        )


def _declared(repository: str, file: str, path: Path) -> str:
    """The sum that the repository tells of a file: 64 digits if it is a SHA-256."""
    if path.is_symlink():  # into the cache, where each file is named by it
        return Path(os.readlink(path)).name
    hub = require("huggingface_hub", extra="lm")
    with suppress(Exception):  # without a network nobody tells it
        return str(hub.get_hf_file_metadata(hub.hf_hub_url(repository, file)).etag)
    return ""
