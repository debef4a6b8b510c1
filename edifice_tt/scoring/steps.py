"""One number per step or token -> one number per answer. Knows numbers only."""

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from statistics import fmean
from typing import Protocol

from edifice_tt.contract.errors import unknown_name

DEFAULT = "last"


def reduce_steps(steps: Sequence[float], how: str = DEFAULT) -> float:
    """The score of an answer from the scores of its steps: `last`, `min`, `max`, `mean`, `product`.

    `product` is for probabilities. The default follows Snell et al., 2024, arXiv:2408.03314, who
    found `last` best. Lightman et al., 2023, arXiv:2305.20050, use `product`, and compare it with
    `min`. Raises `UnknownNameError` for an unknown reduction and `ValueError` when there is no
    step.

    >>> reduce_steps([0.5, 0.25, 0.75]), reduce_steps([0.5, 0.25, 0.75], "mean")
    (0.75, 0.5)
    """
    reduce = check_reduction(how)
    if not steps:
        raise ValueError("there are no steps to reduce; a scorer of steps gives at least one")
    return reduce(steps)


class Scorer(Protocol):
    """What a reduction asks of a scorer, registered or not."""

    @property
    def name(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def range(self) -> str: ...


def check_reduce(scorer: Scorer, reduce: str | None) -> None:
    """Raise for an unknown reduction, or one that this scorer cannot have."""
    if reduce is None:
        return
    check_reduction(reduce)
    if scorer.level != "step":
        raise ValueError(
            f"scorer {scorer.name!r} gives one score an answer, so reduce={reduce!r} has no steps "
            "to reduce; leave it out"
        )
    if reduce == "product" and scorer.range != "probability":
        raise ValueError(
            f"reduce='product' multiplies probabilities, but scorer {scorer.name!r} declares "
            f"range={scorer.range!r}; use last, min, max or mean"
        )


def check_reduction(how: str) -> Callable[[Sequence[float]], float]:
    """The reduction of that name; raises `UnknownNameError` for an unknown one."""
    if how not in _REDUCTIONS:
        raise unknown_name("reduction of steps", how, _REDUCTIONS)
    return _REDUCTIONS[how]


_REDUCTIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": itemgetter(-1),
    "min": min,
    "max": max,
    "mean": fmean,
    "product": math.prod,
}


def mean_logprob(token_logprobs: list[list[float]]) -> list[float]:
    """The mean log-probability per candidate of its tokens, under the model that sampled them.

    The mean, not the sum, so that long answers are not penalised.

    >>> mean_logprob([[-1.0, -3.0], [-0.5]])
    [-2.0, -0.5]
    """
    return [math.fsum(values) / len(values) for values in token_logprobs]
