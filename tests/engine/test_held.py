"""What was sampled, or read before, is not read again, and that changes no bit of any state."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.engine.decoder import CACHES, Decoder
from edifice_tt.engine.held import common
from edifice_tt.engine.hidden import Texts, read_hidden, read_texts
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.testing import byte_tokenizer

TWO = ["CPU", "CPU:1"]
ASK = [65, 66, 67, 68, 69]  # what follows an answer


@pytest.fixture
def counted(monkeypatch):
    """The tokens that are read behind prompts, one number a step."""
    step, counts = Decoder.step, []

    def counting(self, inputs, cache, wanted, *arguments, **options):
        if cache.prefix is not None and inputs.shape[1] > 1:
            counts.append(len(wanted))
        return step(self, inputs, cache, wanted, *arguments, **options)

    monkeypatch.setattr(Decoder, "step", counting)
    return counts


def anew(read, lm, *arguments, **options):
    """What is read where nothing is held; not by a copy, which would be compiled first."""
    with workspace_of(lm) as workspace:
        kept = [(one, one.held, one._ids) for one in workspace.by_device.values()]
        for decoder, _, _ in kept:
            decoder.held, decoder._ids = {}, None
            decoder.caches = {}
    try:
        return read(lm, *arguments, **options)
    finally:
        for decoder, held, _ in kept:
            decoder.held = held
            decoder.caches |= {size: one.cache for size, one in held.items()}


def sampled(lm, prompt="What?", n=5, tokens=40, devices=("CPU",), **options):
    options |= {"temperature": 1.0, "devices": list(devices)}
    return et.generate(lm, prompt, n=n, max_tokens=tokens, **options)


def last_states(lm, pool, devices=("CPU",), **options):
    return [one.tobytes() for one in read_hidden(lm, pool, None, devices, True, **options)]


def job_of(lm, pool, behind):
    """Each answer with some tokens behind it, of which the last state is asked for."""
    answers = [[*candidate.token_ids, *behind] for candidate in pool]
    return Texts(lm.tokenizer.encode(pool.prompt), answers, [[len(ids) - 1] for ids in answers])


def states_behind(lm, pool, behind=ASK, devices=None):
    (states,) = read_texts(lm, [job_of(lm, pool, behind)], devices)
    return [one.tobytes() for one in states]


@pytest.mark.parametrize("devices", [["CPU"], TWO])
def test_an_answer_that_was_just_sampled_is_read_from_its_last_token_on(tiny_lm, counted, devices):
    pool = sampled(tiny_lm, devices=devices)
    expected = anew(last_states, tiny_lm, pool)
    assert sum(counted) == sum(len(candidate.token_ids) for candidate in pool)
    counted.clear()
    assert last_states(tiny_lm, pool, devices) == expected
    assert sum(counted) - (len(devices) if len(devices) > 1 else 0) == len(pool)


def test_what_follows_an_answer_is_all_that_is_read(tiny_lm, counted):
    """Of answers that end at many places, by a stop; and the last token was never read."""
    ids = [candidate.token_ids for candidate in sampled(tiny_lm, n=7)]
    pool = sampled(tiny_lm, n=7, stop=[ids[0][4], ids[1][19], ids[2][30]])
    assert len({len(candidate.token_ids) for candidate in pool}) > 2
    expected = anew(states_behind, tiny_lm, pool)
    counted.clear()
    assert states_behind(tiny_lm, pool, devices=["CPU"]) == expected
    # One token more of each, but for those that another answer has at this place.
    assert len(pool) * len(ASK) <= sum(counted) <= len(pool) * (len(ASK) + 1)


def test_what_one_scorer_has_read_the_next_does_not(tiny_lm, counted):
    pool = et.Pool("Why?", tuple(et.Candidate(i, "", (70 + i,) * 30) for i in range(3)))
    expected = anew(states_behind, tiny_lm, pool)
    last_states(tiny_lm, pool)
    counted.clear()
    assert states_behind(tiny_lm, pool, devices=["CPU"]) == expected
    assert sum(counted) == len(pool) * len(ASK)
    again = states_behind(tiny_lm, pool, [90, 91], ["CPU"])  # the other question is no part of it
    assert again == anew(states_behind, tiny_lm, pool, [90, 91])


def test_all_states_are_read_anew(tiny_lm):
    """Keys and values are held, and no states."""
    pool = sampled(tiny_lm, tokens=9)
    expected = [one.tobytes() for one in anew(read_hidden, tiny_lm, pool)]
    assert [one.tobytes() for one in read_hidden(tiny_lm, pool)] == expected


def test_what_was_read_through_some_layers_serves_no_deeper_one(tiny_lm, counted):
    pool = et.Pool("Why?", tuple(et.Candidate(i, "", (70 + i,) * 9) for i in range(3)))
    expected = [one.tobytes() for one in anew(read_hidden, tiny_lm, pool, 2, last_only=True)]
    read_hidden(tiny_lm, pool, 1, ["CPU"])
    counted.clear()
    assert last_states(tiny_lm, pool) == expected
    assert sum(counted) == 27


def test_some_candidates_in_another_order_beside_others_have_the_same_states(tiny_lm):
    pool = sampled(tiny_lm, n=6, devices=TWO)
    expected = anew(last_states, tiny_lm, pool)
    stranger = et.Candidate(9, "", (70, 71, 72))
    (alone,) = anew(last_states, tiny_lm, replace(pool, candidates=(stranger,)))
    some = (pool.candidates[4], stranger, pool.candidates[1], pool.candidates[4])
    found = last_states(tiny_lm, replace(pool, candidates=some), TWO)
    assert found == [expected[4], alone, expected[1], expected[4]]
    assert last_states(tiny_lm, pool, TWO) == expected


def test_an_answer_of_other_tokens_or_another_prompt_is_read_anew(tiny_lm, counted):
    pool = sampled(tiny_lm, n=2, tokens=9)
    first = pool.candidates[0].token_ids
    other = replace(pool, candidates=(et.Candidate(0, "", (*first[:3], first[3] ^ 1, *first[4:])),))
    asked = replace(pool, prompt="What!")
    for one in (other, asked):
        expected = anew(last_states, tiny_lm, one)
        counted.clear()
        assert last_states(tiny_lm, one) == expected
    assert sum(counted) == sum(len(candidate.token_ids) for candidate in pool)


@pytest.mark.parametrize("between", ["sample", "break off", "read", "weights"])
def test_whatever_happens_between_changes_no_state(tiny_lm, between):
    lm = copy(tiny_lm)
    pool = sampled(lm, n=4, tokens=9)
    if between == "sample":
        sampled(lm, "Another?", n=4, tokens=9)
    if between == "read":
        last_states(lm, sampled(copy(tiny_lm), "Another?", n=4, tokens=9))
    if between == "break off":

        def leave(event):
            raise InterruptedError

        with pytest.raises(InterruptedError):
            sampled(lm, n=4, tokens=9, seed=3, on_token=leave)
    if between == "weights":
        weight = lm.backbone.blocks[0].attn.k_proj.weight
        lm.backbone = copy(lm.backbone)
        lm.backbone.blocks = [copy(block) for block in lm.backbone.blocks]
        lm.backbone.blocks[0].attn = copy(lm.backbone.blocks[0].attn)
        lm.backbone.blocks[0].attn.k_proj = copy(lm.backbone.blocks[0].attn.k_proj)
        lm.backbone.blocks[0].attn.k_proj.weight = (weight * 2).contiguous().realize()
    assert last_states(lm, pool) == anew(last_states, lm, pool)


def test_of_more_candidates_than_rows_those_are_reused_that_were_sampled_last(tiny_lm, counted):
    pool = sampled(tiny_lm, "Which?", n=6, tokens=9, batch_size=2)
    expected = anew(last_states, tiny_lm, pool)
    counted.clear()
    assert last_states(tiny_lm, pool) == expected
    ids = [candidate.token_ids for candidate in pool]
    shared = [max(common(one, two[:-1]) for two in ids[4:]) for one in ids]
    assert sum(counted) == sum(9 - count for count in shared)
    assert shared[4:] == [8, 8]
    assert max(shared[:4]) < 8


RECURRENT = {"recurrent_layers": (0,), "gated_attention": True, "delta_key_heads": 2}
RECURRENT |= {"delta_value_heads": 2, "delta_key_size": 3, "delta_value_size": 5, "delta_conv": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"windows": (4, 0), "norms": "both", "attention_softcap": 5.0},
        {"experts": 3, "experts_used": 2, "expert_size": 8},
        {"long_rope_from": 30, "long_rope_factors": (1.0, 2.0, 3.0, 4.0)},
        RECURRENT,
    ],
)
def test_every_kind_of_layer_has_the_states_that_it_has_anew(options, counted):
    """A recurrent layer keeps no more than its state behind the last token, so it is read anew."""
    sizes = {"vocab_size": 259, "context_length": 256, "hidden_size": 16, "num_layers": 2}
    lm = et.build("causal_lm", **sizes, num_heads=2, num_kv_heads=1, seed=3, **options)
    lm.tokenizer = byte_tokenizer()
    pool = sampled(lm, n=3)
    expected = anew(states_behind, lm, pool)
    counted.clear()
    assert states_behind(lm, pool, devices=["CPU"]) == expected
    everything = sum(len(candidate.token_ids) + len(ASK) for candidate in pool)
    assert (sum(counted) == everything) == (options is RECURRENT)


@pytest.mark.slow
def test_reading_leaves_no_more_caches_than_are_kept(tiny_lm):
    lm = copy(tiny_lm)
    for tokens in (3, 70, 130, 3):
        for n in (1, 9, 20):
            last_states(lm, sampled(lm, n=n, tokens=tokens))
    with workspace_of(lm) as workspace:
        for decoder in workspace.by_device.values():
            assert len(decoder.caches) <= CACHES
            assert decoder.held.keys() <= decoder.caches.keys()
            assert all(decoder.caches[size] is one.cache for size, one in decoder.held.items())


@pytest.mark.slow
def test_the_prompt_is_not_read_again(tiny_lm, monkeypatch):
    sampled(tiny_lm, "A longer one. " * 11, n=2, tokens=5, devices=TWO)
    pool = sampled(tiny_lm, "What is it? " * 9, n=2, tokens=5)
    expected = anew(last_states, tiny_lm, pool)
    monkeypatch.setattr(Decoder, "read", lambda *_: pytest.fail("it was read"))
    assert last_states(tiny_lm, pool) == expected
    assert np.frombuffer(expected[0], np.float32).shape == (24,)
