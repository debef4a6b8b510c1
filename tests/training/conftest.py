"""Problems whose right answers a hidden state tells: what can be learned, and is known."""

from dataclasses import replace

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.testing import tiny_model


@pytest.fixture(scope="session")
def lm():
    return tiny_model()


@pytest.fixture(scope="session")
def pools(lm):
    """Forty problems of eight answers; right is what lies above a plane through all last states."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(3, 259, (8, 2)) for _ in range(40)]
    settings = {"model": "tiny", "fingerprint": lm.fingerprint}
    bare = [
        et.Pool(
            f"q{i}?",
            tuple(et.Candidate(j, "", (*map(int, ids), 2)) for j, ids in enumerate(rows)),
            settings,
            str(i),
        )
        for i, rows in enumerate(drawn)
    ]
    last = [np.stack([states[-1] for states in read_hidden(lm, pool)]) for pool in bare]
    every = np.concatenate(last)
    normal = np.random.default_rng(5).normal(size=every.shape[1]) / every.std(0)
    above = [(states - every.mean(0)) @ normal for states in last]
    middle = np.median(np.concatenate(above))
    return [
        replace(
            pool,
            candidates=tuple(
                replace(c, correct=bool(x > middle)) for c, x in zip(pool, xs, strict=True)
            ),
        )
        for pool, xs in zip(bare, above, strict=True)
    ]
