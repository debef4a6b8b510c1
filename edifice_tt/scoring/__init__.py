"""Pool -> pool with scores. As a plugin, this room registers what needs no training."""

from collections.abc import Callable

from edifice_tt.contract.hookspecs import hookimpl


@hookimpl
def register_scorers(register: Callable[..., None]) -> None:
    from edifice_tt.scoring import confidence
    from edifice_tt.scoring.steps import mean_logprob

    summary = "mean log-probability of the candidate's tokens; needs no training"
    register("logprob", lambda: mean_logprob, reads="logprobs", range="unbounded", summary=summary)
    groups = "confidence of a group of tokens: part=lowest, tail or bottom, window=2048"
    weight = "as a weight in [0, 1], for votes"
    for name, reads, summary in (
        ("perplexity", "logprobs", "1 / perplexity of the candidate's tokens"),
        ("entropy", "entropy", "exp(-mean entropy) of the tokens' distributions"),
        ("self_certainty", "self_certainty", "mean KL(uniform || model) of the tokens"),
        ("self_certainty_weight", "self_certainty", f"self_certainty {weight}"),
        ("deepconf", "deepconf", groups),
        ("deepconf_weight", "deepconf", f"deepconf {weight}"),
    ):
        range = "unbounded" if name in ("self_certainty", "deepconf") else "probability"
        register(name, getattr(confidence, name), reads=reads, range=range, summary=summary)
