"""plugins/template becomes a package of another name by one command, and that package works."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from documents import Runner
from fake_plugins import open_site

import edifice_tt

ROOT = Path(__file__).parent.parent
COMMAND = re.search(
    r"^python3 (plugins/template/rename\.py \S+ \S+)$", (ROOT / "README.md").read_text(), re.M
)

site = pytest.fixture(open_site, name="site")


def rename(*words):
    script = ROOT / "plugins" / "template" / "rename.py"
    return subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, check=False
    )


def test_the_readme_and_the_pages_give_the_same_command():
    assert COMMAND
    for page in ("plugins/template/README.md", "docs/write-a-scorer.md"):
        assert f"\npython3 {COMMAND[1]}\n" in (ROOT / page).read_text()


@pytest.mark.slow
def test_a_renamed_template_passes_its_own_tests(site, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "far-away" / "two-words"
    done = rename("two-words", str(folder))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(folder)) for path in files) == [
        "README.md",
        "pyproject.toml",
        "src/edifice_tt_two_words/__init__.py",
        "tests/test_two_words.py",
    ]
    everything = "".join(path.read_text() for path in files)
    assert not re.search("my.scorer|rename|Make it yours", everything)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["entry-points"]["edifice_tt"]) == (
        "edifice-tt-two-words",
        {"two-words": "edifice_tt_two_words"},
    )
    monkeypatch.syspath_prepend(folder / "src")
    Runner("template", site, capsys).register(
        "edifice-tt-two-words", "0.1.0", {"two-words": "edifice_tt_two_words"}
    )
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "two-words")
    assert "two_words" in edifice_tt.list_scorers()
    arguments = ["-q", "-c", "/dev/null", "-W", "error", "-p", "no:cacheprovider"]
    assert pytest.main([*arguments, str(folder / "tests")]) == 0
    site.modules |= {"edifice_tt_two_words", "test_two_words"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "0 words given, expected 2: NAME FOLDER"),
        (
            ["Brevity", "x"],
            "NAME='Brevity' must be words of a-z and 0-9 joined by -, as in my-scorer",
        ),
        (["2nd", "x"], "NAME='2nd' must be words of a-z and 0-9 joined by -, as in my-scorer"),
        (["class", "x"], "NAME='class' must be words of a-z and 0-9 joined by -, as in my-scorer"),
        (["exp", "x"], "NAME='exp' is a word that the template's code uses; take another"),
        (["brief", "."], "FOLDER='.' is there already; give one that is not"),
    ],
)
def test_a_name_that_cannot_work_is_one_line(words, message):
    done = rename(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"rename.py: error: {message}\n"
