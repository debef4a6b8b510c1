"""A model that went through a pickle holds its own numbers, whatever else the process holds."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.architectures.fingerprint import fingerprint

OPTIONS = {"vocab_size": 11, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "ffn_size": 64}
BUILD = f"""
import pickle, sys
import edifice_tt as et

model = et.build("causal_lm", device="CPU", seed=int(sys.argv[1]), dtype=sys.argv[2], **{OPTIONS})
"""
READ = """
from edifice_tt.architectures.fingerprint import fingerprint

kept = fingerprint(model)
other = pickle.load(sys.stdin.buffer)
print(fingerprint(other), kept == fingerprint(model))
"""


def run(code, *given, stdin=b""):
    command = [sys.executable, "-c", code, *given]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


@pytest.mark.slow
def test_another_process_reads_the_numbers_and_not_those_of_its_own_model():
    """Both processes build a model first, of the same shapes and another seed."""
    dtype = "bfloat16"
    write = BUILD + "sys.stdout.buffer.write(pickle.dumps(model))"
    found, is_as_before = run(BUILD + READ, "2", dtype, stdin=run(write, "1", dtype)).split()
    expected = et.build("causal_lm", device="CPU", seed=1, dtype=dtype, **OPTIONS).fingerprint
    assert (found.decode(), is_as_before) == (expected, b"True")


@pytest.mark.slow
def test_a_pickled_model_shares_no_memory():
    model = et.build("causal_lm", device="CPU", **OPTIONS)
    other = pickle.loads(pickle.dumps(model))
    expected = other([[1, 2]]).logits.numpy()
    weight = model.backbone.final_norm.weight
    weight.assign(weight * 2).realize()
    assert (other([[1, 2]]).logits.numpy() == expected).all()
    assert np.abs(model([[1, 2]]).logits.numpy() - expected).max() > 0.01


def test_other_architectures_are_pickled_too():
    model = et.build("test_time_compute", embed_dim=4, hidden_size=8, num_layers=1)
    assert fingerprint(pickle.loads(pickle.dumps(model))) == fingerprint(model)
