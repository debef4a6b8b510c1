"""Charts as SVG without scripts. Knows the records of a curve; no page.

Colours come from the page's style sheet by class; no distinction depends on colour alone.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

from edifice_tt.study.forecast import Forecast
from edifice_tt.study.quality import ScorerQuality
from edifice_tt.study.records import Curve, RuleCurve
from edifice_tt.study.report.svg import Frame, brief, draw, marker, percent, round_ticks, text, tip

COLOURS = 7  # the colours of the style sheet
LEARNT = "\N{DAGGER}"  # beside a rule whose scorer was trained on these problems
_ASIDE = 10  # pixels between a whisker and its k, at most
_LINE = 19  # pixels between two names
_LABEL = 30  # characters of a rule's name in the chart
UNITS = {"k": "candidates", "tokens": "tokens", "seconds": "seconds"}


def costs_of(curve: Curve) -> dict[str, float]:
    """What a candidate costs, in the units in which that is known."""
    cost = curve.cost
    costs = {"k": 1, "tokens": cost.tokens_per_candidate, "seconds": cost.seconds_per_candidate}
    return {unit: each for unit, each in costs.items() if each}


def shade(rule: RuleCurve, number: int) -> str:
    """The CSS class with a rule's colour; ceiling and baseline are grey."""
    return f"base {rule.rule}" if rule.rule in ("oracle", "random") else f"c{number % COLOURS}"


def accuracy_chart(curve: Curve, wide: bool) -> str:
    """Accuracy against k by rule, with whiskers; a wide chart labels its lines at the end."""
    ys, ticks = shares([value for rule in curve.rules for value in reach(rule)])
    names = 8.6 * max(len(_end_label(curve, rule)) for rule in curve.rules) + 32
    tall = max(470, _LINE * len(curve.rules) + 60)
    width, height, right = (960, tall, names) if wide else (360, 340, 22)
    frame = Frame(width, height, 46, right, 14, 50, span(curve.ks), ys, True)
    parts = [*frame.rows(ticks)]
    for unit, cost in costs_of(curve).items():
        labels = [str(k) if unit == "k" else brief(k * cost) for k in curve.ks]
        title = UNITS[unit] + ("" if unit == "k" else f", {brief(cost)} a candidate")
        axis = "".join(frame.columns(curve.ks, labels))
        parts.append(f'<g class="unit {unit}">{axis}{frame.title(title)}</g>')
    middle = (len(curve.rules) - 1) / 2
    for i, rule in enumerate(curve.rules):
        # However many there are, they stay away from the names behind the last k.
        aside = (i - middle) * min(3 if wide else 2, _ASIDE / max(middle, 1))
        parts.extend(rule_line(frame, curve.ks, rule, i, shade(rule, i), aside))
    if wide:
        parts.extend(_end_labels(frame, curve))
    changes = "; ".join(
        f"{rule.label} {percent(rule.accuracy[0])} to {percent(rule.accuracy[-1])}"
        for rule in curve.rules
    )
    many = f"from {curve.ks[0]} to {curve.ks[-1]} candidates"
    return draw(frame, f"Accuracy {many}: {changes}", parts, "wide" if wide else "narrow")


def reach(rule: RuleCurve) -> list[float]:
    """All numbers of a rule that the chart's axis must cover."""
    return [v for v in (*rule.accuracy, *rule.low, *rule.high) if v is not None]


def rule_line(
    frame: Frame,
    xs: Sequence[float],
    rule: RuleCurve,
    number: int,
    style: str,
    aside: float = 0,
    unit: str = "",
) -> Iterator[str]:
    """A rule's band and line, with markers that have their numbers as tooltips.

    `xs` are numbers of candidates, or of a `unit`. Whiskers stand `aside`, so that those of several
    rules can be told apart.
    """
    yield f'<g class="rule {style}">'
    low, high = ([v for v in side if v is not None] for side in (rule.low, rule.high))
    if low and high:
        back = frame.path(xs[::-1], low[::-1]).replace("M", "L", 1)
        yield f'<path class="band" d="{frame.path(xs, high)}{back}z"/>'
    yield f'<path class="line" d="{frame.path(xs, rule.accuracy)}"/>'
    for at, (value, accuracy) in enumerate(zip(xs, rule.accuracy, strict=True)):
        where = f"{brief(value)} {unit}" if unit else f"k = {value}"
        x, about, line = frame.x(value), f"{rule.label}, {where}: {percent(accuracy)}", ""
        if low and high:
            about += f", {percent(low[at])} to {percent(high[at])}"
            ends = f"M{x + aside:g},{frame.y(low[at]):g}V{frame.y(high[at]):g}"
            line = f'<path class="whisker" d="{ends}"/>'
        if rule.monte_carlo_error and rule.monte_carlo_error[at]:
            about += f"; error of drawing {percent(rule.monte_carlo_error[at])}"
        yield tip(about, line, marker(number, x, frame.y(accuracy)))
    yield "</g>"


def _end_labels(frame: Frame, curve: Curve) -> Iterator[str]:
    """Each line's name and last value at its end, moved apart where they would overlap."""
    ends = sorted((frame.y(rule.accuracy[-1]), i) for i, rule in enumerate(curve.rules))
    places: list[float] = []
    for y, _ in ends:
        places.append(max(y, places[-1] + _LINE) if places else y)
    lowest = frame.height - frame.bottom + 12
    for i in reversed(range(len(places))):
        places[i] = min(places[i], lowest)
        lowest = places[i] - _LINE
    x = frame.x(curve.ks[-1]) + 12
    for place, (y, i) in zip(places, ends, strict=True):
        rule = curve.rules[i]
        yield f'<g class="name {shade(rule, i)}"><title>{escape(rule.label)}</title>'
        yield f'<path class="leader" d="M{x:g},{y:g}L{x + 12:g},{place:g}"/>'
        yield f"{text(x + 17, place + 4.5, _end_label(curve, rule), 'label')}</g>"


def _end_label(curve: Curve, rule: RuleCurve) -> str:
    """A rule's last value behind its name, of which the beginning and the end are left."""
    name, half = rule.label, _LABEL // 3
    if len(name) > _LABEL:
        name = f"{name[: 2 * half - 1]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
    learnt = LEARNT if curve.trained_on(rule.scorer) else ""
    return f"{name}{learnt} {percent(rule.accuracy[-1])}"


def forecast_chart(curve: Curve, forecast: Forecast, measured: RuleCurve | None) -> str:
    ks = sorted({*(curve.ks if measured else ()), *forecast.ks})
    ys, ticks = shares([*(reach(measured) if measured else ()), *forecast.coverage, 1.0])
    frame = _small(span(ks), ys, True)
    parts = [*frame.rows(ticks), *frame.columns(ks, list(map(str, ks))), frame.title("candidates")]
    if measured:
        parts.extend(rule_line(frame, curve.ks, measured, 0, "c0"))
    ahead = frame.path(forecast.ks, forecast.coverage)
    parts.append(f'<g class="rule c1 ahead"><path class="line" d="{ahead}"/>')
    values = []
    for k, value in zip(forecast.ks, forecast.coverage, strict=True):
        shape = marker(3, frame.x(k), frame.y(value))
        parts.append(tip(f"k = {k}: {percent(value)} expected", shape))
        values.append(f"{percent(value)} with {k}")
    parts.append("</g>")
    return draw(frame, f"Forecast of coverage: {', '.join(values)}", parts)


def reliability_chart(quality: ScorerQuality) -> str:
    """Accuracy against score; the area of a circle is the number of candidates."""
    # The margins hold the circles at the corners, so that they cover no number.
    frame, quarters = _small((-0.05, 1.05), (-0.07, 1.07)), (0, 0.25, 0.5, 0.75, 1)
    columns = frame.columns(quarters, [f"{value:g}" for value in quarters])
    parts = [*frame.rows(quarters), *columns, frame.title("score")]
    parts.append(f'<path class="diagonal" d="{frame.path((0, 1), (0, 1))}"/>')
    most = max(one.count for one in quality.reliability)
    parts.append('<g class="rule c0">')
    for one in quality.reliability:
        if one.mean_score is not None and one.accuracy is not None:
            x, y = frame.x(one.mean_score), frame.y(one.accuracy)
            radius = max(2.5, 15 * math.sqrt(one.count / most))
            about = f"{one.low:g} to {one.high:g}: {one.count} candidates, mean score "
            about += f"{one.mean_score:.3f}, {percent(one.accuracy)} right"
            gap = f'<path class="gap" d="M{x:g},{y:g}V{frame.y(one.mean_score):g}"/>'
            circle = f'<circle class="bubble" cx="{x:g}" cy="{y:g}" r="{radius:.1f}"/>'
            parts.append(tip(about, gap, circle))
    parts.append("</g>")
    return draw(frame, f"Reliability of {quality.scorer}: score against share of right", parts)


def histogram_chart(quality: ScorerQuality) -> str:
    """Candidates by score: the right ones upwards, the wrong ones downwards."""
    edges, right, wrong = quality.histogram.edges, quality.histogram.right, quality.histogram.wrong
    most = max(*right, *wrong, 1)
    frame = _small((edges[0], edges[-1]), (-most, most), top=38)
    parts = []
    for name, counts, sign in (("right", right, 1), ("wrong", wrong, -1)):
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            x, y, zero = frame.x(low), frame.y(sign * count), frame.y(0)
            about = f"{low:.3g} to {high:.3g}: {count} {name}"
            parts.append(
                f'<rect class="{name}" x="{x + 0.5:g}" y="{min(y, zero):g}" width="'
                f'{max(frame.x(high) - x - 1, 0.5):.1f}" height="{abs(zero - y):.1f}">'
                f"<title>{escape(about)}</title></rect>"
            )
        arrow = "\N{UPWARDS ARROW}" if sign > 0 else "\N{DOWNWARDS ARROW}"
        x = frame.left if sign > 0 else (frame.left + frame.width - frame.right) / 2
        parts.append(text(x, 16, f"{arrow} {sum(counts):,} {name}", f"label {name}"))
        at = frame.y(sign * most) + (4 if sign > 0 else -2)
        parts.append(text(frame.left - 8, at, str(most), "tick end"))
    parts.append(f'<path class="axis" d="M{frame.left:g},{frame.y(0):g}H{frame.width - 22:g}"/>')
    ticks = round_ticks(edges[0], edges[-1])
    parts.extend(frame.columns(ticks, [f"{value:g}" for value in ticks]))
    parts.append(frame.title("score"))
    return draw(frame, f"Scores of {quality.scorer}, right above and wrong below", parts)


def whisker(low: float | None, value: float, high: float | None, edge: float) -> str:
    """A difference with its interval (if any), on a line from -edge to edge."""
    frame = Frame(160, 20, 6, 6, 2, 2, (-edge, edge), (0, 1))
    parts = f'<path class="axis" d="M{frame.x(0):g},1V19"/>'
    if low is not None and high is not None:
        parts += f'<path class="whisker" d="M{frame.x(low):g},10H{frame.x(high):g}"/>'
    parts += marker(0, frame.x(value), 10)
    return f'<svg class="spark" viewBox="0 0 160 20" aria-hidden="true">{parts}</svg>'


def _small(
    xs: tuple[float, float], ys: tuple[float, float], log: bool = False, top: float = 14
) -> Frame:
    """The frame of a chart that stands beside another."""
    return Frame(400, 290, 46, 22, top, 50, xs, ys, log)


def span(ks: Sequence[float]) -> tuple[float, float]:
    """The first and the last value, with margins for a logarithmic axis."""
    room = (ks[-1] / ks[0]) ** 0.03 if ks[-1] > ks[0] else 2.0
    return ks[0] / room, ks[-1] * room


def shares(values: Sequence[float]) -> tuple[tuple[float, float], list[float]]:
    """A range that covers these shares, and its ticks."""
    low, high = min(values), max(values)
    step = next((step for step in (0.02, 0.05, 0.1) if high - low <= 6 * step), 0.2)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return (first * step, last * step), [i * step for i in range(first, last + 1)]
