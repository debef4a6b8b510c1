"""Rows that fork: whatever was copied, dropped or begun, a row is what its tokens alone make it."""

import random

import numpy as np
import pytest
from test_sequences import template

import edifice_tt as et
from edifice_tt.contract.options import problem_seed
from edifice_tt.engine.branches import Branches
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.hidden import Texts, _read_all
from edifice_tt.engine.programs import Programs
from edifice_tt.nn.backbone import Block
from edifice_tt.sampling.draws import Sampler

HYBRID = (4,)  # layers, of which only the last has attention
PROMPT = [7, 200, 31, 5, 90]


def formula(monkeypatch):
    """Steps as other devices run them: by the formula, captured, all rows of a batch at once."""
    monkeypatch.setattr(Programs, "link", lambda *_: None)
    monkeypatch.setattr(Block, "is_one_kernel", lambda self, x: False)


class Writer:
    """Draws tokens by row and place, until a length that the test sets."""

    def __init__(self):
        self.until, self.names, self.tokens = {}, {}, 0

    def __call__(self, row, logits):
        assert np.isfinite(logits).all()
        self.tokens += 1
        place = len(row.ids)
        token = random.Random(f"{self.names[id(row)]} {place}").randrange(3, 259)
        return token, place + 1 < self.until[id(row)]


class Truth:
    """The logits and states behind a text, by rows that never fork."""

    def __init__(self, lm, layer=None):
        self.decoder, self.layer = Decoder(lambda: lm), layer

    def __call__(self, ids):
        rows = Branches([self.decoder], PROMPT, 40, layer=self.layer)
        row, given = rows.begin(), iter(ids)
        rows.advance([row], lambda row, _: (next(given), len(row.ids) + 1 < len(ids)))
        return row.logits, row.states


def live(lm, seed, decoders=1, asks=6, layer=None, batch_size=32):
    """A random history of rows; returns those that are alive, the branches and the writer."""
    rng, writer = random.Random(seed), Writer()
    made = [Decoder(lambda: lm) for _ in range(decoders)]
    rows = Branches(made, PROMPT, 40, layer=layer, batch_size=batch_size)
    alive, keep = [], []
    for _ in range(asks):
        asked = []
        for row in rng.sample(alive, rng.randint(0, len(alive))):
            copies = rng.choice([0, 1, 1, 2, 3])
            asked += [row.fork() for _ in range(copies)]
            if not copies or rng.random() < 0.3:
                asked.append(row)
        asked += [rows.begin() for _ in range(rng.randint(0 if asked else 1, 2))]
        asked = [row for row in asked if len(row.ids) < 30][:8]
        for row in asked:
            writer.until[id(row)] = len(row.ids) + rng.randint(1, 9)
            writer.names.setdefault(id(row), len(keep))
            keep.append(row)  # or another would have its id
        rows.advance(asked, writer)
        alive = asked
    return alive, rows, writer


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, HYBRID])
@pytest.mark.parametrize("seed", range(2))
def test_a_row_of_a_tree_has_the_bits_of_its_tokens_alone(layers, seed):
    lm = template(layers, 3)
    alive, _, _ = live(lm, seed)
    truth = Truth(lm)
    for row in alive:
        assert row.read == len(row.ids)
        assert (row.logits == truth(row.ids)[0]).all()
    text = np.array([[*PROMPT, *alive[0].ids]], np.int32)
    assert (alive[0].logits == lm(text).logits.numpy()[0, -1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_costs_the_tokens_that_were_drawn(seed):
    """Of rows that were dropped, too; what a row has of its parent is not read again."""
    _, rows, writer = live(template(2, 3), seed)
    assert rows.computed - rows.again == writer.tokens
    assert rows.padding == 0  # on a CPU


def test_rows_whose_parents_are_there_are_never_read_again():
    lm, writer = template(2, 3), Writer()
    rows = Branches([Decoder(lambda: lm)], PROMPT, 40)
    level = [rows.begin() for _ in range(4)]
    for step in range(1, 6):
        for name, row in enumerate(level):
            writer.names[id(row)] = (step, name)
            writer.until[id(row)] = len(row.ids) + step + name % 2
        rows.advance(level, writer)
        level = [level[name].fork() for name in (1, 1, 2, 1)]
    assert rows.again == 0
    assert rows.computed == writer.tokens == sum(4 * step + 2 for step in range(1, 6))


@pytest.mark.slow
@pytest.mark.parametrize(("decoders", "batch"), [(2, 32), (3, 2), (1, 2)])
def test_cores_and_small_batches_share_a_tree(decoders, batch):
    lm = template(2, 3)
    expected, _, _ = live(lm, 1)
    alive, _, _ = live(lm, 1, decoders, batch_size=batch)
    assert [row.ids for row in alive] == [row.ids for row in expected]
    assert all((a.logits == b.logits).all() for a, b in zip(alive, expected, strict=True))


@pytest.mark.parametrize("layer", [1, 2])
def test_states_are_those_of_a_text_that_is_read_whole(layer):
    lm = template(2, 3)
    alive, _, _ = live(lm, 2, layer=layer)
    for row in alive:
        text = [Texts(PROMPT, [row.ids])]
        (((expected,),),) = _read_all(lm, text, [range(layer)], ["CPU"])
        assert (np.stack(row.states) == expected).all()


@pytest.mark.slow
@pytest.mark.parametrize("layers", [30, (24,)])
def test_a_row_of_a_deep_model_s_tree_has_the_bits_of_its_tokens_alone(layers):
    lm = template(layers, 3)
    truth = Truth(lm)
    for seed in range(3):
        for row in live(lm, seed)[0]:
            assert (row.logits == truth(row.ids)[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, HYBRID])
def test_by_the_formula_a_row_that_waits_keeps_what_it_has(monkeypatch, layers):
    """There a step computes all rows of a batch; one that is further on must not be changed."""
    formula(monkeypatch)
    lm = template(layers, 3)
    truth = Truth(lm)
    for seed in (1, 2):
        for row in live(lm, seed)[0]:
            assert row.logits == pytest.approx(truth(row.ids)[0], abs=2e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_independent_rows_are_the_candidates_of_plain_sampling(tiny_lm, devices):
    """To the last bit, and with the tokens that end them."""
    pool = et.generate(tiny_lm, "thequick", n=7, seed=5, max_tokens=23, problem="p", stop=[74])
    sampler = Sampler(seed=problem_seed(5, "p"))
    stops, logprobs, names = {74}, {}, {}

    def draw(row, logits):
        token, logprob = sampler.draw(logits, names[id(row)], len(row.ids))
        logprobs.setdefault(id(row), []).append(logprob)
        row.ended = token in stops
        return token, not row.ended and len(row.ids) < 22

    ids = tiny_lm.tokenizer.encode("thequick")
    rows = Branches([Decoder(lambda: tiny_lm) for _ in range(devices)], ids, 23)
    level = [rows.begin() for _ in range(7)]
    names.update({id(row): name for name, row in enumerate(level)})
    rows.advance(level, draw)
    for row, candidate in zip(level, pool, strict=True):
        assert tuple(row.ids) == candidate.token_ids
        assert tuple(logprobs[id(row)]) == candidate.token_logprobs
    ended = sum(row.ended for row in level)
    assert 0 < ended < 7
    assert rows.computed == sum(len(row.ids) for row in level) - ended
