"""Weights that do not fit are refused before one is read, by every format."""

import re

import pytest

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine import memory
from edifice_tt.weights import footprint


@pytest.fixture
def left(monkeypatch):
    """Sets what is left of the memory."""
    return lambda size: monkeypatch.setattr(footprint, "available_bytes", lambda device: size)


def test_matrices_take_two_bytes_a_number_and_all_else_four():
    shapes, work = [(10, 32), (20,), (3, 5)], 100 * 320
    assert footprint.needed_bytes(shapes, None) == 4 * (320 + 20 + 15) + work
    assert footprint.needed_bytes(shapes, None, beside=7) == 4 * 355 + 7 + work
    # and the largest in float32, while it is being rounded; rows of 5 stay float32 on a CPU
    work += 4 * 320
    assert footprint.needed_bytes(shapes, "bfloat16") == 2 * 320 + 4 * 20 + 4 * 15 + work
    assert footprint.needed_bytes(shapes, "bfloat16", device="GPU") == 2 * 335 + 4 * 20 + work


@pytest.mark.parametrize(
    ("size", "advice"),
    [
        (190_000, "use dtype=float16 (--dtype float16)"),
        (170_000, "use a smaller model, or a device with more memory"),
    ],
)
def test_float16_is_advised_where_it_would_fit(tmp_path, left, size, advice):
    """38 400 bytes as float32, 19 200 and 6 400 for one of six as float16; 160 000 in work."""
    left(size)
    with pytest.raises(EdificeError) as caught:
        footprint.check_weights(tmp_path, [(50, 32)] * 6, "CPU")
    assert str(caught.value).endswith(f" free on CPU; {advice}")
    left(198_400)
    footprint.check_weights(tmp_path, [(50, 32)] * 6, "CPU")


def test_a_weight_larger_than_a_buffer_may_be_is_named_before_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "largest_buffer", lambda device: 6_400)
    footprint.check_weights(tmp_path, [(50, 32), (9, 9)], "CL", blocks={"w": 6_400})
    for blocks, named in (({}, "of (51, 32) needs a buffer of 0.01 MB"), ({"w": 9_000}, "w needs")):
        with pytest.raises(EdificeError, match=re.escape(f"the weight {named}")) as caught:
            footprint.check_weights(tmp_path, [(9, 9), (51, 32)], "CL", blocks=blocks)
        assert "CL allows at most 0.01 MB for one; use " in str(caught.value)
        assert ("dtype=float16" in str(caught.value)) == (not blocks)  # blocks would grow
    footprint.check_weights(tmp_path, [(51, 32)], "CL", dtype="float16")


@pytest.mark.slow
def test_our_own_files_and_gguf_files_are_refused_before_reading(
    tmp_path, left, tiny_lm, smollm2_path, monkeypatch
):
    et.save(tiny_lm, tmp_path / "m.safetensors")
    left(80_000_000)  # less than the blocks of the one, more than the other
    with pytest.raises(EdificeError, match=r"Q4_1.gguf: loading needs 1\d\d MB of 80 MB free"):
        et.load_pretrained(smollm2_path, device="CPU")
    et.load(tmp_path / "m.safetensors")
    left(1_000)
    with pytest.raises(
        EdificeError, match=r"m.safetensors: loading needs 0.\d+ MB of 0.00 MB free"
    ):
        et.load(tmp_path / "m.safetensors")


@pytest.mark.slow
def test_the_command_says_it_in_one_line_and_leaves_no_file(left, smollm2_path, tmp_path, capsys):
    left(80_000_000)
    pool = tmp_path / "pool.jsonl"
    asked = ["generate", "q", "--model", smollm2_path, "--device", "CPU", "-o", pool]
    assert cli.main(list(map(str, asked))) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "loading needs 1" in line
    assert not pool.exists()
