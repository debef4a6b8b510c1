"""What docs/trust.md promises: when a plugin runs, and that a model file never does."""

import json
import os
import pickle
import subprocess
import sys

import pytest
from fake_plugins import SCORER, Site, open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract.errors import CheckpointError, UnknownNameError

site = pytest.fixture(open_site, name="site")

# Leaves a file beside itself when it is imported.
MARK = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"


def python(code, folder, **environment):
    """Run code in a fresh interpreter that finds the plugins of `folder`."""
    path = os.pathsep.join([str(folder), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_plugin_runs_whenever_names_are_looked_up_and_not_before(site: Site, tmp_path):
    site.install("marker", MARK + SCORER.format(name="marked"))
    ran = tmp_path / "marker.ran"
    code = "import edifice_tt as et; et.Candidate, et.hookimpl"
    assert python(code, tmp_path, EDIFICE_TT_PLUGINS="marker").returncode == 0
    assert not ran.exists()
    code = "import edifice_tt as et; et.list_selectors()"
    assert python(code, tmp_path, EDIFICE_TT_PLUGINS="marker").returncode == 0
    assert ran.exists()


def test_a_plugin_that_is_not_named_is_not_imported(site: Site, tmp_path, monkeypatch, capsys):
    site.install("marker", MARK + SCORER.format(name="marked"))
    site.install_scorer("other", "by_other")
    for named in ("", "other"):
        monkeypatch.setenv("EDIFICE_TT_PLUGINS", named)
        assert "marked" not in et.list_scorers()
        assert cli.main(["plugins"]) == 0
        assert "marker" in capsys.readouterr().out.partition("NOT LOADED")[2]
    assert not (tmp_path / "marker.ran").exists()
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "marker")
    assert "marked" in et.list_scorers()
    assert (tmp_path / "marker.ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("named", ["evil", "evil:build", "evil.build", "os.system"])
@pytest.mark.parametrize("place", ["architecture", "scorer"])
def test_loading_a_model_imports_nothing_that_its_file_names(tmp_path, monkeypatch, named, place):
    """The module is there to be imported, and has what an architecture or a scorer needs."""
    (tmp_path / "evil.py").write_text(MARK + "build = lambda *arguments, **options: None\n")
    monkeypatch.syspath_prepend(tmp_path)
    size = {"embed_dim": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
    path = tmp_path / "model.safetensors"
    et.save(et.build("test_time_compute", **size), path)
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    about = header["__metadata__"]
    if place == "architecture":
        about["architecture"] = named
    else:
        about["options"] = json.dumps({**json.loads(about["options"]), "scorer": named})
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[end:])
    for load in (et.load, et.load_pretrained):
        with pytest.raises(UnknownNameError, match=f"unknown {place} '{named}'"):
            load(path)
    assert not (tmp_path / "evil.ran").exists()
    assert "evil" not in sys.modules


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_folder_with_code_and_a_pickle_runs_neither(tmp_path):
    folder, went_off = tmp_path / "model", tmp_path / "went-off"
    folder.mkdir()
    (folder / "modeling_evil.py").write_text(MARK)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(went_off)))
    config = {"model_type": "llama", "auto_map": {"AutoModel": "modeling_evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        et.load_pretrained(folder)
    with pytest.raises(CheckpointError):
        et.load_pretrained(folder / "pytorch_model.bin")
    assert not went_off.exists()
    assert not (folder / "modeling_evil.ran").exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes()).close()
    assert went_off.exists(), "the bomb works, so nobody has read it"


def test_a_plugin_is_offered_only_what_edifice_tt_does_not_read(
    site: Site, tmp_path, monkeypatch, edifice_tiny_model
):
    code = "import edifice_tt\n\n@edifice_tt.hookimpl\ndef load_pretrained(path):\n"
    site.install("greedy", code + "    OFFERED.append(path.name)\n\nOFFERED = []\n")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "greedy")
    et.save(edifice_tiny_model, tmp_path / "ours.safetensors")
    (tmp_path / "theirs.bin").write_bytes(b"who knows")
    et.load_pretrained(tmp_path / "ours.safetensors")
    with pytest.raises(CheckpointError, match="no installed format reads it"):
        et.load_pretrained(tmp_path / "theirs.bin")
    from greedy import OFFERED

    assert OFFERED == ["theirs.bin"]


def test_what_ends_the_process_is_not_contained(site: Site, tmp_path):
    site.install("fatal", "import os\nos._exit(7)\n")
    code = "import edifice_tt as et; et.list_scorers()"
    assert python(code, tmp_path, EDIFICE_TT_PLUGINS="fatal").returncode == 7
    assert python(code, tmp_path, EDIFICE_TT_PLUGINS="").returncode == 0
