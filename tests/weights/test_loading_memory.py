"""The memory that loading really takes: no more than was said before, and no copy stays behind."""

import json
import mmap
import os
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import tokenizers
from test_gguf import METADATA, write_gguf
from test_huggingface import CONFIG, write_weights
from tinygrad.nn.state import get_parameters

import edifice_tt as et
from edifice_tt.machine.toolchain import list_devices
from edifice_tt.nn.stored import halves as precision
from edifice_tt.testing import byte_tokenizer
from edifice_tt.weights.gguf import GGUFHeader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MEASURE = r"""
import re, sys
from pathlib import Path
import edifice_tt as et
from edifice_tt.weights import footprint

def memory(kind):
    text = Path("/proc/self/status").read_text()
    return int(re.search(kind + r":\s+(\d+)", text)[1]) * 1024

small, large, options = sys.argv[1], sys.argv[2], {"device": "CPU"} | eval(sys.argv[3])
et.load_pretrained(small, **options)  # compilers, graphs, and the parts of a weight
said, check_room = [], footprint.check_room
footprint.check_room = lambda what, needed, *rest: said.append(needed)
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
lm = et.load_pretrained(large, **options)
kept = memory("VmRSS") - before
lm.fingerprint  # reads the file, and lets go of it
print(max(said), memory("VmHWM") - before, max(kept, memory("VmRSS") - before))
"""


# By itself glibc keeps some of what was freed, more or less by chance.
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def measure(small, large, **options):
    """What was said that loading needs, its real peak, and what is kept, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(large), repr(options)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **RETURNED, "EDIFICE_TT_PLUGINS": ""},
    )
    return map(int, done.stdout.split())


Q4_0, Q8_0, Q4_K, Q6_K, IQ3_S = 2, 8, 12, 14, 21
BLOCKS = {
    Q4_0: (32, 18, [0]),
    Q8_0: (32, 34, [0]),
    Q4_K: (256, 144, [0, 2]),
    Q6_K: (256, 210, [208]),
    IQ3_S: (256, 110, [0]),
}


LARGE = 24_000 * 1024 + 2 * 16 * 1024**2  # weights of the larger model


def blocks(rng, kind, shape):
    """Random blocks whose scales are 1."""
    elements, size, scales = BLOCKS[kind]
    raw = rng.integers(0, 256, (np.prod(shape) // elements, size), np.uint8)
    for at in scales:
        raw[:, at : at + 2] = np.ones(1, np.float16).view(np.uint8)
    return kind, shape, raw.tobytes()


def write_model(path, vocab, hidden, kinds):
    """A Llama of two layers; `kinds`: of the embedding, and of all other matrices."""
    rng = np.random.default_rng(3)
    embedding, other = kinds
    tensors = {
        "token_embd.weight": blocks(rng, embedding, (vocab, hidden)),
        "output_norm.weight": (0, (hidden,), np.ones(hidden, np.float32).tobytes()),
    }
    for i in range(2):
        shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (hidden, hidden))
        shapes |= dict.fromkeys(("ffn_gate", "ffn_up"), (4 * hidden, hidden))
        shapes |= {"ffn_down": (hidden, 4 * hidden)}
        for name, shape in shapes.items():
            tensors[f"blk.{i}.{name}.weight"] = blocks(rng, other, shape)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{i}.{name}.weight"] = tensors["output_norm.weight"]
    sizes = {
        "llama.embedding_length": hidden,
        "llama.feed_forward_length": 4 * hidden,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 4,
        "llama.rope.dimension_count": hidden // 4,
    }
    return write_gguf(path, METADATA | sizes, tensors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "options", "weights"),
    [
        ((Q6_K, IQ3_S), {}, 4 * LARGE),
        ((Q6_K, Q4_K), {"dtype": "bfloat16"}, 2 * LARGE),
        ((Q8_0, Q4_0), {}, None),
        ((Q8_0, Q4_0), {"activations": "int8"}, None),
        ((Q6_K, Q4_K), {}, None),
        ((Q6_K, Q4_K), {"activations": "int8"}, None),
    ],
    ids=str,
)
def test_a_gguf_file_takes_no_more_memory_than_was_said(tmp_path, kinds, options, weights):
    """Unpacked, rounded, as it lies, and regrouped: None is the size of the file.

    Nothing but the weights is kept.
    """
    small = write_model(tmp_path / "small.gguf", 4096, 256, kinds)
    large = write_model(tmp_path / "large.gguf", 24_000, 1024, kinds)
    said, peak, kept = measure(small, large, **options)
    assert peak <= said, (peak, said)
    if weights is None:
        weights = large.stat().st_size
        assert peak <= weights + 10e6, (peak, weights)
    assert kept <= weights + 10e6, (kept, weights)


@pytest.mark.slow
def test_a_gguf_file_stays_in_blocks_on_a_gpu(tmp_path):
    if "CL" not in list_devices():
        pytest.skip("there is no OpenCL, which stands for a GPU here")
    small = write_model(tmp_path / "small.gguf", 4096, 256, (Q6_K, Q4_K))
    large = write_model(tmp_path / "large.gguf", 48_000, 2048, (Q6_K, Q4_K))
    said, peak, kept = measure(small, large, device="CL")
    size = large.stat().st_size
    assert peak <= said, (peak, said)
    assert max(peak, kept) <= 1.1 * size, (peak, kept, size)


def test_what_was_read_of_a_file_goes_back_to_the_system(tmp_path):
    """What glibc takes from its heap, a few megabytes of which it was given, may stay there."""
    size = 5 << 20
    rest = {"w": (0, (size // 4,), bytes(size))}
    owner = GGUFHeader(write_gguf(tmp_path / "m.gguf", METADATA, rest)).read(0, size)
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner.obj, mmap.mmap)


@pytest.fixture(scope="module")
def models():
    """By size, in float32: 8 and 128 MB."""
    options = {"hidden_size": 512, "num_layers": 2, "num_heads": 4, "ffn_size": 512}
    return {n: et.build("causal_lm", vocab_size=n, device="CPU", **options) for n in (1024, 60_000)}


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}], ids=str)
def test_a_folder_takes_no_more_memory_than_was_said(tmp_path, models, stored, options):
    for size, lm in models.items():
        (folder := tmp_path / str(size)).mkdir()
        write_weights(lm, folder / "model.safetensors", dtype=stored)
        sizes = {"vocab_size": size, "hidden_size": 512, "intermediate_size": 512}
        (folder / "config.json").write_text(json.dumps({**CONFIG, **sizes}))
        bpe = tokenizers.Tokenizer.from_str(byte_tokenizer().bpe.to_str())
        bpe.decoder = tokenizers.decoders.ByteLevel()
        bpe.save(str(folder / "tokenizer.json"))
    said, peak, kept = measure(tmp_path / "1024", tmp_path / "60000", **options)
    weights = sum(weight.nbytes() for weight in get_parameters(models[60_000]))
    assert peak <= said, (peak, said)
    assert kept <= weights // (2 if options else 1) + 10e6, (kept, weights)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_our_own_file_takes_no_more_memory_than_was_said(tmp_path, models, dtype):
    for size, lm in models.items():
        et.save(precision.store(deepcopy(lm), dtype), tmp_path / f"{size}.safetensors")
    said, peak, kept = measure(tmp_path / "1024.safetensors", tmp_path / "60000.safetensors")
    weights = sum(weight.nbytes() for weight in get_parameters(models[60_000]))
    assert peak <= said, (peak, said)
    assert kept <= weights // (1 if dtype == "float32" else 2) + 10e6, (kept, weights)
