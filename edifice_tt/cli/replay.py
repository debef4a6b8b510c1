"""The command that says what a search would have saved: replay. Computes nothing."""

import argparse
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import edifice_tt as et
from edifice_tt.cli import curve, options, terminal
from edifice_tt.cli.options import Add
from edifice_tt.cli.parser import add_option, whole_number
from edifice_tt.cli.rule_options import search_options
from edifice_tt.contract.registry import load_registry
from edifice_tt.contract.wording import held
from edifice_tt.selection.answers import extractor
from edifice_tt.selection.grade import warn_of_two
from edifice_tt.selection.rules import CUT_OFF

if TYPE_CHECKING:
    from edifice_tt.study.replay_records import Dropped, Replay

HEADING = curve.HEADING
REPLAY = "study.replay:replay"
SETTINGS = ("answer", "scorer", "confidence", "level", "bootstrap", "seed", "orders", "cut_off")


def register(add: Add) -> None:
    summary = "what a search would have spent and gained on the problems of a finished pool"
    replay = add("replay", _replay, summary)
    replay.add_argument(
        "search",
        metavar="METHOD",
        help="adaptive, window, doubling, first, rejection, confidence, or a plugin's: "
        "`edifice-tt list` shows what each reads",
    )
    replay.add_argument("pool", type=Path, help="pool file whose candidates are marked")
    n = "the most candidates of a problem that it may spend; default: all"
    replay.add_argument("-n", type=whole_number(1, "16"), help=n)
    options.add_first(replay)
    replay.add_argument("--answer", help=f"what votes compare: {options.EXTRACTORS}")
    replay.add_argument("--scorer", metavar="NAME", help="whose scores a search by scores reads")
    option = partial(add_option, replay, REPLAY)
    option("--confidence", "the measure that a search by confidence reads (default: {})")
    options.add_settings(replay)
    option("--level", "of the intervals (default: {})", type=curve.level)
    resamples = "resamples of the problems (default: {})"
    option("--bootstrap", resamples, type=whole_number(1, "1000"), metavar="N")
    orders = "orders of the candidates to draw per problem, where a method is not exact; "
    orders += "default: from 16 to 1,000, for 200,000 rows in all"
    replay.add_argument("--orders", type=whole_number(2, "200"), metavar="N", help=orders)
    option("--cut-off", "what answers do that were cut off (default: {})", choices=CUT_OFF)
    option("--seed", type=whole_number(0, "7"))


def _replay(arguments: argparse.Namespace) -> None:
    record = load_registry().find("search", arguments.search)
    settings = search_options(arguments, record)
    if arguments.n is not None:
        settings["n"] = arguments.n
    if arguments.answer is not None:
        extractor(arguments.answer)
    terminal.say(f"checking {arguments.pool}")
    file = options.open_pools(arguments)
    warn_of_two(file.settings, arguments.answer)
    with terminal.Working() as working:
        replayed = et.replay(
            curve.read_marked(file, [], False, lambda: working.begin(f"replaying {record.name}")),
            record.name,
            pool=file.path.name,
            **{name: getattr(arguments, name) for name in SETTINGS},
            **settings,
        )
    terminal.show_result(arguments, replayed.to_dict(), show_replay(replayed))


def show_replay(replayed: "Replay") -> str:
    """Print everything in a replay but the single problems."""
    from edifice_tt.cli.curve_table import difference_cells, spending_cells

    width = terminal.width()
    lines = [replayed.spent, replayed.all, *filter(None, [replayed.same])]
    differences = [replayed.against_all, *filter(None, [replayed.against_same])]
    against = f"{replayed.search}, against"
    level = f"{replayed.level:.0%} interval"
    parts = [
        f"{replayed.pool}: {held(replayed.candidates, replayed.problems)}\n"
        + textwrap.fill(f"{replayed.search}: {_settings(replayed)}", width),
        terminal.table(
            ("per problem", "samples", "tokens", "accuracy", level), [*map(spending_cells, lines)]
        ),
        terminal.table((against, "difference", level), [*map(difference_cells, differences)]),
        *_dropped(replayed, level),
        "\n".join(textwrap.fill(remark, width) for remark in _remarks(replayed)),
    ]
    return "\n\n".join(parts)


def _dropped(replayed: "Replay", level: str) -> Iterator[str]:
    """How often the row that would have won was dropped, beside a random choice of as many."""
    from edifice_tt.cli.curve_table import difference_cells

    if (dropped := replayed.dropped) is None:
        return
    interval = "-" if dropped.low is None else f"{dropped.low:.3f} to {dropped.high:.3f}"
    rows = [
        (f"by {replayed.search}", f"{dropped.share:.4f}", interval),
        ("at random", f"{dropped.at_random:.4f}", ""),
        ("difference", *difference_cells(dropped.against_random)[1:]),
    ]
    yield terminal.table(("the winner was dropped", "share", level), rows)


def _settings(replayed: "Replay") -> str:
    known = {name: value for name, value in replayed.settings.items() if value is not None}
    return ", ".join(f"{name} {value!r}" for name, value in known.items()) or "no settings"


def _remarks(replayed: "Replay") -> Iterator[str]:
    tokens = replayed.saved_tokens
    saved = f"It saves {replayed.saved_samples:.1%} of the samples"
    saved += "" if tokens is None else f" and {tokens:.1%} of the tokens"
    yield f"{saved}, and spends less than it may on {replayed.early:.0%} of the problems."
    yield f"All, and the first at the same cost, choose by {replayed.rule}."
    if replayed.same is None:
        yield "The tokens of a step are not known, so nothing is compared at the same cost."
    if replayed.counted < replayed.spent.samples - 0.005:
        kept = f"{replayed.counted:.2f} of {replayed.spent.samples:.2f} samples"
        yield f"It keeps {kept} per problem; the others are spent in vain."
    if replayed.dropped is not None:
        yield from _winner(replayed.dropped, replayed.problems)
    if (drawn := replayed.monte_carlo) is None:
        yield "Exact means over all orders of the candidates."
    else:
        error = f"standard errors: {drawn.samples:.2g} samples, {drawn.accuracy:.2g} in accuracy"
        yield f"Means over {drawn.orders} drawn orders of the candidates; {error}."
    if replayed.problems == 1:
        yield "One problem has no interval: it says nothing of others."
    if replayed.breaks:
        yield f"What it breaks: {replayed.breaks}."


def _winner(dropped: "Dropped", problems: int) -> Iterator[str]:
    low, high = dropped.against_random.low, dropped.against_random.high
    yield "The winner is the row that would have won if all rows had run to their ends."
    if dropped.problems < problems:
        yield f"{problems - dropped.problems} of {problems} problems have none, as no row answers."
    if low is None or high is None or low <= 0 <= high:
        yield "It is not shown to drop the winner more or less often than a random choice would."
    else:
        how = "less" if high < 0 else "more"
        yield f"It drops the winner {how} often than a random choice would."
