"""Which layer a head reads best: the same head at each of several, on the same problems held out.

Measures and chooses nothing: by chance one of several layers is always the best.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.engine.hidden import check_layer
from edifice_tt.pools.pool import Pool
from edifice_tt.study.intervals import bootstrap_means, interval_of_means
from edifice_tt.study.quality import auroc
from edifice_tt.training.features import Features, read_features_at
from edifice_tt.training.fit import Fit, fit_scorer, positions_needed


@dataclass(frozen=True, eq=False)
class LayerQuality:
    """What a head at a layer is worth on problems that it was not trained on.

    `auroc_within` is the mean over problems, between `low` and `high`; `behind` is by how much the
    best layer's is higher, on the same problems, and lies between `behind_low` and `behind_high`.
    One problem has no interval: None.
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
    """The layers a quarter, a half and three quarters of the way up, and the last."""
    last = lm.config.num_layers
    return tuple(sorted({max(1, round(last * part / 4)) for part in (1, 2, 3, 4)}))


def compare_layers(
    lm: CausalLM,
    pools: Sequence[Pool],
    layers: Sequence[int] | None = None,
    scorer: str = "mlp",
    *,
    features: Mapping[int, Features] | None = None,
    level: float = 0.95,
    seed: int = 0,
    on_fit: Callable[[Fit], None] = lambda fit: None,
    **options: Any,
) -> tuple[LayerQuality, ...]:
    """Fit a head at each of some layers and measure all on the same problems, each held out once.

    `options` are those of `fit_scorer`, but for `layer`; `features` spares the reading, which is
    one for all layers. By default `some_layers`. Intervals are a paired bootstrap over the problems
    with right and wrong candidates. `on_fit` is called after each layer. Raises as `fit_scorer`.
    """
    layers = sorted({check_layer(lm, layer) for layer in layers or some_layers(lm)})
    pools = list(pools)
    if features is None:
        loss, targets = options.get("loss", "outcome"), options.get("targets")
        positions = positions_needed(lm, scorer, loss, targets)
        features = read_features_at(lm, pools, layers, positions)
    if missing := [layer for layer in layers if layer not in features]:
        raise ValueError(f"the features hold no layer {missing[0]}; read them at all layers")
    fits = []
    for layer in layers:
        fit = fit_scorer(
            lm, pools, scorer, seed=seed, features=features[layer], layer=layer, **options
        )
        fits.append(fit)
        on_fit(fit)
    table = np.array([_aurocs(fit) for fit in fits]).T  # (problems, layers)
    table = table[~np.isnan(table[:, 0])]
    at_best = int(np.argmax(table.mean(axis=0)))
    best = table[:, [at_best]]
    both = np.hstack([table, best - table])
    means, num = bootstrap_means(both, seed=seed), len(layers)
    bounds = (
        interval_of_means(both[:, :num], means[:, :num], level),
        interval_of_means(both[:, num:], means[:, num:], level, (-1.0, 1.0)),
    )
    low, high = np.concatenate(bounds, axis=1)
    low[num + at_best] = high[num + at_best] = 0.0  # it is not behind itself
    columns = np.stack([both.mean(axis=0), low, high]).reshape(3, 2, len(layers))
    found = []
    for at, (layer, fit) in enumerate(zip(layers, fits, strict=True)):
        mean, behind = columns[0, :, at].tolist()
        (first, last), (near, far) = (map(_known, pair) for pair in columns[1:, :, at].T.tolist())
        brier, ece = fit.quality.brier, fit.quality.ece
        assert brier is not None
        assert ece is not None
        found.append(LayerQuality(layer, mean, first, last, behind, near, far, brier, ece, fit))
    return tuple(found)


def _known(bound: float) -> float | None:
    return None if math.isnan(bound) else bound


def _aurocs(fit: Fit) -> list[float]:
    name = fit.verifier.name
    return [
        float(auroc([[c.scores[name] for c in pool]], [[bool(c.correct) for c in pool]])[0])
        for pool in fit.pools
    ]
