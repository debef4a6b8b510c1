"""Each "how to add" of CONTRIBUTING.md is followed, in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^### (A .*?)\n(.*?)(?=^##)", PAGE, re.S | re.M))

# What must hold once the section was followed.
CHECKS = {
    "A model family": """
import sys
sys.path.insert(0, TESTS)
from test_model_families import write, write_folder, with_biases, TOKENS
import edifice_tt as et
weights = with_biases("attn_q", "attn_k", "attn_v")
weights = {n.replace("ffn_norm", "post_attention_norm"): w for n, w in weights.items()}
lm = et.load_pretrained(write(HERE / "m.gguf", "seed_oss", weights))
assert lm.config.biases == ("q", "k", "v")
folder = write_folder(HERE, lm, model_type="seed_oss", attention_bias=True)
assert (et.load_pretrained(folder)([TOKENS]).logits == lm([TOKENS]).logits).all().item()
""",
    "A block format": """
import numpy as np
from tinygrad import Tensor
from edifice_tt.nn import ops
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.stored.blocks import QuantizedLinear
from edifice_tt.nn.stored.int8 import Int8Linear, group_rows
rng = np.random.default_rng(3)
blocks = rng.integers(0, 256, (13, 3, 18), dtype=np.uint8)
blocks[..., :2] = rng.uniform(0.5, 2, (13, 3, 1)).astype(np.float16).view(np.uint8)
q = 2 * np.unpackbits(blocks[..., 2:], axis=-1, bitorder="little").astype(int) - 1
floats = (q * blocks[..., :2].copy().view(np.float16)).reshape(13, 384).astype(np.float32)
raw = blocks.reshape(13, -1)
layer, x = QuantizedLinear(Tensor(raw), "Q1_0"), Tensor.randn(5, 384)
assert (FORMATS["Q1_0"].dequantize(layer.blocks).numpy() == floats).all()
assert (layer(x).numpy() == ops.linear(x, Tensor(floats)).numpy()).all()
assert (layer.rows(Tensor([[12, 0]])).numpy() == floats[[[12, 0]]]).all()
x = rng.integers(-127, 128, (5, 384)).astype(np.float32)
x[:, ::32] = 127  # so that nothing is rounded
whole = Int8Linear(Tensor(group_rows(raw, "Q1_0")), "Q1_0", 13)
np.testing.assert_allclose(whole(Tensor(x)).numpy(), x @ floats.T, rtol=1e-5, atol=1e-2)
assert (whole.rows(Tensor([[12, 0]])).numpy() == floats[[[12, 0]]]).all()
""",
    "A pre-tokenizer": """
from edifice_tt.weights.tokenizer import Tokenizer
words = {"tokens": ["1", "2", "12", "a"], "merges": ["1 2"], "model": "gpt2", "pre": "pairs"}
given = {f"tokenizer.ggml.{name}": value for name, value in words.items()}
assert Tokenizer.from_gguf(given).encode("a1212") == [3, 2, 2]
""",
    "A scorer": """
import edifice_tt as et
pool = et.score(None, et.Pool("?", tuple(et.Candidate(i, "x" * i) for i in (3, 1, 2))), "short")
assert [one.scores["short"] for one in pool] == [-3.0, -1.0, -2.0]
""",
    "A rule": """
import edifice_tt as et
pool = et.Pool("?", tuple(et.Candidate(i, "x", num_tokens=n) for i, n in enumerate((2, 7, 5))))
assert et.select(pool, "longest").candidate.index == 1
""",
    "A kernel": """
import numpy as np
from tinygrad import Tensor
from edifice_tt.nn.cpu import kernels
x = Tensor(np.arange(7, dtype=np.float32)).realize()
assert (kernels.twice(x, lambda x: x * 2).numpy() == 2 * np.arange(7)).all()
assert (kernels.twice(x, lambda x: x * 2).sum().gradient(x)[0].numpy() == 2).all()
""",
}


def test_each_section_is_checked_and_short():
    assert list(SECTIONS) == list(CHECKS)
    for name, text in SECTIONS.items():
        assert len([line for line in text.splitlines() if line and line[:3] != "```"]) <= 10, name


def install(folder, plugin):
    """Make a distribution of a plugin's text, as pip leaves it."""
    (folder / "added.py").write_text(plugin)
    described = folder / "added-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[edifice_tt]\nadded = added\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_who_follows_a_section_gets_what_it_says(name, tmp_path):
    shutil.copytree(ROOT / "edifice_tt", tmp_path / "edifice_tt")
    program = f"from pathlib import Path\nHERE, TESTS = Path({str(tmp_path)!r}), {str(ROOT)!r}"
    program += " + '/tests/weights'\n"
    for block in re.findall(r"```\w+\n(.*?)```", SECTIONS[name], re.S):
        path = re.match(r"(?:#|//) (edifice_tt/\S+)\n", block)
        if path is None:
            install(tmp_path, block)
            continue
        file = tmp_path / path[1]
        before = file.read_text() if file.exists() else ""
        file.write_text(before + block.removeprefix(path[0]))
        if file.suffix == ".c":
            kernels = tmp_path / "edifice_tt" / "nn" / "cpu" / "kernels.py"
            text = kernels.read_text()
            assert text.count('"block")') == 1
            kernels.write_text(text.replace('"block")', f'"block", "{file.stem}")'))
    run = [sys.executable, "-c", program + CHECKS[name]]
    env = {**os.environ, "DEV": "CPU"}
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
