"""What other programs keep on a machine, each in its own layout below a home that is made here."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judge_models import Tiny
from test_gguf import METADATA, f32, llama_weights, write_gguf, write_llama
from test_ollama import LIBRARY, broken, keep

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine.memory import in_words
from edifice_tt.weights import catalog, local_models, ollama
from edifice_tt.weights.footprint import stored_bytes

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("OLLAMA_MODELS", "LLAMA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDIFICE_TT_HOME", str(tmp_path / "ours"))
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "none")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(local_models, "available_bytes", lambda device: 10**9)
    return tmp_path


def put(path, write=write_llama, *rest):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, *rest)


def in_hub(home, file, write=write_llama, *rest):
    root = home / "hub" / "models--we--toy"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text("c" * 40)
    return put(root / "snapshots" / ("c" * 40) / file, write, *rest)


def found():
    return {one.name: one for one in et.local_models()}


def test_nothing_is_nothing(home):
    assert et.local_models() == []


def test_each_place_is_looked_into_and_each_name_can_be_loaded(home, monkeypatch):
    llama = "Library/Caches/llama.cpp" if sys.platform == "darwin" else ".cache/llama.cpp"
    wheel = catalog.WHEELS[0]
    content = write_llama(home / "m.gguf", {"general.name": "ollama"}).read_bytes()
    keep(home / ".ollama" / "models", f"{LIBRARY}/toy/1b", content)
    paths = [put(home / where / "m.gguf") for where in (".lmstudio/models/we/x", llama)]
    paths.append(put(home / ".cache/lm-studio/models/we/y/m.gguf"))
    in_hub(home, "deep/m.gguf")
    assert {one.name: one.place for one in et.local_models()} == {
        "ollama:toy:1b": "ollama",
        str(paths[1]): "llama.cpp",
        str(paths[0]): "LM Studio",
        str(paths[2]): "LM Studio",
        "we/toy/deep/m.gguf": "Hugging Face",
    }
    for name in found():
        assert et.load_pretrained(name).config.num_layers == 2
    put(catalog.local_path(wheel))
    assert (found()[wheel.name].place, found()[wheel.name].problem) == ("edifice-tt", "")


def test_what_is_told_of_a_model_is_what_it_needs(home):
    path = put(home / ".lmstudio/models/we/m.gguf")
    one = found()[str(path)]
    assert (one.path, one.size_bytes, one.family) == (path, path.stat().st_size, "llama")
    weights = sum(array.nbytes for array in llama_weights().values())
    assert one.memory_bytes == weights + 2 * 4 * 2 * 1 * 16 * 2048
    assert (one.fits, one.problem) == (True, "")
    size, memory = in_words(one.size_bytes), in_words(one.memory_bytes)
    assert (
        repr(replace(one, name="m")) == f"<LocalModel m of LM Studio, {size}, takes {memory}, fits>"
    )


def test_the_memory_is_that_of_the_device_and_the_dtype(home, monkeypatch):
    """Blocks stay where kernels read them, and all else is unpacked."""
    path = put(home / ".lmstudio/models/we/m.gguf")
    cache = 2 * 4 * 2 * 1 * 16 * 2048
    stored = {one.name: one.memory_bytes - cache for one in et.local_models(dtype="float16")}
    shapes = [array.shape for array in llama_weights().values()]
    assert stored[str(path)] == stored_bytes(shapes, "float16", "CPU")
    asked = []
    monkeypatch.setattr(local_models, "open_device", lambda device: device)
    monkeypatch.setattr(local_models, "choose_dtype", lambda dtype, device: dtype)
    monkeypatch.setattr(local_models, "available_bytes", asked.append)
    monkeypatch.setattr(local_models, "choose_kv_dtype", lambda dtype, device: "float16")
    half = {
        name: (1, a.shape, a.astype(np.float16).tobytes()) for name, a in llama_weights().items()
    }
    path = put(home / ".lmstudio/models/we/half.gguf", write_gguf, METADATA, half)
    whole = sum(math.prod(shape) for shape in shapes)
    for keeps, size in ((True, 2), (False, 4)):
        monkeypatch.setattr(local_models, "keeps_blocks", lambda device, keeps=keeps: keeps)
        told = {one.name: one for one in et.local_models("METAL")}[str(path)]
        assert (told.memory_bytes, told.fits) == (size * whole + cache // 2, None)
    assert asked == ["METAL", "METAL"]


def test_a_device_that_does_not_open_is_an_error_only_if_it_is_named(home, monkeypatch):
    def closed(device):
        raise et.ToolchainError("no device")

    monkeypatch.setattr(local_models, "open_device", closed)
    assert et.local_models() == []
    with pytest.raises(et.ToolchainError, match="no device"):
        et.local_models("METAL")


def test_weights_of_a_type_that_does_not_stay_count_as_float32(home):
    I8 = 24
    tensors = {
        name: (I8, array.shape, bytes(array.size)) for name, array in llama_weights().items()
    }
    path = put(home / ".lmstudio/models/we/m.gguf", write_gguf, METADATA, tensors)
    weights = sum(array.nbytes for array in llama_weights().values())
    assert found()[str(path)].memory_bytes == weights + 2 * 4 * 2 * 1 * 16 * 2048


@pytest.mark.parametrize(("free", "fits"), [(10**5, False), (None, None)])
def test_a_model_that_does_not_fit_is_told_where_memory_is_known(home, monkeypatch, free, fits):
    path = put(home / ".lmstudio/models/we/m.gguf")
    monkeypatch.setattr(local_models, "available_bytes", lambda device: free)
    assert found()[str(path)].fits is fits


def test_one_that_is_broken_hides_no_other(home):
    folder = home / ".lmstudio/models"
    good = put(folder / "good.gguf")
    bad = {
        "empty.gguf": (b"", "not a GGUF file"),
        "cut.gguf": (good.read_bytes()[:-5], "the file ends at byte"),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    other = METADATA | {"general.architecture": "bert"}
    put(folder / "bert.gguf", write_gguf, other, {})
    (folder / "gone.gguf").symlink_to("nowhere")
    broken(home / ".ollama" / "models", "{}")
    listed = found()
    assert listed[str(good)].problem == ""
    for name, (_, words) in bad.items():
        assert listed[str(folder / name)].problem.startswith(words)
    assert listed[str(folder / "bert.gguf")].problem.startswith("architecture 'bert' is not supp")
    assert "there is no such file" in listed[str(folder / "gone.gguf")].problem
    assert listed["ollama:toy:latest"].problem.endswith("layers is missing")
    assert listed["ollama:toy:latest"].fits is None
    assert len(listed) == 6


def test_parts_and_projectors_are_no_models_of_their_own(home):
    from test_gguf_parts import split_llama

    folder = home / ".lmstudio/models/we"
    folder.mkdir(parents=True)
    paths = split_llama(folder)
    put(folder / "mmproj-m.gguf")
    (one,) = et.local_models()
    assert (one.path, one.problem) == (paths[0], "")
    assert one.size_bytes == sum(path.stat().st_size for path in paths)


def test_a_file_that_two_keep_is_listed_once(home):
    path = put(home / ".lmstudio/models/we/m.gguf")
    put(home / ".cache/lm-studio/models/m.gguf", lambda other: other.symlink_to(path))
    assert [one.path for one in et.local_models()] == [path]


def test_a_folder_of_the_hub_is_named_by_its_repository(home, monkeypatch):
    config = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 64,
        "vocab_size": 5,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64,
        "hidden_act": "silu",
    }
    in_hub(home, "config.json", Path.write_text, json.dumps(config))
    one = {"dtype": "F16", "shape": [2, 32], "data_offsets": [0, 128]}
    header = json.dumps({"w": one}).encode().ljust(92)
    content = (92).to_bytes(8, "little") + header + bytes(128)
    in_hub(home, "model.safetensors", Path.write_bytes, content)
    one = found()["we/toy"]
    assert (one.place, one.family, one.problem) == ("Hugging Face", "llama", "")
    assert one.size_bytes == 228
    cache = 2 * 4 * 3 * 1 * 16 * 2048
    assert one.memory_bytes == 128 + cache
    monkeypatch.setattr(local_models, "compiles_c", lambda device: False)  # as on a GPU
    assert found()["we/toy"].memory_bytes == 256 + cache


def test_a_judge_is_listed_as_one_and_not_as_a_language_model(home):
    root = home / "hub" / "models--we--rm"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("c" * 40)
    (root / "snapshots").mkdir()
    Tiny("ForSequenceClassification").write(root / "snapshots" / ("c" * 40))
    head = {"cls.output.weight": f32(np.ones((1, 32)))}
    tensors = {name: f32(array) for name, array in llama_weights().items()} | head
    path = put(home / ".lmstudio/models/we/rm.gguf", write_gguf, METADATA, tensors)
    listed = found()
    for name, weight in (("we/rm", "score.weight"), (str(path), "cls.output.weight")):
        assert listed[name].problem.startswith(f"{weight} is the head of a judge, not of a lang")
        assert listed[name].problem.endswith("or give it as --judge")


def test_variables_move_the_caches(home, monkeypatch):
    path = put(home / "elsewhere" / "m.gguf")
    monkeypatch.setenv("LLAMA_CACHE", str(home / "elsewhere"))
    assert found()[str(path)].place == "llama.cpp"
    monkeypatch.setenv("EDIFICE_TT_HOME", "~nobody-of-that-name")
    assert found()[str(path)].place == "llama.cpp"


def test_without_the_library_of_the_hub_the_rest_is_listed(home, monkeypatch):
    in_hub(home, "m.gguf")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert et.local_models() == []
    with pytest.raises(EdificeError):
        et.load_pretrained("we/toy/m.gguf")
