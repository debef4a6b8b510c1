"""The real model against transformers in float32: tokens, logits, greedy text, both ways.

The references are of the de-quantised SmolLM2-135M-Instruct.Q4_1.gguf.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from processors import BFLOATS
from tinygrad import Tensor
from tinygrad.nn.state import safe_load

import edifice_tt as et
from edifice_tt.engine.decoder import Decoder, chunks_of
from edifice_tt.nn.cpu.bridge import computes_halves

FOLDER = Path(__file__).parent / "references"
PROMPTS = json.loads((FOLDER / "smollm2_visible.json").read_text())
NUMBERS = {k: t.numpy() for k, t in safe_load(FOLDER / "smollm2_visible.safetensors").items()}
BUCKET = 40  # prompts are padded to one length, so that one shape is compiled


def number(prompt, name):
    return NUMBERS[f"{prompt}.{name}"]


@pytest.mark.slow
@pytest.mark.parametrize("prompt", range(len(PROMPTS)))
def test_token_ids_are_the_reference_s(smollm2, prompt):
    ids = smollm2.tokenizer.encode(PROMPTS[prompt]["text"])
    assert ids == number(prompt, "token_ids").tolist()


@pytest.mark.slow
@pytest.mark.parametrize("prompt", range(len(PROMPTS)))
def test_logits_without_cache_are_the_reference_s_at_every_position(smollm2, prompt):
    ids = number(prompt, "token_ids").tolist()
    padded = ids + [0] * (BUCKET - len(ids))  # causal: what follows a position does not reach it
    out = smollm2([padded])
    logits = out.logits.numpy()[0, : len(ids)].astype(np.float64)
    top = np.take_along_axis(logits, number(prompt, "top_ids").astype(np.int64), -1)
    assert np.abs(top - number(prompt, "top_logits")).max() < 0.01
    peak = logits.max(-1)
    logsumexp = peak + np.log(np.exp(logits - peak[:, None]).sum(-1))
    assert np.abs(logsumexp - number(prompt, "logsumexp")).max() < 0.01
    hidden = out.backbone.numpy()[0, len(ids) - 1]
    assert np.abs(hidden - number(prompt, "last_hidden")).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("prompt", range(len(PROMPTS)))
def test_greedy_tokens_through_the_cache_are_the_reference_s(smollm2, prompt):
    pool = et.generate(smollm2, PROMPTS[prompt]["text"], n=1, temperature=0, max_tokens=24)
    candidate = pool.candidates[0]
    expected = number(prompt, "greedy_ids").tolist()
    assert list(candidate.token_ids) == expected[: len(candidate.token_ids)]
    assert len(candidate.token_ids) == 24 or candidate.finish_reason == "eos"


@pytest.mark.slow
def test_greedy_tokens_without_the_cache_are_the_same(smollm2):
    fast = et.jit(smollm2)
    ids = number(0, "token_ids").tolist()
    expected = number(0, "greedy_ids").tolist()
    for step in range(24):
        padded = ids + [0] * (BUCKET - len(ids))
        logits = fast(Tensor([padded])).logits.numpy()[0, len(ids) - 1]
        assert logits.argmax() == expected[step]
        ids.append(expected[step])


@pytest.mark.slow
def test_logits_through_the_cache_are_those_without_it(smollm2):
    """At every position of a prompt longer than a chunk, so that chunks meet inside it."""
    ids = number(1, "token_ids").tolist()
    assert len(ids) > 32
    decoder = Decoder(lambda: smollm2)
    cache, hidden = decoder.cache_for(1, BUCKET), np.empty((0, smollm2.config.hidden_size))
    for chunk, count in chunks_of(ids):
        states, _ = decoder.step(chunk, cache.holding(len(hidden)), range(count))
        hidden = np.concatenate([hidden, states[0, :count]])
    uncached = smollm2([ids + [0] * (BUCKET - len(ids))]).backbone.numpy()[0, : len(ids)]
    assert np.abs(hidden - uncached).max() < 1e-3


@pytest.fixture(scope="module")
def rounded():
    return et.load_pretrained("smollm2-135m", activations="int8")


def logprobs(model, ids):
    logits = model([ids + [0] * (BUCKET - len(ids))]).logits.numpy()[0, : len(ids)]
    exact = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return exact - np.log(np.exp(exact).sum(-1, keepdims=True))


@pytest.mark.slow
def test_rounded_activations_stay_near_the_reference(smollm2, rounded):
    """As near as llama.cpp's, which are 0.0035 nats away; a wrong scale anywhere is 1 or more."""
    divergence = []
    for prompt in range(len(PROMPTS)):
        ids = number(prompt, "token_ids").tolist()
        exact, other = logprobs(smollm2, ids), logprobs(rounded, ids)
        divergence += [*(np.exp(exact) * (exact - other)).sum(-1)]
    assert 1e-4 < np.mean(divergence) < 0.006


@pytest.mark.slow
@pytest.mark.skipif(not computes_halves("CPU"), reason="no float16 in this processor")
def test_products_in_float16_stay_nearer(smollm2):
    """A tenth of what 8 bits are away, and no more, so sums are not in float16 throughout."""
    halves = et.load_pretrained("smollm2-135m", activations="float16")
    divergence = []
    for prompt in range(len(PROMPTS)):
        ids = number(prompt, "token_ids").tolist()
        exact, other = logprobs(smollm2, ids), logprobs(halves, ids)
        divergence += [*(np.exp(exact) * (exact - other)).sum(-1)]
    assert 1e-8 < np.mean(divergence) < 4e-4


@pytest.mark.slow
@BFLOATS
def test_products_in_bfloat16_stay_nearer_than_in_8_bits(smollm2):
    """A tenth of what 8 bits are away, and no more, so sums are in float32."""
    bfloats = et.load_pretrained("smollm2-135m", activations="bfloat16")
    divergence = []
    for prompt in range(len(PROMPTS)):
        ids = number(prompt, "token_ids").tolist()
        exact, other = logprobs(smollm2, ids), logprobs(bfloats, ids)
        divergence += [*(np.exp(exact) * (exact - other)).sum(-1)]
    assert 1e-7 < np.mean(divergence) < 4e-4


@pytest.mark.slow
def test_candidates_of_rounded_activations_depend_on_themselves_alone(rounded):
    """Alone, in batches of one size and another, on one device and on two: the same bits."""
    sampling = {"seed": 5, "max_tokens": 6, "temperature": 1.5}
    pool = et.generate(rounded, "The sea", n=19, **sampling)
    assert pool.settings["activations"] == "int8"
    for more in ({"devices": ["CPU"]}, {"batch_size": 3}, {"indices": [7]}):
        some = et.generate(rounded, "The sea", n=19, **sampling, **more)
        assert some.candidates == tuple(pool.candidates[c.index] for c in some)


@pytest.mark.slow
def test_one_file_is_one_model_and_a_pool_says_what_was_rounded(smollm2, rounded, smollm2_path):
    halves = et.load_pretrained(smollm2_path, dtype="float16")
    assert rounded.fingerprint == smollm2.fingerprint == halves.fingerprint
    assert et.generate(halves, "The sea", n=1, max_tokens=1).settings["dtype"] == "float16"
    weight = halves.backbone.final_norm.weight
    weight.replace((weight + 1).realize())
    assert halves.fingerprint != smollm2.fingerprint
    exact = et.generate(smollm2, "The sea", n=1, max_tokens=1)
    assert not {"activations", "dtype"} & set(exact.settings)


@pytest.mark.slow
def test_four_of_sixteen_are_the_four_alone(smollm2):
    chat = [{"role": "user", "content": "What is gravity?"}]
    pools = {
        n: et.generate(smollm2, chat, n=n, seed=5, max_tokens=6, temperature=1.5) for n in (4, 16)
    }
    assert pools[16].candidates[:4] == pools[4].candidates
    assert len({c.text for c in pools[16]}) > 4
