"""The memory that sampling takes: as computed by hand, as measured, and refused when not there."""

import os
import re
import subprocess
import sys

import pytest

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.errors import EdificeError
from edifice_tt.engine import capacity
from edifice_tt.engine.capacity import Sampling, check_capacity, needed_bytes
from edifice_tt.machine import memory
from edifice_tt.nn.buffers import weight_bytes
from edifice_tt.nn.cache import KVCache
from edifice_tt.nn.kept import KV_DTYPES
from edifice_tt.testing import byte_tokenizer

FACTOR = 1.3  # the real peak is within this of the estimate, both ways

MEASURE = """
import re, sys
from dataclasses import replace
from pathlib import Path
import edifice_tt as et
from edifice_tt.engine.capacity import Sampling, needed_bytes
from edifice_tt.testing import byte_tokenizer

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

n, batch_size, tokens, devices = (int(given) for given in sys.argv[1:])
lm = et.build("causal_lm", vocab_size=259, context_length=4096, hidden_size=64, num_layers=8,
              num_heads=2, num_kv_heads=2, seed=1, device="CPU")
lm.tokenizer = replace(byte_tokenizer(), stop_ids=frozenset())  # memory is what is written to
names = ["CPU", *(f"CPU:{i}" for i in range(1, devices))]
options = dict(devices=names, temperature=2.0)
small = et.build("causal_lm", vocab_size=259, hidden_size=32, num_layers=1, num_heads=2,
                 num_kv_heads=1, device="CPU")
small.tokenizer = byte_tokenizer()
et.generate(small, "warm", n=40, batch_size=8, max_tokens=8, **options)  # tinygrad's own memory
expected = sum(needed_bytes(lm, Sampling(6, n, tokens, batch_size, tuple(names))).values())
before = peak()
et.generate(lm, "prompt", n=n, batch_size=batch_size, max_tokens=tokens, **options)
print(expected, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("given", [(32, 16, 500, 2), (32, 32, 500, 1)], ids=str)
def test_the_real_peak_is_what_was_estimated(given):
    """Two caches of 16 rows and 500 tokens, or one of 32 rows: 66 MB, which no row ends early."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, given)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "EDIFICE_TT_PLUGINS": ""},
    )
    expected, real = map(int, done.stdout.split())
    assert expected > 30e6
    assert real / FACTOR < expected < real * FACTOR, (expected, real)


@pytest.fixture
def fresh_lm():
    """A model that nobody has decoded with; 2 * 2 * 2 * 6 * 4 = 192 bytes a token."""
    lm = et.build(
        "causal_lm",
        vocab_size=259,
        context_length=4096,
        hidden_size=24,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        seed=2,
    )
    lm.tokenizer = byte_tokenizer()
    return lm


@pytest.fixture
def left(monkeypatch):
    """Sets what is left of the memory."""
    return lambda size: monkeypatch.setattr(capacity, "available_bytes", lambda device: size)


@pytest.mark.parametrize(
    ("n", "batch_size", "tokens", "devices", "cached_tokens"),
    [
        (16, 32, 65, ("CPU",), 16 * 65),
        (17, 32, 128, ("CPU",), 32 * 128),  # 17 rows are rounded up
        (17, 32, 128, ("CPU", "CPU:1"), 2 * 16 * 128),  # 9 rows on each
        (8, 32, 128, ("CPU", "CPU:1"), 2 * 8 * 128),  # 4 on each, with room for 8
        (2, 32, 128, ("CPU", "CPU:1"), 8 * 128),  # one batch: one device works
        (100, 4, 300, ("CPU",), 4 * 300),
    ],
)
def test_a_cpu_needs_what_is_written_to(fresh_lm, n, batch_size, tokens, devices, cached_tokens):
    given = Sampling(70, n, tokens, batch_size, devices)
    span = 128 + capacity.cache_size(1, tokens)[1]
    spaces = [capacity.workspace_bytes(fresh_lm.config, "CPU", given.together, span)]
    expected = 192 * (70 + cached_tokens) + sum(spaces * len(devices))
    assert needed_bytes(fresh_lm, given) == {"CPU": expected}


def test_other_devices_each_need_the_prompt_and_the_weights(fresh_lm):
    needed = needed_bytes(fresh_lm, Sampling(70, 64, 100, 32, ("GPU", "GPU:1")))
    space = capacity.workspace_bytes(fresh_lm.config, "GPU", 32, 128 + 128)
    each = 192 * (128 + 32 * 128) + space + weight_bytes(fresh_lm)
    assert needed == {"GPU": each, "GPU:1": each}  # the model is on the CPU


def test_elsewhere_than_on_a_cpu_all_experts_of_a_layer_are_computed():
    sizes = {"vocab_size": 7, "hidden_size": 32, "num_heads": 2, "num_kv_heads": 1, "ffn_size": 10}
    few, many = (CausalLMConfig(**sizes, experts=n, experts_used=2) for n in (3, 10))
    grown = capacity.workspace_bytes(many, "GPU", 1, 64) - capacity.workspace_bytes(
        few, "GPU", 1, 64
    )
    assert grown == 4 * 7 * 10 * (3 * 64 + 32)  # a chunk's states thrice, and the second matrix


def test_what_is_there_is_not_counted_again(fresh_lm):
    given = Sampling(5, 8, 40, 8, ("CPU",))
    before = needed_bytes(fresh_lm, given)["CPU"]
    et.generate(fresh_lm, "12345", n=8, max_tokens=40, devices=["CPU"], stop=range(259))
    assert before > needed_bytes(fresh_lm, given)["CPU"] == 0


def test_too_little_memory_is_refused_before_anything_is_sampled(fresh_lm, left):
    left(100_000)
    with pytest.raises(EdificeError) as caught:
        et.generate(fresh_lm, "p" * 70, n=64, max_tokens=1000, on_token=pytest.fail)
    assert re.match(
        r"sampling 64 candidates needs [\d.]+ MB of 0.10 MB free on CPU; use", str(caught.value)
    )
    assert capacity.spare_decoder(fresh_lm, "CPU") is None


@pytest.mark.parametrize("size", [500_000, 1_500_000, 3_000_000, 4_000_000])
def test_each_advice_really_fits(fresh_lm, left, size):
    left(size)
    given = {"prompt": 200, "n": 64, "tokens": 1000, "batch_size": 32, "devices": ["CPU"]}
    with pytest.raises(EdificeError) as caught:
        check_capacity(fresh_lm, **given)
    advice = str(caught.value).partition("; use ")[2]
    singles = re.findall(r"(batch_size|max_tokens)=(\d+)(?! with)", advice)
    pairs = re.findall(r"batch_size=(\d+) with max_tokens=(\d+)", advice)
    assert singles or pairs or advice.startswith("a smaller model")
    for batch_size, tokens in pairs:
        check_capacity(fresh_lm, **given | {"batch_size": int(batch_size), "tokens": int(tokens)})
    for name, value in [] if pairs else singles:
        name = "tokens" if name == "max_tokens" else name
        check_capacity(fresh_lm, **given | {name: int(value)})
        with pytest.raises(EdificeError):  # and twice as much does not
            check_capacity(fresh_lm, **given | {name: 2 * int(value)})


def test_a_cache_larger_than_a_buffer_may_be_is_refused(fresh_lm, monkeypatch):
    monkeypatch.setattr(memory, "largest_buffer", lambda device: 96 * 16 * 512)  # a layer's
    given = {"prompt": 70, "n": 16, "batch_size": 16, "devices": ["CPU"]}
    check_capacity(fresh_lm, tokens=500, **given)
    with pytest.raises(EdificeError, match=r"buffer of 0.79 MB, and CPU allows at most 0.79 MB"):
        check_capacity(fresh_lm, tokens=513, **given)


def test_unknown_memory_refuses_nothing(fresh_lm, left):
    left(None)
    check_capacity(fresh_lm, prompt=10**6, n=10**6, tokens=10**6, batch_size=10**6)


@pytest.mark.parametrize("command", [["generate"], ["generate", "-o", "p.jsonl"], ["best-of"]])
def test_the_command_says_it_in_one_line_and_leaves_no_file(
    fresh_lm, left, monkeypatch, tmp_path, capsys, command
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: fresh_lm, raising=False)
    left(100_000)
    assert cli.main([*command, "question", "--model", "x", "--raw", "-n", "32"]) == 2
    out, err = capsys.readouterr()
    *_, line = err.splitlines()
    said = (
        r"edifice-tt: error: sampling 32 candidates needs \d\.\d\d MB of 0.10 MB free on CPU; use"
    )
    assert re.match(said, line)
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_the_buffer_of_a_layer_is_as_large_as_said(kv_dtype):
    sizes = {"hidden_size": 76, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1}
    lm = et.build("causal_lm", vocab_size=259, context_length=256, device="CPU", **sizes)
    lm.kv_dtype = kv_dtype
    rows, tokens = capacity._cached("CPU", 3, 101)
    (buffer,) = KVCache.empty(lm.config.backbone, rows, tokens, "CPU", kv_dtype).layers
    assert capacity._layer_bytes(lm, "CPU", 3, 101) == buffer.nbytes()
