"""Devices that share no memory, as two GPUs are: played here by CPU devices told so."""

import pytest

import edifice_tt as et
from edifice_tt.engine import captures, decoder, programs, workspace
from edifice_tt.nn import cache
from edifice_tt.testing import byte_tokenizer

SIZES = {"vocab_size": 259, "context_length": 512, "hidden_size": 24, "num_layers": 5}
PROMPTS = ("abcdefghij" * 20, "xyz" * 50, "abcdefghij" * 15 + "k" * 40, "no")


def made():
    lm = et.build("causal_lm", **SIZES, num_heads=4, num_kv_heads=2, seed=7, device="CPU")
    lm.tokenizer, lm.name = byte_tokenizer(), "tiny"
    return lm


def drawn(lm, prompt, devices):
    pool = et.generate(lm, prompt, n=5, max_tokens=6, devices=devices)
    return [(candidate.token_ids, candidate.token_logprobs) for candidate in pool]


@pytest.mark.parametrize(
    "count", [2, pytest.param(3, marks=pytest.mark.slow)], ids=["two", "three"]
)
def test_candidates_behind_prompts_of_any_length_are_those_of_one_device(monkeypatch, count):
    """A prompt is read by the first of them; the others take over all of its layers."""
    lm = made()
    expected = [drawn(lm, prompt, ["CPU"]) for prompt in PROMPTS]
    for module in (captures, decoder, programs, workspace, cache):
        monkeypatch.setattr(module, "in_memory", lambda device: False)
    lm = made()
    devices = ["CPU", "CPU:1", "CPU:2"][:count]
    assert [drawn(lm, prompt, devices) for prompt in PROMPTS] == expected
