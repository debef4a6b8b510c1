"""A command never writes over a file that it reads, whatever the flags."""

import os
from functools import partial

import pytest
from commands import runner

import edifice_tt as et

TEXT = b'{"prompt": "3 + 4?", "gold": "7"}\n'
READING = [
    ["generate", "--problems", "FILE", "-o", "FILE"],
    ["generate", "3 + 4?", "--model", "FILE", "-o", "FILE"],
    ["generate", "3 + 4?", "--verifier", "FILE", "-o", "FILE"],
    ["search", "adaptive", "--problems", "FILE", "--answer", "number", "-o", "FILE"],
    ["best-of", "3 + 4?", "--verifier", "FILE", "-o", "FILE"],
    ["chat", "--model", "FILE", "-o", "FILE"],
    ["import-pool", "FILE", "-o", "FILE"],
    ["train", "other", "FILE", "-o", "FILE"],
    ["curve", "FILE", "--html", "FILE"],
    ["curve", "other", "--search", "FILE", "--html", "FILE"],
    ["export", "FILE", "--csv", "FILE"],
    ["export", "FILE", "--parquet", "FILE"],
]


@pytest.fixture
def run(capsys):
    return partial(runner(capsys))


@pytest.mark.parametrize(
    ("argv", "name"),
    [*((argv, "file") for argv in READING), *((READING[0], name) for name in ("./link", "hard"))],
)
@pytest.mark.first(3)
def test_a_file_that_a_command_reads_is_not_written_even_by_force(
    run, tmp_path, monkeypatch, argv, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(TEXT)
    os.symlink("file", "link")
    os.link("file", "hard")
    argv = [*argv[:-1], name]
    status, out, err = run(*("file" if one == "FILE" else one for one in argv), "--force")
    assert (status, out) == (2, "")
    assert "is read here, so it cannot be written over; give another name" in err
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_bytes() == TEXT


def test_resume_does_not_write_to_the_problems_either(run, tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(TEXT)
    status, _, err = run("generate", "--problems", path, "-o", path, "--resume")
    assert (status, path.read_bytes()) == (2, TEXT)
    assert "is read here" in err


def test_a_merged_file_may_replace_one_of_its_parts_since_it_holds_all_of_it(run, tmp_path):
    pool = et.Pool("q", (et.Candidate(0, "7"),), {"n": 1})
    path = tmp_path / "pool"
    pool.save(path)
    assert run("merge", path, "-o", path, "--force")[0] == 0
    assert et.Pool.load(path) == pool


def test_a_table_is_not_written_over_its_pool_in_python(tmp_path):
    path = tmp_path / "pool"
    et.Pool("q", (et.Candidate(0, "7"),), {"n": 1}).save(path)
    before = path.read_bytes()
    with pytest.raises(et.EdificeError, match="is read here"):
        et.export_pools(path, path)
    assert path.read_bytes() == before
