"""A Hugging Face folder with a damaged file: one error of one line, naming the file and the key."""

import json
import os

import pytest
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.weights.huggingface_config import options_of, read_config
from edifice_tt.weights.safetensors import write_safetensors

CONFIG = {
    "model_type": "llama",
    "vocab_size": 7,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "intermediate_size": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "rope_scaling": None,
}
HUGE = 10**400
WRONG = [True, [], [8], {}, {"a": 1}, "", "8", 0, -1, 1.5, HUGE, float("nan"), float("inf"), 1e-320]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    write_safetensors(tmp_path / "model.safetensors", {"a": Tensor([1.0]).realize()}, {})
    return tmp_path


def refused(path, message, file):
    with pytest.raises(CheckpointError, match=message) as caught:
        et.load_pretrained(path)
    assert str(caught.value).startswith(f"{path / file}: ")
    assert "\n" not in str(caught.value)


FINE = [("rope_theta", 1.5), ("tie_word_embeddings", True), ("rope_scaling", {})]
FINE += [("rope_scaling", {"a": 1})]  # 1 asks for nothing


@pytest.mark.parametrize("key", [key for key in CONFIG if key != "model_type"])
def test_a_value_of_a_wrong_type_or_size_is_refused_by_its_key(key):
    for value in WRONG:
        if (key, value) not in FINE or (value is not True and value == 1):
            with pytest.raises(ValueError, match=key):
                options_of({**CONFIG, key: value})


@pytest.mark.parametrize("key", ["factor", "low_freq_factor", "high_freq_factor"])
def test_a_value_of_the_rotation_of_a_wrong_type_or_size_is_refused_by_its_key(key):
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    assert len(options_of({**CONFIG, "rope_scaling": rope})[1].rope_factors) == 2
    for value in [None, *WRONG]:
        if value not in (1.5, 1e-320) and not (value is not True and value == 1):
            with pytest.raises(ValueError, match=key):
                options_of({**CONFIG, "rope_scaling": {**rope, key: value}})


@pytest.mark.parametrize("kind", [0, "", [], {}, True, "dynamic"], ids=repr)
@pytest.mark.parametrize("key", ["rope_type", "type"])
def test_a_type_of_rotation_that_is_none_is_refused(key, kind):
    with pytest.raises(ValueError, match=r"rope type .* is not supported"):
        options_of({**CONFIG, "rope_scaling": {key: kind, "factor": 2.0}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rms_norm_eps": 1}, "rms_norm_eps=1.0 must be from 1e-12 to 0.1"),
        ({"rms_norm_eps": 1e-320}, "rms_norm_eps=1e-320 must be from 1e-12 to 0.1"),
        ({"rope_theta": 1e-45}, r"rope_theta=1e-45 must be from 1 to 1e\+12"),
        ({"rope_parameters": {"rope_theta": 1e40}, "rope_theta": None}, r"rope_theta=1e\+40 must"),
        ({"rope_scaling": {"type": "linear", "factor": 1e-30}}, "factor=1e-30 must be from 0.01"),
        ({"rope_scaling": {"type": "linear", "factor": 1e5}}, "factor=100000.0 must be from 0.01"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers=10000000 is too many"),
        ({"num_attention_heads": 2**32 - 1}, "num_attention_heads=4294967295 is too many"),
        ({"head_dim": 10**9}, "head_dim=1000000000 is too many; give at most 65536"),
        ({"partial_rotary_factor": HUGE}, "partial_rotary_factor=1000.* is not supported"),
        ({"sliding_window": []}, r"sliding_window=\[\] is not supported"),
        ({"layer_types": 5}, "layer_types=5 is not supported"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_nobody_means_is_refused_with_its_range(folder, change, message):
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    refused(folder, message, "config.json")


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 9_999},
        {"vocab_size": 1 << 24},
        {"intermediate_size": 1 << 24},
        {"hidden_size": 1 << 19},
    ],
    ids=str,
)
def test_sizes_are_held_against_the_tensors_before_a_model_is_built(folder, change):
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    refused(folder, "far larger than its 1 tensors with 1 numbers", "config.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON, expecting value at line 1 column 1"),
        (b"\xff\xfe{", "not UTF-8 text, at byte 0"),
        (b"[" * 200_000, "nested deeper than 64 levels"),
        (b'{"hidden_size": 8, "hidden_size": 16}', "the key 'hidden_size' is there twice"),
        (b'"llama"', "no JSON object but 'llama'"),
        (b'{"model_type": ["llama"]}', r"model_type \['llama'\] is not supported"),
        (b'{"model_type": null}', "model_type None is not supported"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_config_that_is_no_record_of_a_llama_model_is_one_line(folder, content, message):
    (folder / "config.json").write_bytes(content)
    refused(folder, message, "config.json")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("5", "no JSON object but 5"),
        ("{}", "weight_map is missing"),
        ('{"weight_map": null}', "weight_map=None must be a record"),
        ('{"weight_map": ["a.safetensors"]}', "weight_map=.* must be a record"),
        ('{"weight_map": {"a": 5}}', "a=5 must be a text"),
        ('{"weight_map": {"a": ["b"]}}', r"a=\['b'\] must be a text"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "names a file outside its folder"),
        ('{"weight_map": {"a": "/b.safetensors"}}', "names a file outside its folder"),
        ('{"weight_map": {"a": "b/c.safetensors"}}', "names a file outside its folder"),
        ('{"weight_map": {"a": ".."}}', "names a file outside its folder"),
        ('{"weight_map": {"a": "."}}', "names a file outside its folder"),
        ('{"weight_map": {"a": ""}}', "names a file outside its folder"),
        ("[" * 200_000, "nested deeper than 64 levels"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_damaged_index_is_one_line(folder, index, message):
    (folder / "model.safetensors.index.json").write_text(index)
    refused(folder, message, "model.safetensors.index.json")


@pytest.mark.parametrize(
    "make", [lambda path: None, os.mkdir, os.mkfifo], ids=["none", "dir", "fifo"]
)
def test_a_part_that_cannot_be_read_is_named(folder, make):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}')
    make(folder / "b.safetensors")
    refused(folder, "cannot be read", "b.safetensors")


def test_a_folder_in_place_of_a_config_is_no_model(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(CheckpointError, match="no installed format reads it"):
        et.load_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"config.json: cannot be read \(Is a directory\)"):
        read_config(folder / "config.json")


def test_a_weight_that_is_in_two_files_is_refused(folder):
    for name in ("b", "c"):
        write_safetensors(folder / f"{name}.safetensors", {"a": Tensor([1.0]).realize()}, {})
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "b.safetensors", "z": "c.safetensors"}}'
    )
    (folder / "tokenizer.json").write_text(_tokenizer())
    refused(folder, "weight 'a' is in b.safetensors, too", "c.safetensors")


def _tokenizer():
    import tokenizers

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    bpe.decoder = tokenizers.decoders.ByteLevel()
    return bpe.to_str()
