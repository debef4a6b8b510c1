"""A fingerprint: the same for the same weights and options, another for any other."""

import gc
from dataclasses import replace
from weakref import ref

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.architectures.fingerprint import fingerprint
from edifice_tt.nn.buffers import wrap

OPTIONS = {"vocab_size": 11, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}


def build(**options):
    return et.build("causal_lm", **{**OPTIONS, **options})


def test_the_same_model_has_the_same_fingerprint_in_another_file(tmp_path):
    model = build()
    et.save(model, tmp_path / "m.safetensors")
    again = et.load(tmp_path / "m.safetensors")
    assert again.fingerprint == model.fingerprint == build().fingerprint
    assert len(model.fingerprint) == 32


@pytest.mark.parametrize(
    "options", [{"seed": 1}, {"norm_eps": 1e-4}, {"scorer": "linear"}], ids=str
)
def test_another_model_has_another_fingerprint(options):
    assert build(**options).fingerprint != build().fingerprint


def test_one_other_weight_is_another_model():
    model = build()
    before = model.fingerprint
    weight = model.backbone.final_norm.weight
    changed = weight.numpy().copy()
    changed[3] += 1e-6
    weight.replace(type(weight)(changed, device=model.device).realize())
    assert model.fingerprint != before


def test_other_architectures_have_one_too():
    model = et.build("test_time_compute", embed_dim=4, hidden_size=8, num_layers=1)
    assert fingerprint(model) == fingerprint(model) != build().fingerprint


@pytest.mark.slow
def test_a_model_is_not_known_by_the_address_of_what_is_gone():
    """A weight is replaced again and again, and each time the one before is freed at once."""
    model = build()
    weight, found, addresses = model.backbone.final_norm.weight, set(), set()
    while len(addresses) == len(found) < 1000:  # until one comes again
        weight.replace(wrap(np.full(8, len(found), np.float32), model.device))
        addresses.add(id(weight.uop))
        assert model.fingerprint not in found
        found.add(model.fingerprint)
    assert len(addresses) < len(found), "no address came again; this shows nothing"


@pytest.mark.slow
def test_replaced_weights_are_not_kept_for_a_fingerprint():
    model = build()
    weight = model.token_embedding.weight
    assert len(model.fingerprint) == 32
    old = ref(weight.uop)
    weight.replace((weight + 1).contiguous().realize())
    gc.collect()
    assert old() is None


def test_another_config_is_another_model():
    model = build()
    before = model.fingerprint
    model.config = replace(model.config, rope_base=5000.0)
    assert model.fingerprint != before
