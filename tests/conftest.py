"""What many tests share. Models are small and few: tinygrad compiles every shape once."""

import gc
import os
import signal
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from tinygrad.helpers import DEV

import edifice_tt as et
from edifice_tt.testing import byte_tokenizer
from edifice_tt.weights import catalog

# Where there is a driver, tinygrad would make the tests' Tensors on a GPU, or by OpenCL on the CPU;
# other devices have processes of their own, in tests/devices.
if not DEV.device:
    DEV.value = "CPU"


# Where `nohup` began the tests the signal is ignored, and commands rightly leave that as it is.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# No test depends on time, on a busy machine either.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

os.environ["HF_HUB_OFFLINE"] = "1"  # a test of what is fetched has a server of its own
os.environ["XDG_CONFIG_HOME"] = os.devnull  # no test reads the settings of whoever runs it
os.environ["EDIFICE_TT_TUNED"] = "0"  # nor what was measured on this machine


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Nothing that is collected is garbage, and to look for some takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of the cases of a test that is marked `first(n)` all but so many take long together."""
    seen = Counter()
    for item in items:
        if (first := item.get_closest_marker("first")) is not None:
            test = item.path, item.originalname
            seen[test] += 1
            if seen[test] > first.args[0]:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def tiny_lm():
    """A language model over bytes, small, random but always the same; context 256 tokens."""
    lm = et.build(
        "causal_lm",
        vocab_size=259,
        context_length=256,
        hidden_size=24,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        scorer="linear",
        seed=7,
    )
    # Random embeddings alone give nearly uniform logits; larger ones make some tokens likely.
    weight = lm.token_embedding.weight
    weight.replace((weight * 12).contiguous().realize())
    lm.name = "tiny"
    lm.tokenizer = byte_tokenizer()
    return lm


@pytest.fixture(scope="session")
def smollm2_path():
    """The real model's file, downloaded into the user's cache when it is not there."""
    return catalog.pull("smollm2-135m")


@pytest.fixture(scope="session")
def smollm2(smollm2_path):
    """The real model."""
    return et.load_pretrained(smollm2_path)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def pytest_terminal_summary(terminalreporter, config):
    """Say what the quick run left out."""
    if config.option.markexpr == "not slow":
        terminalreporter.write_line(
            'tests that take long were left out; all of them: python -m pytest -m ""'
        )
