"""Labelled pools -> a trained head: the loop, its stopping, and what it may be trained on.

Same seed, same data, same device: the same weights, also when it was broken off and resumed. Knows
no file format; what is kept of a broken run is for `progress`.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from typing import Any

import numpy as np
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt import registry
from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.errors import EdificeError, unknown_name
from edifice_tt.inference.candidates import Pool
from edifice_tt.inference.hidden import check_layer
from edifice_tt.inference.verifier import Verifier, digest_of, new_head
from edifice_tt.nn.config import check_count, check_dropout
from edifice_tt.nn.init import place
from edifice_tt.study.quality import ScorerQuality, assess_scorer
from edifice_tt.training.calibration import calibrate
from edifice_tt.training.examples import (
    Example,
    Targets,
    check_pools,
    every_token,
    make_examples,
    moments,
    split_pools,
    step_ends,
)
from edifice_tt.training.features import Features, Source, check_model, read_features
from edifice_tt.training.loop import Loop, Schedule
from edifice_tt.training.losses import outcome_loss, pairwise_loss
from edifice_tt.training.progress import (
    Epoch,
    Progress,
    load_progress,
    save_progress,
    seeded,
)

LOSSES = ("outcome", "pairwise", "token", "step")


@dataclass(frozen=True)
class FitOptions:
    """How a head is fitted; raises `ValueError` for values that cannot work.

    `loss`: `outcome` (is the answer right, at its last token), `token` and `step` (the same at
    every token, or where a step ends), `pairwise`. `held_out` is the share of problems that
    decides when to stop and calibrates. After `patience` epochs without a better loss on them it
    stops, and the best weights count.
    """

    loss: str = "outcome"
    layer: int | None = None
    scorer_hidden: int = 128
    dropout: float = 0.1
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch_problems: int = 8
    epochs: int = 60
    patience: int = 10
    held_out: float = 0.25
    balance: bool = True
    margin: float = 0.0
    centre: float = 0.01
    calibration: str = "platt"
    name: str = "verifier"

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        for option in ("scorer_hidden", "batch_problems", "epochs", "patience"):
            check_count(option, getattr(self, option))
        check_dropout(self.dropout)
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} must be above 0 and below 1")
        for option in ("lr", "weight_decay", "margin", "centre"):
            value = getattr(self, option)
            if not 0 <= value < float("inf") or (option == "lr" and value == 0):
                raise ValueError(f"{option}={value} must be a finite number, above 0 for lr")
        if self.calibration not in ("platt", "temperature"):
            raise ValueError(f"calibration={self.calibration!r} must be platt or temperature")


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained verifier and how it came about.

    `quality` is measured on the problems held out, with the calibrated probabilities; they also
    decided when to stop, so it flatters. `stopped` is `patience`, `epochs`, or what went wrong.
    """

    verifier: Verifier
    history: tuple[Epoch, ...]
    best_epoch: int
    num_train: int
    num_held_out: int
    stopped: str
    quality: ScorerQuality

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON, without the weights."""
        plain = {name: getattr(self, name) for name in ("best_epoch", "num_train", "num_held_out")}
        history = [asdict(epoch) for epoch in self.history]
        figures = dict(self.verifier.figures)
        return {**plain, "stopped": self.stopped, "held_out": figures, "history": history}


def fit_scorer(
    lm: CausalLM,
    pools: Sequence[Pool],
    scorer: str = "mlp",
    *,
    seed: int = 0,
    features: Features | None = None,
    targets: Targets | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    **options: Any,
) -> Fit:
    """Train a registered head on the hidden states of answers that are known to be right or wrong.

    `options` are those of `FitOptions`. `features` spares the reading of the pools by the model;
    `targets` gives a candidate's targets itself, a number within 0 and 1 or None (not asked) a
    token. Each epoch is kept in the file `checkpoint`; with the same arguments the run goes on from
    there. `on_epoch` is called after each.

    Raises `EdificeError` for pools of another model, of a test split, or a loss that is not finite
    from the first epoch on, `ValueError` for pools without right and wrong candidates, and
    `UnknownNameError` for an unknown scorer or option.
    """
    settings = _options(options)
    pools = list(pools)
    check_pools(pools)
    for pool in pools:
        check_model(lm, pool)
    training, held_out = split_pools(pools, settings.held_out, seed)
    head_options = {"scorer_hidden": settings.scorer_hidden, "dropout": settings.dropout}
    head_options |= {"seed": seed}
    head = _head(lm, scorer, head_options)
    asked = targets or _targets(lm, settings.loss)
    positions = "all" if asked is not None or _looks_back(head, lm) else "last"
    features = _features(lm, pools, settings.layer, positions, features)
    right = float(np.mean([bool(c.correct) for pool in training for c in pool]))
    balance = right if settings.balance else None
    examples, held = (
        make_examples(some, features, asked, balance) for some in (training, held_out)
    )
    inputs = moments(examples)
    key = _key([*examples, *held], vars(features.source), scorer, asdict(settings), seed)
    schedule = {field.name: getattr(settings, field.name, seed) for field in fields(Schedule)}
    is_probability = registry.scorer(scorer).range == "probability"
    loss = (
        pairwise_loss(settings.margin, settings.centre)
        if settings.loss == "pairwise"
        else outcome_loss
    )
    found = Progress() if checkpoint is None else load_progress(checkpoint, key)

    def keep(progress: Progress) -> None:
        if checkpoint is not None:
            save_progress(progress, checkpoint, key, lm.device)

    with seeded(seed):
        loop = Loop(
            head, loss, examples, held, inputs, Schedule(**schedule), lm.device, is_probability
        )
        progress, stopped = loop.run(found, keep, on_epoch)
    verifier = Verifier(
        settings.name,
        scorer,
        head_options,
        features.source.layer,
        lm.config.hidden_size,
        lm.fingerprint,
        head,
        *inputs,
        trained_on=frozenset(digest_of(pool.prompt) for pool in pools),
    )
    verifier, quality = _calibrate(verifier, held, settings.calibration)
    sizes = len(training), len(held_out)
    return Fit(verifier, progress.history, progress.best_epoch, *sizes, stopped, quality)


def _calibrate(
    verifier: Verifier, held: Sequence[Example], method: str
) -> tuple[Verifier, ScorerQuality]:
    """The verifier with its calibration and figures, from the problems held out."""
    logits = [
        np.array([float(one[-1]) for one in verifier.logits(example.states)]) for example in held
    ]
    right = [example.right for example in held]
    slope, offset = calibrate(np.concatenate(logits), np.concatenate(right), method)
    verifier = replace(verifier, slope=slope, offset=offset)
    scores = [[verifier.probability(float(x)) for x in one] for one in logits]
    quality = assess_scorer(verifier.name, scores, right, score_range="probability")
    names = ("auroc_within", "auroc_pooled", "mixed_problems", "ece", "brier")
    figures = {name: getattr(quality, name) for name in names}
    return replace(verifier, figures={"problems": len(held), **figures}), quality


def _key(examples: Sequence[Example], *settings: Any) -> str:
    """A digest of everything that decides what comes out."""
    digest = sha256(json.dumps(settings, sort_keys=True).encode())
    for example in examples:
        digest.update(example.pool.prompt.encode())
        for arrays in zip(example.states, example.targets, example.weights, strict=True):
            for array in arrays:
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _head(lm: CausalLM, scorer: str, options: dict[str, Any]) -> Any:
    head = new_head(scorer, lm.config.hidden_size, options)
    if not get_state_dict(head):
        raise EdificeError(f"scorer {scorer!r} has no weights, so there is nothing to train")
    return place(head, lm.device)


def _options(options: dict[str, Any]) -> FitOptions:
    known = [field.name for field in fields(FitOptions)]
    for option in options:
        if option not in known:
            raise unknown_name("option of fit_scorer", option, known)
    return FitOptions(**options)


def _features(
    lm: CausalLM,
    pools: Sequence[Pool],
    layer: int | None,
    positions: str,
    given: Features | None,
) -> Features:
    if given is None:
        return read_features(lm, pools, layer, positions)
    expected = Source.of(lm, layer, positions)
    for name, ours in vars(expected).items():
        if (theirs := getattr(given.source, name)) != ours:
            raise EdificeError(
                f"the features are of {name}={theirs!r}, this training needs {ours!r}; compute "
                "them again"
            )
    return given


def features_needed(
    lm: CausalLM, scorer: str, loss: str = "outcome", layer: int | None = None
) -> tuple[int, str]:
    """Layer and positions of the features that `fit_scorer` needs for such a head and loss."""
    options = FitOptions(loss=loss, layer=layer)
    asked = {"scorer_hidden": options.scorer_hidden, "dropout": options.dropout, "seed": 0}
    head = _head(lm, scorer, asked)
    several = _targets(lm, loss) is not None or _looks_back(head, lm)
    return check_layer(lm, layer), "all" if several else "last"


def _targets(lm: CausalLM, loss: str) -> Targets | None:
    return {"token": every_token, "step": step_ends(lm)}.get(loss)


def _looks_back(head: Any, lm: CausalLM) -> bool:
    x = np.random.default_rng(0).normal(size=(1, 3, lm.config.hidden_size)).astype(np.float32)
    whole, last = (head(Tensor(part, device=lm.device)).numpy()[0, -1] for part in (x, x[:, -1:]))
    return bool(np.abs(whole - last).max() > 1e-4)
