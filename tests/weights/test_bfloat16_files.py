"""`activations="bfloat16"`: what is loaded so, and what is refused."""

import numpy as np
import pytest
from processors import BFLOATS
from test_loading_memory import Q8_0, write_model
from test_model_families import BIASED, TOKENS, q8_0, with_biases, write

import edifice_tt as et
from edifice_tt.architectures.fingerprint import fingerprint
from edifice_tt.nn.stored.bfloat16 import Bfloat16Linear
from edifice_tt.weights import gguf_model


def test_a_processor_without_bfloat16_is_told(tmp_path, monkeypatch):
    path = write_model(tmp_path / "m.gguf", 259, 64, (Q8_0, Q8_0))
    monkeypatch.setattr(gguf_model, "multiplies_bfloats", lambda device: False)
    with pytest.raises(ValueError, match=r"AMX.*here is none; use activations='int8'"):
        et.load_pretrained(path, device="CPU", activations="bfloat16")


@pytest.mark.slow
@BFLOATS
def test_a_model_in_bfloat16_stays_near_and_says_so(tmp_path):
    path = write(tmp_path / "m.gguf", "qwen2", with_biases(*BIASED["qwen2"]), q8_0)
    exact, other = (et.load_pretrained(path, activations=a) for a in ("float32", "bfloat16"))
    assert isinstance(other.backbone.blocks[0].attn.q_proj, Bfloat16Linear)
    assert other.activations == "bfloat16"
    assert fingerprint(exact) == fingerprint(other)
    a, b = (lm([TOKENS]).logits.numpy() for lm in (exact, other))
    assert 0 < np.abs(a - b).max() < 3e-2 * np.abs(a).max()
