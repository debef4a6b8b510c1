"""Which distribution provides what a file asks for, and which files it was installed with.

Knows metadata of distributions; opens no file of theirs.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from edifice_tt.contract.errors import CheckpointError, UnknownNameError
from edifice_tt.contract.registry import Architecture, Scorer, load_registry
from edifice_tt.contract.tracing import OWN_NAME

PROVIDED_BY = "provided_by"  # the entry of a file


class NotThereError(CheckpointError):
    """A registered file that is not where its plugin says; the message says what is known."""


def provided_by(scorer: str | None, architecture: str = "") -> dict[str, str]:
    """The entry of a file that names the plugins of a scorer and an architecture, if any."""
    registered = load_registry()
    records: list[Scorer | Architecture | None] = [
        registered.architectures.get(architecture),
        registered.scorers.get(scorer or ""),
    ]
    owners = dict.fromkeys(one.owner for one in records if one and one.owner != OWN_NAME)
    return {PROVIDED_BY: ", ".join(owners)} if owners else {}


@contextmanager
def asked_for_by(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> Iterator[None]:
    """A name that nobody registers is told with the file that asks for it, and who had it."""
    try:
        yield
    except UnknownNameError as error:
        owners = metadata.get(PROVIDED_BY)
        do = f"; it was saved with {owners}: install that" if owners else ""
        raise UnknownNameError(f"{path} asks for what is not here: {error}{do}") from error


def check_present(record: Scorer, path: object) -> None:
    """Raise `CheckpointError` for the path of a registered file that is not there."""
    if not isinstance(path, os.PathLike) or not Path(path).is_absolute() or Path(path).exists():
        return
    raise NotThereError(f"{path} is not there; {_why_missing(record.owner, Path(path))}")


def _why_missing(owner: str, path: Path) -> str:
    name = owner.partition(" ")[0]
    try:
        files = distribution(name).files if name else None
    except (PackageNotFoundError, ValueError):
        files = None
    if files is None:
        return "put it there"
    if any(Path(str(one.locate())) == path for one in files):
        return f"{name} was installed with it; install that anew"
    if not any(Path(str(one.locate())).parent == path.parent for one in files):
        return f"{name} was installed in place; put it there"
    return (
        f"{name} was installed without it, so its wheel does not hold it: its build must name the "
        "file among the package's data"
    )
