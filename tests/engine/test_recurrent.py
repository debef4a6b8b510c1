"""A recurrent layer's state: read in order, begun anew, copied from the prompt by every row."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from test_sequences import make
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.engine.capacity import cache_bytes
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.programs import Programs
from edifice_tt.nn.backbone import Block
from edifice_tt.nn.buffers import view
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.cpu import team
from edifice_tt.nn.cpu.kernels import HEADER
from edifice_tt.nn.cpu.replay import Replay

HYBRID = (4,)  # layers, of which only the last has attention


def ids_of(length, seed=0):
    return np.random.default_rng([length, seed]).integers(3, 259, length).tolist()


def answer(decoder, prompt, rows, wanted=None):
    """Logits behind a prompt, and behind each token of rows (B, T), of which some are wanted."""
    found = [decoder.read_prompt(prompt)]
    cache, wanted = decoder.cache_for(len(rows), 3), wanted or range(len(rows))
    for t in range(rows.shape[1]):
        ids = np.zeros((cache.batch, 1), np.int32)
        ids[: len(rows), 0] = rows[:, t]
        _, logits = decoder.step(ids, cache.holding(t, decoder.prefix), list(wanted))
        found += [logits[row].copy() for row in wanted]
    return np.stack(found)


ROWS = np.array([[5, 6, 7], [8, 9, 10], [11, 12, 13]])


@pytest.fixture(scope="module")
def lm():
    return make(HYBRID, 3)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [HYBRID, (24,)])
def test_prompts_in_turn_have_the_bits_of_texts_read_whole(layers):
    """Longer, shorter, with the same beginning, the same once more; by all rows and by some."""
    lm = make(layers, 3)
    decoder, long = Decoder(lambda: lm), ids_of(131)
    for prompt in (long, long[:70], long[:70], long[:67] + ids_of(5), ids_of(3), long, long[:64]):
        expected = answer(Decoder(lambda: lm), prompt, ROWS)
        assert (answer(decoder, prompt, ROWS) == expected).all()
        for wanted in ([1], [0, 2]):
            places = [0, *(1 + 3 * t + row for t in range(3) for row in wanted)]
            assert (answer(decoder, prompt, ROWS, wanted) == expected[places]).all()
    texts = np.array([[*long, *row] for row in ROWS], np.int32)
    whole = lm(texts).logits.numpy()[:, 130:].transpose(1, 0, 2)
    found = answer(decoder, long, ROWS)
    assert (found == np.concatenate([whole[0, :1], whole[1:].reshape(9, -1)])).all()


@pytest.mark.slow
def test_a_prompt_that_broke_off_between_two_layers_is_read_anew(lm, monkeypatch):
    prompt, run, steps = ids_of(131), Replay.__call__, []
    expected = answer(Decoder(lambda: lm), prompt, ROWS)
    decoder = Decoder(lambda: lm)
    answer(decoder, prompt, ROWS)

    def breaks(self):
        steps.append(self)
        if len(steps) < 3:  # each chunk has its layers and its head
            return run(self)
        half = Replay()
        half._calls = self._calls[:3]
        run(half)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Replay, "__call__", breaks)
        with pytest.raises(KeyboardInterrupt):
            decoder.read_prompt(prompt)
    assert (answer(decoder, prompt, ROWS) == expected).all()


@pytest.mark.slow
def test_tokens_that_are_not_wanted_change_no_state(lm, monkeypatch):
    """Whatever stands in them, in the kernel and in the formula; and states of others stay."""
    block, rng = lm.backbone.blocks[0], np.random.default_rng(5)
    x = rng.standard_normal((3, 5, 16)).astype(np.float32)
    for one_kernel in (True, False):
        monkeypatch.setattr(Block, "is_one_kernel", lambda self, x, one=one_kernel: one)
        states = []
        for noise in (0, 7):
            cache = KVCache.empty(lm.config.backbone, 3, 16, "CPU")
            for length, counts in ((0, (5, 4, 5)), (5, (2, 0, 5)), (10, (1, 0, 0))):
                given = x + length
                for row, count in enumerate(counts):
                    given[row, count:] += noise
                wanted = [row * 5 + t for row, n in enumerate(counts) for t in range(n)]
                rows = np.zeros(HEADER + 15, np.int32)
                rows[1:3], rows[HEADER : HEADER + len(wanted)] = (length, len(wanted)), wanted
                behind = cache.holding(length, None, Tensor(rows, device="CPU").realize())
                block(Tensor(given, device="CPU"), None, [], behind, 0).realize()
            states.append(cache.layers[0].numpy().copy())
        assert (states[0] == states[1]).all()
        assert np.abs(states[0]).min(1).max() < np.abs(states[0]).max()


@pytest.mark.slow
def test_a_text_begins_anew_at_length_0(lm):
    """In buffers that hold another text's state, with a prompt before it and without."""
    cache = KVCache.empty(lm.config.backbone, 1, 64, "CPU")
    x = [np.random.default_rng(s).standard_normal((1, 4, 16)).astype(np.float32) for s in (1, 2)]
    fresh = lm.backbone(Tensor(x[1], device="CPU")).numpy()
    for given in x:
        found = lm.backbone(Tensor(given, device="CPU"), cache.holding(0)).numpy()
    assert (found == fresh).all()
    shared = KVCache.empty(lm.config.backbone, 1, 64, "CPU")
    lm.backbone(Tensor(x[0], device="CPU"), shared.holding(0)).realize()
    both = lm.backbone(Tensor(np.concatenate(x, 1), device="CPU")).numpy()[:, 4:]
    for _ in range(2):
        behind = cache.holding(0, shared.holding(4))
        assert (lm.backbone(Tensor(x[1], device="CPU"), behind).numpy() == both).all()


@pytest.mark.slow
@pytest.mark.parametrize("length", [5, 131])
def test_steps_of_other_devices_compute_the_same(lm, monkeypatch, length):
    """By the formula, captured by tinygrad: chunks, padding, rows behind prompts in turn."""
    ours, prompts = Decoder(lambda: lm), [ids_of(length), ids_of(length)[: length // 2], ids_of(7)]
    expected = [answer(ours, prompt, ROWS) for prompt in prompts]
    monkeypatch.setattr(Programs, "link", lambda *_: None)
    monkeypatch.setattr(Block, "is_one_kernel", lambda self, x: False)
    theirs = Decoder(lambda: lm)
    for prompt, one in zip(prompts, expected, strict=True):
        assert answer(theirs, prompt, ROWS) == pytest.approx(one, abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [HYBRID, (24,)])
def test_two_devices_answer_as_one(layers):
    """A prompt that they read together, and rows that they share."""
    lm = make(layers, 3)
    text = "".join(map(chr, np.random.default_rng(1).integers(97, 123, 200)))
    one, two = (
        et.generate(lm, text, n=5, max_tokens=5, batch_size=2, devices=devices).candidates
        for devices in (["CPU"], ["CPU", "CPU:1"])
    )
    assert one == two


class Hidden(NamedTuple):
    states: Tensor


class Reader:
    """A model of hidden states, of which several devices share a text."""

    def __init__(self, backbone):
        self.backbone, self.config = backbone, SimpleNamespace(backbone=backbone.config)

    def __call__(self, x, cache=None):
        return Hidden(self.backbone(x, cache))


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, HYBRID])
def test_cores_share_the_work_on_a_single_text(monkeypatch, layers):
    """Also where a layer is recurrent, whose tokens follow one another."""
    monkeypatch.setattr(team, "LEAST", 1)  # else these layers are too small to be shared
    backbone = make(layers, 3).backbone
    x = Tensor(np.random.default_rng(1).standard_normal((1, 60, 16)).astype(np.float32)).realize()
    fast, expected = et.jit(Reader(backbone), devices=["CPU", "CPU:1"]), backbone(x).numpy()
    for _ in range(2):
        assert (fast(x).states.numpy() == expected).all()
    assert [part.team is None for parts in fast._parts.values() for part in parts] == [False]


@pytest.mark.slow
def test_the_memory_of_states_is_counted(lm):
    cache = KVCache.empty(lm.config.backbone, 2, 64, "CPU")
    assert cache_bytes(lm.config, 2, 64) == sum(view(layer).nbytes for layer in cache.layers)
    assert (cache.batch, cache.capacity) == (2, 64)
    more = KVCache.empty(lm.config.backbone, 2, 128, "CPU")
    assert [a.shape == b.shape for a, b in zip(cache.layers, more.layers, strict=True)] == [
        *[True] * 3,
        False,
    ]
