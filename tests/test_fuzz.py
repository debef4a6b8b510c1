"""The fuzzer sees what it is for: every seed is read, and whatever is not ours is a finding."""

import random
import sys
from argparse import Namespace
from pathlib import Path
from unittest.mock import Mock

import pytest

FUZZ = Path(__file__).parent.parent / "fuzz"
sys.path.insert(0, str(FUZZ))

import mutate  # noqa: E402
import run  # noqa: E402
from targets import targets  # noqa: E402

NAMES = list(targets(Path()))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.first(3)
def test_every_seed_is_read_without_an_error(known, tmp_path, name):
    """A seed that is refused at its first byte leads nowhere."""
    if name == "math":
        pytest.importorskip("edifice_tt_math")
    for place, seed in enumerate(known[name].seeds()):
        (tmp_path / str(place)).mkdir()
        known[name].run(seed, tmp_path / str(place))


def called(tmp_path, error):
    def reader(given, folder):
        raise error

    run._caller("t", reader, tmp_path / "input", tmp_path)(b"what was given")
    return sorted(path.suffix for path in tmp_path.glob("t-*"))


def test_what_a_reader_documents_is_no_finding(tmp_path):
    from edifice_tt.contract.errors import CheckpointError

    for error in (CheckpointError("damaged"), ValueError("wrong")):
        assert called(tmp_path, error) == []


@pytest.mark.parametrize(
    "error", [TypeError(), MemoryError(), KeyError(), SystemExit(), run.Slow()]
)
def test_all_else_is_a_finding_with_its_input(tmp_path, error):
    assert called(tmp_path, error) == [".bin", ".txt"]
    assert next(tmp_path.glob("t-*.bin")).read_bytes() == b"what was given"


def test_what_never_ends_is_a_finding(tmp_path, monkeypatch):
    def forever(given, folder):
        while True:
            pass

    monkeypatch.setattr(run, "HANG", 0.01)
    run._caller("t", forever, tmp_path / "input", tmp_path)(b"")
    assert "Slow" in next(tmp_path.glob("t-*.txt")).read_text()


def test_only_the_processor_s_seconds_end_an_input(tmp_path, monkeypatch):
    """atheris counts those of the clock, and takes 0 for one."""
    atheris = Mock()
    monkeypatch.setitem(sys.modules, "atheris", atheris)
    asked = Namespace(seconds=20, seed=1, inputs=7)
    run._with_atheris(lambda given: None, [b"seed"], asked, tmp_path)
    (timeout,) = (one for one in atheris.Setup.call_args[0][0] if one.startswith("-timeout="))
    assert int(timeout.partition("=")[2]) > asked.seconds


def test_a_process_that_ends_by_itself_is_a_finding_with_the_end_of_its_log(tmp_path, capsys):
    asked = Namespace(seconds=1, seed=1, inputs=1, plain=True, findings=tmp_path)
    assert not run.start("nothing", asked)
    assert "KeyError: 'nothing'" in capsys.readouterr().out


def test_changes_are_drawn_from_the_seed_and_leave_no_input_as_it_is():
    seeds = [b'{"a": [1, 2], "b": "text"}', b"another"]
    found = [mutate.mutate(seeds[0], seeds, random.Random(n)) for n in range(200)]
    assert found == [mutate.mutate(seeds[0], seeds, random.Random(n)) for n in range(200)]
    assert len(set(found)) > 150
    assert mutate.mutate(b"", seeds, random.Random(0)) is not None
