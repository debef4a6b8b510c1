"""What scorer heads make of hidden states: numbers that depend on a candidate alone.

Knows heads and states; no model, no file and no calibration.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.contract.errors import PluginError
from edifice_tt.contract.options import check_dropout, check_seed, check_size
from edifice_tt.engine.hidden import ROWS
from edifice_tt.engine.rows import States
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.heads import make_head

SURE = 1e-6  # a head that declares probabilities counts as no surer than that


@exclusive
def looks_back(head: Any, hidden_size: int) -> bool:
    """Whether a head's number at a token depends on tokens before: then its bits are others."""
    device = str(next(iter(get_state_dict(head).values())).device)
    states = np.random.default_rng(0).normal(size=(16, hidden_size)).astype(np.float32)
    whole, last = (read_head(head, [part], device)[0][-1] for part in (states, states[-1:]))
    return bool(whole != last)


def in_half(states: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """States in half precision, except one that it has no room for: it was trained on none."""
    with np.errstate(over="ignore"):
        half = states.astype(np.float16)
    return half if np.isfinite(half).all() else states


@exclusive
def read_head(head: Any, states: Sequence[States], device: str) -> list[States]:
    """A head's numbers (T,) at all positions, per candidate with states (T, D).

    Batches have fixed shapes, and a candidate's own length determines its shape, so its numbers
    cannot depend on its neighbours. A head reads nothing to the right, where the padding is.
    """
    lengths: dict[int, list[int]] = {}
    for at, one in enumerate(states):
        lengths.setdefault(1 << (len(one) - 1).bit_length(), []).append(at)
    values: list[States] = [np.empty(0, np.float32)] * len(states)
    for length, places in lengths.items():
        for start in range(0, len(places), ROWS):
            some = places[start : start + ROWS]
            batch = np.zeros((ROWS, length, states[0].shape[1]), np.float32)
            for row, i in enumerate(some):
                batch[row, : len(states[i])] = states[i]
            scores = head(Tensor(batch, device=device)).float().numpy()  # (B, T, 1)
            for row, i in enumerate(some):
                values[i] = scores[row, : len(states[i]), 0]
    return values


def logits_of(probabilities: States, who: str) -> States:
    """The logits of what a head gave; raises `PluginError` for what is no probability."""
    p = probabilities
    if (outside := p[(p < -SURE) | (p > 1 + SURE)]).size:  # more than rounding
        raise PluginError(
            f"{who} gave {outside[0]:.6g}, but declares range='probability': within 0 and 1"
        )
    sure = np.clip(p, SURE, 1 - SURE)
    logits: States = np.log(sure / (1 - sure))
    return logits


def logit_of_mean(logits: States) -> float:
    """The logit of the mean of the probabilities at some tokens (T,).

    Source of the mean over steps: STEP, 2026, arXiv:2601.09093.
    """
    x = logits.astype(np.float64)
    # The logarithm of T is a summand of both, and the difference is free of it.
    right, wrong = (np.logaddexp.reduce(-np.logaddexp(0.0, sign * x)) for sign in (-1.0, 1.0))
    return float(right - wrong)


def new_head(scorer: str, hidden_size: int, options: Mapping[str, Any]) -> Any:
    """A new registered head; raises `ValueError` for missing or wrong options."""
    if missing := {"scorer_hidden", "dropout", "seed"} - options.keys():
        raise ValueError(f"the option {min(missing)} is missing")
    check_size("scorer_hidden", options["scorer_hidden"])
    check_dropout(options["dropout"])
    check_seed(options["seed"])
    config: Any = {**options, "scorer": scorer, "hidden_size": hidden_size}
    return make_head(SimpleNamespace(**config))
