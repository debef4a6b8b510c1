"""Commands on the scores of a pool file: calibrate one, combine several, compare them."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import edifice_tt as et
from edifice_tt.cli import options, terminal
from edifice_tt.cli.options import Add
from edifice_tt.cli.parser import add_option, whole_number
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.wording import held

HEADING = "judges"
CALIBRATE, COMBINE = "training.combining:calibrate_scores", "training.combining:combine_scores"
COMPARE = "study.agreement:compare_scorers"


def register(add: Add) -> None:
    calibrate = add("calibrate", _calibrate, "make a scorer's scores probabilities of being right")
    calibrate.add_argument("pool", type=Path, help="graded pool file; the scores are appended")
    calibrate.add_argument("--scorer", required=True, help="the scorer in the pool")
    ways = "platt or isotonic (default: {})"
    add_option(calibrate, CALIBRATE, "--method", ways, choices=("platt", "isotonic"))
    _add_folds(calibrate, CALIBRATE)
    combine = add("combine", _combine, "make one score of several scorers'")
    combine.add_argument("pool", type=Path, help="pool file; the scores are appended")
    _add_scorers(combine, required=True)
    ways = "mean or min of probabilities, or weights fitted on a graded pool (default: {})"
    add_option(combine, COMBINE, "--how", ways, choices=("mean", "min", "fitted"))
    _add_folds(combine, COMBINE)
    agreement = add("agreement", _agreement, "tell how far scorers agree within problems")
    agreement.add_argument("pool", type=Path, help="pool file with scores")
    _add_scorers(agreement)
    add_option(agreement, COMPARE, "--level", "of the intervals (default: {})", type=float)
    resamples = "resamples of the problems (default: {})"
    add_option(
        agreement, COMPARE, "--bootstrap", resamples, type=whole_number(1, "1000"), metavar="N"
    )
    add_option(agreement, COMPARE, "--seed", type=whole_number(0, "7"))


def _add_scorers(command: argparse.ArgumentParser, required: bool = False) -> None:
    text = "repeatable" if required else "repeatable; default: all in the pool"
    command.add_argument("--scorer", action="append", required=required, metavar="NAME", help=text)


def _add_folds(command: argparse.ArgumentParser, function: str) -> None:
    folds = "parts of the problems, each scored by a fit to the others (default: {})"
    add_option(command, function, "--folds", folds, type=whole_number(2, "5"), metavar="N")
    add_option(command, function, "--seed", "which problems are in which part (default: {})")
    command.add_argument("--name", help="of the new scorer (default: what it was made of)")


def _calibrate(arguments: argparse.Namespace) -> None:
    _write(arguments, [arguments.scorer], arguments.method)


def _combine(arguments: argparse.Namespace) -> None:
    scorers = list(dict.fromkeys(arguments.scorer))
    if len(scorers) < 2:
        raise ValueError(f"--scorer {scorers[0]} is one scorer; name two or more to combine")
    _write(arguments, scorers, arguments.how)


def _write(arguments: argparse.Namespace, scorers: Sequence[str], how: str) -> None:
    from edifice_tt.pools.writer import PoolWriter
    from edifice_tt.training.combining import FITS, add_to, new_scores

    name = f"{'+'.join(scorers)}-{how}" if arguments.name is None else arguments.name
    made = f"{how} of {', '.join(scorers)}"
    with PoolWriter(arguments.pool) as writer:
        file = writer.file.with_problems()
        _check_names(file, scorers, name, made)
        found = new_scores(
            _read(file, scorers, how in FITS), scorers, how, arguments.folds, arguments.seed
        )
        trained = (set(file.scorers[one].get("trained_on") or ()) for one in scorers)
        if seen := sorted(set[str]().union(*trained)):
            terminal.warn(
                f"{', '.join(scorers)}: trained on {len(seen)} of these {len(file.problems)} "
                "problems, where scores are too sure, and so is what is made of them"
            )
        try:
            for fields in file.fields():
                pool = et.Pool(**fields)
                pool = add_to(pool, name, found.scores[pool.problem], scorers)
                writer.add_scores(pool, name, made, None, seen)
        except BaseException:
            writer.take_back()  # half a file with scores would look like a whole one
            raise
    count = sum(map(len, file.indices.values()))
    have = "has" if count == 1 else "have"
    text = f"{held(count, len(file.problems))} in {arguments.pool} {have} a score "
    text += f"by {name}: probability, {made}"
    if found.weights:
        sums = zip(scorers, map(sum, zip(*found.weights, strict=True)), strict=True)
        means = [(scorer, total / len(found.weights)) for scorer, total in sums]
        text += "\n" + terminal.table(("scorer", "weight"), [(n, f"{w:.3f}") for n, w in means])
    plain = {"pool": str(arguments.pool), "scorer": name, "made": made, "weights": found.weights}
    terminal.show_result(arguments, plain, text)


def _check_names(file: Any, scorers: Sequence[str], name: str, made: str) -> None:
    options.check_scorers(file, scorers)
    if not (name.strip() and name.isprintable()):
        raise ValueError(f"--name {name!r:.40} must be a name, in one line")
    if name in file.scorers and file.scorers[name].get("owner") != made:
        raise EdificeError(
            f"{file.path}: it has scores by {name} already, which are no {made}; give the new ones "
            "another name with --name"
        )


def _read(file: Any, scorers: Sequence[str], marked: bool) -> Iterator[Any]:
    """The pools of a file, with the line of the first candidate that cannot be used."""
    for fields in file.fields():
        pool = et.Pool(**fields)
        for candidate in pool:
            if marked and candidate.correct is None:
                do = f"mark it with `edifice-tt grade {file.path} --answer ...`"
                unmarked = f"is not marked right or wrong; {do}"
                raise options.at_candidate(file, pool, candidate, unmarked)
            if missing := [name for name in scorers if name not in candidate.scores]:
                unscored = f"has no score of {missing[0]!r}; score the file again"
                raise options.at_candidate(file, pool, candidate, unscored)
        yield pool


def _agreement(arguments: argparse.Namespace) -> None:
    from edifice_tt.pools.pool import PoolFile

    file = PoolFile(arguments.pool).with_problems()
    scorers = list(dict.fromkeys(arguments.scorer or sorted(file.scorers)))
    options.check_scorers(file, scorers)
    if len(scorers) < 2:
        held = ", ".join(scorers) or "none"
        raise ValueError(f"{file.path}: two scorers are needed to compare, given {held}")
    how = {name: getattr(arguments, name) for name in ("level", "bootstrap", "seed")}
    found = et.compare_scorers(_read(file, scorers, False), scorers, **how)
    rows = [
        (one.one, one.other, _shown(one.rank), _shown(one.same_best), str(one.ranked))
        for one in found
    ]
    header = ("scorer", "scorer", "rank correlation", "same best", "problems")
    terminal.show_result(arguments, [asdict(one) for one in found], terminal.table(header, rows))


def _shown(estimate: Any) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None:
        return f"{estimate.mean:.2f}"
    return f"{estimate.mean:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
