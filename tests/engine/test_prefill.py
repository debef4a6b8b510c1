"""A prompt that several cores read has the bits of one core, whatever was read before it."""

import threading

import numpy as np
import pytest
from processors import left_to_helpers
from test_kv_dtype import RECURRENT, made

import edifice_tt as et
from edifice_tt.engine.decoder import CHUNK, Decoder
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.engine.prefill import prefill
from edifice_tt.nn.buffers import view
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu import team as teams

CORES = ["CPU", "CPU:1", "CPU:2"]
PRIME = 331  # tokens, so that the last chunk, and the last rows of a part, are not whole


@pytest.fixture(autouse=True)
def _helpers_do_the_smallest_job(monkeypatch):
    library = kernels.library
    monkeypatch.setattr(teams, "LEAST", 1)
    monkeypatch.setattr(kernels, "library", lambda *a, **kw: left_to_helpers(library(*a, **kw)))


def ids_of(length, seed=0):
    return np.random.default_rng([length, seed]).integers(3, 259, length).tolist()


def read(decoder, ids, cores, monkeypatch):
    """The logits behind a prompt, its hidden states, and what is kept of it."""
    states, step = [], Decoder.step

    def noted(self, inputs, cache, wanted, *more, **options):
        hidden, logits = step(self, inputs, cache, wanted, *more, **options)
        states.append(hidden[0, : len(wanted)].copy())
        return hidden, logits

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "step", noted)
        logits = prefill([decoder], ids, cores)
    kept = [view(layer) for layer in decoder.prefix.layers]
    held = [layer[:, :, : len(ids)] if layer.ndim == 5 else layer for layer in kept]
    return [logits, *states, *(layer.copy() for layer in held)]


def is_same(found, expected):
    return len(found) == len(expected) and all(
        np.array_equal(a, b) for a, b in zip(found, expected, strict=True)
    )


def check_cores(lm, monkeypatch):
    ids = ids_of(PRIME)
    alone = read(Decoder(lambda: lm), ids, 1, monkeypatch)
    assert all(np.abs(one).max() > 0 for one in alone)
    for cores in (2, 3, 2):
        assert is_same(read(Decoder(lambda: lm), ids, cores, monkeypatch), alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"kv_dtype": "int8"},
        {"gated_attention": True, "residual_scale": 0.5, "norms": "both", "qk_norm": "whole"},
        {"experts": 5, "experts_used": 2, "expert_size": 13, "qk_norm": "head"},
        {**RECURRENT, "gated_attention": True},
    ],
    ids=["attention", "gates", "experts", "recurrence"],
)
def test_cores_that_read_a_prompt_together_change_no_bit(options, monkeypatch):
    kept = options.get("kv_dtype", "float32")
    lm = made(**{name: value for name, value in options.items() if name != "kv_dtype"})
    lm.kv_dtype = kept
    check_cores(lm, monkeypatch)


@pytest.mark.slow
def test_cores_that_read_a_prompt_in_whole_numbers_change_no_bit(smollm2_path, monkeypatch):
    check_cores(et.load_pretrained(smollm2_path, activations="int8"), monkeypatch)


@pytest.mark.slow
def test_prompts_in_turn_have_the_bits_of_each_alone(monkeypatch):
    """Short, long, short again, another length, and again after one that broke off."""
    lm = made()
    decoder = Decoder(lambda: lm)

    def check(length, seed=0):
        expected = prefill([Decoder(lambda: lm)], ids_of(length, seed), 1)
        assert (prefill([decoder], ids_of(length, seed), 3) == expected).all()

    for length in (5, PRIME, 5, 3 * CHUNK, CHUNK + 1, PRIME):
        check(length)
    step, calls = Decoder.step, []

    def breaking(self, *given, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(self, *given, **options)

    before = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "step", breaking)
        with pytest.raises(KeyboardInterrupt):
            prefill([decoder], ids_of(PRIME, 1), 3)
    assert threading.active_count() == before
    for length, seed in ((PRIME, 1), (5, 0), (PRIME, 0)):
        check(length, seed)


@pytest.mark.slow
def test_whoever_asks_gets_the_same_from_any_cores():
    """Samples and hidden states, behind prompts of which two begin with one chunk."""
    lm = made()
    text = "".join(chr(97 + i * i % 26) for i in range(PRIME))
    prompts = ["what was read before is forgotten", text, text[: CHUNK + 5] + text[::-1]]

    def ask(devices):
        options = {"max_tokens": 3, "temperature": 2.0, "devices": devices}
        found = []
        for prompt in prompts:
            pool = et.generate(lm, prompt, n=2, **options)
            found += [(c.token_ids, c.token_logprobs) for c in pool]
            found += [states.tobytes() for states in read_hidden(lm, pool, 1, devices)]
        return found

    alone = ask(CORES[:1])
    assert ask(CORES[:2]) == alone
    assert ask(CORES) == alone
