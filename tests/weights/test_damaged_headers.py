"""Headers that no writer writes: each is one error of one line, before anything is built."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_gguf import METADATA, f32, write_gguf, write_llama

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.weights.gguf_header import GGUFHeader
from edifice_tt.weights.gguf_model import load_gguf
from edifice_tt.weights.gguf_parts import open_gguf
from edifice_tt.weights.safetensors import open_safetensors


def refused(read: Any, path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 500


# GGUF


def raw_gguf(path: Path, *pairs: tuple[bytes, int, bytes]) -> Path:
    """A file of these keys, the types of their values, and their bytes; it has no tensor."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    for key, kind, content in pairs:
        head += struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + content
    path.write_bytes(head)
    return path


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@pytest.mark.parametrize("count", [0, 1])
def test_a_file_that_was_merged_from_parts_is_whole(tmp_path: Path, count: int) -> None:
    """llama-gguf-split writes 0 into what it merges."""
    assert (
        load_gguf(write_llama(tmp_path / "m.gguf", {"split.count": count})).config.num_layers == 2
    )


@pytest.mark.parametrize("count", [True, "1", [1], 1.0, -1], ids=repr)
def test_a_number_of_parts_that_is_none_is_refused(tmp_path: Path, count: Any) -> None:
    path = raw_gguf(tmp_path / "m", (b"split.count", 5, struct.pack("<i", -1)))
    if count != -1:
        path = write_gguf(path, {"split.count": count}, {})
    refused(open_gguf, path, r"split\.count=.*, expected a whole number")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    twice = [(b"a.length", 4, struct.pack("<I", n)) for n in (64, 256)]
    refused(GGUFHeader, raw_gguf(tmp_path / "m", *twice), "key 'a.length' is there twice")


def test_a_text_that_is_not_utf_8_matters_only_where_it_is_read(tmp_path: Path) -> None:
    bad = b"caf\xe9"
    pairs = [(b"general.description", 8, text(bad)), (b"odd\xff", 8, text(b"x"))]
    pairs += [(b"list", 9, struct.pack("<IQ", 8, 2) + text(b"a") + text(bad))]
    header = GGUFHeader(raw_gguf(tmp_path / "m", *pairs))
    assert header.metadata == {"general.description": bad, r"odd\xff": "x", "list": ["a", bad]}
    path = write_llama(tmp_path / "m.gguf", {"general.description": "café"})
    path.write_bytes(path.read_bytes().replace("café".encode(), b"caf\xff\xfe"))
    assert load_gguf(path).config.num_layers == 2


@pytest.mark.parametrize(
    "key",
    [
        "general.architecture",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.merges",
        "tokenizer.chat_template",
    ],
)
def test_a_text_that_is_needed_and_not_utf_8_is_named(tmp_path: Path, key: str) -> None:
    whole = "éééé"
    value = [whole] if isinstance(METADATA.get(key), list) else whole
    path = write_llama(tmp_path / "m.gguf", {key: value})
    content = path.read_bytes()
    assert content.count(whole.encode()) == 1
    path.write_bytes(content.replace(whole.encode(), b"\xff" * 8))
    refused(load_gguf, path, f"the text of '{key}' is not UTF-8")


def test_arrays_of_arrays_are_read_to_a_depth(tmp_path: Path) -> None:
    def nested(depth: int) -> bytes:
        if depth == 0:
            return struct.pack("<IQ3B", 0, 3, 1, 2, 3)
        return struct.pack("<IQ", 9, 1) + nested(depth - 1)

    for depth, value in ((0, [1, 2, 3]), (2, [[[1, 2, 3]]])):
        header = GGUFHeader(raw_gguf(tmp_path / "m", (b"a", 9, nested(depth))))
        assert header.metadata == {"a": value}
    for depth in (8, 5_000):
        path = raw_gguf(tmp_path / "m", (b"a", 9, nested(depth) if depth == 8 else deep(depth)))
        refused(GGUFHeader, path, "arrays nested deeper than 8 levels")


def deep(depth: int) -> bytes:
    return struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQ", 0, 0)


def test_a_file_of_the_other_byte_order_says_so(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    refused(GGUFHeader, tmp_path / "m", "is big-endian, and only little-endian files are read")


@pytest.mark.parametrize("alignment", [0, 24, True, 32.0, "32", [32]], ids=repr)
def test_an_alignment_that_is_no_power_of_two_is_refused(tmp_path: Path, alignment: Any) -> None:
    path = write_gguf(tmp_path / "m", {"general.alignment": alignment}, {})
    refused(GGUFHeader, path, r"general\.alignment=.*, expected a power of two")


def test_an_alignment_beyond_the_file_is_the_end_of_the_file(tmp_path: Path) -> None:
    key = (b"general.alignment", 10, struct.pack("<Q", 1 << 63))
    content = bytearray(raw_gguf(tmp_path / "m", key).read_bytes())
    content[8:16] = struct.pack("<Q", 1)
    content += text(b"a") + struct.pack("<IQIQ", 1, 4, 0, 0) + bytes(64)
    (tmp_path / "m").write_bytes(content)
    refused(GGUFHeader, tmp_path / "m", "tensor 'a' needs byte")


READ = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length"),
    *("attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.dimension_count"),
    *("rope.scaling.factor", "rope.scaling.type", "expert_count", "attention.sliding_window"),
)
WRONG = [True, "8", "", [8], [[8]], [1.5, float("nan")], float("nan"), float("inf"), -1.0]


@pytest.mark.parametrize("key", READ)
def test_a_key_that_is_read_has_its_type_or_the_file_is_refused(tmp_path: Path, key: str) -> None:
    for wrong in WRONG:
        path = write_llama(tmp_path / "m.gguf", {f"llama.{key}": wrong})
        if (key, wrong) in (("expert_count", ""), ("rope.scaling.type", "")):
            continue
        refused(load_gguf, path, rf"llama\.{key}")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("attention.head_count", 2**32 - 1, "is too many; give at most 65536"),
        ("attention.head_count_kv", 2**32 - 1, "is too many; give at most 65536"),
        ("attention.key_length", 2**31, "is too many; give at most 65536"),
        ("block_count", 10**7, "is too many; give at most 10000"),
        ("block_count", 9_000, "for 20 tensors"),
        ("embedding_length", 2**31, "is too many; give at most 1048576"),
        ("feed_forward_length", 2**31, "is too many; give at most 16777216"),
        ("context_length", 2**32 - 1, "is too many; give at most 2147483647"),
        ("attention.layer_norm_rms_epsilon", 1e-30, "must be from 1e-12 to 0.1"),
        ("attention.layer_norm_rms_epsilon", 1.0, "must be from 1e-12 to 0.1"),
        ("rope.freq_base", 1e-30, r"must be from 1 to 1e\+12"),
        ("rope.freq_base", 1e30, r"must be from 1 to 1e\+12"),
        ("rope.scaling.factor", 1e-30, "must be from 0.01 to 10000"),
        ("rope.scaling.factor", 1e30, "must be from 0.01 to 10000"),
    ],
)
def test_a_value_that_nobody_means_is_refused_with_its_range(
    tmp_path: Path, key: str, value: float, said: str
) -> None:
    refused(load_gguf, write_llama(tmp_path / "m.gguf", {f"llama.{key}": value}), f"{key}=.*{said}")


@pytest.mark.parametrize("key", ["embedding_length", "feed_forward_length", "attention.key_length"])
def test_sizes_are_held_against_the_tensors_before_a_model_is_built(
    tmp_path: Path, key: str
) -> None:
    sizes = {f"llama.{key}": 2**16, "llama.rope.dimension_count": None}
    path = write_llama(tmp_path / "m.gguf", sizes)
    refused(load_gguf, path, r"far larger than its 20 tensors with \d+ numbers")


def test_factors_of_the_rotation_that_nobody_means_are_refused(tmp_path: Path) -> None:
    weights = {"rope_freqs": np.array([1, 2, 4, 1e-30, 1, 1, 1, 1], np.float32)}
    path = write_llama(tmp_path / "m.gguf", **weights)
    refused(load_gguf, path, "a rotary scaling factor=1.0000.*e-30 must be from 0.01 to 10000")


def test_tensors_that_overlap_or_leave_a_hole_are_refused(tmp_path: Path) -> None:
    for place in (0, 64):
        path = write_gguf(tmp_path / "m", {}, {"a": f32([1, 2]), "b": f32([3, 4])})
        old, new = (struct.pack("<IQ", 0, at) for at in (32, place))
        path.write_bytes(path.read_bytes().replace(old, new))
        refused(GGUFHeader, path, f"'b' is F32 .* at {place}, expected .* at 32")


def test_what_is_no_regular_file_is_no_gguf_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")  # opening one would wait for ever
    for path in (tmp_path / "pipe.gguf", tmp_path):
        refused(GGUFHeader, path, "not a GGUF file")


# safetensors


def raw_safetensors(path: Path, header: Any, data: bytes = b"") -> Path:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + data)
    return path


def one(**changed: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changed}}


DATA = np.arange(4, dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (one(shape=[-2, -2]), r"tensor 'a': shape=\[-2, -2\] must be at most 32 sizes from 0 on"),
        (one(shape=[2.0, 2.0]), r"tensor 'a': shape\[0\]=2.0 must be a whole number"),
        (one(shape=[4, True]), r"shape\[1\]=True must be a whole number"),
        (one(shape=[None]), r"shape\[0\]=None must be a whole number"),
        (one(shape=[[4]]), r"shape\[0\]=\[4\] must be a whole number"),
        (one(shape=4), "shape=4 must be a list"),
        (one(shape="4"), "shape='4' must be a list"),
        (one(shape=[10**40, 0]), "at most 32 sizes from 0 on"),
        (one(shape=[2**62, 2**62]), "the offsets 0, 16 do not fit shape"),
        (one(shape=[1] * 33), "at most 32 sizes"),
        (one(data_offsets=[0.0, 16.0]), r"data_offsets\[0\]=0.0 must be a whole number"),
        (one(data_offsets=[False, 16]), r"data_offsets\[0\]=False must be a whole number"),
        (one(data_offsets=[0, 16, 16]), "the offsets 0, 16, 16 do not fit"),
        (one(data_offsets=[0]), "the offsets 0 do not fit"),
        (one(data_offsets=[16, 0]), "the offsets 16, 0 do not fit"),
        (one(data_offsets=[-16, 0]), "the offsets -16, 0 do not fit"),
        (one(data_offsets={"0": 16}), "must be a list"),
        (one(data_offsets=[10**40, 10**40 + 16]), "the file ends at byte"),
        (one(dtype="F33"), "dtype='F33' is not supported; supported: BF16, BOOL, "),
        (one(dtype=["F32"]), r"dtype=\['F32'\] must be a text"),
        ({"a": [1]}, r"tensor 'a': \[1\] must be a record"),
        ({"a": {"dtype": "F32", "shape": [4]}}, "tensor 'a': data_offsets is missing"),
        ({"__metadata__": [1], **one()}, r"__metadata__=\[1\] must be a record of texts"),
        ({"__metadata__": {"n": 5}, **one()}, "n=5 must be a text"),
        ({"__metadata__": {"n": None}, **one()}, "n=None must be a text"),
        (one() | {"b": one()["a"]}, "tensor 'b' overlaps another at byte"),
        (one(shape=[3], data_offsets=[4, 16]), "bytes .* belong to no tensor"),
        (one(shape=[3], data_offsets=[0, 12]), "bytes .* belong to no tensor"),
        ({}, "bytes .* belong to no tensor"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b'{"a": {"dtype": "F32", "dtype": "F16"}}', "the key 'dtype' is there twice"),
        (b'{"a":' + b"[" * 200_000, "nested deeper than 64 levels"),
        (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper than 64 levels"),
        (b"[" * 200_000, r"its header begins with b'\['"),
        (b" " * 200_000, "its header begins with b' '"),
        (b'{"a": "\xff"}', "not UTF-8 text, at byte 7"),
        (b'{"\\ud800": 1}', "a lone surrogate"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "Exceeds the limit"),
        (b"\xef\xbb\xbf{}", "its header begins with"),
        (b'{"a": 1', "not JSON, expecting"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_header_that_cannot_be_meant_is_one_line(
    tmp_path: Path, header: Any, message: str
) -> None:
    refused(open_safetensors, raw_safetensors(tmp_path / "m", header, DATA), message)


def test_metadata_of_null_is_none(tmp_path: Path) -> None:
    path = raw_safetensors(tmp_path / "m.safetensors", {"__metadata__": None, **one()}, DATA)
    assert open_safetensors(path).metadata == {}
    refused(et.load, path, "not saved by edifice_tt")
    refused(et.load_verifier, path, "not a verifier")
    raw_safetensors(path, {"__metadata__": [1], **one()}, DATA)
    refused(et.load, path, "not saved by edifice_tt")


def test_spaces_behind_a_header_and_tensors_of_no_size_are_read(tmp_path: Path) -> None:
    header = {**one(), "none": {"dtype": "F32", "shape": [0, 3], "data_offsets": [16, 16]}}
    content = json.dumps(header).encode() + b" " * 100_000
    file = open_safetensors(raw_safetensors(tmp_path / "m", content, DATA))
    assert file.read("a", "CPU").tolist() == [[0, 1], [2, 3]]
    assert file.read("none", "CPU").shape == file.floats("none").shape == (0, 3)


@pytest.mark.parametrize("length", [0, 1, 2**40, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "m"
    path.write_bytes(length.to_bytes(8, "little") + b"{}" * 9)
    refused(open_safetensors, path, "its header is cut off")


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening one would wait for ever
    for path in (tmp_path / "pipe", tmp_path):
        refused(open_safetensors, path, "cannot be read .it is no regular file")


def test_a_file_that_is_cut_after_its_header_was_read_says_so(tmp_path: Path) -> None:
    path = raw_safetensors(tmp_path / "m", one(), DATA)
    file = open_safetensors(path)
    path.write_bytes(path.read_bytes()[:-4])
    for read in (file.floats, lambda name: file.read(name, "CPU")):
        refused(lambda _, read=read: read("a"), path, "was cut while it was read")
