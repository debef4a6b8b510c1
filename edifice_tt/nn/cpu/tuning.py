"""Sizes of the kernels that were measured to suit this processor, in place of the table's.

They are kept in a file of the cache folder, one entry for each processor, and read once in a
process. `doctor/tuning.py` measures them. They are of tiles of rows, and of how far ahead memory is
fetched: none changes a bit of a result.
"""

import errno
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from edifice_tt.contract.errors import CheckpointError, EdificeError, ToolchainError, reading
from edifice_tt.machine.files import write_atomically
from edifice_tt.machine.home import cache_folder
from edifice_tt.machine.json_text import parse_record, take
from edifice_tt.nn.cpu.instructions import LINES, Vectors, in_use, processor
from edifice_tt.version import __version__

# What each size may be beside what the table says.
CANDIDATES = {"tile_rows": (3, 4, 6), "most_rows": (4, 8), "far": (2048, 4096, 8192, 16384)}
_MEND = "{}; edifice-tt doctor --tune measures and writes it anew"
INSTEAD = "the kernels take the sizes of their table"


class Choice(NamedTuple):
    """The line of the table for this processor with the sizes that were measured, and the day."""

    line: Vectors
    day: str


def table() -> tuple[Vectors, ...]:
    """The table from which the compiler chooses the sizes of all kernels."""
    return _table_with(_tried) if _tried is not None else _kept_table()


@contextmanager
def trying(line: Vectors) -> Iterator[None]:
    """Within, kernels are written with these sizes. Of one thread, with `exclusive`."""
    global _tried
    _tried = line
    try:
        yield
    finally:
        _tried = None


_tried: Vectors | None = None


@cache
def _kept_table() -> tuple[Vectors, ...]:
    try:
        found = read()
    except EdificeError as error:
        warnings.warn(f"{error}; {INSTEAD}", RuntimeWarning, stacklevel=2)
        found = None
    return _table_with(found.line) if found else LINES


def _table_with(line: Vectors) -> tuple[Vectors, ...]:
    return tuple(line if one.name == line.name else one for one in LINES)


def default_line() -> Vectors:
    """The table's line for this processor; raises `ToolchainError` without a compiler."""
    return next(line for line in LINES if line.name == in_use()[0])


def is_off() -> bool:
    """Whether the environment asks for the table's sizes, whatever was measured."""
    return os.environ.get("EDIFICE_TT_TUNED") == "0"


def read() -> Choice | None:
    """What was measured on this processor by this version; None if nothing was, or is to be used.

    Raises `CheckpointError` for a damaged file.
    """
    if is_off():
        return None
    try:
        entries = _entries(_path())
        entry = entries.get(_key()) if entries else None
    except ToolchainError:  # no folder, so nothing is kept; or no compiler, which others tell
        return None
    if entry is None or entry.get("version") != __version__:
        return None
    with reading(_path(), _MEND):
        return _choice(entry)


def keep(line: Vectors) -> Choice:
    """Keep the sizes of a line for this processor, from now on; a damaged file is written anew.

    Raises `EdificeError` where the folder cannot be written to.
    """
    make_folder()
    path, day = _path(), date.today().isoformat()
    try:
        entries = _entries(path)
    except CheckpointError:
        entries = {}
    sizes = {name: getattr(line, name) for name in CANDIDATES}
    entries[_key()] = {"version": __version__, "day": day, **sizes}
    text = json.dumps(entries, indent=1, sort_keys=True).encode()
    with _keeping(path):
        write_atomically(path, lambda file: file.write(text))
    _kept_table.cache_clear()
    return Choice(line, day)


def make_folder() -> None:
    """Make the folder for what is kept unless it is there; raises `EdificeError` as `keep` does."""
    path = _path()
    with _keeping(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "Permission denied")


@contextmanager
def _keeping(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EdificeError(
            f"sizes of kernels cannot be kept in {path} ({error.strerror}); mend the folder, or "
            "set EDIFICE_TT_HOME to another"
        ) from error


def _path() -> Path:
    return cache_folder() / "kernel_sizes.json"


def _key() -> str:
    return f"{processor()}: {', '.join(in_use())}"


def _entries(path: Path) -> dict[str, Any]:
    with reading(path, _MEND):
        try:
            entries = parse_record(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {key: take(entries, key, dict) for key in entries}


def _choice(entry: Mapping[str, Any]) -> Choice:
    line = default_line()
    sizes = {name: take(entry, name, int) for name in CANDIDATES}
    for name, size in sizes.items():
        allowed = sorted({*CANDIDATES[name], getattr(line, name)})
        if size not in allowed:
            raise ValueError(f"{name}={size} must be one of {', '.join(map(str, allowed))}")
    return Choice(line._replace(**sizes), take(entry, "day", str))
