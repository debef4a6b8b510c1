"""The whole backbone against float64 NumPy, and the cache against no cache."""

import numpy as np
import numpy_reference as reference
import pytest
from tinygrad import Tensor
from tinygrad.helpers import Context
from tinygrad.nn.state import get_state_dict

from edifice_tt.nn.backbone import Backbone
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.config import BackboneConfig

LLAMA = BackboneConfig(
    hidden_size=30,
    num_layers=2,
    num_heads=6,
    num_kv_heads=3,
    head_dim=10,  # not hidden_size / num_heads
    ffn_size=17,
    biases=(),
    final_norm="rms_norm",
    norm_eps=1e-5,
    final_norm_eps=1e-5,
    rope_base=500.0,
    rope_factors=(1.0, 1.0, 2.0, 4.0, 8.0),
    dropout=0.5,
)


@pytest.fixture(scope="module")
def llama():
    return Backbone(LLAMA, np.random.default_rng(3))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(5).standard_normal((2, 7, 30)).astype(np.float32)


@pytest.fixture(scope="module")
def full(llama, x):
    return llama(Tensor(x)).numpy()


def test_llama_configuration_matches_numpy(llama, x, full):
    weights = {name: weight.numpy() for name, weight in get_state_dict(llama).items()}
    for row in range(2):
        expected = reference.backbone(x[row].astype(np.float64), weights, LLAMA)
        assert full[row] == pytest.approx(expected, abs=2e-5)


@pytest.mark.slow
def test_reading_in_pieces_through_the_cache_equals_reading_at_once(llama, x, full):
    cache = KVCache.empty(LLAMA, batch=2, capacity=8, device="CPU")
    pieces = []
    for start, stop in ((0, 3), (3, 6), (6, 7)):
        piece = llama(Tensor(x[:, start:stop]), cache.holding(start))
        pieces.append(piece.numpy())
    assert np.concatenate(pieces, 1) == pytest.approx(full, abs=1e-5)


@pytest.mark.slow
def test_rows_behind_a_shared_prefix_equal_rows_that_read_it_themselves(llama, x):
    prompt, tails = x[:1, :3], x[:, 3:6]
    shared = KVCache.empty(LLAMA, batch=1, capacity=8, device="CPU")
    llama(Tensor(prompt), shared.holding(0)).realize()
    own = KVCache.empty(LLAMA, batch=2, capacity=8, device="CPU")
    behind = llama(Tensor(tails), own.holding(0, shared.holding(3))).numpy()
    whole = np.concatenate([np.repeat(prompt, 2, 0), tails], 1)
    assert behind == pytest.approx(llama(Tensor(whole)).numpy()[:, 3:], abs=1e-5)


@pytest.mark.slow
def test_what_lies_beyond_the_length_is_never_seen(llama, x):
    """Garbage in the unfilled positions of both caches changes nothing."""
    results = []
    for filler in (0.0, 1e3):
        caches = [KVCache.empty(LLAMA, batch=1, capacity=8, device="CPU") for _ in range(2)]
        for layer in (layer for cache in caches for layer in cache.layers):
            layer.assign(Tensor.full(layer.shape, filler)).realize()
        shared, own = caches
        llama(Tensor(x[:1, :3]), shared.holding(0)).realize()
        results.append(llama(Tensor(x[:1, 3:6]), own.holding(0, shared.holding(3))).numpy())
    assert (results[0] == results[1]).all()


def test_a_position_sees_nothing_after_it(llama, x, full):
    changed = x.copy()
    changed[:, 4:] += 1
    actual = llama(Tensor(changed)).numpy()
    assert (actual[:, :4] == full[:, :4]).all()
    assert (np.abs(actual[:, 4:] - full[:, 4:]).max(-1) > 1e-3).all()


@pytest.mark.slow
def test_a_row_alone_equals_the_row_in_a_batch(llama, x, full):
    assert (llama(Tensor(x[1:])).numpy() == full[1:]).all()


@pytest.mark.slow
def test_dropout_acts_only_in_training(llama, x, full):
    assert (llama(Tensor(x)).numpy() == full).all()
    Tensor.manual_seed(1)
    with Context(TRAINING=1):
        trained = llama(Tensor(x)).numpy()
    assert np.abs(trained - full).max() > 1e-2


def test_only_weights_are_tensor_attributes(llama, full):
    """After use, no table, cache or captured result may have joined the file format."""
    names = {name.split(".", 2)[-1] for name in get_state_dict(llama) if name.startswith("blocks")}
    projections = {f"attn.{p}_proj.weight" for p in "qkvo"}
    gates = {f"ffn.{p}_proj.weight" for p in ("gate", "up", "down")}
    assert names == projections | gates | {"attn_norm.weight", "ffn_norm.weight"}
    assert len(get_state_dict(llama)) == 2 * 9 + 1


@pytest.mark.parametrize(
    ("hidden", "expected"), [(32, 88), (48, 128), (64, 176), (96, 256), (256, 688)]
)
def test_inner_size_is_the_original_s(hidden, expected):
    assert BackboneConfig(hidden, 1, 4, 2).ffn_size == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((32, 1, 6, 4), "num_heads=6 must be a multiple of num_kv_heads=4; use num_kv_heads=1, "),
        ((35, 1, 5, 5), "head_dim=7 .hidden_size=35 // num_heads=5. must be even"),
        ((4, 1, 8, 8), "head_dim=0 .hidden_size=4 // num_heads=8. must be even and at least 2"),
        ((0, 1, 4, 2), "hidden_size=0 must be a whole number, at least 1"),
        ((32, 0, 4, 2), "num_layers=0 must be a whole number, at least 1"),
        ((32, 1, 4, True), "num_kv_heads=True must be a whole number"),
        ((32, 1, 4.0, 2), "num_heads=4.0 must be a whole number"),
    ],
)
def test_sizes_that_cannot_work_are_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        BackboneConfig(*options)


def test_the_values_an_error_suggests_do_work():
    with pytest.raises(ValueError, match="use num_heads=") as caught:
        BackboneConfig(36, 1, 12, 4)
    suggested = str(caught.value).rpartition("num_heads=")[2].replace(" or ", ", ").split(", ")
    assert suggested
    for num_heads in suggested:
        BackboneConfig(36, 1, int(num_heads), 4)
