"""DeepConf: rows of which the model becomes unsure are stopped. Knows a number per token.

A group is a window of tokens, and its confidence their mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, fsum
from statistics import median

from edifice_tt.contract.options import check_count
from edifice_tt.search.method import Ask, Outcome, Row, State, Until, check_share, in_order

WINDOW = 2048
PARTS = ("lowest_group", "tail", "bottom_10_percent", "mean")


def group_confidences(confidences: Sequence[float], window: int) -> list[float]:
    """The mean of each full window, or of all tokens where there are fewer.

    >>> group_confidences([4, 6, 8, 6], 2), group_confidences([5, 5], 3)
    ([5.0, 7.0, 7.0], [5.0])
    """
    size = min(window, len(confidences))
    last = len(confidences) - size
    return [fsum(confidences[i : i + size]) / size for i in range(last + 1)]


def confidence_of(confidences: Sequence[float], window: int, part: str = "lowest_group") -> float:
    """One number for a row: a part of its groups, `mean` for that of all its tokens."""
    if part == "mean":
        return fsum(confidences) / len(confidences)
    groups = group_confidences(confidences, window)
    if part == "tail":
        return groups[-1]
    lowest = sorted(groups)[: max(1, len(groups) // 10) if part == "bottom_10_percent" else 1]
    return fsum(lowest) / len(lowest)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent lie, linear between two of them.

    >>> percentile([2.0, 9.0, 5.0, 6.0], 50)
    5.5
    """
    ranked = sorted(values)
    place = (len(ranked) - 1) * percent / 100
    low = floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


@dataclass(frozen=True)
class Below:
    """Whether the last full window of a row is below the threshold: the word that stops it."""

    window: int
    threshold: float

    def __call__(self, row: Row) -> bool:
        last = row.confidences[-self.window :]
        return len(last) == self.window and fsum(last) / self.window < self.threshold


@dataclass(frozen=True)
class Confidence:
    """DeepConf: the first rows set a threshold, and later rows that fall below it are stopped.

    The `warmup` rows run to their ends. The threshold is the (100 - `keep_percent`) percentile of
    their lowest groups. Votes weigh a `part` of a row's confidences. Rows that were stopped, and
    warm-up rows below the threshold, do not vote. With a `consensus` it stops when the leading
    answer has that share of the weight; the paper uses 0.95, its program none. The authors' window
    of 2,048 tokens is longer than most answers of small models. So without a `window` it is an
    eighth of the median warm-up row, at most 2,048. `wave` rows are run at a time.
    """

    n: int = 256
    warmup: int = 16
    keep_percent: float = 90
    window: int | None = None
    part: str = PARTS[0]
    consensus: float | None = None
    wave: int = 8

    def __post_init__(self) -> None:
        check_count("n", self.n)
        check_count("warmup", self.warmup, self.n)
        check_count("wave", self.wave)
        check_share("keep_percent", self.keep_percent, high=100)
        if self.window is not None:
            check_count("window", self.window)
        if self.consensus is not None:
            check_share("consensus", self.consensus)
        if self.part not in PARTS:
            raise ValueError(f"part={self.part!r} must be one of {', '.join(PARTS)}")

    def start(self, problem: str = "0") -> State:
        """No row yet, and no threshold."""
        return {"told": 0, "window": self.window, "threshold": None, "voters": [], "stopped": 0}

    def ask(self, state: State) -> Ask:
        """The warm-up rows; then the next, each until it falls below the threshold."""
        told = state["told"]
        if state["threshold"] is None:
            return Ask(tuple(range(self.warmup)))
        below = Below(state["window"], state["threshold"])
        return Ask(tuple(range(told, min(told + self.wave, self.n))), Until(word=below))

    def tell(self, state: State, rows: Sequence[Row]) -> State:
        """Sort out who votes; the first rows set window and threshold."""
        rows = in_order(rows)
        if missing := [row.row for row in rows if not row.confidences]:
            raise ValueError(
                f"row {missing[0]} was told without confidences; this search needs one number per "
                "token"
            )
        window, threshold = state["window"], state["threshold"]
        if threshold is None:
            lengths = (len(row.confidences) for row in rows)
            window = window or min(WINDOW, max(1, int(median(lengths)) // 8))
            lowest = [confidence_of(row.confidences, window) for row in rows]
            threshold = percentile(lowest, 100 - self.keep_percent)
            passed = [row for row, low in zip(rows, lowest, strict=True) if low >= threshold]
        else:
            passed = [row for row in rows if not Below(window, threshold)(row)]
        weights = (confidence_of(row.confidences, window, self.part) for row in passed)
        voters = [[row.row, row.answer, w] for row, w in zip(passed, weights, strict=True)]
        return {
            "told": state["told"] + len(rows),
            "window": window,
            "threshold": threshold,
            "voters": [*state["voters"], *voters],
            "stopped": state["stopped"] + len(rows) - len(voters),
        }

    def done(self, state: State) -> Outcome | None:
        """The first row with the answer of the largest weight."""
        weights: dict[str, list[float]] = {}
        firsts: dict[str, int] = {}
        for row, answer, weight in state["voters"]:
            if answer:
                weights.setdefault(answer, []).append(weight)
                firsts.setdefault(answer, row)
        tally = {answer: fsum(several) for answer, several in weights.items()}
        leader = max(tally, key=tally.__getitem__, default=None)
        agreed = (
            self.consensus is not None
            and leader is not None
            and tally[leader] >= self.consensus * fsum(tally.values())
        )
        if state["threshold"] is None or (state["told"] < self.n and not agreed):
            return None
        kept = tuple(row for row, *_ in state["voters"])
        row = None if leader is None else firsts[leader]
        return Outcome(row, kept, tally, state["told"] < self.n or state["stopped"] > 0)
