"""Generate, score, select. As a plugin, this room registers `logprob` and the built-in rules."""

from collections.abc import Callable
from typing import Any

from edifice_tt.hookspecs import hookimpl


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    register(
        "logprob",
        _logprob,
        reads="logprobs",
        range="unbounded",
        summary="mean log-probability of the candidate's tokens; needs no training",
    )


@hookimpl
def register_selectors(register: Callable[..., None]) -> None:
    from edifice_tt.inference.select import best_of_n, majority

    register("best_of_n", best_of_n, summary="the highest score")
    register("majority", majority, summary="the most common answer")


def _logprob() -> Any:
    from edifice_tt.inference.score import mean_logprob

    return mean_logprob
