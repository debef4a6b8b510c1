"""Commands that train: tasks, train, layers."""

import argparse
from pathlib import Path
from typing import Any

import edifice_tt as et
from edifice_tt.cli import options, outputs, terminal
from edifice_tt.cli.options import Add
from edifice_tt.cli.parser import add_option, whole_numbers
from edifice_tt.cli.settings import take_settings
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.wording import counted
from edifice_tt.machine.files import working_alone
from edifice_tt.machine.meter import Working

HEADING = "train a scorer"


def register(add: Add) -> None:
    tasks = add("tasks", _tasks, "show the tasks whose answers a program knows")
    tasks.add_argument("task", nargs="?", help="show the examples before its questions")
    train = add("train", _train, "train a verifier on graded pool files", _add_training)
    train.add_argument("--layer", type=int, help="whose hidden states it reads (default: the last)")
    train.add_argument("--name", help="name of its scores (default: that of the file)")
    train.add_argument("--verbose", action="store_true", help="print a line about each epoch")
    resume = "go on with a run that broke off"
    outputs.add_output(train, "verifier file to write", resume=resume, required=True)
    layers = add("layers", _layers, "measure which layer a verifier reads best", _add_training)
    layers.add_argument(
        "--layers",
        type=whole_numbers(0, "8,15,22,30"),
        metavar="LAYERS",
        help="which to compare, for example 8,15,22,30 (default: at each quarter of the model)",
    )


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("pools", type=Path, nargs="+", metavar="POOL", help="graded pool file")
    command.add_argument(
        *("-m", "--model"),
        default=options.DEFAULT_MODEL,
        help=f"the model that sampled the pools (default: {options.DEFAULT_MODEL})",
    )
    take_settings(command, ["model"])
    fit, options_of_fit = "training.fit:fit_scorer", "training.fit:FitOptions"
    add_option(command, fit, "--scorer", "registered head (default: {})")
    add_option(command, options_of_fit, "--loss", "{} (default), pairwise, token or step")
    add_option(command, fit, "--seed")
    add_option(command, options_of_fit, "--epochs", "at most (default: {})")
    add_option(command, options_of_fit, "--lr")
    options.add_loading(command)


def _tasks(arguments: argparse.Namespace) -> None:
    from edifice_tt.pools.tasks import find_task

    names = [arguments.task] if arguments.task else et.list_tasks()
    tasks = [find_task(name) for name in names]
    if arguments.json:
        fields = ("name", "summary", "answer", "max_tokens", "stop", "examples")
        terminal.print_json([{name: getattr(task, name) for name in fields} for task in tasks])
    elif arguments.task:
        terminal.show(tasks[0].examples, end="")
    else:
        rows = [(task.name, task.summary, task.answer) for task in tasks]
        terminal.show(terminal.table(("task", "asks for", "answer"), rows))


def _train(arguments: argparse.Namespace) -> None:
    with working_alone(arguments.output):
        _train_alone(arguments)


def _train_alone(arguments: argparse.Namespace) -> None:
    from edifice_tt.engine.hidden import check_layer

    output: Path = arguments.output
    checkpoint = Path(f"{output}.partial")
    if not arguments.resume:
        outputs.check_new(arguments)
        if checkpoint.exists() and not arguments.force:
            raise EdificeError(
                f"{checkpoint} is there, of a run that broke off; use --resume to go on with it, "
                "--force to begin anew"
            )
        checkpoint.unlink(missing_ok=True)
    fit_options, pools = _check(arguments)
    lm = options.load(arguments, arguments.model)
    layer = check_layer(lm, arguments.layer)
    features = _read(arguments, lm, [layer])[layer]
    with Working() as work:
        if not arguments.verbose:
            work.begin(f"training {arguments.scorer} on {counted(len(pools), 'problem')}")
        fit = et.fit_scorer(
            lm,
            pools,
            arguments.scorer,
            layer=layer,
            name=arguments.name or output.stem,
            features=features,
            checkpoint=checkpoint,
            on_epoch=_tell if arguments.verbose else None,
            **fit_options,
        )
    fit.verifier.save(output)
    checkpoint.unlink(missing_ok=True)
    plain = {"verifier": str(output), **fit.to_dict()}
    terminal.show_result(arguments, plain, _summary(fit, output))
    if fit.stopped not in ("patience", "epochs"):
        terminal.warn(f"{fit.stopped}; the last good weights before it are kept")


def _layers(arguments: argparse.Namespace) -> None:
    from edifice_tt.engine.hidden import check_layer
    from edifice_tt.training.layers import compare_layers, some_layers

    fit_options, pools = _check(arguments)
    lm = options.load(arguments, arguments.model)
    layers = [check_layer(lm, layer) for layer in arguments.layers or some_layers(lm)]
    features = _read(arguments, lm, layers)

    say = terminal.say_now_and_then()

    def tell(fit: Any) -> None:
        say(f"layer {fit.verifier.layer}: {fit.quality.auroc_within:.3f}")

    qualities = compare_layers(
        lm, pools, layers, arguments.scorer, features=features, on_fit=tell, **fit_options
    )
    rows = [
        (
            str(one.layer),
            f"{one.auroc_within:.3f} ({_interval(one.low, one.high)})",
            f"{one.behind:.3f} ({_interval(one.behind_low, one.behind_high)})",
            f"{one.brier:.3f}",
            f"{one.ece:.3f}",
        )
        for one in qualities
    ]
    header = ("layer", "right above wrong", "behind the best", "Brier", "calibration error")
    mixed = qualities[0].fit.quality.mixed_problems
    text = (
        f"{terminal.table(header, rows)}\n\n{mixed} problems with right and wrong answers, each "
        "held out once; intervals of 95 %.\nA layer whose interval behind the best reaches 0 may "
        "be as good."
    )
    terminal.show_result(arguments, [one.to_dict() for one in qualities], text)


def _interval(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _check(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Any]]:
    """Check the options of the fit and the pools before the model is loaded."""
    from edifice_tt.pools.pool import PoolFile
    from edifice_tt.training.examples import check_pools
    from edifice_tt.training.fit import FitOptions

    fit_options = {name: getattr(arguments, name) for name in ("loss", "epochs", "lr")}
    FitOptions(**fit_options)
    pools = [pool for path in arguments.pools for pool in PoolFile(path).with_problems()]
    check_pools(pools)
    return {**fit_options, "seed": arguments.seed}, pools


def _read(arguments: argparse.Namespace, lm: Any, layers: list[int]) -> dict[int, Any]:
    """The features of all pool files at each layer, stored beside them."""
    from edifice_tt.training.features import Features, features_beside
    from edifice_tt.training.fit import positions_needed

    positions = positions_needed(lm, arguments.scorer, arguments.loss)
    features: dict[int, Any] = {}
    for path in arguments.pools:
        terminal.say(f"reading the hidden states of {path}")
        read = features_beside(lm, path, layers, positions, terminal.progress)
        for layer, more in read.items():
            before = features[layer].states if layer in features else {}
            features[layer] = Features(more.source, {**before, **more.states})
    return features


def _tell(epoch: Any) -> None:
    problems = f"fold {epoch.fold}" if epoch.fold else "all problems"
    held_out = ""
    if epoch.held_out_loss is not None:
        held_out = f", held out {epoch.held_out_loss:.4f}, AUROC {epoch.held_out_auroc:.3f}"
    terminal.tell(f"{problems}, epoch {epoch.epoch}: loss {epoch.loss:.4f}{held_out}")


def _summary(fit: Any, output: Path) -> str:
    q = fit.quality
    pairs = "unknown" if q.auroc_within is None else f"{q.auroc_within:.3f}"
    return (
        f"{output}: {fit.verifier.scorer} at layer {fit.verifier.layer}, trained on "
        f"{fit.num_train} problems for {fit.best_epoch} epochs\n"
        f"on problems held out (each once; they chose the epochs): right above wrong in a problem "
        f"{pairs}, calibration error {q.ece:.3f}"
    )
