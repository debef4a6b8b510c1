"""Parameters of the original: both ways, bit for bit, and every difference reported."""

import json
from pathlib import Path

import numpy as np
import pytest
from tinygrad import Tensor
from tinygrad.nn.state import safe_load

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.weights.safetensors import write_safetensors

GOLDEN = Path(__file__).parent.parent / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())["files"]
RECORDED = {"input", "backbone", "scores"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["projected", "mha"])
def test_parameters_survive_the_round_trip_bit_for_bit(name, tmp_path):
    """The comparison is of bits, so that -0.0, which equals 0.0, must survive as well."""
    source = GOLDEN / f"{name}.safetensors"
    before = {k: t.numpy() for k, t in safe_load(source).items() if k not in RECORDED}
    et.save_edifice(et.load_edifice(source, **INDEX[name]["options"]), tmp_path / "p.safetensors")
    after = {k: t.numpy() for k, t in safe_load(tmp_path / "p.safetensors").items()}
    assert set(before) == set(after)
    for key, values in before.items():
        assert values.shape == after[key].shape
        assert (values.view(np.uint32) == after[key].view(np.uint32)).all()


def test_all_differences_are_reported_at_once_in_our_names():
    options = {**INDEX["tiny"]["options"], "num_layers": 1, "scorer_hidden": 8}
    with pytest.raises(CheckpointError) as caught:
        et.load_edifice(GOLDEN / "tiny.safetensors", **options)
    message = str(caught.value)
    assert "does not fit the model in 19 places" in message  # 16 of a layer, 3 of the scorer
    assert "not in the model: ttc_block_2_attn_k_proj.bias" in message
    assert "scorer.dense1.weight: shape (16, 32), the model has (8, 32)" in message


def test_a_missing_parameter_is_named(tmp_path):
    tensors = {
        k: t.to("CPU").contiguous().realize()
        for k, t in safe_load(GOLDEN / "seq1.safetensors").items()
        if k != "final_norm.beta"
    }
    write_safetensors(tmp_path / "p", tensors, {})
    with pytest.raises(CheckpointError, match=r"missing: backbone.final_norm.bias"):
        et.load_edifice(tmp_path / "p", **INDEX["seq1"]["options"])


def test_a_head_that_the_original_does_not_have_is_refused(tmp_path):
    options = INDEX["seq1"]["options"]
    with pytest.raises(EdificeError, match="only the scorer head 'mlp', given 'linear'"):
        et.load_edifice(GOLDEN / "seq1.safetensors", **options, scorer="linear")
    with pytest.raises(EdificeError, match="only the scorer head 'mlp', given 'linear'"):
        et.save_edifice(et.build("test_time_compute", **options, scorer="linear"), tmp_path / "p")
    assert not list(tmp_path.iterdir())


def test_another_architecture_is_refused(tiny_lm, tmp_path):
    with pytest.raises(EdificeError, match="only a test_time_compute model has parameters"):
        et.save_edifice(tiny_lm, tmp_path / "p")


@pytest.mark.slow
def test_a_nan_parameter_is_refused(tmp_path):
    tensors = {
        k: t.to("CPU").contiguous().realize()
        for k, t in safe_load(GOLDEN / "seq1.safetensors").items()
    }
    values = tensors["final_norm.beta"].numpy().copy()
    values[3] = np.nan
    tensors["final_norm.beta"] = Tensor(values).realize()
    write_safetensors(tmp_path / "p", tensors, {})
    with pytest.raises(CheckpointError, match=r"'final_norm.beta' holds NaN"):
        et.load_edifice(tmp_path / "p", **INDEX["seq1"]["options"])


def test_a_file_of_our_own_is_not_one_of_the_original(tmp_path):
    options = INDEX["seq1"]["options"]
    et.save(et.build("test_time_compute", **options), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="does not fit the model in 46 places"):
        et.load_edifice(tmp_path / "m.safetensors", **options)
