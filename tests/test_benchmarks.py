"""The benchmarks run, and their page names them all. No figure of theirs is looked at here."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from judge_models import Tiny

FOLDER = Path(__file__).parent.parent / "benchmarks"
PAGE = (FOLDER / "README.md").read_text()
NAMED = re.findall(r"^\| `(\w+\.py)` \|", PAGE, re.MULTILINE)
COMMANDS = re.findall(r"`python (\w+\.py)((?: [^`]*)?)`", PAGE)


def run(script, *options):
    command = [sys.executable, str(FOLDER / script), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_names_every_script():
    scripts = {path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text()}
    assert set(NAMED) == scripts - {"worker.py"}  # which the others start


@pytest.mark.parametrize("script", sorted(set(NAMED) - {"million.py", "exact_statistics.py"}))
def test_a_script_has_the_options_that_the_page_uses(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FOLDER / script), run_name="__main__")
    for path in FOLDER.iterdir():  # no other test finds what the script imported
        sys.modules.pop(path.stem, None)
    assert ended.value.code == 0
    told = capsys.readouterr().out
    used = [option for name, rest in COMMANDS if name == script for option in rest.split()]
    for option in ["--json", "--quick", *used]:
        assert not option.startswith("-") or option in told


@pytest.mark.slow
def test_scoring_is_measured_in_rounds_and_every_time_is_told():
    done = run("score.py", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    ours = [row for row in told["rows"] if row["subject"] == "edifice_tt"]
    assert [row["case"] for row in ours] == ["batch 1", "batch 16"]
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in ours)
    assert told["limits"]


@pytest.mark.slow
def test_files_with_random_weights_are_loaded_in_every_mix():
    done = run("load.py", "--quick", "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    cases = [
        f"tiny {mix}, {to}" for mix in ("Q4_0", "Q8_0", "Q4_K_M") for to in ("float32", "int8")
    ]
    assert [row["case"] for row in rows] == cases
    assert all(row["sampling"] > 0 for row in rows)


@pytest.mark.slow
def test_models_of_random_weights_read_and_decode_in_every_mix():
    done = run("models.py", "--quick", "--repeats", "1", "--mixes", "Q4_K_M", "--json")
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout)["rows"] if row["subject"] == "edifice_tt"]
    works, ways = ("512 tokens", "N = 1", "N = 3"), ("float32", "int8")
    assert [row["case"] for row in rows] == [
        f"tiny Q4_K_M, {work}, {way}" for work in works for way in ways
    ]


@pytest.mark.slow
def test_pairs_are_rated_by_every_judge_that_is_named(tmp_path):
    folder = Tiny("ForSequenceClassification").write(tmp_path / "judge")
    judges = ["--judge", str(folder), str(folder)]
    done = run("judges.py", "--quick", "--repeats", "1", "--json", *judges)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["case"] for row in rows if row["subject"] == "edifice_tt"] == ["judge"] * 2


@pytest.mark.parametrize("script", ["million.py 7 5", "exact_statistics.py 5 7"])
def test_pools_of_any_size_are_measured(script):
    done = run(*script.split())
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout)
