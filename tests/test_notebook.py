"""The notebook in examples/ runs, and what stands in it was made by running it."""

import json
import re
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "examples" / "readme.ipynb"
STORED = json.loads(PATH.read_text())
CODE = [cell for cell in STORED["cells"] if cell["cell_type"] == "code"]


def test_it_was_executed_from_its_first_cell_to_its_last():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert not [one for one in outputs if one["output_type"] == "error"]
    shown = [one for one in outputs if "text/html" in one.get("data", {})]
    assert len(shown) > 7


def test_it_names_no_place_of_the_machine_that_executed_it():
    text = PATH.read_text()
    assert not re.findall(r"/(?:home|root|tmp|Users)/", text)
    assert STORED["metadata"].keys() == {"kernelspec", "language_info"}


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(smollm2_path):
    why = "{} is not here; it comes with the extra dev"
    nbformat = pytest.importorskip("nbformat", reason=why.format("nbformat"))
    nbclient = pytest.importorskip("nbclient", reason=why.format("nbclient"))
    pytest.importorskip("ipykernel", reason=why.format("ipykernel"))
    notebook = nbformat.read(PATH, 4)
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    stored = ["".join(cell["source"]) for cell in CODE]
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"] == stored
    assert all(cell.outputs for cell in notebook.cells if "progress=True" in cell.source)
