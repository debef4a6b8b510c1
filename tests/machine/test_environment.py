"""What the environment says to tinygrad: read, refused in one line, or harmless."""

import json
import os
import subprocess
import sys

import pytest
from tinygrad import helpers

import edifice_tt as et
from edifice_tt.contract.errors import ToolchainError
from edifice_tt.machine import toolchain
from edifice_tt.machine.environment import _FIXED, check_environment, misread_variable

COMMAND = "import sys; from edifice_tt.cli import main; sys.exit(main(sys.argv[1:]))"


def run(*argv, **variables):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, argv)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "pool"
    et.Pool("q", (et.Candidate(0, "a", token_logprobs=(-1.0,)),)).save(path)
    return path


@pytest.mark.parametrize(("name", "value"), [("DEBUG", "true"), ("DEV", "a:b:c:d"), ("TYPED", "x")])
@pytest.mark.slow
def test_a_variable_that_tinygrad_cannot_read_is_named_in_one_line(pool, name, value):
    found = run("score", pool, **{name: value})
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)
    assert f"{name}={value!r} in the environment" in found.stderr
    assert f"env -u {name}" in found.stderr


def test_in_python_it_is_a_toolchain_error():
    code = (
        "import edifice_tt as et\n"
        "try: et.load_pretrained\n"
        "except et.ToolchainError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "BEAM": "on"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith("BEAM='on' in the environment")


def test_listing_needs_none_of_them():
    found = run("list", DEBUG="*", PROFILE="true")
    assert (found.returncode, found.stderr) == (0, "")


def test_another_error_is_not_laid_to_the_environment():
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("x")
    assert misread_variable(caught.value) is None


@pytest.mark.parametrize("name", sorted(_FIXED))
def test_a_variable_that_changes_what_is_computed_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "strange")
    with pytest.raises(ToolchainError, match=f"{name}=strange in the environment changes"):
        toolchain.open_device("CPU")
    for harmless in _FIXED[name]:
        monkeypatch.setenv(name, harmless)
        check_environment()


def test_what_others_print_keeps_standard_output_for_results(monkeypatch, capsys, pool):
    """As tinygrad does it for DEBUG=1, and as a scorer may."""
    from edifice_tt import cli

    score = et.score

    def talk(*given, **options):
        print("a kernel ran")
        return score(*given, **options)

    monkeypatch.setattr(et, "score", talk, raising=False)
    before = sys.stdout
    assert cli.main(["score", str(pool), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["prompt"] == "q"
    assert err == "a kernel ran\n"
    assert sys.stdout is before


@pytest.mark.parametrize("error", [OSError(13, "no"), helpers.sqlite3.OperationalError("no")])
def test_a_cache_that_cannot_be_written_is_gone_without(monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(helpers, "diskcache_put", refuse)
    monkeypatch.setattr(toolchain, "_cache_of", None)
    monkeypatch.setattr(helpers.CACHELEVEL, "value", 2)
    assert toolchain.open_device("CPU") == "CPU"
    assert helpers.CACHELEVEL.value == 0
