"""Records of other programs, one per line or row: JSON Lines, CSV, Parquet, Arrow. Knows no shape.

The name of a file tells which of them it is. Numbers stay as they are written.
"""

import codecs
import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.extras import require
from edifice_tt.machine.json_text import unique
from edifice_tt.pools.lines import decode

T = TypeVar("T")
Record = dict[str, Any]
# Where a record stands, and a function that reads it or raises `ValueError`.
Place = tuple[str, Callable[[], Record]]

_ONE_A_LINE = (
    "each line must hold one whole object: `jq -c '.[]' FILE` makes lines of an array, "
    "`jq -c . FILE` of objects"
)
_ARROW = b"ARROW1"  # how an Arrow file begins; a stream begins otherwise
_STATE = "state.json"  # in each folder of `datasets`
_LONGEST_CELL = 1 << 28  # characters; Python's own limit is shorter than a long prompt


class Number(str):
    """A number, as it is written."""

    __slots__ = ()
    __repr__ = str.__str__


def read_each(path: str | os.PathLike[str], read: Callable[[Record, int], T]) -> Iterator[T]:
    """Read each record of a file; places count from 0.

    Raises `CheckpointError` with the line or row, counted from 1, for what `read` refuses.
    """
    path, place = Path(path), 0
    records = _saved if path.is_dir() else _READERS.get(path.suffix.lower(), _lines)
    try:
        for where, load in records(path):
            try:
                value = read(load(), place)
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"{path}, {where}: {error}") from error
            yield value
            place += 1
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise CheckpointError(f"{path}: cannot be read ({reason})") from error
    if place == 0:
        raise CheckpointError(f"{path}: it is empty")


# --- the kinds of files


def _lines(path: Path) -> Iterator[Place]:
    """Each non-blank line; a byte order mark is skipped."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            line = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
            if line:
                yield f"line {number}", partial(_record, line)


def _table(path: Path, delimiter: str = ",") -> Iterator[Place]:
    """Each row below the header; an empty cell is no value."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(rows, [])
            if twice := [name for name in header if header.count(name) > 1]:
                raise ValueError(f"the column {twice[0]!r:.40} is there twice; rename one")
            for number, cells in enumerate(filter(None, rows), 1):
                yield f"row {number}", partial(_row, header, cells)
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: it is no UTF-8 text; save it as UTF-8") from error
    except (csv.Error, ValueError) as error:
        raise CheckpointError(f"{path}: not a table of CSV ({error})") from error
    finally:
        csv.field_size_limit(before)


def _row(header: Sequence[str], cells: Sequence[str]) -> Record:
    if len(cells) != len(header):
        raise ValueError(
            f"it has {len(cells)} cells, and the header has {len(header)}; quote a cell that holds "
            "commas or line ends"
        )
    return {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _parquet(path: Path) -> Iterator[Place]:
    """Each row of a Parquet file, some thousands at a time."""
    arrow, parquet = (require(name, extra="parquet") for name in ("pyarrow", "pyarrow.parquet"))
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", partial(_as_written, row)
    except (arrow.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: not a Parquet file that can be read ({reason})") from error


def _arrow(path: Path, name: str = "") -> Iterator[Place]:
    """Each row of an Arrow file or stream; a `name` stands before its number."""
    arrow, ipc = (require(name, extra="parquet") for name in ("pyarrow", "pyarrow.ipc"))
    number = 0
    try:
        with arrow.memory_map(os.fspath(path)) as file:
            for batch in _batches(ipc, file):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}row {number}", partial(_as_written, row)
    except (arrow.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: not an Arrow file that can be read ({reason})") from error


def _batches(ipc: Any, file: Any) -> Iterator[Any]:
    is_file = file.read(len(_ARROW)) == _ARROW
    file.seek(0)
    if is_file:
        reader = ipc.open_file(file)
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from ipc.open_stream(file)


def _saved(folder: Path) -> Iterator[Place]:
    """Each row of a folder that `save_to_disk` of Hugging Face's datasets wrote."""
    splits = sorted(str(one.parent) for one in folder.glob(f"*/{_STATE}"))
    if not (folder / _STATE).is_file() and len(splits) != 1:
        kind = "has several splits" if splits else "is no folder that save_to_disk wrote"
        which = " or ".join(splits) or "a file in it"
        raise CheckpointError(f"{folder}: it {kind}; give {which}")
    if not (folder / _STATE).is_file():
        folder = Path(splits[0])
    try:
        state = json.loads((folder / _STATE).read_bytes())
        files = [folder / Path(one["filename"]).name for one in state["_data_files"]]
        if state.get("_indices_data_files"):
            raise ValueError("its rows are chosen by indices; call flatten_indices() and save it")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / _STATE}: it tells of no files ({error})") from error
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{folder / _STATE}: it names {file.name}, which is not there")
        yield from _arrow(file, f"{file.name}, " if len(files) > 1 else "")


_READERS: dict[str, Callable[[Path], Iterator[Place]]] = {
    ".csv": _table,
    ".tsv": partial(_table, delimiter="\t"),
    ".parquet": _parquet,
    ".arrow": _arrow,
}


def _as_written(value: Any) -> Any:
    """A value of a table with its numbers as they would be written."""
    if isinstance(value, dict):
        return {name: _as_written(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_as_written(one) for one in value]
    is_number = type(value) is int or (type(value) is float and math.isfinite(value))
    return Number(repr(value)) if is_number else value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON; write a number, a text or null")


_DECODER = json.JSONDecoder(
    object_pairs_hook=unique, parse_float=Number, parse_int=Number, parse_constant=_no_constant
)


def _record(line: bytes) -> Record:
    """The record of a line, with its numbers as they are written."""
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line:
        raise ValueError("it is no UTF-8 text, but looks like UTF-16 or UTF-32; save it as UTF-8")
    try:
        record = decode(line, _DECODER)
    except ValueError as error:
        if line in (b"{", b"["):
            raise ValueError(f"{error}; {_ONE_A_LINE}") from error
        raise
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
    if type(record) is not dict:
        raise ValueError(f"it must be a JSON object; {_ONE_A_LINE}")
    return record


# --- the fields of a record

_NEEDED = object()


def take(record: Record, name: str, kind: type, words: str, default: Any = _NEEDED) -> Any:
    """Take a field of this type out of a record; null counts as the default, if there is one."""
    value = record.pop(name, None)
    if value is None and default is not _NEEDED:
        return default
    if type(value) is not kind:
        raise ValueError(f"{name}={value!r:.40} must be {words}")
    return value


def take_text(record: Record, name: str) -> str | None:
    """Take a text out of a record; a number is taken as it is written."""
    value = record.pop(name, None)
    if type(value) is Number:
        return str(value)
    if value is not None and type(value) is not str:
        raise ValueError(f"{name}={value!r:.40} must be text or a number")
    return value


def take_id(record: Record, place: int, name: str = "problem") -> str:
    """Take the id of a problem out of a record; without one it is its place."""
    text = take_text(record, name)
    return str(place) if text is None else text


def plain(value: Any) -> Any:
    """A value with its numbers as numbers."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return json.loads(value) if isinstance(value, Number) else value
