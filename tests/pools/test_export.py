"""A pool file as a table: a row per candidate, scores as columns, nothing lost on the way."""

import csv
import sys

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import ToolchainError

HARD = 'a,"b"\r\n\tc\rd\u2028;e'


@pytest.fixture
def source(tmp_path):
    """Two problems; one candidate has no score of `b`, and one scorer has the name of a column."""
    first = (
        et.Candidate(
            *(0, HARD, (1, 2), (-1.0, -2.0), "eos", "7", True),
            seconds=0.5,
            scores={"text": 0.1, "b": -1e-300},
        ),
        et.Candidate(1, "", finish_reason="length", answer="", correct=False, scores={"text": 1.0}),
    )
    second = (et.Candidate(0, "x", finish_reason="unknown", scores={"text": 2.0, "b": 3.0}),)
    et.write_pools(
        tmp_path / "pool",
        [et.Pool("p" + HARD, first, {}, "one", "7"), et.Pool("q", second, {}, "two")],
    )
    return tmp_path / "pool"


NAMES = [
    *("problem", "prompt", "gold", "index", "text", "answer", "correct", "finish_reason"),
    *("num_tokens", "seconds", "score_b", "score_text"),
]


def test_csv_has_a_row_per_candidate_and_a_column_per_scorer(source, tmp_path):
    assert et.export_pools(source, tmp_path / "x.csv") == (2, 3)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert sorted(header) == sorted(NAMES)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    assert columns["problem"] == ("one", "one", "two")
    assert columns["text"] == (HARD, "", "x")
    assert columns["prompt"] == ("p" + HARD, "p" + HARD, "q")
    assert columns["correct"] == ("True", "False", "")
    assert [float(x) if x else None for x in columns["score_b"]] == [-1e-300, None, 3.0]
    assert columns["score_text"] == ("0.1", "1.0", "2.0")
    assert columns["seconds"] == ("0.5", "", "")


def test_parquet_has_types_and_nulls(source, tmp_path):
    import pyarrow.parquet

    assert et.export_pools(source, tmp_path / "x", "parquet") == (2, 3)
    table = pyarrow.parquet.read_table(tmp_path / "x")
    assert sorted(table.column_names) == sorted(NAMES)
    columns = table.to_pydict()
    assert columns["text"] == [HARD, "", "x"]
    assert columns["answer"] == ["7", "", None]
    assert columns["correct"] == [True, False, None]
    assert columns["index"] == [0, 1, 0]
    assert columns["score_b"] == [-1e-300, None, 3.0]
    assert columns["num_tokens"] == [2, 0, 0]
    assert columns["gold"] == ["7", "7", None]


def test_a_long_pool_is_written_in_parts(source, tmp_path, monkeypatch):
    import pyarrow.parquet

    monkeypatch.setattr("edifice_tt.pools.export._ROWS", 2)
    et.export_pools(source, tmp_path / "x", "parquet")
    file = pyarrow.parquet.ParquetFile(tmp_path / "x")
    assert [file.num_row_groups, file.metadata.num_rows] == [2, 3]


def test_a_table_that_is_there_stays(source, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        et.export_pools(source, path, overwrite=False)
    with pytest.raises(et.UnknownNameError, match="unknown kind of table 'xls'; known: csv, parq"):
        et.export_pools(source, path, "xls")
    assert path.read_text() == "precious"


def test_without_its_library_there_is_no_parquet_and_no_file(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ToolchainError, match=r"edifice-tt\[parquet\]"):
        et.export_pools(source, tmp_path / "x", "parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_a_row_of_a_pool_is_that_of_its_export(tmp_path):
    pool = et.Pool(
        *("q", (et.Candidate(3, "7", answer="7", correct=True, scores={"judge": 0.25}),)),
        problem="p",
        gold="7",
    )
    pool.save(tmp_path / "pool.jsonl")
    et.export_pools(tmp_path / "pool.jsonl", tmp_path / "pool.csv")
    with (tmp_path / "pool.csv").open(newline="") as file:
        (exported,) = csv.DictReader(file)
    (row,) = pool.to_rows()
    assert {name: "" if value is None else str(value) for name, value in row.items()} == exported
    assert (row["problem"], row["index"], row["score_judge"]) == ("p", 3, 0.25)
