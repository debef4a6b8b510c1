"""Which model a name or a path means, and what is said of one that is not there."""

from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt.weights import catalog


@pytest.mark.parametrize(
    "model", ["nope.gguf", "./smollm2-135m", Path("smollm2-135m"), Path("a/b")], ids=str
)
def test_a_path_that_is_not_there_is_no_such_file(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(et.CheckpointError) as caught:
        et.load_pretrained(model)
    assert str(caught.value) == (
        f"{model}: there is no such file or folder; edifice-tt models lists what can be named"
    )


@pytest.mark.parametrize("model", ["smollm", "smollm2-1.7b"])
def test_a_name_that_is_not_there_is_unknown(model):
    with pytest.raises(et.UnknownNameError, match=r"unknown model .*smollm2-135m"):
        et.load_pretrained(model)


@pytest.mark.parametrize("model", ["", " "])
def test_an_empty_name_says_what_to_give(model):
    with pytest.raises(ValueError, match="names no model; give a name of the catalog"):
        et.load_pretrained(model)


def test_a_name_of_the_catalog_is_the_catalogs_also_beside_a_folder_of_that_name(
    tiny_lm, tmp_path, monkeypatch
):
    et.save(tiny_lm, tmp_path / "pulled.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalog, "pull", lambda name: tmp_path / "pulled.safetensors")
    Path("smollm2-135m").mkdir()
    assert et.load_pretrained("smollm2-135m").name == "smollm2-135m"
    for folder in ("./smollm2-135m", Path("smollm2-135m")):
        with pytest.raises(et.CheckpointError, match="no installed format reads it"):
            et.load_pretrained(folder)


@pytest.mark.parametrize("content", [b"", b"GGU"])
def test_a_file_too_short_for_any_format_says_so(tmp_path, content):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(et.CheckpointError) as caught:
        et.load_pretrained(path)
    assert str(caught.value) == (
        f"{path}: the file has {len(content)} bytes, too few to hold a model"
    )


def test_activations_that_nobody_rounds_to_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="activations='int4' must be 'float32', 'float16', 'bfloat16' or 'int8'"
    ):
        et.load_pretrained(tmp_path, activations="int4")


def test_only_gguf_files_have_rounded_activations(tiny_lm, tmp_path):
    et.save(tiny_lm, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"for GGUF files, given .*m\.safetensors; leave it out"):
        et.load_pretrained(tmp_path / "m.safetensors", activations="int8")


def test_a_saved_model_that_is_no_language_model_is_refused_by_name(tmp_path):
    path = tmp_path / "scorer.safetensors"
    et.save(et.build("test_time_compute", embed_dim=4, hidden_size=8, num_layers=1), path)
    with pytest.raises(et.CheckpointError, match="holds a test_time_compute") as caught:
        et.load_pretrained(path)
    assert str(caught.value).endswith("load it with edifice_tt.load")
    assert isinstance(et.load(path), et.TestTimeCompute)
