"""A curve as a matplotlib figure. Knows neither files nor the command line, and never pyplot.

Every artist that shows data has a gid (`rule-0`, `band-0`, `forecast`, `right-0`, ...), its id in
an SVG. The numbers follow the order of rules and scorers in the JSON.
"""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from edifice_tt import unknown_name
from edifice_tt_plots import panels

Row = tuple[
    float, list[Callable[[Axes], None]]
]  # the height, and the function that draws each panel
WIDTH, CURVE_HEIGHT, SCORER_HEIGHT = 8.0, 4.4, 3.2  # inches


@dataclass(frozen=True)
class Palette:
    """Okabe and Ito's colours, safe for the colour-blind, adapted to each background."""

    paper: str
    ink: str
    grey: str
    lines: tuple[str, ...]


PALETTES = {
    "light": Palette(
        "#ffffff",
        "#222222",
        "#767676",
        ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
    ),
    "dark": Palette(
        "#15181d",
        "#e8e8e8",
        "#a0a0a0",
        ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#ffffff"),
    ),
}


@contextmanager
def look(style: str = "light") -> Iterator[Palette]:
    """Apply matplotlib settings within this context; then restore the caller's."""
    palette = PALETTES[style]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the bytes must not depend on a matplotlibrc
        settings: Any = {
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.alpha": 0.25,
            "text.parse_math": False,  # a label may hold a $
            "svg.fonttype": "none",
            "svg.hashsalt": "edifice-tt-plots",
        }
        for color, names in (
            (palette.paper, "figure.facecolor axes.facecolor savefig.facecolor"),
            (palette.grey, "axes.edgecolor xtick.color ytick.color grid.color"),
            (palette.ink, "text.color axes.labelcolor xtick.labelcolor ytick.labelcolor"),
        ):
            settings |= dict.fromkeys(names.split(), color)
        matplotlib.rcParams.update(settings)
        yield palette


def draw(
    curve: dict[str, Any],
    palette: Palette,
    what: str = "all",
    x: str = "k",
    scorer: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the figure of a curve checked by `read_curve`; call it inside `look`.

    Raises `UnknownNameError` for an unknown scorer, and `ValueError` when there is nothing to draw
    or the cost for `x` is unknown.
    """
    rules, scorers = list(enumerate(curve["rules"])), list(enumerate(curve["scorers"]))
    if scorer is not None:
        users = {rule["scorer"] for rule in curve["rules"]} - {None}
        known = users | {record["scorer"] for record in curve["scorers"]}
        if scorer not in known:
            raise unknown_name("scorer", scorer, known)
        rules = [(i, rule) for i, rule in rules if rule["scorer"] in (None, scorer)]
        scorers = [(i, record) for i, record in scorers if record["scorer"] == scorer]

    rows: list[Row] = []
    if what in ("all", "curve") and rules:
        height, draw_rules = CURVE_HEIGHT, panels.draw_curves
        if len(curve["ks"]) == 1:
            forecast = (curve["forecast"] or {"ks": []})["ks"]
            height, draw_rules = 1.0 + 0.26 * (len(rules) + len(forecast)), panels.draw_one_k
        cost = _cost(curve, x)
        height = max(height, 1.2 + 0.2 * len(rules))
        rows.append((height, [partial(draw_rules, curve, rules, palette, x, cost)]))
    elif x != "k":
        raise ValueError(f"--x {x} is for the curve, and --what {what} draws none; leave it out")
    for i, record in scorers:
        row: list[Callable[[Axes], None]] = []
        if what in ("all", "histogram") and any(map(any, panels.counts(record))):
            row.append(partial(panels.draw_histogram, i, record, palette))
        if what in ("all", "calibration") and record["reliability"]:
            row.append(partial(panels.draw_reliability, i, record, palette))
        if row:
            rows.append((SCORER_HEIGHT, row))
    if not rows:
        of = f" of scorer {scorer!r}" if scorer else ""
        needs = {
            "histogram": "a scorer, and candidates known to be right or wrong",
            "calibration": "a scorer whose every score lies in [0, 1]",
        }.get(what, "a rule with that scorer or none")
        raise ValueError(f"nothing to draw for --what {what}{of}: it needs {needs}")
    return _arrange(rows, curve["pool"] if title is None else title)


def _cost(curve: dict[str, Any], x: str) -> float:
    if x == "k":
        return 1.0
    cost = curve["cost"][f"{x}_per_candidate"]
    if cost is None or cost <= 0:
        shown = "null" if cost is None else cost
        raise ValueError(f"--x {x}: cost.{x}_per_candidate is {shown}, expected a cost; use --x k")
    return float(cost)


def _arrange(rows: Sequence[Row], title: str) -> Figure:
    heights = [height for height, _ in rows]
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, hspace=0.03, wspace=0.03)
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.4), layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(rows), height_ratios=heights)
    for i, (_, row) in enumerate(rows):
        cells = grid[i].subgridspec(1, len(row))
        for j, draw_panel in enumerate(row):
            draw_panel(figure.add_subplot(cells[j]))
    figure.suptitle(
        textwrap.fill(panels.shorten(title, 300), 76), x=0.015, ha="left", weight="bold", size=11
    )
    layout.execute(figure)  # places labels, now that the axes have their size
    for ax in figure.axes:
        panels.settle(ax)
    figure.set_layout_engine(
        "none"
    )  # fixed, so that it is the same in every format and at every dpi
    return figure


def render(figure: Figure, kind: str, dpi: int = 150) -> bytes:
    """The figure as PNG or SVG: the same bytes for the same figure."""
    buffer = BytesIO()
    unstamped = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=unstamped)
    return buffer.getvalue()
