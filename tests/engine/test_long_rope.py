"""LongRoPE: a text longer than what a model was made for is rotated in another way, as a whole."""

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.testing import byte_tokenizer

# 70 tokens: more than are read at a time, so that some could be kept from call to call.
LONG_FROM, PROMPT = 80, "count: one two" * 5


@pytest.fixture(scope="module")
def lm():
    sizes = {"hidden_size": 24, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
    long = {"long_rope_from": LONG_FROM, "long_rope_factors": (3.0, 5.0, 9.0)}
    long["rope_scale"] = 1.25
    lm = et.build("causal_lm", vocab_size=259, **sizes, **long, tied_embeddings=False, seed=3)
    for block in lm.backbone.blocks:  # so that attention is sharp, and positions matter
        for layer in (block.attn.q_proj, block.attn.k_proj, block.attn.o_proj):
            layer.weight.replace((layer.weight * 5).contiguous().realize())
    lm.tokenizer = byte_tokenizer()
    return lm


def whole(lm, pool):
    """The hidden states of each candidate, read with its prompt at once."""
    prompt = lm.tokenizer.encode(pool.prompt)
    for one in pool:
        text = np.array([[*prompt, *one.token_ids]], np.int32)
        yield lm(text).backbone.numpy()[0, len(prompt) :]


def is_greedy(lm, pool, length):
    """Whether each token is the likeliest after those before, in a text of that length."""
    prompt = lm.tokenizer.encode(pool.prompt)
    ids = [*prompt, *pool.candidates[0].token_ids]
    text = np.array([(ids + [0] * length)[:length]], np.int32)
    logits = lm(text).logits.numpy()[0]
    return logits[len(prompt) - 1 : len(ids) - 1].argmax(1).tolist() == list(
        pool.candidates[0].token_ids
    )


def sample(lm, max_tokens, prompt=PROMPT, **options):
    return et.generate(lm, prompt, n=1, temperature=0, max_tokens=max_tokens, **options)


@pytest.mark.slow
def test_an_answer_is_drawn_as_the_longest_text_that_it_can_make_is_read(lm):
    """And after another length the model answers as a fresh one does."""
    short, long = 10, 11  # 80 tokens with the prompt, and 81
    pools = [sample(lm, one) for one in (short, long, short, long)]
    assert is_greedy(lm, pools[0], LONG_FROM)
    assert is_greedy(lm, pools[1], LONG_FROM + 1)
    assert not is_greedy(lm, pools[1], LONG_FROM)
    assert pools[0].candidates[0].token_ids == pools[2].candidates[0].token_ids
    assert pools[1].candidates[0].token_ids == pools[3].candidates[0].token_ids


@pytest.mark.slow
@pytest.mark.parametrize("devices", [["CPU"], ["CPU", "CPU:1"]])
def test_hidden_states_are_those_of_each_text_alone(lm, devices):
    """Candidates of both lengths in one pool, in the pool's order."""
    texts = ["a longer answer", "short", "tiny", "another long answer"]
    pool = et.Pool(
        PROMPT, [et.Candidate(i, text, [*text.encode()]) for i, text in enumerate(texts)]
    )
    states = read_hidden(lm, pool, devices=devices)
    lengths = [len(PROMPT) + len(text) > LONG_FROM for text in texts]
    assert lengths == [True, False, False, True]
    for read, expected in zip(states, whole(lm, pool), strict=True):
        assert (read == expected).all()
