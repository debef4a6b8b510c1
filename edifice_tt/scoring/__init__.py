"""Pool -> pool with scores. As a plugin, this room registers `logprob`."""

from collections.abc import Callable
from typing import Any

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    register(
        "logprob",
        _logprob,
        reads="logprobs",
        range="unbounded",
        summary="mean log-probability of the candidate's tokens; needs no training",
    )


def _logprob() -> Any:
    from edifice_tt.scoring.score import mean_logprob

    return mean_logprob
