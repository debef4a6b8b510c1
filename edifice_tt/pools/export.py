"""Pool files -> tables for other programs: a row per candidate, a column per scorer."""

import csv
import os
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import islice
from typing import Any, BinaryIO

from edifice_tt.contract.errors import unknown_name
from edifice_tt.machine.extras import require
from edifice_tt.machine.files import check_other_file, write_atomically
from edifice_tt.pools.pool import SCORE, PoolFile

KINDS = ("csv", "parquet")
_TYPES = {
    "problem": "string",
    "prompt": "string",
    "gold": "string",
    "index": "int64",
    "text": "string",
    "answer": "string",
    "correct": "bool_",
    "finish_reason": "string",
    "num_tokens": "int64",
    "seconds": "float64",
}
_ROWS = 4096  # in memory at once, of a Parquet file


def export_pools(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    kind: str = "csv",
    *,
    overwrite: bool = True,
) -> tuple[int, int]:
    """Write a pool file as a table, atomically; returns the numbers of problems and candidates.

    `kind` is `csv` or `parquet`. A row holds one candidate: `problem`, `prompt`, `gold`, `index`,
    `text`, `answer`, `correct`, `finish_reason`, `num_tokens`, `seconds`, and `score_NAME` for each
    scorer. What is not known is empty in CSV and null in Parquet. Raises `ToolchainError` for
    Parquet without `pyarrow`.
    """
    if kind not in KINDS:
        raise unknown_name("kind of table", kind, KINDS)
    check_other_file(path, [source])
    file = PoolFile(source).with_problems()
    write = _write_csv if kind == "csv" else _write_parquet
    write_atomically(path, lambda out: write(file, out), overwrite=overwrite)
    return len(file.problems), sum(map(len, file.indices.values()))


def _rows(file: PoolFile) -> Iterator[dict[str, Any]]:
    for pool in file:
        yield from pool.to_rows()


def _columns(file: PoolFile) -> dict[str, str]:
    return _TYPES | {f"{SCORE}{name}": "float64" for name in file.scorers}


def _write_csv(file: PoolFile, out: BinaryIO) -> None:
    text = TextIOWrapper(out, "utf-8", newline="")
    table = csv.DictWriter(text, list(_columns(file)))
    table.writeheader()
    table.writerows(_rows(file))
    text.detach()  # flushes; the file is closed by whoever opened it


def _write_parquet(file: PoolFile, out: BinaryIO) -> None:
    arrow, parquet = (require(name, extra="parquet") for name in ("pyarrow", "pyarrow.parquet"))
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in _columns(file).items()])
    with parquet.ParquetWriter(out, schema) as writer:
        rows = _rows(file)
        while some := list(islice(rows, _ROWS)):
            writer.write_table(arrow.Table.from_pylist(some, schema=schema))
