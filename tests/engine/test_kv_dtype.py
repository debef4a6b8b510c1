"""Keys and values in 16 or 8 bits: less memory, the same bits in any batch, near to float32."""

import numpy as np
import pytest
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.errors import EdificeError
from edifice_tt.engine import lockstep
from edifice_tt.engine.branches import Branches
from edifice_tt.engine.capacity import Sampling, cache_bytes, check_capacity, needed_bytes
from edifice_tt.engine.decoder import Decoder
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.engine.workspace import workspace_of
from edifice_tt.nn import cache as kv_caches
from edifice_tt.nn.buffers import view
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.cpu import team as teams
from edifice_tt.nn.kept import KV_DTYPES
from edifice_tt.pools.pool import Problem
from edifice_tt.testing import byte_tokenizer
from edifice_tt.training.features import Source

SIZES = {"vocab_size": 259, "context_length": 4096, "hidden_size": 40, "num_layers": 3}
SIZES |= {"num_heads": 4, "num_kv_heads": 2, "ffn_size": 37, "seed": 5}
RECURRENT = {"recurrent_layers": (1,), "delta_key_heads": 2, "delta_value_heads": 2}
RECURRENT |= {"delta_key_size": 7, "delta_value_size": 5, "delta_conv": 3}
PROMPT = "which is read in chunks, for it is longer than sixty-four tokens are"
NEAR = {"float16": 2e-3, "int8": 0.1}

BEYOND = [65504, 65519.996, 65520, 1e9, np.inf, -65536, -np.inf, np.nan]
KEPT = [65504, 65504, 65504, 65504, 65504, -65504, -65504, np.nan]


def made(**options):
    lm = et.build("causal_lm", **{**SIZES, **options})
    lm.tokenizer = byte_tokenizer()
    return lm


@pytest.fixture(scope="module", params=[*NEAR])
def lm(request):
    one = made()
    one.kv_dtype = request.param
    return one


def drawn(lm, n, **options):
    """What is drawn, and how likely it was, by bits."""
    pool = et.generate(lm, PROMPT, n=n, max_tokens=11, temperature=2.0, seed=3, **options)
    return [(one.token_ids, one.token_logprobs) for one in pool]


def logits(lm, kv_dtype, row=(5, 0, 33, 91)):
    """Those behind a prompt, and behind each token of the last of three rows."""
    lm.kv_dtype = kv_dtype
    decoder = Decoder(lambda: lm)
    found = [decoder.read_prompt([*PROMPT.encode()])]
    cache = decoder.cache_for(3, len(row))
    for at, token in enumerate(row):
        ids = np.array([[0]] * (cache.batch - 2) + [[token]] * 2, np.int32)
        found.append(decoder.step(ids, cache.holding(at, decoder.prefix), [2])[1][2].copy())
    return np.array(found)


def test_keys_and_values_take_a_half_or_a_quarter_of_the_memory_and_states_do_not():
    config = CausalLMConfig(**{**SIZES, **RECURRENT})
    bytes_of = {}
    for kept in KV_DTYPES:
        cache = KVCache.empty(config.backbone, 3, 64, "CPU", kept)
        sizes = [view(layer).nbytes for layer in cache.layers]
        assert sum(sizes) == cache_bytes(config, 3, 64, kept)
        assert [str(view(layer).dtype) for layer in cache.layers] == [kept, "float32", kept]
        bytes_of[kept] = sizes
    wide, half, least = bytes_of.values()
    assert half == [wide[0] // 2, wide[1], wide[2] // 2]
    scaled = wide[0] // 4 * 12 // 10  # two bytes of a scale behind the ten numbers of a head
    assert least == [scaled, wide[1], scaled]


@pytest.mark.parametrize(("kept", "of_head"), [("float16", 20), ("int8", 12)])
def test_the_estimate_knows_what_keys_and_values_are_kept_as(monkeypatch, kept, of_head):
    lm, task = made(), Sampling(70, 16, 1000, 16, ("CPU",))
    wide = needed_bytes(lm, task)["CPU"]
    lm.kv_dtype = kept
    of_tokens = 2 * 3 * 2 * (70 + 16 * 1000)
    narrow = needed_bytes(lm, task)["CPU"]
    assert wide - narrow == (40 - of_head) * of_tokens
    monkeypatch.setattr("edifice_tt.engine.capacity.available_bytes", lambda device: narrow)
    check_capacity(lm, prompt=70, n=16, tokens=1000, batch_size=16, devices=["CPU"])
    lm.kv_dtype = "float32"
    with pytest.raises(EdificeError, match=f"kv_dtype={kept}"):
        check_capacity(lm, prompt=70, n=16, tokens=1000, batch_size=16, devices=["CPU"])


@pytest.mark.slow
@pytest.mark.parametrize("kept", [*NEAR])
@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({**RECURRENT, "gated_attention": True}, marks=pytest.mark.slow)],
    ids=["attention", "a recurrence"],
)
def test_what_is_rounded_is_near_to_floats_and_is_not_the_same(options, kept):
    lm = made(**options)
    exact, near = (logits(lm, dtype) for dtype in ("float32", kept))
    assert np.abs(exact).max() > 0.5
    assert 0 < np.abs(near - exact).max() < NEAR[kept]


def test_the_formula_keeps_the_largest_half_for_what_is_beyond_it():
    config = CausalLMConfig(**SIZES).backbone
    cache, given = (
        KVCache.empty(config, 1, 8, "CPU", "float16").holding(0),
        np.ones((2, 1, 1, 2, 10)),
    )
    given[0, 0, 0, 0, :8] = BEYOND
    cache.remember(0, Tensor(given.astype(np.float32)), cache.seen(1, "CPU"))[0].kv.realize()
    assert view(cache.layers[0])[0, 0, 0, 0, :8].tolist() == pytest.approx(KEPT, nan_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [*NEAR])
def test_the_formula_keeps_what_it_rounds_as_the_kernels_do(monkeypatch, kept):
    lm = made(num_layers=1)
    kernels = logits(lm, kept)
    monkeypatch.setattr("edifice_tt.nn.backbone.Block.is_one_kernel", lambda *_: False)
    assert logits(lm, kept) == pytest.approx(kernels, abs=1e-5)


def test_a_candidate_is_the_same_bits_alone_in_any_batch_and_on_any_cores(lm, monkeypatch):
    many = drawn(lm, 9, devices=["CPU"])
    assert drawn(lm, 1, devices=["CPU"]) == many[:1]
    assert drawn(lm, 9, batch_size=2, devices=["CPU"]) == many
    monkeypatch.setattr(teams, "LEAST", 1)
    monkeypatch.setattr(lockstep, "devices_beside", lambda _: ["CPU", "CPU:1", "CPU:2"])
    assert drawn(lm, 9) == many
    assert drawn(lm, 1) == many[:1]


@pytest.mark.slow
def test_states_are_the_same_bits_whether_they_were_held_or_are_read_anew(lm):
    pool = et.generate(lm, PROMPT, n=3, max_tokens=9, temperature=2.0, seed=1)
    held = read_hidden(lm, pool)
    again = made()
    again.kv_dtype = lm.kv_dtype
    assert all((a == b).all() for a, b in zip(held, read_hidden(again, pool), strict=True))
    again.kv_dtype = "float32"
    assert any((a != b).any() for a, b in zip(held, read_hidden(again, pool), strict=True))


def grown(rows, row, ids):
    """A row that goes on with these tokens."""
    stop, given = len(row.ids) + len(ids), iter(ids)
    rows.advance([row], lambda row, _: (next(given), len(row.ids) + 1 < stop))
    return row


@pytest.mark.slow
def test_a_copied_row_has_the_bits_of_its_tokens_alone(lm):
    rows = Branches([Decoder(lambda: lm)], [*PROMPT.encode()], 20)
    trunk = grown(rows, rows.begin(), [9, 41, 7])
    copies = [grown(rows, trunk.fork(), ids) for ids in ([3, 5], [88, 2])]
    alone = Branches([Decoder(lambda: lm)], [*PROMPT.encode()], 20)
    for copy in copies:
        truth = grown(alone, alone.begin(), copy.ids)
        assert (copy.logits == truth.logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("kept", [*NEAR])
def test_what_is_set_later_holds_for_the_next_call(kept):
    lm = made()
    before = drawn(lm, 2)
    lm.kv_dtype = kept
    after = drawn(lm, 2)
    with workspace_of(lm) as workspace:
        (decoder,) = workspace.by_device.values()
        caches = [*decoder.caches.values(), decoder.prefix]
    assert {str(view(layer).dtype) for one in caches for layer in one.layers} == {kept}
    assert after != before
    lm.kv_dtype = "float32"
    assert drawn(lm, 2) == before


def test_another_dtype_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="kv_dtype='int4' must be 'float32', 'float16' or 'int8'"):
        et.load_pretrained(tmp_path, kv_dtype="int4")
    with pytest.raises(ValueError, match="kv_dtype='half'"):
        et.load_reward(tmp_path, kv_dtype="half")
    lm = made()
    lm.kv_dtype = "float64"
    with pytest.raises(ValueError, match="kv_dtype='float64'"):
        drawn(lm, 1)


def test_a_model_is_loaded_with_it_and_a_pool_says_so(lm, tmp_path):
    et.save(lm, tmp_path / "m.safetensors")
    assert et.load_pretrained(tmp_path / "m.safetensors").kv_dtype == "float32"
    loaded = et.load_pretrained(tmp_path / "m.safetensors", kv_dtype=lm.kv_dtype)
    loaded.tokenizer = byte_tokenizer()
    pool = et.generate(loaded, "q", n=1, max_tokens=2)
    assert (loaded.kv_dtype, pool.settings["kv_dtype"]) == (lm.kv_dtype, lm.kv_dtype)
    exact = made()
    assert "kv_dtype" not in et.generate(exact, "q", n=1, max_tokens=2).settings


def test_a_gpu_keeps_halves_and_a_cpu_floats_unless_it_is_told(monkeypatch):
    found = {"METAL": "metal", "CUDA": "cuda", "CL": "opencl"}
    has = {"METAL": ["float32", "float16"], "CUDA": ["float32", "float16"], "CL": ["float32"]}
    monkeypatch.setattr(kv_caches, "dialect_of", found.get)
    monkeypatch.setattr(kv_caches, "supported_dtypes", lambda device: has.get(device, ["float16"]))
    monkeypatch.setattr(kv_caches, "choose_dtype", lambda dtype, device, of: dtype)
    chosen = {device: kv_caches.choose_kv_dtype(None, device) for device in (*found, "WEBGPU")}
    assert chosen == {"METAL": "float16", "CUDA": "float16", "CL": "float32", "WEBGPU": "float32"}
    assert kv_caches.choose_kv_dtype(None, "CPU") == "float32"
    assert kv_caches.choose_kv_dtype("float32", "METAL") == "float32"


def test_eight_bits_are_refused_by_name_where_they_are_not_kept():
    for ask in (
        lambda: kv_caches.choose_kv_dtype("int8", "METAL"),
        lambda: KVCache.empty(made().config.backbone, 1, 64, "CUDA", "int8"),
    ):
        with pytest.raises(ValueError, match="kv_dtype='int8' needs tinygrad's CPU device, given"):
            ask()
    assert kv_caches.choose_kv_dtype("int8", "CPU:1") == "int8"


def test_a_pool_goes_on_only_with_what_it_was_begun_with(tmp_path):
    lm, path = made(), tmp_path / "pool.jsonl"
    problems = [Problem("q", "1")]
    lm.kv_dtype = "float16"
    et.generate_pools(lm, problems, path, n=1, max_tokens=2)
    assert et.generate_pools(lm, problems, path, n=2, max_tokens=2, resume=True) == 1
    lm.kv_dtype = "float32"
    with pytest.raises(EdificeError, match="kv_dtype"):
        et.generate_pools(lm, problems, path, n=3, max_tokens=2, resume=True)


@pytest.mark.parametrize("kept", [*NEAR])
def test_states_of_what_is_rounded_are_told_from_those_of_weights_in_16_bits(kept):
    lm = made()
    exact = Source.of(lm).fingerprint
    lm.kv_dtype = kept
    assert Source.of(lm).fingerprint == f"{exact}-kv_{kept}"
