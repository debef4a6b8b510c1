"""Commands that train: tasks, train."""

import argparse
from pathlib import Path
from typing import Any

import edifice_tt as et
from edifice_tt import terminal
from edifice_tt.commands import options
from edifice_tt.commands.options import Add
from edifice_tt.errors import EdificeError

HEADING = "train a scorer"


def register(add: Add) -> None:
    """Add the commands of this room."""
    tasks = add("tasks", _tasks, "show the tasks whose answers a program knows")
    tasks.add_argument("task", nargs="?", help="show the examples before its questions")
    train = add(
        "train",
        _train,
        "train a verifier on graded pool files",
        options.add_device,
        options.add_activations,
        options.add_dtype,
    )
    train.add_argument("pools", type=Path, nargs="+", metavar="POOL", help="graded pool file")
    train.add_argument(
        "-o", "--output", type=options.new_file, required=True, help="verifier file to write"
    )
    train.add_argument(
        "--model",
        default=options.DEFAULT_MODEL,
        help="the model that sampled the pools (default: %(default)s)",
    )
    train.add_argument("--scorer", default="mlp", help="registered head (default: mlp)")
    train.add_argument("--name", help="name of its scores (default: that of the file)")
    train.add_argument(
        "--loss", default="outcome", help="outcome (default), pairwise, token or step"
    )
    train.add_argument("--layer", type=int, help="whose hidden states it reads (default: the last)")
    train.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    train.add_argument("--epochs", type=int, default=60, help="at most (default: %(default)s)")
    train.add_argument("--lr", type=float, default=1e-3, help="default: %(default)s")
    how = train.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="go on with a run that broke off")
    how.add_argument("--force", action="store_true", help="replace the file if it is there")


def _tasks(arguments: argparse.Namespace) -> None:
    from edifice_tt.study.tasks import TASKS, find_task

    if arguments.task:
        tasks = [find_task(arguments.task)]
    else:
        tasks = [TASKS[name] for name in sorted(TASKS)]
    if arguments.json:
        shown = [
            {
                "name": task.name,
                "summary": task.summary,
                "answer": task.answer,
                "max_tokens": task.max_tokens,
                "stop": list(task.stop),
                "examples": task.examples,
            }
            for task in tasks
        ]
        terminal.print_json(shown)
    elif arguments.task:
        print(tasks[0].examples, end="")
    else:
        rows = [(task.name, task.summary, task.answer) for task in tasks]
        print(terminal.table(("task", "asks for", "answer"), rows))


def _train(arguments: argparse.Namespace) -> None:
    from edifice_tt.inference.pool_reader import PoolFile
    from edifice_tt.training.examples import check_pools
    from edifice_tt.training.features import Features, features_beside
    from edifice_tt.training.fit import FitOptions, features_needed

    output: Path = arguments.output
    checkpoint = Path(f"{output}.partial")
    if not arguments.resume:
        options.check_new(arguments)
        if checkpoint.exists() and not arguments.force:
            raise EdificeError(
                f"{checkpoint} is there, of a run that broke off; use --resume to go on with it, "
                "--force to begin anew"
            )
        checkpoint.unlink(missing_ok=True)
    names = ("loss", "layer", "epochs", "lr")
    given: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    given["name"] = arguments.name or output.stem
    FitOptions(**given)  # a mistake in it costs no loading
    pools = [pool for path in arguments.pools for pool in PoolFile(path).with_problems()]
    check_pools(pools)
    terminal.say(f"loading {arguments.model}")
    lm = options.load(arguments, arguments.model)
    layer, positions = features_needed(lm, arguments.scorer, arguments.loss, arguments.layer)
    states: dict[str, Any] = {}
    for path in arguments.pools:
        terminal.say(f"reading the hidden states of {path}")
        features = features_beside(lm, path, [layer], positions)[layer]
        states |= features.states
    fit = et.fit_scorer(
        lm,
        pools,
        arguments.scorer,
        seed=arguments.seed,
        features=Features(features.source, states),
        checkpoint=checkpoint,
        on_epoch=_tell,
        **given,
    )
    fit.verifier.save(output)
    checkpoint.unlink(missing_ok=True)
    if arguments.json:
        terminal.print_json({"verifier": str(output), **fit.to_dict()})
    else:
        print(_summary(fit, output))
    if fit.stopped not in ("patience", "epochs"):
        terminal.warn(f"{fit.stopped}; the weights of epoch {fit.best_epoch} are kept")


def _tell(epoch: Any) -> None:
    part = f"fold {epoch.fold}" if epoch.fold else "all problems"
    held = ""
    if epoch.held_out_loss is not None:
        held = f", held out {epoch.held_out_loss:.4f}, AUROC {epoch.held_out_auroc:.3f}"
    terminal.say(f"{part}, epoch {epoch.epoch}: loss {epoch.loss:.4f}{held}")


def _summary(fit: Any, output: Path) -> str:
    q = fit.quality
    pairs = "unknown" if q.auroc_within is None else f"{q.auroc_within:.3f}"
    return (
        f"{output}: {fit.verifier.scorer} at layer {fit.verifier.layer}, trained on "
        f"{fit.num_train} problems for {fit.best_epoch} epochs\n"
        f"on problems held out (each once; they chose the epochs): right above wrong in a problem "
        f"{pairs}, calibration error {q.ece:.3f}"
    )
