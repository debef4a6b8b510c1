"""Labelled pools -> a trained head, with cross-validation, calibration and checks of the data.

The same seed, data and device give the same weights, also for a run that was interrupted and
resumed. Knows no file format; `progress` stores interrupted runs.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract import registry
from edifice_tt.contract.errors import CheckpointError, EdificeError
from edifice_tt.contract.options import make_config
from edifice_tt.contract.shown import Shown, Table, number
from edifice_tt.contract.spelled import takes_options_of
from edifice_tt.contract.wording import counted
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.machine.files import working_alone
from edifice_tt.machine.progress import Shows, each, showing
from edifice_tt.nn.buffers import place
from edifice_tt.pools import given
from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.verifier import Verifier, digest_of, new_head
from edifice_tt.study.quality import ScorerQuality, assess_scorer
from edifice_tt.training.calibration import calibrate
from edifice_tt.training.examples import (
    Example,
    Targets,
    check_pools,
    every_token,
    line_ends,
    make_examples,
    make_folds,
    moments,
    shape_of,
    step_ends,
)
from edifice_tt.training.features import Features, check_model, check_source, read_features
from edifice_tt.training.folds import train_in_folds
from edifice_tt.training.loop import Loop, Schedule
from edifice_tt.training.losses import outcome_loss, pairwise_loss
from edifice_tt.training.options import FitOptions as FitOptions
from edifice_tt.training.options import LayerOptions
from edifice_tt.training.progress import Epoch, Run, load_run, save_run, seeded

_READ_BY = {"token": "tokens", "step": "steps"}


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Shown):
    """A trained verifier with its quality and training history.

    `pools` holds the problems, each scored by a head that was trained without it; `quality`
    measures these scores. It is slightly optimistic, since the folds also chose the number of
    epochs. `best_epoch` is the number of epochs that the verifier was trained for; `stopped` is
    `patience`, `epochs`, or an error.
    """

    verifier: Verifier
    history: tuple[Epoch, ...]
    best_epoch: int
    num_train: int
    stopped: str
    quality: ScorerQuality
    pools: tuple[Pool, ...]

    def _line(self) -> str:
        v, trained = self.verifier, counted(self.num_train, "problem")
        right = f"right above wrong {number(self.quality.auroc_within) or 'unknown'}"
        epochs = counted(self.best_epoch, "epoch")
        return f"of {v.name!r}, {v.scorer} at layer {v.layer}: {trained}, {epochs}; {right}"

    def _table(self) -> Table:
        q = self.quality
        held_out = {
            "right above wrong": q.auroc_within,
            "Brier": q.brier,
            "calibration error": q.ece,
        }
        rows = {name: number(value) for name, value in held_out.items()}
        return ("on held-out problems", ""), [*rows.items(), ("stopped by", self.stopped)]

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON, without the weights and the pools."""
        plain = {name: getattr(self, name) for name in ("best_epoch", "num_train", "stopped")}
        history = [asdict(epoch) for epoch in self.history]
        return {**plain, "held_out": dict(self.verifier.figures), "history": history}


@takes_options_of(FitOptions)
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
    progress: Shows = False,
    **options: Unpack[LayerOptions],
) -> Fit:
    """Train a registered head on the hidden states of answers that are marked right or wrong.

    Cross-validation sets the number of epochs and the calibration; the verifier is then trained on
    all problems. `options` are those of `FitOptions`. `features` saves reading the pools with the
    model. `targets` returns a candidate's targets: one number within 0 and 1, or None (no target),
    per token. Each epoch is saved in the file `checkpoint`; a call with the same arguments
    continues from there. `on_epoch` is called after each epoch.
    `progress=True` shows how far it is, and a function is called with each `Progress`.

    Raises `EdificeError` for pools of another model or of a test split, and for a loss that is
    never finite. Raises `ValueError` for pools without right and wrong candidates, and
    `UnknownNameError` for an unknown scorer or option. Raises `CheckpointError` for a damaged
    checkpoint, and `BlockingIOError` for one that another process trains with.
    """
    settings = make_config(FitOptions, "fit_scorer", {**options})
    pools = list(given.check_pools(pools))
    given.check_writer(lm)
    check_pools(pools)
    for pool in pools:
        check_model(lm, pool)
    folds = make_folds(pools, settings.folds, seed)
    head_options = {"scorer_hidden": settings.scorer_hidden, "dropout": settings.dropout}
    head_options |= {"seed": seed}
    head = _head(lm, scorer, head_options)
    reads = "last" if targets is not None else _READ_BY.get(settings.loss, "last")
    targets, positions = _read_by(lm, head, settings.loss, targets)
    if features is None:
        features = read_features(lm, pools, settings.layer, positions, partial(each, progress))
    check_source(lm, features, settings.layer, positions)
    right = float(np.mean([bool(c.correct) for pool in pools for c in pool]))
    examples = make_examples(pools, features, targets, right if settings.balance else None)
    verifier = Verifier(
        settings.name,
        scorer,
        head_options,
        features.source.layer,
        lm.config.hidden_size,
        lm.fingerprint,
        head,
        *moments(examples),
        trained_on=frozenset(digest_of(pool.prompt) for pool in pools),
        tokenizer=features.source.tokenizer,
        reads=reads,
        ends=line_ends(lm) if reads == "steps" else frozenset(),
    )
    key = _key(examples, vars(features.source), scorer, asdict(settings), seed)
    counts = [[len(examples[place].states) for place in fold] for fold in folds]

    def keep(run: Run) -> None:
        if checkpoint is not None:
            save_run(run, checkpoint, key, lm.device)

    with seeded(seed), nullcontext() if checkpoint is None else working_alone(Path(checkpoint)):
        run = Run() if checkpoint is None else load_run(checkpoint, key, counts)
        loop = _loop(verifier, examples, settings, seed)
        if not loop.fits(run.current):
            raise CheckpointError(
                f"{checkpoint}: its weights are not those of this training; delete it to begin anew"
            )
        with showing(progress, None, "epochs") as add:

            def tell(epoch: Epoch) -> None:
                add(1, 0)
                if on_epoch is not None:
                    on_epoch(epoch)

            run, stopped = train_in_folds(loop, verifier, examples, folds, run, keep, tell)
    rows = (row for fold in run.folds for row in fold.logits)
    by_place = dict(zip(chain(*folds), rows, strict=True))
    logits = [by_place[place] for place in range(len(pools))]
    verifier, scored, quality = _calibrate(verifier, pools, logits, settings.calibration)
    history = *chain(*(fold.history for fold in run.folds)), *run.current.history
    return Fit(verifier, history, run.current.best_epoch, len(pools), stopped, quality, scored)


def _loop(verifier: Verifier, examples: Sequence[Example], settings: FitOptions, seed: int) -> Loop:
    schedule = {field.name: getattr(settings, field.name, seed) for field in fields(Schedule)}
    pairs = pairwise_loss(settings.margin, settings.centre)
    return Loop(
        verifier.head,
        pairs if settings.loss == "pairwise" else outcome_loss,
        shape_of(examples),
        Schedule(**schedule),
        (verifier.mean, verifier.scale),
        registry.scorer(verifier.scorer).range == "probability",
    )


def _calibrate(
    verifier: Verifier, pools: Sequence[Pool], logits: Sequence[Sequence[float]], method: str
) -> tuple[Verifier, tuple[Pool, ...], ScorerQuality]:
    """The calibrated verifier with its measurements, and the pools with probabilities."""
    right = [[bool(candidate.correct) for candidate in pool] for pool in pools]
    slope, offset = calibrate(np.concatenate(logits), np.concatenate(right), method)
    verifier = replace(verifier, slope=slope, offset=offset)
    scores = [[verifier.probability(x) for x in one] for one in logits]
    quality = assess_scorer(verifier.name, scores, right, score_range="probability")
    names = ("auroc_within", "auroc_pooled", "mixed_problems", "ece", "brier")
    figures = {name: getattr(quality, name) for name in names}
    verifier = replace(verifier, figures={"problems": len(pools), **figures})
    scored = (
        pool.with_scores(verifier.name, some, range="probability")
        for pool, some in zip(pools, scores, strict=True)
    )
    return verifier, tuple(scored), quality


def _key(examples: Sequence[Example], *settings: Any) -> str:
    """A digest of everything that determines the result."""
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


def positions_needed(
    lm: CausalLM, scorer: str, loss: str = "outcome", targets: Targets | None = None
) -> str:
    """The positions of the features that `fit_scorer` needs for such a head and loss."""
    options = FitOptions(loss=loss)
    head_options = {"scorer_hidden": options.scorer_hidden, "dropout": options.dropout, "seed": 0}
    return _read_by(lm, _head(lm, scorer, head_options), loss, targets)[1]


def _read_by(
    lm: CausalLM, head: Any, loss: str, targets: Targets | None
) -> tuple[Targets | None, str]:
    """The targets of a loss, unless they are given, and the positions that these need."""
    if targets is None and loss in ("token", "step"):
        targets = every_token if loss == "token" else step_ends(lm)
    return targets, "all" if targets is not None or _looks_back(head, lm) else "last"


@exclusive
def _looks_back(head: Any, lm: CausalLM) -> bool:
    x = np.random.default_rng(0).normal(size=(1, 3, lm.config.hidden_size)).astype(np.float32)
    whole, last = (head(Tensor(part, device=lm.device)).numpy()[0, -1] for part in (x, x[:, -1:]))
    return bool(np.abs(whole - last).max() > 1e-4)
