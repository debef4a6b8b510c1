"""What docs/determinism.md promises and no other test holds, and that it promises nothing bare."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from nn.cpu.test_kernels import OTHERS
from processors import kernel_of, normal, run_here
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError
from edifice_tt.nn import ops
from edifice_tt.testing import byte_tokenizer

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "determinism.md").read_text()
SIZE = {"vocab_size": 259, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
HOT = {"max_tokens": 24, "temperature": 2.0, "seed": 3}

SAMPLE = """
import json, sys
import edifice_tt as et
from edifice_tt.testing import byte_tokenizer

lm = et.build("causal_lm", vocab_size=259, hidden_size=32, num_layers=2, num_heads=4,
              num_kv_heads=2, ffn_size=64, seed=4)
lm.tokenizer = byte_tokenizer()
pool = et.generate(lm, "again", n=int(sys.argv[1]), max_tokens=24, temperature=2.0, seed=3)
print(json.dumps([[c.token_ids, [p.hex() for p in c.token_logprobs]] for c in pool]))
"""


def model(**options):
    lm = et.build("causal_lm", ffn_size=64, seed=4, **SIZE, **options)
    lm.tokenizer = byte_tokenizer()
    return lm


def test_every_sentence_of_a_list_names_its_test():
    items = re.findall(r"^- .*?(?=^- |^$|\Z)", PAGE, re.M | re.S)
    assert len(items) > 25
    assert [item for item in items if not re.search(r"\(`test_\w+`", item)] == []


@pytest.mark.slow
def test_another_process_gives_the_same_bits():
    """One makes 3 candidates, the other 9, in other batches."""
    command = [sys.executable, "-c", SAMPLE]
    few, many = (
        subprocess.run([*command, n], capture_output=True, text=True, check=True).stdout
        for n in ("3", "9")
    )
    assert many.startswith(few.strip().removesuffix("]"))
    assert few.count("0x") > 30


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_candidates_of_16_bit_weights_are_the_same_bits_too(dtype):
    lm = model(dtype=dtype)
    pool = et.generate(lm, "again", n=9, **HOT)
    other = et.generate(lm, "again", n=9, batch_size=3, devices=["CPU", "CPU:1"], **HOT)
    assert other == pool
    assert et.generate(lm, "again", n=2, **HOT).candidates == pool.candidates[:2]
    exact = et.generate(model(), "again", n=9, **HOT)
    assert [c.token_logprobs for c in exact] != [c.token_logprobs for c in pool]


@pytest.mark.slow
def test_another_dtype_is_another_model_and_is_not_resumed(tmp_path):
    problems, path = [et.Problem("again")], tmp_path / "pool.jsonl"
    et.generate_pools(model(), problems, path, n=2, max_tokens=3)
    with pytest.raises(EdificeError, match="was made with fingerprint"):
        et.generate_pools(model(dtype="float16"), problems, path, n=3, max_tokens=3, resume=True)
    # The weights are the same.
    assert et.generate_pools(model(), problems, path, n=3, max_tokens=3, resume=True) == 1


def test_another_width_of_vectors_rounds_otherwise(rng, tmp_path, monkeypatch):
    """Sums of 512 products: equal to 1e-4, and not to the bit."""
    x, w = normal(rng, 5, 512), normal(rng, 16, 512)
    kernel = kernel_of(monkeypatch, lambda: ops.linear(Tensor(x), Tensor(w)))
    results = []
    for flags in ("", *OTHERS):
        out = run_here(kernel, flags, tmp_path).copy().reshape(5, 16)
        assert out == pytest.approx(x.astype(np.float64) @ w.T, abs=1e-4)
        results.append(out)
    assert any((results[0] != other).any() for other in results[1:])


@pytest.mark.slow
def test_16_bit_weights_move_log_probabilities_by_little(smollm2, smollm2_path):
    text = "The capital of France is Paris, and the capital of Italy is Rome. Water boils at"
    ids = [smollm2.tokenizer.encode(text)]
    exact = smollm2(ids).logits.log_softmax(-1).numpy()
    for dtype, limit in (("float16", 0.1), ("bfloat16", 0.5)):
        lm = et.load_pretrained(smollm2_path, device="CPU", dtype=dtype)
        narrow = lm(ids).logits.log_softmax(-1).numpy()
        assert 0 < np.abs(narrow - exact).max() < limit
        assert (narrow.argmax(-1) == exact.argmax(-1)).all()


def test_tinygrad_is_pinned_to_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(re.fullmatch(r"tinygrad==[\d.]+", needed) for needed in project["dependencies"])
