"""plugins/template becomes a package of another name by one command, and that package works."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from documents import Runner
from fake_plugins import open_site

import edifice_tt
from edifice_tt.cli import main
from edifice_tt.cli.new_plugin import TEMPLATES

ROOT = Path(__file__).parent.parent
COMMAND = re.search(r"^edifice-tt plugins --new \S+$", (ROOT / "README.md").read_text(), re.M)

site = pytest.fixture(open_site, name="site")


def rename(*words):
    script = ROOT / "plugins" / "template" / "rename.py"
    return subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, check=False
    )


def test_the_readme_and_the_pages_give_the_same_command():
    assert COMMAND
    for page in ("plugins/template/README.md", "docs/write-a-scorer.md"):
        assert f"\n{COMMAND[0]}\n" in (ROOT / page).read_text()


@pytest.mark.slow
def test_a_renamed_template_passes_its_own_tests(site, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "far-away" / "two-words"
    done = rename("two-words", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"wrote {folder}: the package edifice-tt-two-words with the sc")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(folder)) for path in files) == [
        "LICENSE",
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
            "NAME='Brevity' must be words of a-z and 0-9 joined by - or _, the first with a letter "
            "at its beginning, as in my-scorer",
        ),
        (
            ["2nd", "x"],
            "NAME='2nd' must be words of a-z and 0-9 joined by - or _, the first with a letter "
            "at its beginning, as in my-scorer",
        ),
        (["class", "x"], "NAME='class' is a word of Python's own; take another"),
        (["exp", "x"], "NAME='exp' is a word that the template's code uses; take another"),
        (["brief", "."], "FOLDER='.' is there already; give one that is not"),
    ],
)
def test_a_name_that_cannot_work_is_one_line(words, message):
    done = rename(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"rename.py: error: {message}\n"


def test_the_command_writes_the_same_copy_and_says_what_to_do_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "--new", "two-words"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("wrote edifice-tt-two-words: the package edifice-tt-two-words with the")
    assert "pip install -e '.[test]'" in said
    rename("two-words", "other")
    one, other = tmp_path / "edifice-tt-two-words", tmp_path / "other"
    assert files_of(one) == files_of(other)
    assert "LICENSE" in files_of(one)


def files_of(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--new", "Brevity"], "NAME='Brevity' must be words of a-z and 0-9"),
        (["--new", "logprob"], "scorer 'logprob' is registered by edifice-tt; take another name"),
        (["--new", "brief", "--folder", "."], "FOLDER='.' is there already"),
        (["--folder", "x"], "--folder says where --new NAME writes; give both"),
    ],
)
def test_the_command_refuses_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_json_tells_where_the_copy_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "--new", "brief", "--folder", "here", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"plugin": "brief", "folder": "here"}


def test_a_wheel_holds_the_template():
    """In an installed package it lies inside, in a clone beside it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    forced = project["targets"]["wheel"]["force-include"]
    installed, cloned = (path.relative_to(ROOT).as_posix() for path in TEMPLATES)
    assert forced == {cloned: installed}
    included = project["targets"]["sdist"]["include"]
    assert any(f"{cloned}/".startswith(f"{one}/") for one in included)
