"""The sections of a report as HTML. Knows the records; no page and no problem's text.

Each section is complete, with escaped texts, and may stand anywhere in a page.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from html import escape

from edifice_tt.contract.wording import counted
from edifice_tt.study.quality import ScorerQuality
from edifice_tt.study.records import Curve, RuleCurve
from edifice_tt.study.remarks import abstaining, advice, none_is_better, remarks, trained_on
from edifice_tt.study.report import charts
from edifice_tt.study.report.problems import Listing
from edifice_tt.study.report.svg import brief, marker, percent


def _best(curve: Curve) -> RuleCurve | None:
    """The most accurate rule at the largest k, except the oracle.

    None if the scorer of every rule was trained on these problems, and so knows the answers too.
    """
    real = [rule for rule in curve.rules if rule.rule != "oracle"] or list(curve.rules)
    real = [rule for rule in real if not curve.trained_on(rule.scorer)]
    return max(real, key=lambda rule: rule.accuracy[-1], default=None)


def headline(curve: Curve) -> str:
    best, last = _best(curve), curve.ks[-1]
    if best is None:
        return (
            "Every rule here follows a scorer that was trained on these problems, so no figure "
            "tells of new ones"
        )
    gain = f"{percent(best.accuracy[0])} with {counted(curve.ks[0], 'candidate')}"
    of = f"<em>{escape(best.label)}</em> is right {percent(best.accuracy[-1])} of the time"
    return f"{of} with {counted(last, 'candidate')}" + (f", {gain}" if last > curve.ks[0] else "")


def _how_sure(curve: Curve, best: RuleCurve) -> str:
    """On how many problems, and the interval, of the best rule at the largest k."""
    count = round(best.accuracy[-1] * curve.problems, 1)
    right = f"That is {count:,g} of {counted(curve.problems, 'problem')}"
    low, high = best.low[-1], best.high[-1]
    if low is None or high is None:
        return f"{right}."
    return f"{right} ({curve.level:.0%} interval {percent(low)} to {percent(high)})."


def _label(curve: Curve, label: str) -> str:
    """A rule's name, with a note if its scorer was trained on these problems."""
    scorer = next((rule.scorer for rule in curve.rules if rule.label == label), None)
    seen = trained_on(curve, scorer)
    return escape(label) + (f"<small>{seen}</small>" if seen else "")


def standfirst(curve: Curve) -> str:
    model = curve.settings.get("model")
    by = f" of {model}" if isinstance(model, str) else ""
    best, sampled = _best(curve), counted(curve.candidates, "candidate")
    parts = [] if best is None else [_how_sure(curve, best)]
    parts.append(f"{counted(curve.problems, 'problem')}, {sampled}{by}.")
    parts += (
        f"In {percent(rule.accuracy[-1])} of the problems a right one is among {curve.ks[-1]:,}: "
        "no rule can do better."
        for rule in curve.rules
        if rule.rule == "oracle"
    )
    parts += filter(None, [abstaining(curve)])
    if told := none_is_better(curve):
        parts += [told, advice(curve)]
    return escape(" ".join(parts))


def caveats(curve: Curve) -> str:
    items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks(curve))
    return f'<ul class="remarks">{items}</ul>' if items else ""


def axes(curve: Curve) -> Iterator[str]:
    """Radio buttons before the chart; the style sheet shows the axis of the selected one."""
    there = charts.costs_of(curve)
    for unit in there if len(there) > 1 else ():
        on = " checked" if unit == "k" else ""
        yield f'<input type="radio" name="x" id="x-{unit}"{on}>'
        yield f'<label for="x-{unit}">{charts.UNITS[unit]}</label>'


def key(curve: Curve) -> Iterator[str]:
    for i, rule in enumerate(curve.rules):
        line = '<svg viewBox="0 0 34 14" aria-hidden="true"><path class="line" d="M1,7H33"/>'
        yield f'<li class="rule {charts.shade(rule, i)}">{line}{marker(i, 17, 7)}</svg>'
        yield f"<span>{_label(curve, rule.label)}</span> <b>{percent(rule.accuracy[-1])}</b></li>"


def intervals(curve: Curve) -> str:
    if curve.problems == 1:
        return "One problem has no interval."
    return (
        f"Whiskers are {curve.level:.0%} intervals over problems: a bootstrap, and at least as "
        "wide as Wilson's bound where problems are few or alike."
    )


def learnt(curve: Curve) -> str:
    """What the sign beside a rule in the chart means."""
    if not any(curve.trained_on(rule.scorer) for rule in curve.rules):
        return ""
    words = f"{charts.LEARNT} Its scorer was trained on some of these problems."
    return f'<p class="wide about">{words}</p>'


def exactness(curve: Curve) -> str:
    errors = ", ".join(
        f"{escape(rule.label)} ({max(rule.monte_carlo_error):.4f})"
        for rule in curve.rules
        if rule.monte_carlo_error
    )
    if not errors:
        return "Every line is exact: the mean over all subsets of the candidates."
    return (
        "Most lines are exact: the mean over all subsets of the candidates. These are estimated "
        f"from drawn subsets, with a standard error of at most: {errors}."
    )


def table(header: Iterable[str], rows: Iterable[Iterable[str]], name: str, style: str = "") -> str:
    """A table that scrolls if it is too wide; its cells are HTML."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'
        for first, *others in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">'
        f'<table class="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def numbers(curve: Curve) -> str:
    rows = []
    for rule in curve.by_trust():
        errors = rule.monte_carlo_error or [0.0] * len(curve.ks)
        columns = zip(rule.accuracy, rule.low, rule.high, errors, strict=True)
        cells = (
            f"{percent(value)}{'~' if error else ''}{interval(low, high, percent)}"
            for value, low, high, error in columns
        )
        rows.append([_label(curve, rule.label), *cells])
    return table(["rule", *(f"k = {k}" for k in curve.ks)], rows, "accuracy in numbers")


def interval(low: float | None, high: float | None, show: Callable[[float], str]) -> str:
    if low is None or high is None:
        return "<small>no interval</small>"
    return f"<small>{show(low)} to {show(high)}</small>"


def points(value: float) -> str:
    return f"{value * 100:+.1f}"


def comparisons(curve: Curve) -> str:
    last = [one for one in curve.comparisons if one.k == curve.ks[-1]]
    if not last:
        return ""
    reach = [x for one in last for x in (one.low, one.difference, one.high) if x is not None]
    edge = max(map(abs, reach)) or 1.0
    rows = [
        (
            _label(curve, one.label),
            charts.whisker(one.low, one.difference, one.high, edge),
            f"{points(one.difference)}{interval(one.low, one.high, points)}",
        )
        for one in last
    ]
    against, many = escape(last[0].against), counted(curve.ks[-1], "candidate")
    return (
        f'<section><h3>Against {against}, with {many}</h3><div class="text">'
        f"<p>In points of accuracy, on the same problems. {escape(advice(curve))}</p></div>"
        + table(("rule", "", "difference"), rows, "differences", "tight")
        + "</section>"
    )


def forecast(curve: Curve) -> str:
    if curve.forecast is None:
        return ""
    measured = next((rule for rule in curve.rules if rule.rule == "oracle"), None)
    return _figure(
        "<h3>Coverage beyond what was sampled</h3>"
        + charts.forecast_chart(curve, curve.forecast, measured),
        "Dashed: the chance that a right answer is among so many, if each problem's own chance is "
        f"drawn from Beta({curve.forecast.alpha:.2f}, {curve.forecast.beta:.2f}), the fit to these "
        "counts. It need not begin where the measurement ends.",
    )


def scorers(curve: Curve) -> str:
    if not curve.scorers:
        return ""
    first = [f"{name}<small>{why}</small>" for name, why in _QUALITIES.items()]
    rows = zip(first, *map(_qualities, curve.scorers), strict=True)
    names = (
        f"{escape(x.scorer)}<small>{x.range or 'range unknown'}</small>"
        + (f"<small>{trained_on(curve, x.scorer)}</small>" if x.trained_on else "")
        for x in curve.scorers
    )
    figures = "".join(
        f'<h3>{escape(one.scorer)}</h3><div class="pair">{_figures(one)}</div>'
        for one in curve.scorers
    )
    return (
        '<section aria-labelledby="scorers"><h2 id="scorers">Can the scorers tell?</h2>'
        + table(["", *names], rows, "scorers", "tight measures")
        + f"{figures}</section>"
    )


def _number(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:.3f}"


def _cost(value: float | None) -> str:
    return "&ndash;" if value is None else brief(value)


_QUALITIES = {
    "AUROC": "how often a right candidate scores above a wrong one, of any problem",
    "AUROC within a problem": "of the same problem, as a choice needs it; mean over mixed ones",
    "Calibration error (ECE)": "mean distance of score and share of right ones; 0 is best",
    "Brier score": "mean squared distance of score and truth; 0 is best",
    "Correlation with length": "Spearman's, of score and number of tokens",
    "Tokens read": "by a model for a candidate's score, what several share once",
    "Seconds": "for a candidate's score",
    "Best n": "more candidates do not help best-of-n; its accuracy there",
}


def _qualities(one: ScorerQuality) -> tuple[str, ...]:
    of_mixed = f"{one.auroc_interval}, {one.mixed_problems} mixed"
    return (
        f"{_number(one.auroc_pooled)}{interval(one.pooled_low, one.pooled_high, '{:.2f}'.format)}",
        f"{_number(one.auroc_within)}<small>{of_mixed}</small>",
        _number(one.ece),
        _number(one.brier),
        _number(one.length_correlation),
        *map(_cost, (one.tokens_per_candidate, one.seconds_per_candidate)),
        f"{one.best_k}<small>{percent(one.peak_accuracy)}</small>",
    )


def _figures(one: ScorerQuality) -> str:
    reliability = one.reliability and _figure(
        charts.reliability_chart(one),
        "Share of right candidates by score. On the line a score is the chance to be right; a "
        "circle's area is the number of candidates.",
    )
    words = "Candidates by score: right ones upwards, wrong ones downwards."
    return (reliability or "") + _figure(charts.histogram_chart(one), words)


def _figure(chart: str, caption: str) -> str:
    return f'<figure class="half">{chart}<figcaption>{caption}</figcaption></figure>'


def left_out(listing: Listing) -> str:
    parts = []
    if listing.problems_left_out:
        total = listing.problems_left_out + len(listing.problems)
        parts.append(f"the first {len(listing.problems):,} of {total:,} problems are here")
    if listing.candidates_left_out:
        parts.append(f"{counted(listing.candidates_left_out, 'candidate')} of them left out")
    if listing.texts_cut:
        parts.append(f"{listing.texts_cut:,} long texts cut")
    if not parts:
        return ""
    words = ", ".join(parts)
    return f"<p>{words[0].upper()}{words[1:]}; <code>--all</code> keeps everything.</p>"


def settings(curve: Curve) -> str:
    drawn = f"{curve.level:.0%}, {curve.bootstrap:,} resamples, seed {curve.seed}"
    rows = (
        f"<dt>{escape(name)}</dt>"
        f"<dd>{escape(value if isinstance(value, str) else json.dumps(value))}</dd>"
        for name, value in {**curve.settings, "intervals": drawn}.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


# Each fills the place of its name in the page.
OF_A_CURVE: tuple[Callable[[Curve], Iterable[str]], ...] = (
    *(headline, standfirst, caveats, axes, key, learnt, intervals, exactness),
    *(numbers, comparisons, forecast, scorers, settings),
)
