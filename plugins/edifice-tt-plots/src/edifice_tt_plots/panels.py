"""The panels of a figure: curves against k, one k alone, score histograms, reliability diagrams."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text

if TYPE_CHECKING:
    from edifice_tt_plots.figure import Palette

BASELINES = {"oracle": "--", "random": "-."}
MARKERS = "os^DvPX<"  # one more than there are colours: the first 56 rules differ in one or both
UNITS = {
    "k": "candidates, k",
    "tokens": "tokens, k times the mean",
    "seconds": "seconds, k times the mean",
}
Rules = Sequence[tuple[int, dict[str, Any]]]


def draw_curves(
    curve: dict[str, Any], rules: Rules, palette: "Palette", x: str, cost: float, ax: Axes
) -> None:
    """Accuracy against k or against the cost of k candidates; bands are intervals."""
    ks, forecast = curve["ks"], curve["forecast"]
    xs, faint = np.array(ks) * cost, max(0.06, 0.2 - 0.02 * len(rules))
    for i, rule, style in _styled(rules, palette):
        accuracy, low, high = (_numbers(rule[name]) for name in ("accuracy", "low", "high"))
        ax.plot(xs, accuracy, gid=f"rule-{i}", **style)
        band = {"color": style["color"], "alpha": faint, "lw": 0, "zorder": 1, "gid": f"band-{i}"}
        ax.fill_between(xs, low, high, **band)
        _label(ax, rule["label"], xs, accuracy, style["color"])
    if forecast:  # not joined to the oracle: a fit may begin below the measured value
        ahead, coverage = np.array(forecast["ks"]) * cost, _numbers(forecast["coverage"])
        ax.plot(ahead, coverage, ":", color=palette.grey, lw=1.8, gid="forecast")
        _label(ax, "oracle, forecast", ahead, coverage, palette.grey)
        ks = sorted({*ks, *forecast["ks"]})
    ax.set_xscale("log", base=2)
    ax.minorticks_off()
    ax.set_xticks(np.array(ks) * cost, [str(k) if x == "k" else _brief(k * cost) for k in ks])
    ax.set_xlim(ks[0] * cost / 2**0.15, ks[-1] * cost * 2**0.15)
    bottom, top = ax.get_ylim()
    ax.set_ylim(max(bottom, -0.02), min(top, 1.02))
    ax.set(xlabel=UNITS[x], ylabel="accuracy", title=_heading(curve, "bands"))
    ax.grid(axis="y")


def draw_one_k(
    curve: dict[str, Any], rules: Rules, palette: "Palette", x: str, cost: float, ax: Axes
) -> None:
    """With one k there is no curve: each rule gets a row."""
    k, forecast = curve["ks"][0], curve["forecast"] or {"ks": [], "coverage": []}
    labels = [shorten(rule["label"]) for _, rule in rules]
    for row, (i, rule, style) in enumerate(_styled(rules, palette)):
        interval = _numbers([rule["low"][0], rule["high"][0]])
        ax.plot(interval, [row, row], lw=5, alpha=0.3, color=style["color"], gid=f"band-{i}")
        ax.plot(_numbers(rule["accuracy"]), [row], gid=f"rule-{i}", **style | {"ms": 7})
    for ahead, coverage in zip(forecast["ks"], _numbers(forecast["coverage"]), strict=True):
        ax.plot([coverage], [len(labels)], "o", ms=7, mfc="none", color=palette.grey)
        labels.append(f"oracle, forecast, k = {ahead}")
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    price = "" if x == "k" else f" ({_brief(k * cost)} {x})"
    ax.set(xlabel=f"accuracy at k = {k}{price}", title=_heading(curve, "bars"))
    ax.grid(axis="x")


def draw_histogram(i: int, record: dict[str, Any], palette: "Palette", ax: Axes) -> None:
    """The scores of right and of wrong candidates, as shares of each kind."""
    for name, values, color in zip(("right", "wrong"), counts(record), palette.lines, strict=False):
        shares, edges = values / max(values.sum(), 1), record["histogram"]["edges"]
        label = f"{name} ({values.sum():,})"
        ax.stairs(shares, edges, fill=True, alpha=0.25, color=color, label=label)
        ax.stairs(shares, edges, color=color, lw=1.5, gid=f"{name}-{i}")
    ax.set_ylim(0, ax.get_ylim()[1] * 1.2)  # room for the legend
    ax.legend(loc="upper left", ncols=2, frameon=False, borderaxespad=0)
    auroc = "" if record["auroc_pooled"] is None else f": AUROC {record['auroc_pooled']:.3f}"
    title = f"{shorten(record['scorer'])}{auroc}"
    ax.set(xlabel="score", ylabel="share of right, of wrong", title=title)


def draw_reliability(i: int, record: dict[str, Any], palette: "Palette", ax: Axes) -> None:
    """Accuracy against score, with the bins' counts above."""
    bins, color = record["reliability"], palette.lines[0]
    means, accuracies = (_numbers([b[name] for b in bins]) for name in ("mean_score", "accuracy"))
    ax.plot([0, 1], [0, 1], "--", color=palette.grey, lw=1)
    ax.plot(means, accuracies, "o-", color=color, ms=4, clip_on=False, gid=f"reliability-{i}")
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score of the bin", ylabel="share that is right")
    ax.grid()
    lows, widths = [b["low"] for b in bins], [b["high"] - b["low"] for b in bins]
    sizes, crowded = [b["count"] for b in bins], len(bins) > 10
    above = ax.inset_axes((0, 1.03, 1, 0.32 if crowded else 0.2), sharex=ax)
    bars = above.bar(lows, sizes, widths, align="edge", color=color, alpha=0.3, ec=palette.paper)
    texts = [f"{size:,}" for size in sizes]
    above.bar_label(bars, texts, padding=1, size=6.5, rotation=90 if crowded else 0)
    above.set_ylim(0, max(*sizes, 1) * (3.5 if crowded else 1.6))
    above.set_yticks([])
    above.tick_params(labelbottom=False, length=0)
    above.spines["left"].set_visible(False)
    ece = "" if record["ece"] is None else f", ECE {record['ece']:.3f}"
    above.set_title(f"{shorten(record['scorer'])}: calibration{ece}")


def settle(ax: Axes) -> None:
    """After the layout: separate labels at the right edge, drop tick labels that would touch."""
    if notes := [text for text in ax.texts if isinstance(text, Annotation) and text.arrow_patch]:
        (_, low), (_, high) = ax.transAxes.transform([(0, 0), (0, 1)])
        # Of Text: the extent of an Annotation includes its arrow.
        gap = 1.1 * max(Text.get_window_extent(note).height for note in notes)
        notes.sort(key=lambda note: float(note.xy[1]))
        wanted = [float(ax.transData.transform(note.xy)[1]) for note in notes]
        for note, y in zip(notes, spread(wanted, gap, low, high), strict=True):
            note.set_position((note.get_position()[0], (y - low) / (high - low)))
    if ax.get_xscale() == "log":
        _thin(ax)


def _thin(ax: Axes) -> None:
    ticks, octaves = ax.get_xticks(), np.log2(ax.get_xticks() / ax.get_xticks()[0])
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    # The last and the first matter most, then each doubling.
    shown: list[int] = []
    for i in sorted(range(len(ticks)), key=lambda i: (0 < i < len(ticks) - 1, octaves[i] % 1 > 0)):
        box = boxes[i].padded(4)
        if not any(box.overlaps(boxes[other]) for other in shown):
            shown.append(i)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    ax.set_xticks(ticks, [text if i in shown else "" for i, text in enumerate(labels)])


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The heights nearest to ascending `wanted` that are `gap` apart within [low, high].

    >>> spread([0.0, 5.0, 5.0], 2.0, 0.0, 9.0)
    [0.0, 4.0, 6.0]
    """
    blocks: list[list[float]] = []  # neighbours that touch; shifted by i gaps they are level
    for i, y in enumerate(wanted):
        blocks.append([y - i * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) >= np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = [float(np.mean(block)) for block in blocks for _ in block]
    top = high - (len(wanted) - 1) * gap
    return [max(min(y, top), low) + i * gap for i, y in enumerate(level)]


def counts(record: dict[str, Any]) -> tuple[Any, Any]:
    """The numbers of right and of wrong candidates per bin of a scorer."""
    return np.array(record["histogram"]["right"]), np.array(record["histogram"]["wrong"])


def shorten(text: str, width: int = 34) -> str:
    """One printable line of at most `width` characters, shortened in the middle."""
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= width else f"{text[: width // 2]}…{text[1 - width + width // 2 :]}"


def _styled(
    rules: Rules, palette: "Palette"
) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Each rule with its number and style; its colour does not depend on the other rules."""
    for i, rule in rules:
        style: dict[str, Any] = {"color": palette.grey, "lw": 1.4, "ms": 3}
        if rule["rule"] in BASELINES:
            style |= {"ls": BASELINES[rule["rule"]], "marker": "."}
        else:
            style |= {"color": palette.lines[i % len(palette.lines)], "lw": 1.6, "ms": 4.5}
            style |= {"marker": MARKERS[i % len(MARKERS)]}
        yield i, rule, style


def _label(ax: Axes, text: str, xs: Any, ys: Any, color: str) -> None:
    # At the right edge, joined to the line's last point; `settle` finds the height.
    known = np.flatnonzero(np.isfinite(ys))
    if known.size:
        at = float(xs[known[-1]]), float(ys[known[-1]])
        faint = {"arrowstyle": "-", "color": color, "lw": 0.6, "alpha": 0.5}  # not data
        joint = {**faint, "relpos": (0, 0.5), "shrinkB": 3}
        place: dict[str, Any] = {
            "textcoords": "axes fraction",
            "va": "center",
            "annotation_clip": False,
        }
        ax.annotate(shorten(text), at, (1.04, 0.5), arrowprops=joint, **place)


def _heading(curve: dict[str, Any], marks: str) -> str:
    level = f"{100 * curve['level']:g}%"
    sizes = f"{curve['problems']:,} problems, {curve['candidates']:,} candidates"
    return f"{sizes}; {marks}: {level} intervals"


def _brief(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _numbers(values: Sequence[float | None]) -> Any:
    return np.array(values, float)  # None becomes NaN, which leaves a gap
