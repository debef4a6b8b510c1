"""Compares layers: fits the same head at each and measures it on the same held-out problems.

It measures but does not choose: by chance alone, one of several layers is always the best.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Unpack

import numpy as np

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.spelled import takes_options_of
from edifice_tt.engine.hidden import check_layer
from edifice_tt.machine.progress import Shows, each
from edifice_tt.pools import given
from edifice_tt.pools.pool import Pool
from edifice_tt.study.intervals import bootstrap_means, interval_of_means
from edifice_tt.study.quality import auroc
from edifice_tt.training.examples import Targets
from edifice_tt.training.features import Features, read_features_at
from edifice_tt.training.fit import Fit, fit_scorer, positions_needed
from edifice_tt.training.options import AnyLayerOptions, FitOptions
from edifice_tt.training.progress import Epoch


@dataclass(frozen=True, eq=False)
class LayerQuality:
    """The quality of a head at one layer, on held-out problems.

    `auroc_within` is a mean over problems with interval `low` to `high`. `behind` is how much
    higher the best layer's is on the same problems, with interval `behind_low` to `behind_high`.
    The intervals are None with one problem.
    """

    layer: int
    auroc_within: float
    low: float | None
    high: float | None
    behind: float
    behind_low: float | None
    behind_high: float | None
    brier: float
    ece: float
    fit: Fit

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON, without the fit."""
        return {name: value for name, value in vars(self).items() if name != "fit"}


def some_layers(lm: CausalLM) -> tuple[int, ...]:
    """The layers at a quarter, a half and three quarters of the depth, and the last."""
    last = lm.config.num_layers
    return tuple(sorted({max(1, round(last * part / 4)) for part in (1, 2, 3, 4)}))


class FitsOptions(AnyLayerOptions, total=False):
    """Options of `fit_scorer` that all layers share, for type checkers."""

    targets: Targets | None
    checkpoint: str | os.PathLike[str] | None
    on_epoch: Callable[[Epoch], None] | None


@takes_options_of(FitOptions, {field.name for field in fields(FitOptions)} - {"layer"})
def compare_layers(
    lm: CausalLM,
    pools: Sequence[Pool],
    layers: Sequence[int] | None = None,
    scorer: str = "mlp",
    *,
    features: Mapping[int, Features] | None = None,
    level: float = 0.95,
    seed: int = 0,
    on_fit: Callable[[Fit], None] | None = None,
    progress: Shows = False,
    **options: Unpack[FitsOptions],
) -> tuple[LayerQuality, ...]:
    """Fit a head at each of several layers and measure all on the same held-out problems.

    `layers` defaults to `some_layers`. `options` are those of `fit_scorer`, except `layer`.
    `features` saves the single pass of the model for all layers. Intervals are a paired bootstrap
    over the problems with right and wrong candidates. `on_fit` is called after each layer.
    `progress=True` shows how far it is, and a function is called with each `Progress`. Raises
    as `fit_scorer`.
    """
    pools = list(given.check_pools(pools))
    given.check_writer(lm)
    layers = sorted({check_layer(lm, layer) for layer in layers or some_layers(lm)})
    if features is None:
        loss, targets = options.get("loss", "outcome"), options.get("targets")
        positions = positions_needed(lm, scorer, loss, targets)
        features = read_features_at(lm, pools, layers, positions, watch=partial(each, progress))
    if missing := [layer for layer in layers if layer not in features]:
        raise ValueError(f"the features hold no layer {missing[0]}; read them at all layers")
    fits = []
    for layer in each(progress, layers, len(layers), "layers"):
        fit = fit_scorer(
            lm, pools, scorer, seed=seed, features=features[layer], layer=layer, **options
        )
        fits.append(fit)
        if on_fit is not None:
            on_fit(fit)
    table = np.array([_aurocs(fit) for fit in fits]).T  # (problems, layers)
    table = table[~np.isnan(table[:, 0])]
    at_best = int(np.argmax(table.mean(axis=0)))
    behind = table[:, [at_best]] - table
    means = np.split(bootstrap_means(np.hstack([table, behind]), seed=seed), 2, axis=1)
    low, high = interval_of_means(table, means[0], level)
    near, far = interval_of_means(behind, means[1], level, (-1.0, 1.0))
    near[at_best] = far[at_best] = 0.0  # the best layer itself
    columns = [table.mean(axis=0), low, high, behind.mean(axis=0), near, far]
    qualities = []
    for layer, fit, row in zip(layers, fits, np.transpose(columns).tolist(), strict=True):
        numbers: list[Any] = [None if math.isnan(number) else number for number in row]
        numbers += [fit.quality.brier, fit.quality.ece]
        qualities.append(LayerQuality(*[layer, *numbers, fit]))
    return tuple(qualities)


def _aurocs(fit: Fit) -> list[float]:
    name = fit.verifier.name
    return [
        float(auroc([[c.scores[name] for c in pool]], [[bool(c.correct) for c in pool]])[0])
        for pool in fit.pools
    ]
