"""Searches beside plain sampling, as a figure and a table. Knows their records; no pool file."""

from collections.abc import Iterator, Sequence
from html import escape

from edifice_tt.study.beside import Beside
from edifice_tt.study.records import Curve, RuleCurve
from edifice_tt.study.remarks import judged
from edifice_tt.study.report.charts import COLOURS, reach, rule_line, shares, span
from edifice_tt.study.report.sections import interval, points, table
from edifice_tt.study.report.svg import Frame, brief, draw, marker, percent, round_logs, tip

_WIDE, _NARROW = (960, 430), (360, 340)
_SAME = "at the same tokens"


def section(curve: Curve, searches: Sequence[Beside]) -> str:
    """The section of the page; nothing where there is no search."""
    if not searches:
        return ""
    remarks = " ".join(dict.fromkeys(filter(None, map(judged, searches))))
    return (
        '<section aria-labelledby="budget"><h2 id="budget">What a budget of tokens buys</h2>'
        '<div class="text"><p>Share of problems answered right against the tokens that were drawn '
        "per problem, those of a judge included. Lines are plain sampling with more and more "
        "candidates, and rings are plain sampling at the tokens of a search, on its problems. "
        f"{escape(remarks)}</p></div>"
        '<figure class="searched" role="group" aria-label="Accuracy by tokens">'
        f"{_chart(curve, searches, True)}{_chart(curve, searches, False)}"
        f'<ul class="key">{"".join(_key(curve, searches))}</ul></figure>'
        f"{_differences(searches)}</section>"
    )


def named(one: Beside) -> str:
    """A search by its method, its scorer and its file."""
    return " \N{MIDDLE DOT} ".join(filter(None, (one.spent.label, one.scorer, one.pool)))


def _rules(curve: Curve) -> list[RuleCurve]:
    """Those of plain sampling that choose something."""
    return [rule for rule in curve.rules if rule.rule not in ("oracle", "random")]


def _tokens(curve: Curve, rule: RuleCurve, searches: Sequence[Beside]) -> list[float]:
    """What plain sampling costs at each k, with what the rule's judge reads."""
    judged = [one.judge_each or 0.0 for one in searches if one.scorer == rule.scorer]
    each = (curve.cost.tokens_per_candidate or 0.0) + max(judged, default=0.0)
    return [k * each for k in curve.ks]


def _chart(curve: Curve, searches: Sequence[Beside], wide: bool) -> str:
    """Lines for plain sampling; a marker for each search, and a ring for the plain choice."""
    rules = _rules(curve)
    xs = [_tokens(curve, rule, searches) for rule in rules]
    spent = [way.tokens or 0.0 for one in searches for way in (one.spent, one.same)]
    every = sorted({*spent, *(x for row in xs for x in row)})
    values = [v for rule in rules for v in reach(rule)]
    values += [v for one in searches for v in (one.spent.accuracy, one.same.accuracy)]
    values += [v for one in searches for v in (one.spent.low, one.spent.high) if v is not None]
    ys, ticks = shares(values)
    frame = Frame(*(_WIDE if wide else _NARROW), 46, 22, 14, 50, span(every), ys, True)
    marks = round_logs(every[0], every[-1])
    parts = [*frame.rows(ticks), *frame.columns(marks, list(map(brief, marks)))]
    parts.append(frame.title("tokens per problem"))
    for i, (rule, row) in enumerate(zip(rules, xs, strict=True)):
        parts.extend(rule_line(frame, row, rule, i, f"c{i % COLOURS}", unit="tokens"))
    for i, one in enumerate(searches, len(rules)):
        parts.extend(_point(frame, one, i))
    told = (f"{named(one)} {percent(one.spent.accuracy)}" for one in searches)
    return draw(
        frame, f"Accuracy by tokens: {'; '.join(told)}", parts, "wide" if wide else "narrow"
    )


def _point(frame: Frame, one: Beside, number: int) -> Iterator[str]:
    spent, same = one.spent, one.same
    x, plain = frame.x(spent.tokens or 0.0), frame.x(same.tokens or 0.0)
    yield f'<g class="rule found c{number % COLOURS}">'
    gap = f"M{x:g},{frame.y(spent.accuracy):g}L{plain:g},{frame.y(same.accuracy):g}"
    about = f"{one.rule} of the {same.label}: {percent(same.accuracy)}"
    ring = f'<circle class="ring" cx="{plain:g}" cy="{frame.y(same.accuracy):g}" r="6"/>'
    yield tip(about, f'<path class="gap" d="{gap}"/>', ring)
    about, whisker = f"{named(one)}: {percent(spent.accuracy)}", ""
    if spent.low is not None and spent.high is not None:
        about += f", {percent(spent.low)} to {percent(spent.high)}"
        ends = f"M{x:g},{frame.y(spent.low):g}V{frame.y(spent.high):g}"
        whisker = f'<path class="whisker" d="{ends}"/>'
    about += f", with {brief(spent.tokens or 0.0)} tokens"
    yield tip(about, whisker, marker(number, x, frame.y(spent.accuracy)))
    yield "</g>"


def _key(curve: Curve, searches: Sequence[Beside]) -> Iterator[str]:
    rules = _rules(curve)
    stroke = '<path class="line" d="M1,7H33"/>'
    rows = [(rule.label, stroke, rule.accuracy[-1]) for rule in rules]
    rows += [(named(one), "", one.spent.accuracy) for one in searches]
    for i, (name, drawn, value) in enumerate(rows):
        shape = f'<svg viewBox="0 0 34 14" aria-hidden="true">{drawn}{marker(i, 17, 7)}</svg>'
        found = " found" if i >= len(rules) else ""
        yield f'<li class="rule{found} c{i % COLOURS}">{shape}<span>{escape(name)}</span> '
        yield f"<b>{percent(value)}</b></li>"


def _differences(searches: Sequence[Beside]) -> str:
    header = ("search", "problems", "tokens", "accuracy", f"plain {_SAME}", "difference")
    rows = (
        (
            escape(named(one)),
            str(one.problems),
            brief(one.spent.tokens or 0.0),
            f"{percent(one.spent.accuracy)}{interval(one.spent.low, one.spent.high, percent)}",
            f"{percent(one.same.accuracy)}<small>{one.rule} of the {one.same.label}</small>",
            f"{points(one.difference.difference)}"
            f"{interval(one.difference.low, one.difference.high, points)}",
        )
        for one in searches
    )
    return table(header, rows, "differences at the same tokens", "tight")
