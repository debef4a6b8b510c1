"""The scorer heads that come with the library, and how any registered head is made.

A head reads hidden states (B, T, D) and gives a number per position (B, T, 1). Its weights are its
Tensor attributes. Knows neither prompts nor candidates.
"""

import inspect
from typing import Any, Protocol

import numpy as np
from tinygrad import Tensor

from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
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


class HeadConfig(Protocol):
    """What a head may ask of the architecture that it is part of."""

    @property
    def scorer(self) -> str | None: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def scorer_hidden(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def seed(self) -> int: ...


def make_head(config: HeadConfig) -> Any:
    """The registered head `config.scorer`, given those of the options that its factory names.

    Raises `UnknownNameError` for an unknown scorer and `EdificeError` for one that reads text or
    log-probabilities and so cannot be a head.
    """
    record = registry.scorer(str(config.scorer))
    if record.reads != "hidden":
        raise EdificeError(
            f"scorer {record.name!r} reads {record.reads}, so it cannot be a head inside a model; "
            f"use it with edifice_tt.score(lm, pool, scorer={record.name!r})"
        )
    parameters = inspect.signature(record.factory).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    offered = {name: getattr(config, name) for name in ("scorer_hidden", "dropout", "seed")}
    options = {key: value for key, value in offered.items() if takes_all or key in parameters}
    return record.factory(config.hidden_size, **options)
