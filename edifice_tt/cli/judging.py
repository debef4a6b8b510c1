"""Judges on the command line: what judge is this, and scoring a pool file with one."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import edifice_tt as et
from edifice_tt.cli import options, terminal
from edifice_tt.cli.options import Add
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.registry import load_registry
from edifice_tt.contract.tracing import message_of

HEADING = "judges"
_WISHES = ("kind", "prompt", "labels", "label", "marker", "name")
_OPTIONS = ("judge", *(f"judge_{name}" for name in _WISHES))


def register(add: Add) -> None:
    """Add the command of this room."""
    judge = add("judge", _judge, "tell what a reward model is and how it reads", _add_options)
    judge.add_argument("judge", metavar="MODEL", help="a folder, a GGUF file or a name")


def add_judging(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--judge",
        metavar="MODEL",
        help="score with a reward model: a folder, a GGUF file or a name (edifice-tt judge MODEL "
        "tells what it is), not --scorer",
    )
    _add_options(command)


def _add_options(command: argparse.ArgumentParser) -> None:
    def option(name: str, metavar: str, help: str, **more: Any) -> None:
        command.add_argument(f"--judge-{name}", metavar=metavar, help=help, **more)

    option("kind", "KIND", "of a language model without a head: plus_minus, step_tag or yes_no")
    asks = "ask the judge whether an answer is right; FILE has {question} and {answer}"
    option("prompt", "FILE", asks, type=Path)
    words = "the two words whose probabilities are compared (default: those of the kind)"
    option("labels", "GOOD,BAD", words)
    option("label", "LABEL", "which label counts, of a head with several")
    marker = "what stands behind each step (default: that of the kind)"
    option("marker", "TEXT", marker, type=options.stop_text)
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
    how |= {name: getattr(arguments, name) for name in ("device", "dtype", "activations")}
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
    from edifice_tt.selection.select import check_range

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
    record = load_registry().scorers.get(arguments.scorer)
    return record if record is not None and record.reads == "judge" else None


def _judge(arguments: argparse.Namespace) -> None:
    from edifice_tt.scoring.judges.load import describe_reward

    about = describe_reward(arguments.judge, **_options_of(arguments))
    rows = [(name, _in_words(value)) for name, value in about.items() if value not in (None, [])]
    terminal.show_result(arguments, about, terminal.table(("", ""), rows))


def _in_words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def score_file(arguments: argparse.Namespace) -> int:
    """Score a pool file with a judge; what is scored stays when it is interrupted."""
    from edifice_tt.pools.writer import PoolWriter
    from edifice_tt.scoring.steps import check_reduce

    if arguments.model is not None:
        raise ValueError("--model is for a scorer that reads hidden states; a judge needs none")
    with PoolWriter(arguments.pool) as writer:  # opened first: a mistake in it costs no loading
        file = writer.file.with_problems()
        judge = load_judge(arguments, alone=True)
        check_reduce(judge, arguments.reduce)
        how = arguments.reduce or judge.reduce
        fingerprint = f"{judge.fingerprint}:{how}" if how else judge.fingerprint
        _check_same(file, judge, fingerprint)
        left = list(_left(file, judge, arguments.resume))
        pools: list[Any] = []
        try:
            for problem in terminal.progress(left, len(left), judge.name):
                pool = et.Pool(**next(file.fields(problem)))
                pool = _at_line(file, pool, partial(judge.score, reduce=arguments.reduce))
                writer.add_scores(pool, judge.name, f"judge {judge.kind.name}", fingerprint, ())
                pools.append(pool if arguments.json or len(file.problems) == 1 else None)
        except KeyboardInterrupt:
            done = len(file.problems) - len(left) + len(pools)
            terminal.tell(
                f"interrupted; {done} of {len(file.problems)} problems in {arguments.pool} have a "
                "score; the same command with --resume scores the others"
            )
            return 130
    _show(arguments, file, judge, pools, f", {how} of the steps" if how else "")
    return 0


def _show(arguments: argparse.Namespace, file: Any, judge: Any, pools: list[Any], how: str) -> None:
    count = sum(map(len, file.indices.values()))
    text = f"{count} candidates of {len(file.problems)} problems in {arguments.pool} have a "
    text += f"score by {judge.name}: {judge.range}{how}"
    if pools and len(file.problems) == 1:
        text = terminal.show_candidates(pools[0])
    plain = [pool.to_dict() for pool in pools] if arguments.json else []
    terminal.show_result(arguments, plain, text)


def _left(file: Any, judge: Any, resume: bool) -> Iterator[str]:
    """The problems to score; all their texts are looked at before hours of reading."""
    for fields in file.fields():
        pool = et.Pool(**fields)
        if not resume or any(judge.name not in one.scores for one in pool):
            _at_line(file, pool, judge.check)
            yield pool.problem


def _at_line(file: Any, pool: Any, do: Callable[[Any], Any]) -> Any:
    """Do something with a pool; an error names its line in the file."""
    try:
        return do(pool)
    except (EdificeError, ValueError) as error:
        line = f"line {file.lines[pool.problem]}, problem {pool.problem!r}"
        raise EdificeError(f"{file.path}, {line}: {message_of(error)}") from error


def _check_same(file: Any, judge: Any, fingerprint: str) -> None:
    known = file.scorers.get(judge.name, {}).get("fingerprint", fingerprint)
    if known != fingerprint:
        raise EdificeError(
            f"{file.path}: it has scores by {judge.name} of another judge or reduction of steps "
            f"({known}, this one is {fingerprint}); give this one another name with --judge-name"
        )
