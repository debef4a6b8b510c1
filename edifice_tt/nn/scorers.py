"""The scorer heads that come with the library, and how any registered head is made.

A head reads hidden states (B, T, D) and gives a number a position (B, T, 1); its weights are its
Tensor attributes. Knows neither prompts nor candidates.
"""

import inspect
from typing import Any

import numpy as np
from tinygrad import Tensor

from edifice_tt import registry
from edifice_tt.errors import EdificeError
from edifice_tt.nn.blocks import Linear


class MLPScorer:
    """The original's head: dense, silu, dropout, dense."""

    def __init__(self, hidden_size: int, scorer_hidden: int, dropout: float, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.dropout = dropout
        self.dense1 = Linear(hidden_size, scorer_hidden, rng=rng)
        self.dense2 = Linear(scorer_hidden, 1, rng=rng)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.dense2(self.dense1(hidden).silu().dropout(self.dropout))  # (B, T, 1)


class LinearScorer:
    """One dense layer to a single number: the probe that other heads must beat."""

    def __init__(self, hidden_size: int, seed: int) -> None:
        self.dense = Linear(hidden_size, 1, rng=np.random.default_rng([seed, 1]))

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.dense(hidden)  # (B, T, 1)


def make_head(name: str, hidden_size: int, **offered: Any) -> Any:
    """A registered head by name, given those of the offered options that its factory names.

    Raises `UnknownNameError` for an unknown scorer and `EdificeError` for one that reads text or
    log-probabilities and so cannot be a head.
    """
    record = registry.scorer(name)
    if record.reads != "hidden":
        raise EdificeError(
            f"scorer {name!r} reads {record.reads}, so it cannot be a head inside a model; use it "
            f"with edifice_tt.score(lm, pool, scorer={name!r})"
        )
    parameters = inspect.signature(record.factory).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    options = {key: value for key, value in offered.items() if takes_all or key in parameters}
    return record.factory(hidden_size, **options)
