"""Pool -> pool with scores. As a plugin, this room registers `logprob`."""

from collections.abc import Callable

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    from edifice_tt.scoring.steps import mean_logprob

    summary = "mean log-probability of the candidate's tokens; needs no training"
    register("logprob", lambda: mean_logprob, reads="logprobs", range="unbounded", summary=summary)
