"""What every script here shares: options, turns, and the table.

Subjects take turns within one run, each round beginning with another one, since machines are
noisy; a ratio is always theirs / ours in seconds, so that above 1 is better for edifice_tt.
"""

import argparse
import json
import os
import re
import resource
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import record

OURS = "edifice_tt"
PRECISION = ("weights", "activations", "keys and values")
SOME = ("GB/s", "TFLOPS", *PRECISION)  # columns of the reports that have them
Subject = Callable[[], float]  # runs once, returns seconds


def take_turns(
    subjects: Mapping[str, Subject], repeats: int, warm_up: int
) -> dict[str, list[float]]:
    """Seconds of each subject, one a round, after rounds that do not count."""
    names = list(subjects)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warm_up, repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            elapsed = subjects[name]()
            if turn >= 0:
                seconds[name].append(elapsed)
    return seconds


@dataclass
class Report:
    """Rows of measurements; prints a table, or JSON with every single time in it."""

    title: str
    versions: dict[str, str]
    limits: Mapping[str, float]
    options: argparse.Namespace
    unit: str = "ms"  # ms, s, or what a case's `amount` counts, a second
    rows: list[dict[str, Any]] = field(default_factory=list)
    note: str = "ratio: their seconds / ours; above 1, edifice_tt is faster"
    command: str = field(
        default_factory=lambda: shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    )
    date: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")

    def add(
        self,
        case: str,
        seconds: Mapping[str, list[float]],
        amount: float = 0,
        base: list[float] | None = None,
        more: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """One case: `amount` of work done by each subject in each of these times.

        Ratios are to the times `base`, those of edifice_tt unless given. `more` is what else is
        known of a subject.
        """
        best, median = min, statistics.median
        base = seconds.get(OURS) if base is None else base
        for subject, times in seconds.items():
            row: dict[str, Any] = {"case": case, "subject": subject, "seconds": times}
            for name, of in (("best", best), ("median", median)):
                scale = 1e3 if self.unit == "ms" else 1
                row[name] = amount / of(times) if amount else of(times) * scale
            if base is not None and times is not base:
                row |= {
                    "ratio": best(times) / best(base),
                    "median_ratio": median(times) / median(base),
                }
            self.rows.append(row | dict((more or {}).get(subject, {})))
        if self.options.keep:
            file, part = self.options.keep
            record.keep(Path(file), part, self._measured())
        print(f"{case} measured", file=sys.stderr)

    def _measured(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "options"}

    def show(self, columns: Mapping[str, str] | None = None) -> None:
        """Print the table of these columns (heading -> key of a row), or everything as JSON."""
        if self.options.json:
            print(json.dumps(self._measured(), indent=1))
            return
        columns = columns or {
            "": "case",
            " ": "subject",
            f"{self.unit}, best": "best",
            "median": "median",
            "ratio, best": "ratio",
            "ratio, median": "median_ratio",
            **{key: key for key in SOME if any(key in row for row in self.rows)},
        }
        print(f"{self.title}\n")
        print(f"{self.date}; python {self.command}")
        print("; ".join(f"{name} {value:.4g}" for name, value in self.limits.items()))
        print("; ".join(f"{name} {version}" for name, version in self.versions.items()), "\n")
        lines = [
            [*columns],
            *([_text(row.get(key)) for key in columns.values()] for row in self.rows),
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        for line in lines:
            cells = (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
            print(f"| {' | '.join(cells)} |")
        print(f"\n{self.note}")


def _text(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage begins at the peak of the process that started us
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def arguments(description: str, **more: Mapping[str, Any]) -> argparse.Namespace:
    """The options that every script has, and those of one script: name -> settings."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="every single time, as JSON")
    parser.add_argument("--quick", action="store_true", help="see that it runs: small and few")
    parser.add_argument("--repeats", type=int, default=0, help="rounds (default 7; quick 2)")
    parser.add_argument(
        "--peers",
        nargs="+",
        default=[sys.executable],
        metavar="PYTHON",
        help="interpreters that have the peers; of each peer the first that has it is taken",
    )
    parser.add_argument(
        "--threads", type=int, default=cores(), help="of the peers (default: all cores)"
    )
    parser.add_argument(
        "--keep", nargs=2, metavar=("FILE", "PART"), help="write each case there, as record.py does"
    )
    for name, settings in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    options = parser.parse_args()
    options.repeats = options.repeats or (2 if options.quick else 7)
    return options
