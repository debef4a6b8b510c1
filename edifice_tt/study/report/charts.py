"""Charts as SVG without scripts. Knows the records of a curve; no page.

Colours come from the page's style sheet by class; no distinction depends on colour alone.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

from edifice_tt.study.forecast import Forecast
from edifice_tt.study.quality import ScorerQuality
from edifice_tt.study.records import Curve, RuleCurve
from edifice_tt.study.report.svg import Frame, brief, draw, marker, percent, round_ticks, text

COLOURS = 7  # the colours of the style sheet
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
    values = [v for rule in curve.rules for v in _reach(rule)]
    ys, ticks = _shares(min(values), max(values))
    label = max(len(rule.label) for rule in curve.rules) * 8 + 90 if wide else 22
    frame = Frame(
        *((960, 470) if wide else (360, 340)),
        46,
        min(label, 360),
        14,
        50,
        _span(curve.ks),
        ys,
        True,
    )
    parts = list(frame.rows(ticks))
    for unit, cost in costs_of(curve).items():
        names = [str(k) if unit == "k" else brief(k * cost) for k in curve.ks]
        middle = (frame.left + frame.width - frame.right) / 2
        title = UNITS[unit] + ("" if unit == "k" else f", {brief(cost)} a candidate")
        caption = text(middle, frame.height - 8, title, "title middle")
        labels = "".join(frame.columns(curve.ks, names))
        parts.append(f'<g class="unit {unit}">{labels}{caption}</g>')
    middle = (len(curve.rules) - 1) / 2
    for i, rule in enumerate(curve.rules):
        parts.append(f'<g class="rule {shade(rule, i)}">')
        parts.append(_band(frame, curve.ks, rule))
        parts.append(f'<path class="line" d="{frame.path(curve.ks, rule.accuracy)}"/>')
        parts.extend(_points(frame, curve.ks, rule, i, (i - middle) * (3 if wide else 2)))
        parts.append("</g>")
    if wide:
        parts.extend(_end_labels(frame, curve))
    said = "; ".join(
        f"{rule.label} {percent(rule.accuracy[0])} to {percent(rule.accuracy[-1])}"
        for rule in curve.rules
    )
    many = f"from {curve.ks[0]} to {curve.ks[-1]} candidates"
    return draw(frame, f"Accuracy {many}: {said}", parts, "wide" if wide else "narrow")


def _reach(rule: RuleCurve) -> list[float]:
    """All numbers of a rule that the chart's axis must cover."""
    return [v for v in (*rule.accuracy, *rule.low, *rule.high) if v is not None]


def _band(frame: Frame, ks: Sequence[int], rule: RuleCurve) -> str:
    low = [v for v in rule.low if v is not None]
    high = [v for v in rule.high if v is not None]
    if not low or not high:
        return ""
    back = frame.path(ks[::-1], low[::-1]).replace("M", "L", 1)
    return f'<path class="band" d="{frame.path(ks, high)}{back}z"/>'


def _points(
    frame: Frame, ks: Sequence[int], rule: RuleCurve, number: int, aside: float
) -> Iterator[str]:
    """Markers with whiskers, shifted to be told apart; each has its numbers as a tooltip."""
    for at, (k, value, low, high) in enumerate(
        zip(ks, rule.accuracy, rule.low, rule.high, strict=True)
    ):
        drawn, x = rule.monte_carlo_error[at] if rule.monte_carlo_error else 0.0, frame.x(k)
        about = f"{rule.label}, k = {k}: {percent(value)}"
        line = ""
        if low is not None and high is not None:
            about += f", {percent(low)} to {percent(high)}"
            ends = f"M{x + aside:g},{frame.y(low):g}V{frame.y(high):g}"
            line = f'<path class="whisker" d="{ends}"/>'
        about += f"; error of drawing {percent(drawn)}" if drawn else ""
        yield f"<g><title>{escape(about)}</title>"
        yield f"{line}{marker(number, x, frame.y(value))}</g>"


def _end_labels(frame: Frame, curve: Curve) -> Iterator[str]:
    """Each line's name and last value at its end, moved apart where they would overlap."""
    ends = sorted((frame.y(rule.accuracy[-1]), i) for i, rule in enumerate(curve.rules))
    places: list[float] = []
    for y, _ in ends:
        places.append(max(y, places[-1] + 19) if places else y)
    lowest = frame.height - frame.bottom + 12
    for i in reversed(range(len(places))):
        places[i] = min(places[i], lowest)
        lowest = places[i] - 19
    x = frame.x(curve.ks[-1]) + 12
    for place, (y, i) in zip(places, ends, strict=True):
        rule = curve.rules[i]
        words = f"{rule.label} {percent(rule.accuracy[-1])}"
        yield f'<g class="name {shade(rule, i)}"><path class="leader" d="M{x:g},{y:g}L{x + 12:g},'
        yield f'{place:g}"/>{text(x + 17, place + 4.5, words, "label")}</g>'


def forecast_chart(curve: Curve, forecast: Forecast, measured: RuleCurve | None) -> str:
    """Measured coverage, and its forecast."""
    ks = sorted({*(curve.ks if measured else ()), *forecast.ks})
    shares = [*(_reach(measured) if measured else ()), *forecast.coverage]
    ys, ticks = _shares(min(shares), 1.0)
    frame = Frame(400, 290, 46, 22, 14, 50, _span(ks), ys, True)
    parts = [*frame.rows(ticks), *frame.columns(ks, list(map(str, ks)))]
    parts.append(text((frame.left + 378) / 2, 282, "candidates", "title middle"))
    if measured:
        line = frame.path(curve.ks, measured.accuracy)
        parts.append(f'<g class="rule c0">{_band(frame, curve.ks, measured)}')
        parts.append(f'<path class="line" d="{line}"/>')
        parts.extend(_points(frame, curve.ks, measured, 0, 0))
        parts.append("</g>")
    ahead = frame.path(forecast.ks, forecast.coverage)
    parts.append(f'<g class="rule c1 ahead"><path class="line" d="{ahead}"/>')
    for k, value in zip(forecast.ks, forecast.coverage, strict=True):
        parts.append(f"<g><title>{escape(f'k = {k}: {percent(value)} expected')}</title>")
        parts.append(f"{marker(3, frame.x(k), frame.y(value))}</g>")
    parts.append("</g>")
    values = ", ".join(
        f"{percent(value)} with {k}"
        for k, value in zip(forecast.ks, forecast.coverage, strict=True)
    )
    return draw(frame, f"Forecast of coverage: {values}", parts)


def reliability_chart(quality: ScorerQuality) -> str:
    """Accuracy against score; the area of a circle is the number of candidates."""
    frame = Frame(400, 290, 46, 22, 14, 50, (0, 1), (0, 1))
    parts = [*frame.rows((0, 0.25, 0.5, 0.75, 1))]
    parts += frame.columns((0, 0.25, 0.5, 0.75, 1), ("0", "0.25", "0.5", "0.75", "1"))
    parts.append(text((frame.left + 378) / 2, 282, "score", "title middle"))
    parts.append(f'<path class="diagonal" d="{frame.path((0, 1), (0, 1))}"/>')
    most = max(one.count for one in quality.reliability)
    parts.append('<g class="rule c0">')
    for one in quality.reliability:
        if one.mean_score is not None and one.accuracy is not None:
            x, y = frame.x(one.mean_score), frame.y(one.accuracy)
            radius = max(2.5, 15 * math.sqrt(one.count / most))
            about = f"{one.low:g} to {one.high:g}: {one.count} candidates, mean score "
            about += f"{one.mean_score:.3f}, {percent(one.accuracy)} right"
            parts.append(f"<g><title>{escape(about)}</title>")
            parts.append(f'<path class="gap" d="M{x:g},{y:g}V{frame.y(one.mean_score):g}"/>')
            parts.append(f'<circle class="bubble" cx="{x:g}" cy="{y:g}" r="{radius:.1f}"/></g>')
    parts.append("</g>")
    return draw(frame, f"Reliability of {quality.scorer}: score against share of right", parts)


def histogram_chart(quality: ScorerQuality) -> str:
    """Candidates by score: the right ones upwards, the wrong ones downwards."""
    edges, right, wrong = quality.histogram.edges, quality.histogram.right, quality.histogram.wrong
    most = max(*right, *wrong, 1)
    frame = Frame(400, 290, 46, 22, 14, 50, (edges[0], edges[-1]), (-most, most))
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
        side = frame.top + 10 if sign > 0 else frame.height - frame.bottom - 4
        parts.append(text(frame.left + 4, side, f"{sum(counts)} {name}", "label"))
        at = frame.y(sign * most) + (4 if sign > 0 else -2)
        parts.append(text(frame.left - 8, at, str(most), "tick end"))
    parts.append(f'<path class="axis" d="M{frame.left:g},{frame.y(0):g}H{frame.width - 22:g}"/>')
    ticks = round_ticks(edges[0], edges[-1])
    parts.extend(frame.columns(ticks, [f"{value:g}" for value in ticks]))
    parts.append(text((frame.left + 378) / 2, 282, "score", "title middle"))
    return draw(frame, f"Scores of {quality.scorer}, right above and wrong below", parts)


def whisker(low: float | None, value: float, high: float | None, edge: float) -> str:
    """A difference with its interval (if any), on a line from -edge to edge."""
    frame = Frame(160, 20, 6, 6, 2, 2, (-edge, edge), (0, 1))
    parts = [
        f'<path class="axis" d="M{frame.x(0):g},1V19"/>',
        marker(0, frame.x(value), 10),
    ]
    if low is not None and high is not None:
        parts.insert(1, f'<path class="whisker" d="M{frame.x(low):g},10H{frame.x(high):g}"/>')
    return f'<svg class="spark" viewBox="0 0 160 20" aria-hidden="true">{"".join(parts)}</svg>'


def _span(ks: Sequence[int]) -> tuple[float, float]:
    """The first and the last value, with margins for a logarithmic axis."""
    room = (ks[-1] / ks[0]) ** 0.03 if ks[-1] > ks[0] else 2.0
    return ks[0] / room, ks[-1] * room


def _shares(low: float, high: float) -> tuple[tuple[float, float], list[float]]:
    """A range that covers these shares, and its ticks."""
    step = next(s for s in (0.02, 0.05, 0.1, 0.2) if high - low <= 6 * s or s == 0.2)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return (first * step, last * step), [i * step for i in range(first, last + 1)]
