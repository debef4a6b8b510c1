"""Every example runs as it stands, and checks its own result."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run_and_fit_one_screen(example, monkeypatch, capsys, smollm2_path):
    assert len(example.read_text().splitlines()) <= 40
    monkeypatch.setattr("sys.argv", [str(example), "3"])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out
