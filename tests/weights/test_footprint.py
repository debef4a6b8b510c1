"""Weights that do not fit are refused before one is read, by every format."""

import pytest

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.errors import EdificeError
from edifice_tt.weights import footprint


@pytest.fixture
def left(monkeypatch):
    """Sets what is left of the memory."""
    return lambda size: monkeypatch.setattr(footprint, "available_bytes", lambda device: size)


def test_matrices_take_two_bytes_a_number_and_all_else_four():
    shapes = [(10, 20), (20,), (3, 5)]
    assert footprint.needed_bytes(shapes, None) == 4 * (200 + 20 + 15)
    assert footprint.needed_bytes(shapes, None, copies=2, beside=7) == 8 * 235 + 7
    # and the largest in float32, while it is being rounded
    assert footprint.needed_bytes(shapes, "bfloat16") == 2 * 200 + 4 * 20 + 2 * 15 + 4 * 200


@pytest.mark.parametrize(
    ("size", "advice"),
    [
        (23_000, "use dtype=float16 (--dtype float16)"),
        (15_000, "use a smaller model, or a device with more memory"),
    ],
)
def test_float16_is_advised_where_it_would_fit(tmp_path, left, size, advice):
    """24 000 bytes as float32, 12 000 and 4 000 for one matrix of six as float16."""
    left(size)
    with pytest.raises(EdificeError) as caught:
        footprint.check_weights(tmp_path, [(50, 20)] * 6, "CPU")
    assert str(caught.value).endswith(f" free on CPU; {advice}")
    left(24_000)
    footprint.check_weights(tmp_path, [(50, 20)] * 6, "CPU")


def test_our_own_files_and_gguf_files_are_refused_before_reading(
    tmp_path, left, tiny_lm, smollm2_path, monkeypatch
):
    et.save(tiny_lm, tmp_path / "m.safetensors")
    left(80_000_000)  # less than the blocks of the one, more than the other
    with pytest.raises(EdificeError, match=r"Q4_1.gguf: loading needs 9\d MB of 80 MB free"):
        et.load_pretrained(smollm2_path, device="CPU")
    et.load(tmp_path / "m.safetensors")
    left(1_000)
    with pytest.raises(
        EdificeError, match=r"m.safetensors: loading needs 0.\d+ MB of 0.00 MB free"
    ):
        et.load(tmp_path / "m.safetensors")


def test_the_command_says_it_in_one_line_and_leaves_no_file(left, smollm2_path, tmp_path, capsys):
    left(80_000_000)
    pool = tmp_path / "pool.jsonl"
    asked = ["generate", "q", "--model", smollm2_path, "--device", "CPU", "-o", pool]
    assert cli.main(list(map(str, asked))) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "loading needs 9" in line
    assert not pool.exists()
