"""What a shell is told when the tabulator is pressed, by argcomplete's protocol."""

import os
import subprocess
import sys

import pytest
from commands import runner
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt import cli

pytest.importorskip("argcomplete", reason="argcomplete is not installed")
site = pytest.fixture(open_site, name="site")


def variables(line, path):
    """What the shell's function sets; completions go to the file in place of descriptor 8."""
    return {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(path),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }


@pytest.fixture
def complete(tmp_path):
    """The completions of a line, from a process forked from this one, since argcomplete ends it."""

    def complete(words):
        if (child := os.fork()) == 0:
            try:
                os.environ.update(variables(f"edifice-tt {words}", tmp_path / "told"))
                cli.main([])
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return {one.strip() for one in (tmp_path / "told").read_text().split("\n")} - {""}

    return complete


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("be", {"best-of"}),
        ("best-of q --mo", {"--model"}),
        ("best-of q -m qwen3:0", {"qwen3:0.6b", "qwen3:0.6b-base"}),
        ("curve p --unfinished ", {"leave_out", "use"}),
        ("curve p --cut-off=v", {"vote"}),
        ("generate --task la", {"largest"}),
        ("generate --format ms", set()),
        ("train p --loss x --activations i", {"int8"}),
        ("best-of q --kv-dtype ", {"float16", "float32", "int8"}),
        ("best-of q --zzz", set()),
        ("nothing --mo", set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.first(3)
def test_commands_options_and_names_of_values_are_completed(complete, words, told):
    found = complete(words)
    assert {one.removeprefix("--cut-off=") for one in found} == told


def test_what_is_registered_is_completed(complete, site):
    assert complete("select p --rule ") == set(et.list_selectors())
    assert complete("score p --scorer ") == set(et.list_scorers())
    assert complete("grade p --answer ") == set(et.list_extractors())
    assert set(et.list_searches()) < complete("replay ")


def test_a_file_is_completed_where_one_is_expected(complete, tmp_path):
    (tmp_path / "pool.jsonl").touch()
    assert complete(f"show {tmp_path}/po") == {f"{tmp_path}/pool.jsonl"}


def test_a_settings_file_that_is_wrong_does_not_stop_it(complete, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.edifice-tt]\nmodle = 1")
    assert complete("best-of q --mo") == {"--model"}


def test_a_program_hands_them_over_and_prints_nothing(tmp_path):
    environment = {**os.environ, **variables("edifice-tt la", tmp_path / "told"), "DEV": "CPU"}
    command = [sys.executable, "-m", "edifice_tt"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "told").read_text().strip() == "layers"


def test_without_the_library_no_command_runs_and_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    for name, value in variables("edifice-tt list", tmp_path / "told").items():
        monkeypatch.setenv(name, value)
    status, out, err = runner(capsys)("list")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "'edifice-tt[completion]'" in err
