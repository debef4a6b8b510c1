"""A curve as text for a terminal, 80 columns and up. Knows the records; computes nothing."""

import textwrap
from collections.abc import Iterator

from edifice_tt.cli.terminal import table
from edifice_tt.cli.terminal import width as terminal_width
from edifice_tt.study.beside import Beside
from edifice_tt.study.quality import ScorerQuality
from edifice_tt.study.records import Curve, RuleCurve
from edifice_tt.study.remarks import abstaining, advice, judged, none_is_better, remarks
from edifice_tt.study.replay_records import Difference, Spending

_GAP = 2
_COLUMNS = (
    "AUROC: how often a right candidate scores above a wrong one; within: of the same problem, the "
    "mean over (mixed) ones; below each its interval over problems. Length: rank "
    "correlation of score and tokens. Best n: more candidates do not help best_of_n; its accuracy "
    "there."
)


def show_curve(curve: Curve) -> str:
    """Print everything in a curve that text can show."""
    width = terminal_width()
    parts = [
        f"{curve.pool}: {_count(curve.candidates, 'candidate')} of "
        f"{_count(curve.problems, 'problem')}",
        f"Accuracy with k candidates; below it the {curve.level:.0%} interval over problems.",
        *_accuracy(curve, width),
        *_comparisons(curve),
        *_scorers(curve),
        "\n".join(textwrap.fill(remark, width) for remark in _remarks(curve)),
    ]
    return "\n\n".join(parts)


def spending_cells(one: Spending) -> tuple[str, ...]:
    """The cells of a way to spend samples."""
    tokens = "-" if one.tokens is None else f"{one.tokens:,.0f}"
    interval = "-" if one.low is None else f"{one.low:.3f} to {one.high:.3f}"
    return one.label, f"{one.samples:.2f}", tokens, f"{one.accuracy:.4f}", interval


def difference_cells(one: Difference) -> tuple[str, ...]:
    """The cells of a difference in accuracy."""
    interval = "-" if one.low is None else f"{one.low:+.4f} to {one.high:+.4f}"
    return one.against, f"{one.difference:+.4f}", interval


def show_beside(one: Beside, level: float) -> str:
    """A search beside plain sampling at the same tokens."""
    interval = f"{level:.0%} interval"
    head = f"{one.pool}: {one.spent.label} on {_count(one.problems, 'problem')}, beside the first "
    head += f"candidates at the same tokens, by {one.rule}. {judged(one)}"
    return "\n\n".join(
        [
            textwrap.fill(head.rstrip(), terminal_width()),
            table(
                ("per problem", "samples", "tokens", "accuracy", interval),
                [spending_cells(one.spent), spending_cells(one.same)],
            ),
            table(
                (f"{one.spent.label}, against", "difference", interval),
                [difference_cells(one.difference)],
            ),
        ]
    )


def _accuracy(curve: Curve, width: int) -> Iterator[str]:
    """The table, split into blocks that fit the terminal's width."""
    labels = [line for rule in curve.by_trust() for line in (rule.label, _note(curve, rule))]
    first = max(map(len, labels))
    columns = max(1, (width - first) // (len(".47-.74") + _GAP))
    for start in range(0, len(curve.ks), columns):
        block = range(start, min(start + columns, len(curve.ks)))
        rows = [
            cells
            for rule in curve.by_trust()
            for cells in (
                [rule.label, *(_estimate(rule, i) for i in block)],
                [_note(curve, rule), *(_interval(rule.low[i], rule.high[i]) for i in block)],
            )
        ]
        yield table(["", *(f"k={curve.ks[i]}" for i in block)], rows)


def _estimate(rule: RuleCurve, i: int) -> str:
    drawn = rule.monte_carlo_error is not None and rule.monte_carlo_error[i] > 0
    return f"{rule.accuracy[i]:.3f}{'~' if drawn else ''}"


def _note(curve: Curve, rule: RuleCurve) -> str:
    """Below the label: the largest error of drawing subsets, and whether its scorer has learnt."""
    notes = [f"~ +-{max(rule.monte_carlo_error):.4f}"] if rule.monte_carlo_error else []
    if seen := curve.trained_on(rule.scorer):
        notes.append(f"trained on {seen} of {curve.problems}")
    return f"  {', '.join(notes)}" if notes else ""


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "-"
    return "-".join(f"{x:.2f}".removeprefix("0") for x in (low, high))


def _comparisons(curve: Curve) -> Iterator[str]:
    rows = [
        (one.label, f"{one.difference:+.3f}", _points(one.low, one.high))
        for one in curve.comparisons
        if one.k == curve.ks[-1]
    ]
    if rows:
        against = curve.comparisons[0].against
        yield table((f"k={curve.ks[-1]}, against {against}", "difference", "interval"), rows)


def _points(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"


def _scorers(curve: Curve) -> Iterator[str]:
    if curve.scorers:
        header = ("scorer", "AUROC", "within (mixed)", "ECE", "Brier", "length", "best n")
        rows = [
            row for one in curve.scorers for row in (_quality(one), _below(one, curve.problems))
        ]
        yield table(header, rows)
        yield textwrap.fill(_COLUMNS, terminal_width())
        cost = ("scoring, per candidate", "tokens read", "seconds")
        yield table(cost, [(one.scorer, *scoring_cells(one)) for one in curve.scorers])


def scoring_cells(one: ScorerQuality) -> tuple[str, str]:
    """What a scorer has spent per candidate; a dash where a pool does not tell."""
    tokens, seconds = one.tokens_per_candidate, one.seconds_per_candidate
    return "-" if tokens is None else f"{tokens:,.1f}", "-" if seconds is None else f"{seconds:.3g}"


def _quality(one: ScorerQuality) -> tuple[str, ...]:
    return (
        one.scorer,
        _number(one.auroc_pooled),
        f"{_number(one.auroc_within)} ({one.mixed_problems})",
        _number(one.ece),
        _number(one.brier),
        _number(one.length_correlation),
        f"{one.best_k}: {one.peak_accuracy:.3f}",
    )


def _below(one: ScorerQuality, problems: int) -> tuple[str, ...]:
    """Below these the intervals, and whether the scorer has learnt."""
    note = f"  trained on {one.trained_on} of {problems}" if one.trained_on else ""
    pooled = _interval(one.pooled_low, one.pooled_high)
    return note, pooled, _interval(one.auroc_low, one.auroc_high), *[""] * 4


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _remarks(curve: Curve) -> Iterator[str]:
    if any(rule.monte_carlo_error and max(rule.monte_carlo_error) for rule in curve.rules):
        yield "~ estimated from drawn subsets, with that standard error; the others are exact."
    if curve.forecast:
        ahead = zip(curve.forecast.ks, curve.forecast.coverage, strict=True)
        shown = ", ".join(f"{coverage:.3f} at k={k}" for k, coverage in ahead)
        yield f"Forecast of the oracle: {shown}."
    if told := abstaining(curve):
        yield told
    yield from remarks(curve)
    if told := none_is_better(curve):
        yield told
    if curve.comparisons:
        yield advice(curve)
