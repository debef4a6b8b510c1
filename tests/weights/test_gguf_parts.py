"""GGUF files in parts: written here as llama-gguf-split names and describes them."""

import re

import numpy as np
import pytest
from test_gguf import F16, METADATA, f32, llama_weights, write_gguf

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.weights.gguf import read_gguf
from edifice_tt.weights.gguf_model import load_gguf
from edifice_tt.weights.gguf_parts import open_gguf


def stored(array):
    """Matrices in 16 bits, which a CPU reads where they are mapped."""
    return f32(array) if array.ndim < 2 else (F16, array.shape, array.astype(np.float16).tobytes())


def whole_llama(path):
    return write_gguf(path, METADATA, {k: stored(array) for k, array in llama_weights().items()})


def split_llama(folder, count=3, **told):
    """The tiny Llama in parts; each `told` replaces what the parts say of themselves."""
    tensors, paths = {name: stored(array) for name, array in llama_weights().items()}, []
    names = list(tensors)
    for part in range(count):
        says = {"split.no": part, "split.count": count, "split.tensors.count": len(names), **told}
        of_model = METADATA if part == 0 else {}
        mine = {name: tensors[name] for name in names[part::count]}
        path = folder / f"tiny-{part + 1:05}-of-{count:05}.gguf"
        paths.append(write_gguf(path, of_model | says, mine))
    return paths


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_part_given_loads_the_model_that_the_one_file_holds(tmp_path, given):
    paths = split_llama(tmp_path)
    whole, found = read_gguf(whole_llama(tmp_path / "whole.gguf")), read_gguf(paths[given])
    assert found.tensors.keys() == whole.tensors.keys()
    for name, tensor in whole.tensors.items():
        np.testing.assert_array_equal(found.tensors[name].numpy(), tensor.numpy(), err_msg=name)
    assert found.metadata.items() >= METADATA.items()


def test_a_model_in_parts_has_the_name_and_the_fingerprint_of_the_whole(tmp_path):
    paths = split_llama(tmp_path)
    whole = et.load_pretrained(whole_llama(tmp_path / "tiny.gguf"))
    lm = et.load_pretrained(paths[1])
    assert (lm.name, lm.fingerprint) == ("tiny", whole.fingerprint)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_weights_stay_mapped_and_a_change_of_any_part_is_noticed(tmp_path, changed):
    paths = split_llama(tmp_path)
    lm = et.load_pretrained(paths[0], device="CPU")
    lm.mapped_file.check()
    with paths[changed].open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=f"{paths[changed].name}: changed since it was"):
        lm.mapped_file.check()


def test_a_tensor_is_where_its_part_maps_it(tmp_path):
    """A part without tensors, as the first of a split may be, takes no room."""
    says = {"split.count": 3, "split.tensors.count": 2}
    held = [{}, {"a": f32([1, 2])}, {"b": f32([3])}]
    for i, tensors in enumerate(held):
        path = write_gguf(tmp_path / f"m-{i + 1:05}-of-00003.gguf", says | {"split.no": i}, tensors)
    opened = open_gguf(path)
    for name, numbers in (("a", [1, 2]), ("b", [3])):
        at = opened.entries[name]
        for way in (opened.mapped, opened.read):
            assert way(at.start, at.stop).view("<f4").tolist() == numbers


def test_missing_parts_are_named(tmp_path):
    paths = split_llama(tmp_path)
    paths[0].unlink()
    paths[2].unlink()
    with pytest.raises(CheckpointError) as caught:
        load_gguf(paths[1])
    assert str(caught.value) == (
        f"{paths[1]}: part 2 of 3; not beside it: tiny-00001-of-00003.gguf, "
        "tiny-00003-of-00003.gguf; download every part"
    )


@pytest.mark.parametrize("name", ["tiny.gguf", "tiny-00002-of-00003.gguf", "t-00001-of-00002.gguf"])
def test_a_part_under_another_name_says_what_its_name_must_be(tmp_path, name):
    path = split_llama(tmp_path)[0].rename(tmp_path / name)
    expected = "part 1 of 3, so its name must end in -00001-of-00003.gguf"
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        load_gguf(path)


def test_parts_of_different_models_are_refused(tmp_path):
    paths = split_llama(tmp_path)
    (tmp_path / "other").mkdir()
    other = split_llama(tmp_path / "other", **{"split.tensors.count": 7})
    other[2].replace(paths[2])
    with pytest.raises(CheckpointError) as caught:
        load_gguf(paths[0])
    assert str(caught.value) == (
        f"{paths[2]}: split.count=3, split.no=2, split.tensors.count=7, expected split.count=3, "
        "split.no=2, split.tensors.count=20 as tiny-00001-of-00003.gguf says; download the parts "
        "of one model again"
    )


def test_a_tensor_in_two_parts_and_one_too_few_are_refused(tmp_path):
    says = {"split.count": 2, "split.tensors.count": 2}
    first = write_gguf(tmp_path / "a-00001-of-00002.gguf", says | {"split.no": 0}, {"a": f32([1])})
    second = tmp_path / "a-00002-of-00002.gguf"
    write_gguf(second, says | {"split.no": 1}, {"a": f32([1])})
    with pytest.raises(CheckpointError, match="tensor 'a' is in an earlier part too"):
        read_gguf(first)
    write_gguf(second, says | {"split.no": 1}, {})
    with pytest.raises(CheckpointError, match=r"hold 1 tensors, expected split.tensors.count=2"):
        read_gguf(first)


@pytest.mark.parametrize("key", ["split.count", "split.no", "split.tensors.count"])
def test_what_is_no_number_of_parts_is_refused(tmp_path, key):
    path = write_gguf(tmp_path / "m.gguf", {key: "two"}, {})
    with pytest.raises(CheckpointError, match=f"{key}='two', expected a whole number"):
        read_gguf(path)


def test_a_file_that_was_merged_or_never_split_is_one_file(tmp_path):
    for count in (0, 1):
        path = write_gguf(tmp_path / "m.gguf", {"split.count": count}, {"a": f32([1])})
        assert read_gguf(path).tensors["a"].tolist() == [1]
