"""A store as ollama lays it out: manifests of layers, and blobs."""

import hashlib
import json

import pytest
from test_gguf import write_llama

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, UnknownNameError
from edifice_tt.weights import catalog, ollama

KIND = "application/vnd.ollama.image."
LIBRARY = "registry.ollama.ai/library"


def keep(store, where, content, *others, kinds=("license", "model", "params")):
    """Put a model's file and its manifest into a store."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    (store / "blobs").mkdir(parents=True, exist_ok=True)
    (store / "blobs" / digest.replace(":", "-")).write_bytes(content)
    layers = [{"mediaType": KIND + kind, "digest": digest, "size": 7} for kind in kinds + others]
    path = store / "manifests" / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}))
    return path


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


def test_a_name_is_that_which_ollama_shows(store):
    for where in (f"{LIBRARY}/qwen3/0.6b", "registry.ollama.ai/we/toy/latest", "hf.co/we/x/Q4_K_M"):
        keep(store, where, where.encode())
    assert {name: ollama.find(name).read_bytes().decode() for name, _ in ollama.manifests()} == {
        "ollama:qwen3:0.6b": f"{LIBRARY}/qwen3/0.6b",
        "ollama:we/toy:latest": "registry.ollama.ai/we/toy/latest",
        "ollama:hf.co/we/x:Q4_K_M": "hf.co/we/x/Q4_K_M",
    }


def test_a_model_is_loaded_by_its_name_and_keeps_it(store, tmp_path):
    whole = write_llama(tmp_path / "m.gguf")
    keep(store, f"{LIBRARY}/toy/latest", whole.read_bytes())
    lm = et.load_pretrained("ollama:toy")
    assert (lm.name, lm.fingerprint) == ("ollama:toy", et.load_pretrained(whole).fingerprint)
    assert catalog.pull("ollama:toy") == catalog.locate("ollama:toy:latest")


def test_a_name_that_is_not_there_gets_the_nearest(store):
    keep(store, f"{LIBRARY}/qwen3/0.6b", b"x")
    wanted = r"unknown model 'ollama:qwen3:latest'; did you mean 'ollama:qwen3:0\.6b'.*ollama pull"
    with pytest.raises(UnknownNameError, match=wanted):
        et.load_pretrained("ollama:qwen3")


def test_a_name_without_its_prefix_gets_it_as_advice(store, monkeypatch):
    def offline(name):
        raise CheckpointError("no network")

    keep(store, f"{LIBRARY}/smollm2/135m", b"")
    keep(store, f"{LIBRARY}/toy/1b", b"")
    with pytest.raises(UnknownNameError, match="did you mean 'ollama:toy:1b'"):
        et.load_pretrained("toy:1b")
    monkeypatch.setattr(catalog, "locate", offline)
    with pytest.raises(CheckpointError, match="no network; did you mean ollama:smollm2:135m"):
        et.load_pretrained("smollm2:135m")


def test_without_ollama_no_name_is_known(store):
    with pytest.raises(UnknownNameError, match="known: none; to have it here: ollama pull"):
        et.load_pretrained("ollama:toy")


def test_where_nothing_is_set_the_home_is_looked_into(tmp_path, monkeypatch):
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "service")
    keep(tmp_path / ".ollama" / "models", f"{LIBRARY}/a/1b", b"a")
    keep(tmp_path / "service", f"{LIBRARY}/b/1b", b"b")
    assert [name for name, _ in ollama.manifests()] == ["ollama:a:1b", "ollama:b:1b"]


def broken(store, text):
    path = store / "manifests" / LIBRARY / "toy" / "latest"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "no JSON object"),
        ("{}", "layers is missing"),
        ('{"layers": [7]}', "must be a record"),
        ('{"layers": [{"mediaType": 1}]}', "mediaType=1 must be a text"),
        ('{"layers": []}', "0 layers of type application/vnd.ollama.image.model, expected 1"),
        (
            json.dumps({"layers": [{"mediaType": KIND + "model", "digest": "../../x"}]}),
            "digest '../../x', expected sha256: and 64 digits",
        ),
        (
            json.dumps({"layers": [{"mediaType": KIND + "model", "digest": "sha256:" + "0" * 64}]}),
            "is not there; run ollama pull again",
        ),
    ],
)
def test_a_manifest_that_is_broken_is_named(store, text, words):
    path = broken(store, text)
    with pytest.raises(CheckpointError) as caught:
        ollama.find("ollama:toy")
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_an_adapter_is_not_left_out_in_silence(store):
    keep(store, f"{LIBRARY}/toy/latest", b"x", "adapter")
    with pytest.raises(CheckpointError, match="its adapter would not be applied"):
        ollama.find("ollama:toy")
