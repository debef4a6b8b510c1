"""The command that measures: curve. Knows the pool file's lines; computes nothing."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edifice_tt as et
from edifice_tt.cli import options, outputs, terminal
from edifice_tt.cli.options import Add
from edifice_tt.cli.parser import add_option, default_of, whole_number, whole_numbers
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.registry import load_registry
from edifice_tt.machine.files import write_atomically
from edifice_tt.selection.answers import extractor
from edifice_tt.selection.grade import warn_of_two
from edifice_tt.selection.rules import CUT_OFF

if TYPE_CHECKING:
    from edifice_tt.pools.pool import PoolFile
    from edifice_tt.study.beside import Beside

HEADING = "measure"
CURVE = "study.curve:scaling_curve"
SETTINGS = ("answer", "level", "bootstrap", "seed", "unfinished", "cut_off")


def register(add: Add) -> None:
    curve = add("curve", _curve, "accuracy against the number of candidates, by rule")
    curve.add_argument("pool", type=Path, help="pool file whose candidates are marked")
    curve.add_argument(
        *("--rules", "--rule"),
        type=lambda text: list(filter(None, map(str.strip, text.split(",")))),
        action="extend",
        metavar="A,B",
        help="default: oracle, best_of_n, majority, weighted, weighted_logit and random, "
        "as far as the scores allow",
    )
    ks = "default: powers of two, and all candidates"
    curve.add_argument("--ks", type=whole_numbers(1, "1,2,4"), metavar="1,2,4", help=ks)
    curve.add_argument(
        "--scorer", action="append", metavar="NAME", help="repeatable; default: all in the pool"
    )
    curve.add_argument("--answer", help=f"what votes compare: {options.EXTRACTORS}")
    option = partial(add_option, curve, CURVE)
    option("--level", "of the intervals (default: {})", type=level)
    resamples = "resamples of the problems (default: {})"
    option("--bootstrap", resamples, type=whole_number(1, "1000"), metavar="N")
    options.add_first(curve)
    unfinished = "problems with fewer candidates than were asked for (default: {})"
    option("--unfinished", unfinished, choices=("leave_out", "use"))
    option("--cut-off", "what answers do that were cut off (default: {})", choices=CUT_OFF)
    option("--seed", type=whole_number(0, "7"))
    beside = "a pool of a search on the same problems, to compare at the same tokens; repeatable"
    curve.add_argument(
        "--search", type=Path, action="append", default=[], metavar="FILE", help=beside
    )
    report = "write a report, one page that needs no network"
    outputs.add_output(curve, report, names=["--html"], metavar="FILE")
    curve.add_argument(
        "--all",
        action="store_true",
        help="keep every problem and every text in the report, whatever its size",
    )


def level(text: str) -> float:
    """The type of an argument that is a probability, neither 0 nor 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{text}: expected a number between 0 and 1; {default_of(CURVE, 'level')} is usual"
        )
    return value


def _curve(arguments: argparse.Namespace) -> None:
    from edifice_tt.cli.curve_table import show_beside, show_curve
    from edifice_tt.pools.pool import PoolFile
    from edifice_tt.study.report.page import render_report

    for rule in arguments.rules or ():
        load_registry().find("selector", rule)
    if arguments.answer is not None:
        extractor(arguments.answer)
    if arguments.all and not arguments.output:
        raise ValueError("--all is for the report; add --html FILE, or leave it out")
    terminal.say(f"checking {arguments.pool}")
    file = options.open_pools(arguments)
    warn_of_two(file.settings, arguments.answer)
    options.check_scorers(file, arguments.scorer or ())
    use = arguments.unfinished == "use"
    _check_sizes(file, arguments.ks, use)
    if arguments.output:
        outputs.check_new(arguments)
    scorers = list(dict.fromkeys(arguments.scorer or sorted(file.scorers)))
    measuring = f"measuring {', '.join(arguments.rules)}" if arguments.rules else "measuring"
    with terminal.Working() as working:
        curve = et.scaling_curve(
            read_marked(file, scorers, use, lambda: working.begin(measuring)),
            arguments.rules,
            arguments.ks,
            scorers=scorers,
            pool=file.path.name,
            **{name: getattr(arguments, name) for name in SETTINGS},
        )
    searched = [PoolFile(path).with_problems() for path in arguments.search]
    searches = [_beside(arguments, file, one) for one in searched]
    if arguments.output:
        terminal.say(f"writing {arguments.output}")
        both = list(zip(searches, searched, strict=True))
        how = {"answer": arguments.answer, "everything": arguments.all, "searches": both}
        page = render_report(curve, file, **how)
        write_atomically(arguments.output, lambda out: out.write(page))
    plain = curve.to_dict()
    if searches:
        plain["searches"] = [one.to_dict() for one in searches]
    shown = "\n\n".join(
        [show_curve(curve), *(show_beside(one, arguments.level) for one in searches)]
    )
    terminal.show_result(arguments, plain, shown)


def _beside(arguments: argparse.Namespace, file: "PoolFile", searched: "PoolFile") -> "Beside":
    from edifice_tt.study.beside import compare_search

    return compare_search(
        file,
        searched,
        answer=arguments.answer,
        level=arguments.level,
        bootstrap=arguments.bootstrap,
        seed=arguments.seed,
        cut_off=arguments.cut_off,
        pool=searched.path.name,
    )


def _check_sizes(file: "PoolFile", ks: Sequence[int] | None, use: bool) -> None:
    """Raise `EdificeError` for a problem with fewer candidates than requested."""
    n = file.settings.get("n")
    for problem, indices in file.indices.items():
        if type(n) is int and len(indices) < n and not use:
            continue  # it is left out
        if len(indices) < max(ks or [1]):
            raise EdificeError(
                f"{file.path}, line {file.lines[problem]}: problem {problem!r} has {len(indices)} "
                f"candidates, expected at least {max(ks or [1])}; "
                + ("use smaller --ks" if indices else "complete or remove it")
            )


def _half_filled(file: "PoolFile") -> str:
    """That a file lacks candidates, for whoever looks for those that are not marked; or nothing."""
    from edifice_tt.pools.index import leading
    from edifice_tt.study.remarks import first_of_each

    n, there = file.settings.get("n"), sum(map(len, file.indices.values()))
    if type(n) is not int or there >= n * len(file.problems):
        return ""
    return (
        f"; the file has {there:,} of {n * len(file.problems):,} candidates (n={n}), as after an "
        "interruption: `edifice-tt generate ... --resume` makes the others, to be graded then"
        f"{first_of_each(min(map(leading, file.indices.values())))}"
    )


def read_marked(
    file: "PoolFile", scorers: Sequence[str], use: bool, then: Callable[[], None]
) -> Iterator[Any]:
    """The pools of a file, with the line of the first candidate that cannot be measured."""
    for pool in terminal.progress(file, len(file.problems), "reading"):
        for candidate in pool if use or not pool.num_missing else ():
            if candidate.correct is None:
                do = f"mark it with `edifice-tt grade {file.path} --answer ...`"
                if pool.gold is None:
                    do = "give its problem a right answer (gold), and grade the file"
                unmarked = f"is not marked right or wrong; {do}{_half_filled(file)}"
                raise options.at_candidate(file, pool, candidate, unmarked)
            if missing := [name for name in scorers if name not in candidate.scores]:
                do = "score the file again, or name other scorers with --scorer"
                unscored = f"has no score of {missing[0]!r}; {do}"
                raise options.at_candidate(file, pool, candidate, unscored)
        yield pool
    then()
