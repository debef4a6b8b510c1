"""Cross-validation: trains without each fold, then on all problems. Knows how to resume.

Held-out predictions set the number of epochs and the calibration, and every problem serves both
training and validation. Source: Stone, 1974; in stacking these predictions are called out-of-fold.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edifice_tt.scoring.verifier import Verifier
from edifice_tt.training.examples import Example
from edifice_tt.training.loop import Loop
from edifice_tt.training.progress import Epoch, Fold, Progress, Run


def train_in_folds(
    loop: Loop,
    verifier: Verifier,
    examples: Sequence[Example],
    folds: Sequence[Sequence[int]],
    run: Run,
    keep: Callable[[Run], None],
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Run, str]:
    """Continue a run to its end, with the head trained on all problems; returns why it stopped.

    `folds` lists the problems that are held out in turn. The training on all problems takes the
    mean of the folds' best numbers of epochs. Raises `EdificeError` as the loop does.
    """
    tell = on_epoch or (lambda epoch: None)

    def keep_current(progress: Progress) -> None:
        keep(replace(run, current=progress))

    for number, places in enumerate(folds[len(run.folds) :], len(run.folds) + 1):
        out = [examples[place] for place in places]
        rest = [example for place, example in enumerate(examples) if place not in places]
        progress, stopped = loop.run(
            run.current, rest, out, fold=number, keep=keep_current, on_epoch=tell
        )
        states = [one for example in out for one in example.states]
        answers = (candidate.token_ids for example in out for candidate in example.pool)
        says = iter(verifier.answer_logits(states, answers))
        logits = tuple(tuple(next(says) for _ in example.states) for example in out)
        run = Run((*run.folds, Fold(progress.history, progress.best_epoch, stopped, logits)))
    epochs = max(1, round(float(np.mean([fold.best_epoch for fold in run.folds]))))
    progress, stopped = loop.run(
        run.current, examples, epochs=epochs, keep=keep_current, on_epoch=tell
    )
    reasons = [fold.stopped for fold in run.folds]
    if stopped == "epochs":  # as it should: what stopped the folds tells more
        failed = [reason for reason in reasons if reason not in ("patience", "epochs")]
        stopped = failed[0] if failed else "epochs" if "epochs" in reasons else "patience"
    return replace(run, current=progress), stopped
