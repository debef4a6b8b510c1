"""Steps linked from the programs of one layer: the bits of a step that is captured whole."""

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.programs import Programs
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.nn.buffers import CACHE_LINE, wrap
from edifice_tt.nn.cpu.replay import memory_of
from edifice_tt.nn.stored.blocks import QuantizedLinear
from edifice_tt.testing import byte_tokenizer


def q8_0(seed, rows, width):
    """Random blocks of 8 bits, with scales near 1/256."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (rows, width // 32, 34), dtype=np.uint8)
    scales = rng.uniform(0.002, 0.006, (rows, width // 32, 1)).astype(np.float16)
    blocks[..., :2] = scales.view(np.uint8)
    return QuantizedLinear(wrap(blocks.reshape(rows, -1), "CPU"), "Q8_0")


@pytest.fixture(scope="module")
def mixed():
    """Three layers, the second of which holds a weight in blocks."""
    lm = et.build("causal_lm", vocab_size=259, context_length=256, hidden_size=32, seed=3)
    lm.backbone.blocks[1].attn.q_proj = q8_0(5, 32, 32)
    lm.tokenizer = byte_tokenizer()
    return lm


def whole(monkeypatch, lm):
    """The model's steps as tinygrad captures them."""
    with monkeypatch.context() as patch:
        patch.setattr(Programs, "link", lambda *_: None)
        decoder = Decoder(lambda: lm)
        return read(decoder)


def read(decoder):
    """Logits and hidden states of a prompt of two chunks, and of two rows behind it."""
    prompt = [5 + i * i % 90 for i in range(70)]
    first = decoder.read_prompt(prompt)
    cache = decoder.cache_for(2, 5)
    found = [first]
    for position, tokens in enumerate([[7, 11], [13, 17], [19, 23]]):
        ids = np.array(tokens, np.int32)[:, None]
        hidden, logits = decoder.step(ids, cache.holding(position, decoder.prefix), [0, 1])
        found += [hidden.copy(), np.array(logits)]
    parts = [range(1), range(1, decoder.model.config.num_layers)]
    given = np.array([[29], [31]], np.int32)
    for part in parts:
        hidden, last = decoder.step(given, cache.holding(3, decoder.prefix), [0, 1], part)
        given = hidden.copy()
        found += [given, np.array(last).reshape(2, -1)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_lm", "mixed"])
def test_linked_steps_have_the_bits_of_steps_captured_whole(name, request, monkeypatch):
    """In the mixed model a layer's program does not serve its neighbour."""
    lm = request.getfixturevalue(name)
    for ours, theirs in zip(read(Decoder(lambda: lm)), whole(monkeypatch, lm), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_one_program_serves_all_layers_of_a_kind(mixed):
    decoder = Decoder(lambda: mixed)
    decoder.read_prompt([5, 6, 7])
    kinds = [key[0] for key in decoder.programs._captured]
    assert sorted(kinds) == ["embed", "head", "layer", "layer", "norm"]  # floats, and with blocks


@pytest.mark.slow
def test_the_memory_of_a_step_begins_where_a_cache_line_does(tiny_lm):
    """Caches, hidden states and scratch: else every vector of a kernel lies in two lines."""
    decoder = Decoder(lambda: tiny_lm)
    read(decoder)
    places = [memory_of(layer) for cache in decoder.caches.values() for layer in cache.layers]
    for step in decoder._steps.values():
        chains = step.memory if isinstance(step.memory, tuple) else [step.memory]
        scratch = [array for chain in chains for array in chain._scratch.values()]
        places += [step.hidden.ctypes.data, *(array.ctypes.data for array in scratch)]
    assert len(places) >= 10
    assert [place % CACHE_LINE for place in places] == [0] * len(places)


def test_cores_share_programs_and_weights_but_no_cache(tiny_lm):
    with workspace_of(tiny_lm) as workspace:
        own, other = workspace.decoders(["CPU", "CPU:1"])
    assert own is not other
    assert own.programs is other.programs
    assert own.cache_for(2, 5).layers[0] is not other.cache_for(2, 5).layers[0]
