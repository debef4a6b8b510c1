"""Defaults from files: which file counts, what a command takes of it, and what is wrong in it."""

import json
import os
from pathlib import Path

import pytest
from commands import runner

from edifice_tt import cli
from edifice_tt.cli import settings
from edifice_tt.cli.options import request_of
from edifice_tt.pools.tasks import find_task


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working folder, and a home with nothing in it."""
    home = tmp_path / "home" / "edifice-tt"
    home.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.parent))
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def run(capsys):
    return runner(capsys)


def project(text):
    Path("pyproject.toml").write_text(f"[project]\nname = 'x'\n[tool.edifice-tt]\n{text}")


def user(text):
    Path(os.environ["XDG_CONFIG_HOME"], "edifice-tt", "config.toml").write_text(text)


def parsed(*argv):
    return cli.make_parser().parse_args(["generate", "q", *argv])


def test_the_command_line_comes_before_the_project_and_the_project_before_the_user():
    assert (parsed().n, parsed().seed, parsed().model) == (16, 0, "smollm2-135m")
    user("n = 3\nseed = 5\nmodel = 'mine'")
    project("n = 4\nseed = 7")
    asked = parsed("--n", "5")
    assert (asked.n, asked.seed, asked.model) == (5, 7, "mine")
    assert (parsed("-n", "16").n, parsed("--seed", "0").seed) == (16, 0)  # given, if as the default


ALL = """
model = "m"
device = "CPU"
dtype = "float16"
activations = "float32"
kv_dtype = "float16"
devices = ["CPU:0", "CPU:1"]
n = 3
seed = 5
temperature = 1
top_k = 7
top_p = 0.5
max_tokens = 11
stop = ["\\n", "."]
system = "Be brief."
confidence = ["entropy", "deepconf"]
batch_size = 2
template_options = { enable_thinking = false, level = "high" }
"""


def test_every_setting_is_the_default_of_its_option():
    user(ALL)
    asked = vars(parsed())
    told = settings.read_settings().values
    assert told.keys() == {*settings.SAMPLING, *settings.LOADING}
    alike = told.keys() - {"template_options", "devices", "confidence"}
    assert {key: asked[key] for key in alike} == {key: told[key] for key in alike}
    assert (asked["devices"], asked["confidence"]) == ("CPU:0,CPU:1", "entropy,deepconf")
    assert asked["template_option"] == ["enable_thinking=false", 'level="high"']
    again = vars(parsed("--stop", "x", "--template-option", "level=low"))
    assert again["stop"] == ["x"]
    assert again["template_option"] == ["level=low", "enable_thinking=false"]


@pytest.mark.parametrize("name", ["best-of", "generate", "train", "layers", "score"])
def test_a_command_takes_the_settings_of_the_options_that_it_has(name):
    user("device = 'CPU'\ndtype = 'float16'\nmodel = 'm'\nseed = 5")
    argv = {"score": ["p"], "train": ["p", "-o", "v"], "layers": ["p"]}.get(name, ["q"])
    asked = cli.make_parser().parse_args([name, *argv])
    assert (asked.device, asked.dtype) == ("CPU", "float16")
    # A verifier has a model of its own, and a fit its own seed.
    assert asked.model == (None if name == "score" else "m")
    assert getattr(asked, "seed", None) == {"score": None, "train": 0, "layers": 0}.get(name, 5)


def test_a_device_that_is_given_excludes_those_of_the_files():
    user("devices = ['CPU:0', 'CPU:1']")
    assert (parsed("--device", "CPU").devices, parsed().devices) == (None, "CPU:0,CPU:1")
    user("device = 'METAL'")
    assert request_of(parsed("--devices", "CPU")).devices == ["CPU"]


def test_a_task_and_a_plain_text_leave_out_what_is_for_chats():
    user("max_tokens = 99\nstop = ['x']\nsystem = 's'\ntemplate_options = { a = 1 }\nn = 3")
    task = find_task("add")
    asked = cli.make_parser().parse_args(["generate", "--task", "add", "-o", "p"])
    request = request_of(asked, task)
    assert (request.max_tokens, request.stop, request.n) == (task.max_tokens, task.stop, 3)
    assert (asked.system, asked.template_option) == (None, [])
    assert (parsed("--raw").system, parsed("--raw").max_tokens) == (None, 99)
    assert parsed("--raw", "--system", "t").system == "t"


WRONG = {
    "modle = 'x'": ["unknown key", "'modle'", "did you mean 'model'"],
    "n = '4'": ["n = '4'", "a whole number"],
    "n = true": ["n = True", "a whole number"],
    "temperature = 'hot'": ["temperature", "a number"],
    "stop = 'x'": ["stop = 'x'", "a list of texts"],
    "stop = [1]": ["stop = [1]", "a list of texts"],
    "model = 7": ["model = 7", "text"],
    "template_options = 1": ["template_options", "a table"],
    "template_options = { a = 2020-01-01 }": ["template_options", "a table"],
    "template_options = { a = nan }": ["template_options", "a table"],
    "n = ": ["it is no TOML"],
}


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("write", [project, user])
@pytest.mark.first(3)
def test_what_is_wrong_in_a_file_is_one_line_with_the_file_and_the_key(run, write, text):
    write(text)
    status, out, err = run("generate", "q")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert ("pyproject.toml" if write is project else "config.toml") in err
    for words in WRONG[text]:
        assert words in err
    assert run("generate", "--help")[0] == 0
    assert run("tasks")[0] == 0  # it takes no settings


def test_files_that_hold_no_settings_are_as_none(run):
    for text in ("[project]\nname = 'x'", "[tool.other]\nn = 'x'", ""):
        Path("pyproject.toml").write_text(text)
        assert settings.read_settings().values == {}
    for text in ("tool = 3", "[tool]\nedifice-tt = 3"):
        Path("pyproject.toml").write_text(text)
        status, _, err = run("generate", "q")
        assert (status, "must be a table of settings" in err) == (2, True)
    Path("pyproject.toml").write_bytes(b"\xff")
    assert "it is no TOML" in run("generate", "q")[2]


def test_the_doctor_says_where_each_setting_is_from(run, monkeypatch):
    from edifice_tt import doctor

    asked = []
    monkeypatch.setattr(doctor, "diagnose", lambda device, *_: asked.append(device) or [])
    checks = {c["name"]: c for c in run_doctor(run)}
    assert list(checks) == ["settings"]
    assert "pyproject.toml [tool.edifice-tt]" in checks["settings"]["found"]
    user("n = 3\ndevice = 'CL'")
    project("device = 'CPU'")
    checks = {c["name"]: c["found"] for c in run_doctor(run)}
    assert checks["setting device"] == "'CPU', from pyproject.toml"
    assert checks["setting n"].startswith("3, from ")
    assert checks["setting n"].endswith("edifice-tt/config.toml")
    run("doctor", "--device", "CL")
    assert asked == [None, "CPU", "CL"]


def run_doctor(run):
    return json.loads(run("doctor", "--json")[1])["checks"]


def test_the_doctor_takes_a_wrong_file_for_a_fault_and_checks_the_rest(run, monkeypatch):
    from edifice_tt import doctor

    monkeypatch.setattr(doctor, "diagnose", lambda *_: [])
    user("modle = 'x'")
    status, out, err = run("doctor")
    assert (status, err) == (1, "")
    assert "FAIL  settings" in out
    assert "unknown key in" in out


def test_without_a_home_there_is_no_file_of_the_user(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert settings.user_file() == Path("/home/somebody/.config/edifice-tt/config.toml")

    def nowhere(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nowhere)
    assert settings.read_settings().values == {}


def test_the_help_shows_the_defaults_that_are_in_force(run):
    assert "in force" not in run("generate", "--help")[1]
    user("n = 4\nmodel = 'mine'")
    project("n = 3")
    told = run("generate", "--help")[1].partition("defaults in force:\n")[2].partition("\n\n")[0]
    config = Path(os.environ["XDG_CONFIG_HOME"], "edifice-tt", "config.toml")
    lines = [line.strip() for line in told.splitlines()]
    assert lines == [f"model = 'mine', from {config}", "n = 3, from pyproject.toml"]
    user("n = 'four'")
    assert run("generate", "--help")[0] == 0  # what is wrong is told when a command runs
