"""`activations="float16"`: what is loaded so, and what is refused."""

import numpy as np
import pytest
from test_loading_memory import Q8_0, write_model
from test_model_families import BIASED, TOKENS, q8_0, with_biases, write

import edifice_tt as et
from edifice_tt.architectures.fingerprint import fingerprint
from edifice_tt.nn.cpu.bridge import computes_halves
from edifice_tt.nn.stored.blocks import QuantizedLinear
from edifice_tt.nn.stored.float16 import Float16Linear
from edifice_tt.weights import gguf_model

here = pytest.mark.skipif(not computes_halves("CPU"), reason="no float16 in this processor")


def test_a_processor_without_float16_is_told(tmp_path, monkeypatch):
    path = write_model(tmp_path / "m.gguf", 259, 64, (Q8_0, Q8_0))
    monkeypatch.setattr(gguf_model, "computes_halves", lambda device: False)
    with pytest.raises(ValueError, match=r"AVX512_FP16.*this one does not; use activations='int8'"):
        et.load_pretrained(path, device="CPU", activations="float16")


@here
def test_a_weight_beyond_what_sums_can_hold_is_told(tmp_path, monkeypatch):
    path = write_model(tmp_path / "m.gguf", 259, 64, (Q8_0, Q8_0))
    monkeypatch.setattr(gguf_model, "LARGEST", 1e-9)
    with pytest.raises(et.CheckpointError, match=r"weight '.*' holds .*use activations='int8'"):
        et.load_pretrained(path, device="CPU", activations="float16")


@here
@pytest.mark.slow
def test_a_model_in_float16_stays_near_and_says_so(tmp_path):
    path = write(tmp_path / "m.gguf", "qwen2", with_biases(*BIASED["qwen2"]), q8_0)
    exact, other = (et.load_pretrained(path, activations=a) for a in ("float32", "float16"))
    assert isinstance(other.backbone.blocks[0].attn.q_proj, Float16Linear)
    assert not isinstance(exact.backbone.blocks[0].attn.q_proj, Float16Linear)
    assert isinstance(exact.backbone.blocks[0].attn.q_proj, QuantizedLinear)
    assert other.activations == "float16"
    assert fingerprint(exact) == fingerprint(other)
    a, b = (lm([TOKENS]).logits.numpy() for lm in (exact, other))
    assert 0 < np.abs(a - b).max() < 1e-2 * np.abs(a).max()
