"""The parts of a chart: frame, axes, text, markers. Knows numbers and SVG; no curve."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

# Outlines around (0, 0), one more than there are colours.
MARKERS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "M-3.6,-3.6h7.2v7.2h-7.2z",
    "M0,-4.8L4.6,3.6H-4.6z",
    "M0,-5.2L5.2,0L0,5.2L-5.2,0z",
    "M0,4.8L4.6,-3.6H-4.6z",
    "M-4.4,-1.5h2.9v-2.9h3v2.9h2.9v3h-2.9v2.9h-3v-2.9h-2.9z",
    "M-4.6,0L4,-4.6V4.6z",
    "M4.6,0L-4,-4.6V4.6z",
)


@dataclass(frozen=True)
class Frame:
    """A plot's size and margins in pixels, and the values at its edges."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    xs: tuple[float, float]
    ys: tuple[float, float]
    log: bool = False

    def x(self, value: float) -> float:
        low, high = self.xs
        if self.log:
            low, high, value = math.log2(low), math.log2(high), math.log2(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.left + share * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        low, high = self.ys
        share = (value - low) / (high - low)
        return round(self.height - self.bottom - share * (self.height - self.top - self.bottom), 1)

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        points = (f"{self.x(x):g},{self.y(y):g}" for x, y in zip(xs, ys, strict=True))
        return "M" + "L".join(points)

    def rows(self, ticks: Sequence[float]) -> Iterator[str]:
        """Horizontal grid lines labelled with their shares."""
        for value in ticks:
            y, right = self.y(value), self.width - self.right
            yield f'<path class="grid" d="M{self.left:g},{y:g}H{right:g}"/>'
            yield text(self.left - 8, y + 4, f"{value:.0%}", "tick end")

    def title(self, words: str) -> str:
        """What the horizontal axis shows, below its middle."""
        middle = (self.left + self.width - self.right) / 2
        return text(middle, self.height - 8, words, "title middle")

    def columns(self, values: Sequence[float], labels: Sequence[str]) -> Iterator[str]:
        """Labels below the plot, as many as fit; the last is always shown."""
        last_edge = self.x(values[-1]) - 4 * len(labels[-1])
        edge = -math.inf
        for value, label in zip(values, labels, strict=True):
            x, half = self.x(value), 4 * len(label)
            if value == values[-1] or (x - half > edge and x + half < last_edge - 4):
                yield text(x, self.height - self.bottom + 20, label, "tick middle")
                edge = x + half + 4


def percent(value: float) -> str:
    return f"{value:.1%}"


def brief(value: float) -> str:
    """A number in few characters.

    >>> brief(2007.3), brief(38400.0), brief(1.7)
    ('2.0k', '38k', '1.7')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.{1 if value < 10 * size else 0}f}{unit}"
    return f"{value:.3g}"


def round_ticks(low: float, high: float) -> list[float]:
    """Two to eight round numbers between two values; the values themselves if there are none.

    >>> round_ticks(-7.87, 6.9), round_ticks(0.0, 1.0)
    ([-5.0, 0.0, 5.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    span = high - low
    if not span > 0:
        return [low]
    size = 10.0 ** math.floor(math.log10(span / 3))
    step = max(step for step in (size, 2 * size, 5 * size) if step <= span / 2.9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)] or [low, high]


def round_logs(low: float, high: float) -> list[float]:
    """A few powers of two between two values; the values themselves if there are none.

    >>> round_logs(3, 70), round_logs(5, 7)
    ([4.0, 8.0, 16.0, 32.0, 64.0], [5, 7])
    """
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    step = 1 + max(0, last - first) // 8
    return [2.0**i for i in range(first, last + 1, step)] or [low, high]


def marker(number: int, x: float = 0, y: float = 0) -> str:
    shape = MARKERS[number % len(MARKERS)]
    return f'<path class="dot" transform="translate({x:g},{y:g})" d="{shape}"/>'


def text(x: float, y: float, words: str, style: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def tip(words: str, *shapes: str) -> str:
    return f"<g><title>{escape(words)}</title>{''.join(shapes)}</g>"


def draw(frame: Frame, name: str, parts: Sequence[str], style: str = "") -> str:
    return (
        f'<svg class="chart {style}" viewBox="0 0 {frame.width:g} {frame.height:g}" role="img" '
        f'aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )
