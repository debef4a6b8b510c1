"""Tensors, formulas, blocks, heads. As a plugin, this room registers the built-in heads."""

from collections.abc import Callable
from typing import Any

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    register(
        "mlp", _mlp, reads="hidden", range="logit", summary="dense, silu, dropout, dense (Edifice)"
    )
    register("linear", _linear, reads="hidden", range="logit", summary="one dense layer, a probe")


# The heads are imported when one is made: listing names needs no tinygrad.
def _mlp(hidden_size: int, scorer_hidden: int, dropout: float, seed: int) -> Any:
    from edifice_tt.nn.heads import MLPScorer

    return MLPScorer(hidden_size, scorer_hidden, dropout, seed)


def _linear(hidden_size: int, seed: int) -> Any:
    from edifice_tt.nn.heads import LinearScorer

    return LinearScorer(hidden_size, seed)
