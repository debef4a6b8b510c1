"""Hidden states behind a shared prompt against whole forwards, at every layer."""

from dataclasses import replace

import numpy as np
import pytest
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.errors import EdificeError
from edifice_tt.inference.decoder import CHUNK, decoder_of
from edifice_tt.inference.hidden import ROWS, TOKENS, read_hidden, view_at

CONTEXT = 256
LENGTHS = (1, TOKENS, TOKENS + 1, 2, 3 * TOKENS + 5)


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
    tables = lm.backbone.rotations(CONTEXT, lm.device)
    for block in lm.backbone.blocks[:blocks]:
        x = block(x, tables, [Tensor.arange(1, CONTEXT + 1)])
    hidden = lm.backbone.final_norm(x).numpy()[0]
    return hidden[len(text) - len(candidate.token_ids) : len(text)]


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


def test_a_lower_layer_is_a_view_that_shares_every_weight(tiny_lm):
    view = view_at(tiny_lm, 1)
    assert len(view.backbone.blocks) == view.config.num_layers == 1
    assert view.backbone.blocks[0] is tiny_lm.backbone.blocks[0]
    assert view_at(tiny_lm, 1) is view
    assert view_at(tiny_lm, 2) is tiny_lm
    assert len(tiny_lm.backbone.blocks) == tiny_lm.config.num_layers == 2


@pytest.mark.parametrize("layer", [0, 3, -1, True, 1.0])
def test_a_layer_that_is_not_there_is_refused(tiny_lm, pool, layer):
    with pytest.raises(ValueError, match=r"layer=.* must be a whole number from 1 to 2"):
        read_hidden(tiny_lm, pool, layer)


def test_an_empty_candidate_is_named(tiny_lm):
    pool = et.Pool("q", (et.Candidate(0, "a"), et.Candidate(1, "")))
    with pytest.raises(EdificeError, match="candidate 1 is empty"):
        read_hidden(tiny_lm, pool)


# --- what prompts have in common is read once


def count_reads(monkeypatch, decoder):
    read, counts = type(decoder).read, []

    def counting(self, ids, cache):
        counts.append(len(ids))
        return read(self, ids, cache)

    monkeypatch.setattr(type(decoder), "read", counting)
    return counts


def test_whole_chunks_in_common_are_read_once_and_change_no_bit(tiny_lm, monkeypatch):
    decoder = decoder_of(tiny_lm)
    shared = [5 + i % 90 for i in range(2 * CHUNK + 7)]
    first, second = [*shared, 9, 9], [*shared, 200, 201, 202]
    decoder.prompt = None
    decoder._held = None
    alone = decoder.read_prompt(second)
    decoder._held = None
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
    decoder = decoder_of(tiny_lm)
    good = [5 + i % 90 for i in range(2 * CHUNK + 7)]
    bad = [9 + i % 50 for i in range(2 * CHUNK + 7)]
    expected = decoder.read_prompt(good)
    step, calls = type(decoder).step, []

    def breaking(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(type(decoder), "step", breaking)
        with pytest.raises(KeyboardInterrupt):
            decoder.read_prompt(bad)
    assert np.array_equal(decoder.read_prompt(good), expected)
