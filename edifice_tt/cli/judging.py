"""Judges on the command line: what judge is this, and the judge to score with."""

import argparse
from pathlib import Path
from typing import Any

import edifice_tt as et
from edifice_tt.cli import options, terminal
from edifice_tt.cli.options import Add
from edifice_tt.cli.settings import LOADING
from edifice_tt.cli.texts import stop_text
from edifice_tt.cli.work import Work
from edifice_tt.contract.registry import load_registry, scorer

HEADING = "judges"
_WISHES = ("kind", "prompt", "labels", "label", "marker", "name")
_OPTIONS = ("judge", *(f"judge_{name}" for name in _WISHES))


def register(add: Add) -> None:
    """Add the command of this room."""
    judge = add("judge", _judge, "tell what a reward model is and how it reads", _add_options)
    judge.add_argument("judge", metavar="MODEL", help="a folder, a GGUF file or a name")


def add_judging(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("a judge that scores")
    group.add_argument(
        "--judge",
        metavar="MODEL",
        help="score with a reward model: a folder, a GGUF file or a name (edifice-tt judge MODEL "
        "tells what it is), not --scorer",
    )
    _add_options(group)


def _add_options(command: options.Group) -> None:
    def option(name: str, metavar: str, help: str, **more: Any) -> None:
        command.add_argument(f"--judge-{name}", metavar=metavar, help=help, **more)

    option(
        "kind",
        "KIND",
        "of a language model without a head: plus_minus, step_tag, yes_no, follow_up",
    )
    asks = "ask the judge whether an answer is right; FILE has {question} and {answer}, or of the "
    asks += "kind follow_up the next turn"
    option("prompt", "FILE", asks, type=Path)
    words = "the two words whose probabilities are compared (default: those of the kind)"
    option("labels", "GOOD,BAD", words)
    option("label", "LABEL", "which label counts, of a head with several")
    marker = "what stands behind each step (default: that of the kind)"
    option("marker", "TEXT", marker, type=stop_text)
    option("name", "NAME", "its name as a scorer in the pool (default: the model's)")


def load_judge(arguments: argparse.Namespace, lm: Any = None, alone: bool = False) -> Any:
    """The judge that the arguments ask for, or None. `lm` judges itself where none is named.

    `alone` says that no other model is asked for, so that all that is said of one is of the judge.
    """
    from edifice_tt.scoring.judges.load import open_judge
    from edifice_tt.weights.pretrained import locate

    given = _given(arguments)
    if not given:
        record = _registered(arguments)
        return None if record is None else open_judge(record, arguments.device)
    _check_alone(arguments, given)
    if arguments.judge is None and lm is None:
        raise ValueError(_unnamed(given[0]))
    how = _options_of(arguments)
    if arguments.judge is None:
        return et.load_reward(lm, **how)
    terminal.say(f"loading {arguments.judge}")
    how |= {name: getattr(arguments, name) for name in LOADING}
    if not alone and locate(arguments.judge)[0].is_dir():
        how["activations"] = "float32"  # which was asked of the model that samples
    return et.load_reward(arguments.judge, **how)


def _options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    how = {
        name: getattr(arguments, f"judge_{name}") for name in ("kind", "name", "label", "marker")
    }
    if (label := how["label"]) is not None and label.isdecimal():
        how["label"] = int(label)
    if (path := arguments.judge_prompt) is not None:
        try:
            how["prompt"] = path.read_text("utf-8").removesuffix("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: no UTF-8 text; convert it") from error
    if arguments.judge_labels is not None:
        how["labels"] = arguments.judge_labels.split(",")
    return how


def asks_itself(arguments: argparse.Namespace) -> bool:
    """Whether the model that samples is to judge its own answers."""
    given = _given(arguments)
    _check_alone(arguments, given)
    if not given or arguments.judge is not None:
        return False
    if arguments.judge_prompt is None:
        raise ValueError(_unnamed(given[0]))
    return True


def check_fits(judge: Any, rule: Any, reduce: str | None) -> None:
    """Raise for a judge whose scores a rule cannot use, or whose steps cannot be so reduced."""
    from edifice_tt.scoring.steps import check_reduce
    from edifice_tt.selection.usable import check_range

    check_range(rule, judge.name, judge.range)
    check_reduce(judge, reduce)


def _check_alone(arguments: argparse.Namespace, given: list[str]) -> None:
    if given and (arguments.verifier is not None or arguments.scorer is not None):
        raise ValueError("give either --scorer, --verifier or --judge")


def _unnamed(option: str) -> str:
    return f"--{option.replace('_', '-')} is for a judge; name its model with --judge"


def is_asked_for(arguments: argparse.Namespace) -> bool:
    """Whether an option of a judge was given, or a scorer that is one."""
    return bool(_given(arguments)) or _registered(arguments) is not None


def _given(arguments: argparse.Namespace) -> list[str]:
    return [name for name in _OPTIONS if getattr(arguments, name) is not None]


def _registered(arguments: argparse.Namespace) -> Any:
    """The record of the scorer that was named, if that is a judge."""
    name = options.scorer_of(arguments) or ""
    known = load_registry().scorers
    record = known.get(name) or known.get(name.partition(":")[0])
    return scorer(name) if record is not None and record.reads == "judge" else None


def _judge(arguments: argparse.Namespace) -> None:
    from edifice_tt.scoring.judges.load import describe_reward

    about = describe_reward(arguments.judge, **_options_of(arguments))
    rows = [(name, _in_words(value)) for name, value in about.items() if value not in (None, [])]
    terminal.show_result(arguments, about, terminal.table(("", ""), rows))


def _in_words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def open_work(arguments: argparse.Namespace, file: Any) -> Work:
    """The judge that is asked for, to score a file with."""
    if arguments.concurrency:
        raise ValueError("--concurrency is for a scorer that reads text; leave it out")
    if arguments.model is not None:
        raise ValueError("--model is for a scorer that reads hidden states; a judge needs none")
    return work_of(load_judge(arguments, alone=True), arguments.reduce)


def work_of(judge: Any, reduce: str | None) -> Work:
    """A judge, ready to score."""
    from edifice_tt.scoring.steps import check_reduce

    check_reduce(judge, reduce)
    how = reduce or judge.reduce
    return Work(
        judge.name,
        f"judge {judge.kind.name}",
        f"{judge.fingerprint}:{how}" if how else judge.fingerprint,
        lambda pool: et.score(None, pool, judge, reduce),
        judge.check,
        told=f": {judge.range}" + (f", {how} of the steps" if how else ""),
        rename="--judge-name",
    )
