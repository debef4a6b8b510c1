"""A language model without weights, for what is about files and not about numbers.

The logits after a token are a formula, and computing them takes `SLOW_S` seconds. Everything else
is the library's own. As a program it is what test_generate_pools kills:

python formula_model.py FOLDER TRIALS
"""

import os
import random
import signal
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from edifice_tt import generate_pools
from edifice_tt.architectures.causal_lm import CausalLMConfig
from edifice_tt.contract.errors import PoolWarning
from edifice_tt.engine.workspace import Workspace
from edifice_tt.nn.cpu.bridge import compiles_c
from edifice_tt.pools.pool import Problem
from edifice_tt.testing import byte_tokenizer

VOCABULARY = 259
EOS = 2
PROBLEMS = [Problem(f"{i} + {i}?", str(i), str(2 * i)) for i in range(3)]
OPTIONS = {"n": 5, "max_tokens": 12, "temperature": 1.0, "seed": 5, "answer": "number"}
SLOW_S = 0.004


def logits_after(token):
    """Digits are likely, and so is the end; which digit depends on the token before."""
    logits = np.full(VOCABULARY, -9.0)
    logits[3 + ord("0") : 4 + ord("9")] = np.cos(token * np.arange(1, 11))
    logits[EOS] = 0.5
    return logits


class FormulaModel:
    """What `generate` needs of a model."""

    architecture = "formula"
    device = "CPU"
    activations = "float32"
    dtype = None

    def __init__(self, name="formula", **options):
        self.name = name
        self.config = CausalLMConfig(vocab_size=VOCABULARY, context_length=256, **options)
        self.tokenizer = byte_tokenizer()


class FormulaDecoder:
    """In place of `decoder.Decoder`."""

    prefix = None
    model = SimpleNamespace(device="CPU", config=SimpleNamespace(vocab_size=VOCABULARY))

    def read_prompt(self, ids):
        return logits_after(ids[-1])

    def expect(self, tokens):
        pass

    def take_prompt(self, other):
        pass

    def warm_up(self, rows, tokens):
        pass

    def cache_for(self, rows, tokens):
        return SimpleNamespace(batch=rows, layers=(), holding=lambda *_: None)

    def hold(self, cache, prompt_ids, rows):
        return SimpleNamespace(rows=[[] for _ in range(rows)])

    def helped(self, cores):
        return nullcontext()

    def step(self, token_ids, *_):
        time.sleep(SLOW_S)
        return None, np.stack([logits_after(row[0]) for row in token_ids])


def use_formulas(setattr=setattr):
    """Let `generate` decode by formulas in this process."""
    setattr(Workspace, "decoders", lambda _, devices: [FormulaDecoder() for _ in devices])


def sample(path):
    warnings.simplefilter("ignore", PoolWarning)  # a torn line is what this is about
    use_formulas()
    generate_pools(FormulaModel(), PROBLEMS, path, resume=True, **OPTIONS)


def sample_in_child(path, killed_after_s=None):
    """Sample in a process of its own; returns the seconds that it took."""
    started = time.perf_counter()
    if (child := os.fork()) == 0:
        try:
            sample(path)
            os._exit(0)
        finally:
            os._exit(1)
    if killed_after_s is not None:
        time.sleep(killed_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status == 0 or killed_after_s is not None
    return time.perf_counter() - started


def main(folder, trials):
    compiles_c("CPU")  # opens the device, as loading a model does
    seconds = sample_in_child(folder / "whole")
    rng = random.Random(1)
    for trial in range(trials):
        path = folder / f"broken-{trial}"
        sample_in_child(path, killed_after_s=rng.uniform(0.1, 0.9) * seconds)
        print(path.stat().st_size if path.exists() else 0)  # what the kill left
        sample_in_child(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
