"""Hidden states behind a shared prompt against whole forwards, at every layer."""

from dataclasses import replace

import numpy as np
import pytest
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError
from edifice_tt.engine.decoder import CHUNK, Decoder
from edifice_tt.engine.hidden import ROWS, read_hidden, read_layers
from edifice_tt.engine.rows import MORE as TOKENS

CONTEXT = 256
LENGTHS = (1, TOKENS, TOKENS + 1, 2, TOKENS + 37)


@pytest.fixture(scope="module")
def pool():
    """More candidates than are read at once, of many lengths."""
    rng = np.random.default_rng(3)
    lengths = [LENGTHS[i % len(LENGTHS)] for i in range(ROWS + 3)]
    ids = [tuple(rng.integers(3, 259, size).tolist()) for size in lengths]
    return et.Pool("What?", tuple(et.Candidate(i, "", one) for i, one in enumerate(ids)))


def whole_forward(lm, pool, candidate, blocks):
    """By the whole model without a cache, one block after the other."""
    text = lm.tokenizer.encode(pool.prompt) + list(candidate.token_ids)
    padded = np.zeros((1, CONTEXT), np.int32)
    padded[0, : len(text)] = text
    x = lm.token_embedding.rows(Tensor(padded))
    tables = lm.backbone.rotations(0, CONTEXT, lm.device)
    for block in lm.backbone.blocks[:blocks]:
        x = block(x, tables, [Tensor.arange(1, CONTEXT + 1)])
    hidden = lm.backbone.final_norm(x).numpy()[0]
    return hidden[len(text) - len(candidate.token_ids) : len(text)]


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "blocks"), [(1, 1), (2, 2), (None, 2)])
def test_states_are_those_of_a_whole_forward(tiny_lm, pool, layer, blocks):
    found = read_hidden(tiny_lm, pool, layer)
    for candidate, states in zip(pool, found, strict=True):
        assert states.shape == (len(candidate.token_ids), 24)
        if candidate.index in (0, 2, 4, ROWS + 2):
            expected = whole_forward(tiny_lm, pool, candidate, blocks)
            np.testing.assert_allclose(states, expected, atol=3e-5, rtol=0)


def test_states_do_not_depend_on_the_other_candidates(tiny_lm, pool):
    together = read_hidden(tiny_lm, pool)
    for place in (2, ROWS + 1):
        (alone,) = read_hidden(tiny_lm, replace(pool, candidates=(pool.candidates[place],)))
        assert np.array_equal(alone, together[place])
    backwards = read_hidden(tiny_lm, replace(pool, candidates=pool.candidates[::-1]))
    assert all(np.array_equal(a, b) for a, b in zip(backwards[::-1], together, strict=True))


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_several_layers_are_read_at_once_and_change_no_bit(tiny_lm, pool):
    (both,) = read_layers(tiny_lm, [pool], (2, 1, 2))
    assert list(both) == [1, 2]
    for layer in (1, 2):
        assert same(both[layer], read_hidden(tiny_lm, pool, layer))
    assert not same(both[1], both[2])


def test_devices_that_share_the_work_change_no_bit(tiny_lm, pool):
    """Of one pool they share the answers, of several the pools, each with a prompt of its own."""
    others = [replace(pool, prompt=prompt) for prompt in ("A?", "What " * 9, "Why?")]
    pools = [*others, replace(pool, candidates=pool.candidates[3:5])]
    two = ["CPU", "CPU:1"]
    for some in ([pool], pools):
        one_by_one = list(read_layers(tiny_lm, some, (1, 2), ["CPU"]))
        together = list(read_layers(tiny_lm, some, (1, 2), two))
        for expected, found in zip(one_by_one, together, strict=True):
            assert [same(found[layer], expected[layer]) for layer in (1, 2)] == [True, True]


@pytest.mark.slow
def test_reading_leaves_sampling_as_it_was(tiny_lm, pool):
    """On the same devices, whose prompt is one while sampling and is not while reading."""
    how = {"n": 20, "max_tokens": 3, "devices": ["CPU", "CPU:1"]}
    expected = et.generate(tiny_lm, "Where?", **how)
    et.generate(tiny_lm, "Whence?", **how)
    list(read_layers(tiny_lm, [pool, replace(pool, prompt="A?")], [2], how["devices"]))
    found = et.generate(tiny_lm, "Where?", **how)
    assert [c.token_logprobs for c in found] == [c.token_logprobs for c in expected]


def test_pools_without_candidates_have_no_states(tiny_lm, pool):
    empty = replace(pool, candidates=())
    assert read_hidden(tiny_lm, empty) == []
    assert [len(states[2]) for states in read_layers(tiny_lm, [empty, pool], [2])] == [0, ROWS + 3]
    assert list(read_layers(tiny_lm, [], [2])) == []


@pytest.mark.parametrize("layer", [0, 3, -1, True, 1.0])
def test_a_layer_that_is_not_there_is_refused(tiny_lm, pool, layer):
    with pytest.raises(ValueError, match=r"layer=.* must be a whole number from 1 to 2"):
        read_hidden(tiny_lm, pool, layer)


def test_no_layer_at_all_is_refused(tiny_lm, pool):
    with pytest.raises(ValueError, match=r"layers=\[\] must name at least one"):
        read_layers(tiny_lm, [pool], [])


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (et.Candidate(1, ""), "candidate 1 is empty"),
        (et.Candidate(1, "", (5,) * CONTEXT), "candidate 1 has 256 tokens, .* room for 255"),
        (et.Candidate(1, "", (5, 259)), "candidate 1 has token id 259"),
    ],
)
def test_a_candidate_that_cannot_be_read_is_named_before_anything_is_read(
    tiny_lm, pool, candidate, words
):
    bad = et.Pool("q", (et.Candidate(0, "a"), candidate), problem="seven")
    with pytest.raises(EdificeError, match=rf"^{words}"):
        read_hidden(tiny_lm, bad)
    with pytest.raises(EdificeError, match=rf"^problem 'seven': {words}"):
        read_layers(tiny_lm, [pool, bad], [2])


# --- what prompts have in common is read once


def count_reads(monkeypatch, decoder):
    read, counts = type(decoder).read, []

    def counting(self, ids, cache):
        counts.append(len(ids))
        return read(self, ids, cache)

    monkeypatch.setattr(type(decoder), "read", counting)
    return counts


def test_whole_chunks_in_common_are_read_once_and_change_no_bit(tiny_lm, monkeypatch):
    decoder = Decoder(lambda: tiny_lm)
    shared = [5 + i % 90 for i in range(2 * CHUNK + 7)]
    first, second = [*shared, 9, 9], [*shared, 200, 201, 202]
    alone = decoder.read_prompt(second)
    decoder.drop_prompt()
    decoder.read_prompt(first)
    counts = count_reads(monkeypatch, decoder)
    assert np.array_equal(decoder.read_prompt(second), alone)
    assert np.array_equal(
        decoder.read_prompt(second[: 2 * CHUNK]), decoder.read_prompt(first[: 2 * CHUNK])
    )
    decoder.read_prompt([7, *shared])
    # Of two chunks and seven tokens the rest; of exactly two chunks the last one, for its logits.
    assert counts == [10, CHUNK, CHUNK, 2 * CHUNK + 8]


def test_a_prompt_that_broke_off_is_not_trusted(tiny_lm, monkeypatch):
    decoder = Decoder(lambda: tiny_lm)
    good = [5 + i % 90 for i in range(2 * CHUNK + 7)]
    bad = [9 + i % 50 for i in range(2 * CHUNK + 7)]
    expected = decoder.read_prompt(good)
    step, calls = type(decoder).step, []

    def breaking(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(decoder), "step", breaking)
        with pytest.raises(KeyboardInterrupt):
            decoder.read_prompt(bad)
    assert np.array_equal(decoder.read_prompt(good), expected)


def test_a_candidate_that_is_only_text_is_read_as_its_tokens_are(monkeypatch, tiny_lm):
    """Also where the model begins each prompt with BOS, and where the text begins with its name."""
    tokenizer = replace(tiny_lm.tokenizer, add_bos=True)
    monkeypatch.setattr(tiny_lm, "tokenizer", tokenizer)
    assert tokenizer.encode("ab")[0] == tokenizer.bos_id
    for text in ("so it is", "<|im_start|>a", " <|im_end|>"):
        ids = tuple(3 + byte for byte in text.encode())
        known = et.Candidate(0, text, ids, (-1.0,) * len(ids))
        imported = et.Candidate(0, text, finish_reason="unknown")
        one, other = (read_hidden(tiny_lm, et.Pool("ab", (c,)))[0] for c in (known, imported))
        assert np.array_equal(one, other)
