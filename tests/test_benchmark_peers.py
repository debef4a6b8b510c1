"""The benchmarks' peers: of which interpreter each is, and how files are made in their formats."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


class Interpreter:
    """What `Peer` starts, without a process: interpreter `b` has all modules, `a` has none."""

    versions: dict = {}  # noqa: RUF012
    breaks = False

    def __init__(self, python, module):
        import peer

        if python == "a":
            raise peer.PeerMissing(f"{module} is left out; run: pip install {module}")
        self.python, self.asked = python, []

    def __call__(self, function, source, target, kind):
        Path(target).write_text(f"{kind} of {Path(source).name}")
        if self.breaks:
            raise RuntimeError("it broke in the middle")

    def close(self):
        pass


@pytest.fixture
def peers(monkeypatch):
    """The modules `peer` and `formats`, whose peers start no process."""
    monkeypatch.syspath_prepend(FOLDER)
    import formats
    import peer

    for module in (peer, formats):
        monkeypatch.setattr(module, "Peer", Interpreter)
    monkeypatch.setattr(Interpreter, "breaks", False)
    yield peer, formats
    for path in FOLDER.iterdir():  # no other test finds what this one imported
        sys.modules.pop(path.stem, None)


def options(folder, **more):
    given = {"peers": ["a", "b"], "files": folder, "beside": None, "peer_device": "cpu"}
    return SimpleNamespace(**given | more)


def test_of_several_interpreters_the_first_that_has_a_peer_is_taken(peers):
    peer, _ = peers
    found = peer.start_peers(["a", "b", "c"], ["some", "other"])
    assert {name: one.python for name, one in found.items()} == {"some": "b", "other": "b"}


def test_a_peer_that_is_nowhere_costs_one_sentence(peers, capsys):
    peer, _ = peers
    assert peer.start_peers(["a", "a"], ["some"]) == {}
    assert capsys.readouterr().err == "some is left out; run: pip install some\n"


def test_files_are_made_of_each_other_and_kept(peers, tmp_path):
    _, formats = peers
    with formats.open_subjects(options(tmp_path), "model.gguf") as subjects:
        assert list(subjects) == list(formats.FORMATS)
    assert (tmp_path / "ct2-int8").read_text() == "ct2-int8 of hf-float32"
    assert (tmp_path / "hf-float32").read_text() == "hf-float32 of model.gguf"
    (tmp_path / "Q4_0.gguf").write_text("kept")
    with formats.open_subjects(options(tmp_path), "model.gguf"):
        assert (tmp_path / "Q4_0.gguf").read_text() == "kept"


def test_half_a_file_is_not_taken_for_a_whole_one(peers, tmp_path, monkeypatch):
    _, formats = peers
    monkeypatch.setattr(Interpreter, "breaks", True)
    asked = options(tmp_path, beside=["llama.cpp Q4_0"])
    with pytest.raises(RuntimeError, match="in the middle"), formats.open_subjects(asked, "m.gguf"):
        pass
    assert not (tmp_path / "Q4_0.gguf").exists()


def test_where_nobody_makes_a_file_its_peers_are_left_out(peers, tmp_path, capsys):
    _, formats = peers
    asked = options(tmp_path, peers=["a"], beside=["OpenVINO int4"])
    with formats.open_subjects(asked, "m.gguf") as subjects:
        assert subjects == {}
    assert "OpenVINO int4: transformers_lm is left out" in capsys.readouterr().err


def test_a_model_of_a_shape_has_no_file_but_its_own(peers, tmp_path):
    _, formats = peers
    with formats.open_subjects(options(tmp_path, shape="tiny"), "m.gguf") as subjects:
        own = {name for name, form in formats.FORMATS.items() if not form.file}
        assert set(subjects) == own


def test_next_tokens_may_differ_only_where_weights_are_rounded_otherwise(peers, tmp_path):
    _, formats = peers
    with formats.open_subjects(options(tmp_path), "m.gguf") as subjects:
        exact = {name for name, subject in subjects.items() if not subject.rounded}
    copies = f"llama.cpp{formats.COPIES}"
    assert exact == {"llama.cpp", copies, "ik_llama.cpp", "transformers float32"}


def test_each_format_has_a_module_that_makes_and_reads_it(peers):
    _, formats = peers
    modules = {path.stem for path in (FOLDER / "peers").glob("*.py")}
    assert {form.module for form in formats.FORMATS.values()} <= modules
    assert {form.file for form in formats.FORMATS.values()} - {""} <= set(formats._MADE)
    for module, _of in formats._MADE.values():
        assert "\ndef convert(" in (FOLDER / "peers" / f"{module}.py").read_text()
