"""Every example runs as it stands, and checks its own result."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


FEW = {"train_a_scorer.py": ["{tmp}", "--tasks", "largest", "--num", "8", "3"]}


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run_and_fit_one_screen(example, monkeypatch, capsys, tmp_path, smollm2_path):
    assert len(example.read_text().splitlines()) <= 50
    given = [part.format(tmp=tmp_path) for part in FEW.get(example.name, ["3"])]
    monkeypatch.syspath_prepend(example.parent)  # as Python does
    monkeypatch.setattr("sys.argv", [str(example), *given])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out
