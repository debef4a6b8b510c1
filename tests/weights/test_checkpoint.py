"""Our own files: self-describing, checked before a weight moves, whole or not there."""

import json

import numpy as np
import pytest
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict, safe_load

import edifice_tt as et
from edifice_tt.architectures.fingerprint import fingerprint
from edifice_tt.contract.errors import (
    CheckpointError,
    EdificeError,
    PrecisionWarning,
    UnknownNameError,
)
from edifice_tt.nn.stored import halves as precision
from edifice_tt.testing import byte_tokenizer
from edifice_tt.weights import safetensors

SMALL = {"embed_dim": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
LM = {"vocab_size": 37, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "ffn_size": 64}


@pytest.fixture(scope="module")
def model():
    return et.build("test_time_compute", **SMALL, scorer_hidden=5, seed=9)


@pytest.fixture
def saved(model, tmp_path):
    et.save(model, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def rewrite(path, change):
    """Apply `change(header)` to a file's header and write it back, data untouched."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_model_of_16_bits_comes_back_bit_for_bit(tmp_path, dtype):
    options = {"embed_dim": 32, "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    with pytest.warns(PrecisionWarning):  # 88 numbers in a feed-forward row stay float32
        model = et.build("test_time_compute", num_kv_heads=1, dtype=dtype, **options)
    et.save(model, tmp_path / "m.safetensors")
    loaded = et.load(tmp_path / "m.safetensors")
    assert fingerprint(loaded) == fingerprint(model)
    assert str(loaded.backbone.blocks[0].attn.q_proj.weight.dtype) == str(precision.DTYPES[dtype])
    et.save(et.build("test_time_compute", num_kv_heads=1, **options), tmp_path / "wide.safetensors")
    with pytest.warns(PrecisionWarning):  # the scorer's weights stay float32 here, too
        assert fingerprint(et.load(tmp_path / "wide.safetensors", dtype=dtype)) == fingerprint(
            model
        )
    wide = et.load(tmp_path / "m.safetensors", dtype="float32")
    assert {str(w.dtype) for w in get_state_dict(wide).values()} == {"dtypes.float"}
    x = Tensor.ones(1, 3, 32)
    assert (wide(x).scores.numpy() == loaded(x).scores.numpy()).all()  # the same numbers


def test_a_file_whose_dtype_the_device_lacks_is_float32_with_one_warning(tmp_path, monkeypatch):
    et.save(et.build("causal_lm", dtype="bfloat16", **LM), tmp_path / "m.safetensors")
    monkeypatch.setattr(precision, "supported_dtypes", lambda device: ["float32", "float16"])
    with pytest.warns(PrecisionWarning, match="has no bfloat16") as caught:
        loaded = et.load(tmp_path / "m.safetensors")
    assert len(caught) == 1
    assert {str(w.dtype) for w in get_state_dict(loaded).values()} == {"dtypes.float"}


@pytest.mark.slow
def test_a_saved_model_comes_back_bit_for_bit(model, saved):
    loaded = et.load(saved)
    assert loaded.config == model.config
    before, after = get_state_dict(model), get_state_dict(loaded)
    assert list(before) == list(after)
    assert all((before[n].numpy() == after[n].numpy()).all() for n in before)
    x = Tensor.ones(1, 3, 8)
    assert (loaded(x).scores.numpy() == model(x).scores.numpy()).all()


def test_other_readers_of_the_format_can_read_it(model, saved):
    weights = safe_load(saved)
    assert set(weights) == set(get_state_dict(model))


def test_a_tokenizer_that_is_larger_than_its_embedding_is_refused(tmp_path):
    lm = et.build("causal_lm", **LM)
    lm.tokenizer = byte_tokenizer()
    et.save(lm, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="259 tokens for 37 embeddings"):
        et.load(tmp_path / "m.safetensors")


def test_a_language_model_comes_back_with_its_tokenizer(tiny_lm, tmp_path):
    et.save(tiny_lm, tmp_path / "lm.safetensors")
    loaded = et.load(tmp_path / "lm.safetensors")
    text = "héllo <|im_end|>\n"
    ids = loaded.tokenizer.encode(text)
    assert ids == tiny_lm.tokenizer.encode(text)
    assert loaded.tokenizer.stop_ids == tiny_lm.tokenizer.stop_ids
    chat = [{"role": "user", "content": "hi"}]
    assert loaded.tokenizer.chat(chat) == tiny_lm.tokenizer.chat(chat)
    assert (loaded([[5, 6]]).logits.numpy() == tiny_lm([[5, 6]]).logits.numpy()).all()


def test_all_differences_are_reported_at_once_and_no_weight_moves(saved):
    def change(header):
        header["scorer.dense9.weight"] = header.pop("scorer.dense1.weight")
        header["backbone.final_norm.weight"]["shape"] = [2, 4]
        header["backbone.final_norm.bias"]["dtype"] = "I32"

    rewrite(saved, change)
    with pytest.raises(CheckpointError) as caught:
        et.load(saved)
    assert str(caught.value).splitlines() == [
        f"{saved} does not fit the model in 4 places:",
        "  missing: scorer.dense1.weight",
        "  not in the model: scorer.dense9.weight",
        "  backbone.final_norm.weight: shape (2, 4), the model has (8,)",
        "  backbone.final_norm.bias: dtype dtypes.int, the model has dtypes.float",
    ]


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("format", "other", CheckpointError, "not saved by edifice_tt.save"),
        ("format_version", "2", CheckpointError, "format version 2, this edifice_tt reads 1"),
        ("architecture", "test_time_computer", UnknownNameError, "did you mean 'test_time_comp"),
        ("options", "{", CheckpointError, "its description is damaged"),
        ("options", '{"embed_dim": 8, "colour": 1}', UnknownNameError, "option .* 'colour'"),
        ("options", '{"embed_dim": 8, "scorer": "os.system"}', UnknownNameError, "'os.system'"),
    ],
)
@pytest.mark.first(3)
def test_a_foreign_description_is_one_clear_error(saved, key, value, error, message):
    rewrite(saved, lambda header: header["__metadata__"].update({key: value}))
    with pytest.raises(error, match=message):
        et.load(saved)


def test_no_truncation_gives_anything_but_a_checkpoint_error(saved):
    whole = saved.read_bytes()
    for size in [*range(0, 64, 7), *range(64, len(whole), 211), len(whole) - 1]:
        saved.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            et.load(saved)


@pytest.mark.parametrize("content", [b"", b"GGUF" * 9, b"\x00" * 64, b"{}", b"PK\x03\x04" * 9])
def test_a_foreign_file_is_one_clear_error(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        et.load(tmp_path / "x")


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot be read .No such file"):
        et.load(tmp_path / "none")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_refused(tmp_path, bad):
    broken = et.build("test_time_compute", **SMALL, scorer_hidden=5)
    values = broken.scorer.dense2.weight.numpy().copy()
    values[0, 2] = bad
    broken.scorer.dense2.weight.replace(Tensor(values).realize())
    et.save(broken, tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"'scorer.dense2.weight' holds NaN or infinity"):
        et.load(tmp_path / "m")


def test_a_write_that_fails_leaves_the_old_file(model, saved, monkeypatch):
    before = saved.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edifice_tt.machine.files.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        et.save(model, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_what_does_not_describe_itself_cannot_be_saved(tmp_path):
    with pytest.raises(EdificeError, match="needs the attributes `architecture`"):
        et.save(object(), tmp_path / "x")


def test_every_dtype_of_the_format_survives(tmp_path):
    tensors = {
        name: Tensor([1, 2, 3]).cast(name).realize()
        for name in ("float32", "float16", "bfloat16", "int8", "int64", "uint8", "bool")
    }
    safetensors.write_safetensors(tmp_path / "t", tensors, {"a": "b"})
    file = safetensors.open_safetensors(tmp_path / "t")
    assert file.metadata == {"a": "b"}
    for name, tensor in tensors.items():
        back = file.read(name, "CPU")
        assert back.dtype == tensor.dtype
        assert back.tolist() == tensor.tolist()


def test_a_saved_language_model_is_loaded_like_any_other(tiny_lm, tmp_path):
    et.save(tiny_lm, tmp_path / "lm.safetensors")
    lm = et.load_pretrained(tmp_path / "lm.safetensors")
    pool = et.generate(lm, "abc", n=1, max_tokens=3)
    assert et.score(lm, pool, "linear").scorers == ["linear"]
