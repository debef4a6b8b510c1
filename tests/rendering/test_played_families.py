"""A model of each family on METAL and CUDA, played, with its weights in the blocks of its file."""

import numpy as np
import pytest
from programs import finish, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(player):
    # PARALLEL=0: kernels are compiled in the process that plays them.
    return {device: start("run_families.py", device, PARALLEL="0") for device in ("METAL", "CUDA")}


@pytest.mark.parametrize("device", ["METAL", "CUDA"])
def test_each_family_gives_the_logits_of_transformers(device, running):
    """Of 37 tokens in one pass, and of the eighth behind a prompt, to what the CPU is allowed."""
    by_matrices = {"METAL": "simd_", "CUDA": "matrices_"}[device]
    models = finish(running[device])
    assert len(models) >= 10
    for model in models:
        found, expected = np.array(model["found"]), np.array(model["expected"])
        assert found.shape == expected.shape
        assert any(name.startswith(by_matrices) for name in model["kernels"]), model["family"]
        assert np.abs(found - expected).max() < 1e-4, model["family"]
        assert np.abs(np.array(model["decoded"]) - expected[6:8]).max() < 1e-4, model["family"]
