"""Models on METAL and CUDA, played: what tinygrad writes for them is executed on a CPU."""

import numpy as np
import pytest
from programs import finish, start

pytestmark = pytest.mark.slow

# PARALLEL=0: kernels are compiled where the player is.
PLAYED = {"PARALLEL": "0"}


@pytest.fixture(scope="module")
def running(player):
    """A process for each device, all at once."""
    programs = {"CPU": start("run_models.py", "CPU")}
    for device in ("METAL", "CUDA"):
        programs[device] = start("run_models.py", device, "played", **PLAYED)
    return programs


@pytest.fixture(scope="module")
def here(running):
    (found,) = finish(running["CPU"])
    return found


@pytest.mark.parametrize("device", ["METAL", "CUDA"])
def test_models_give_the_numbers_of_the_cpu(device, running, here):
    """Scores, hidden states, sampled tokens and their log-probabilities, and no kernel is wrong."""
    (there,) = finish(running[device])
    assert there["best"] == here["best"]
    assert there["tokens"] == here["tokens"]
    assert len({tuple(tokens) for tokens in here["tokens"]}) > 1
    for name in ("scores", "logprobs", "states"):
        for ours, theirs in zip(here[name], there[name], strict=True):
            assert np.allclose(ours, theirs, atol=2e-5), name
