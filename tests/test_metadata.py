"""What an index shows of the package is complete, and true."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CI = (ROOT / ".ci" / "run").read_text()
README = (ROOT / "README.md").read_text()


def test_every_python_that_is_named_is_tried():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    (oldest,) = re.findall(r"uv venv --seed --python (3\.\d+)", CI)
    (newer,) = re.findall(r"for version in (.*); do", CI)
    assert named[0] == oldest == PROJECT["requires-python"].removeprefix(">=")
    assert set(named) <= {oldest, *newer.split()}
    assert f"Python {oldest} or newer" in README


def test_what_the_readme_links_to_is_in_the_source_distribution():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(linked) > 20
    held = tuple(built["targets"]["sdist"]["include"])
    assert [link for link in linked if not link.startswith(held)] == []
    assert [link for link in linked if not (ROOT / link).exists()] == []


def test_the_licence_is_named_and_there():
    assert PROJECT["license"] == "MIT"
    assert all((ROOT / file).exists() for file in PROJECT["license-files"])


def test_the_licence_of_the_shipped_weights_stands_beside_them():
    shipped = [
        *(ROOT / "edifice_tt").rglob("*.safetensors"),
        *(ROOT / "edifice_tt").rglob("*.gguf"),
    ]
    assert shipped
    for weights in shipped:
        card = weights.with_suffix(".md").read_text()
        assert "## License\n\nMIT, as the package." in card


def test_every_extra_that_a_text_or_an_error_names_is_there():
    texts = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "edifice_tt").rglob("*.py"),
    ]
    named = {
        extra
        for path in texts
        for extras in re.findall(r"(?:\.|edifice-tt)\[([\w,]+)\]", path.read_text())
        for extra in extras.split(",")
    }
    assert {"demo", "test", "notebook"} <= named
    assert named <= {*PROJECT["optional-dependencies"], "extra"}
