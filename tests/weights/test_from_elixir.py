"""docs/edifice.md tells the truth: its names, its shapes, and a file as Elixir writes it."""

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import edifice_tt as et

PAGE = (Path(__file__).parents[2] / "docs" / "edifice.md").read_text()
OPTIONS = {"embed_dim": 11, "hidden_size": 8, "num_layers": 1, "num_heads": 2}
SIZES = {"D": 8, "H": 2, "K": 2, "E": 4, "F": 24, "embed_dim": 11, "scorer_hidden": 128}
TENSORS = {
    name: eval(shape, {}, SIZES)
    for name, shape in re.findall(r"^(\w+\.\w+) +(\(.+\))$", PAGE, re.MULTILINE)
}


def as_nx_writes(path, tensors):
    """Sorted names, the header at once, no metadata, little-endian float32."""
    header, offset = {}, 0
    for name, array in sorted(tensors.items()):
        places = [offset, offset := offset + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": places}
    text = json.dumps(header).encode()
    data = b"".join(array.astype("<f4").tobytes() for _, array in sorted(tensors.items()))
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_the_page_has_every_tensor_with_its_shape(tmp_path):
    path = tmp_path / "theirs.safetensors"
    et.save_edifice(et.build("test_time_compute", **OPTIONS), path)
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    header = json.loads(path.read_bytes()[8 : 8 + size])
    header.pop("__metadata__", None)
    assert {name: tuple(entry["shape"]) for name, entry in header.items()} == TENSORS


def test_a_file_as_elixir_writes_it_is_read_as_the_page_says(tmp_path, monkeypatch, rng):
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in TENSORS.items()}
    monkeypatch.chdir(tmp_path)
    as_nx_writes(tmp_path / "verifier.safetensors", tensors)
    namespace = {}
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(block, namespace)
    model = namespace["model"]
    q = model.backbone.blocks[0].attn.q_proj.weight.numpy()
    assert (q == tensors["ttc_block_1_attn_q_proj.kernel"].T).all()
    assert (model.scorer.dense2.bias.numpy() == tensors["scorer_dense2.bias"]).all()


def test_a_tensor_that_elixir_left_out_is_named(tmp_path):
    tensors = {name: np.ones(shape, np.float32) for name, shape in TENSORS.items()}
    del tensors["final_norm.beta"]
    as_nx_writes(tmp_path / "m.safetensors", tensors)
    with pytest.raises(et.CheckpointError, match=r"final_norm\.bias"):
        et.load_edifice(tmp_path / "m.safetensors", **OPTIONS)


def test_every_row_of_the_differences_names_a_test():
    rows = re.findall(r"^\| (?!---|\| )(.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 12
    assert [row for row in rows if not re.search(r"\| `test_\w+`$", row)] == []
