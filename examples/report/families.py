"""Compares the curves of several families of problems: a table and a figure. Knows the records.

The figure is a separate file that a page embeds, for light and dark themes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape

from edifice_tt.study.records import Comparison, Curve
from edifice_tt.study.report.svg import Frame, marker, text

_ACROSS, _WIDTH, _HEIGHT, _KEY = 4, 230, 190, 30
_PANEL = Frame(_WIDTH, _HEIGHT, 40, 12, 30, 34, (1, 2), (0, 1), log=True)
_STYLE = """
svg { --ink: #1c1d20; --soft: #5c5f66; --grid: #e4e1db; --paper: #ffffff }
.c0 { --c: #0067a8 } .c1 { --c: #c24e00 } .c2 { --c: #007d5a } .c3 { --c: #a8498a }
.c4 { --c: #8a6400 } .c5 { --c: #4a6f8a } .c6 { --c: #222222 } .base { --c: #5c5f66 }
@media (prefers-color-scheme: dark) {
svg { --ink: #e9e7e3; --soft: #a3a7af; --grid: #2c3138; --paper: #14161a }
.c0 { --c: #5fb2ea } .c1 { --c: #f0934e } .c2 { --c: #2fc196 } .c3 { --c: #dc93c2 }
.c4 { --c: #e8c14a } .c5 { --c: #9cc7e4 } .c6 { --c: #f2f2f2 } .base { --c: #a3a7af } }
.paper { fill: var(--paper) }
text { font: 11px system-ui, sans-serif; fill: var(--soft) }
.title { font-size: 13px; font-weight: 600; fill: var(--ink) }
.label { font-size: 13px; font-weight: 600; fill: var(--c) }
.middle { text-anchor: middle } .end { text-anchor: end }
.grid { stroke: var(--grid) } .line { fill: none; stroke: var(--c); stroke-width: 2 }
.base .line { stroke-dasharray: 5 3 } .dot { fill: var(--c); stroke: var(--paper) }
"""


def family_table(curves: Mapping[str, Curve], duels: Mapping[str, Curve]) -> str:
    """A Markdown table: accuracy at the largest k per family, and one scorer's differences.

    All curves have the same rules. The curves of `duels`, keyed by the same families, compare
    best-of-k by two scorers. The difference from the curve's own baseline is shown beside it.
    Intervals are in brackets; differences whose interval excludes zero are bold.
    """
    rows = [
        [family, *_accuracies(curve), *map(_difference, _compared(curve, duels[family]))]
        for family, curve in curves.items()
    ]
    first = next(iter(curves))
    compared = _compared(curves[first], duels[first])
    heading = ["task", *(rule.label for rule in curves[first].rules)]
    heading += [f"{one.label} - {one.against}" for one in compared]
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _accuracies(curve: Curve) -> list[str]:
    return [
        f"{_share(rule.accuracy[-1])}{_interval(rule.low[-1], rule.high[-1], _share)}"
        for rule in curve.rules
    ]


def _interval(low: float | None, high: float | None, show: Callable[[float], str]) -> str:
    return "" if low is None or high is None else f" [{show(low)}, {show(high)}]"


def _compared(curve: Curve, duel: Curve) -> list[Comparison]:
    """One scorer's best-of-k against the baselines of the curve and of the duel, at the last k."""
    rival = duel.comparisons[-1]
    return [*(c for c in curve.comparisons if (c.label, c.k) == (rival.label, rival.k)), rival]


def _difference(one: Comparison) -> str:
    shown = f"{one.difference:+.2f}{_interval(one.low, one.high, '{:+.2f}'.format)}"
    sure = one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
    return f"**{shown}**" if sure else shown


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0") if value < 1 else "1.0"


def family_figure(curves: Mapping[str, Curve]) -> bytes:
    """An SVG file: accuracy against k, with one panel per family and one line per rule."""
    rows = -(-len(curves) // _ACROSS)
    width, height = _ACROSS * _WIDTH, rows * _HEIGHT + _KEY
    first = next(iter(curves.values()))
    panels = (
        f'<g transform="translate({i % _ACROSS * _WIDTH},{i // _ACROSS * _HEIGHT + _KEY})">'
        f"{''.join(_panel(family, curve))}</g>"
        for i, (family, curve) in enumerate(curves.items())
    )
    label = f"Accuracy from {first.ks[0]} to {first.ks[-1]} candidates: {', '.join(curves)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}"><style>{_STYLE}</style>'
        f'<rect class="paper" width="{width}" height="{height}"/>'
        f"{''.join(_key(first, width))}{''.join(panels)}</svg>\n"
    ).encode()


def _panel(family: str, curve: Curve) -> Iterator[str]:
    frame = replace(_PANEL, xs=(curve.ks[0] / 1.1, curve.ks[-1] * 1.1))
    yield text(frame.left, 18, family, "title")
    yield from frame.rows((0, 0.5, 1))
    yield from frame.columns(curve.ks, [str(k) for k in curve.ks])
    for number, rule in enumerate(curve.rules):
        yield f'<g class="{_shade(rule.rule, number)}">'
        yield f'<path class="line" d="{frame.path(curve.ks, rule.accuracy)}"/>'
        for k, accuracy in zip(curve.ks, rule.accuracy, strict=True):
            yield marker(number, frame.x(k), frame.y(accuracy))
        yield "</g>"


def _key(curve: Curve, width: int) -> Iterator[str]:
    places = _spread([rule.label for rule in curve.rules], width)
    for number, (rule, x) in enumerate(zip(curve.rules, places, strict=True)):
        words = text(x + 12, 20, rule.label, "label")
        yield f'<g class="{_shade(rule.rule, number)}">{marker(number, x, 16)}{words}</g>'


def _spread(labels: Sequence[str], width: int) -> list[float]:
    """The start of each label, so that all fit into one line."""
    step = (width - 40) / sum(len(label) + 7 for label in labels)
    return [20 + step * sum(len(before) + 7 for before in labels[:i]) for i in range(len(labels))]


def _shade(rule: str, number: int) -> str:
    return "base" if rule in ("oracle", "random") else f"c{number}"
