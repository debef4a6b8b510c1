"""Reads pool files: checks the whole file first, then fetches one problem at a time.

Scores stand long after their candidates and problems may be interleaved, so the first reading
notes where each problem's lines are (12 bytes per line). What a line may say is for `lines`;
nothing is written here.
"""

import json
import os
import stat
import warnings
from array import array
from collections.abc import Collection, Iterable, Iterator
from itertools import count, groupby
from pathlib import Path
from typing import Any, BinaryIO, Self

from edifice_tt.contract.errors import CheckpointError, PoolWarning, reading
from edifice_tt.pools.chat_text import with_plain
from edifice_tt.pools.lines import check, decode, sampling_of, to_candidate
from edifice_tt.pools.messages import keep


def header_settings(path: Path) -> dict[str, Any]:
    """The settings of a pool file; empty if the file is missing or is no pool file."""
    try:
        with path.open("rb") as file:
            record = decode(file.readline())
        return dict(record["settings"]) if check(record) == "pool" else {}
    except (OSError, ValueError, RecursionError):
        return {}


def leading(indices: Collection[int]) -> int:
    """How many candidates there are before the first that is missing.

    >>> leading({0, 1, 2, 4})
    3
    """
    return next(index for index in count() if index not in indices)


class PoolIndex:
    """A file that was read through and found whole, and where in it each problem stands.

    `schema`, `settings`, `problems` (id -> prompt, messages, gold) and `scorers` are declared by
    its lines. `indices` holds the indices of each problem's candidates, `searched` whether the
    search on it has ended. `answered` is True if a
    candidate has an answer or the settings name an extractor. Raises `CheckpointError` as
    `read_pools` does.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.schema = 0
        self.settings: dict[str, Any] = {}
        self.problems: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, int] = {}  # where each problem is declared
        self.indices: dict[str, set[int]] = {}
        self.scorers: dict[str, dict[str, Any]] = {}
        self.searched: dict[str, bool] = {}
        self.answered = False
        self.size = 0  # bytes of all whole lines
        self.ended = True  # whether the last of them has its line end
        self._starts = array("Q")  # of each line, in bytes
        self._rows: dict[str, array[int]] = {}  # the lines of each problem, counted from 0
        self._inode = (0, 0)
        with reading(path):
            if not stat.S_ISREG(os.stat(path).st_mode) and not self.path.is_dir():
                raise CheckpointError(
                    f"{path}: no regular file, and it is read twice; save it first"
                )
            with self.path.open("rb") as file:
                self._inode = _inode(file)
                self._scan(file)
        if self.size == 0:
            raise CheckpointError(f"{path}: not a pool file, it is empty")

    def _scan(self, file: BinaryIO) -> None:
        for number, line in enumerate(file, 1):
            try:
                record = decode(line)
            except (ValueError, RecursionError) as error:
                if number > 1 and not line.endswith(b"\n") and isinstance(error, ValueError):
                    cut = f"{self.path}, line {number}: cut off after {len(line)} bytes"
                    warnings.warn(f"{cut}; this last line is left out", PoolWarning, stacklevel=4)
                    return
                raise self._damage(number, line, error) from error
            try:
                problem = self._take(check(record), record, number)
            except (ValueError, OverflowError) as error:
                raise self._damage(number, line, error) from error
            self._starts.append(self.size)
            if problem is not None:
                self._rows[problem].append(number - 1)
            self.size += len(line)
            self.ended = line.endswith(b"\n")

    def _damage(self, number: int, line: bytes, reason: Exception) -> CheckpointError:
        what = "not a pool file" if number == 1 else "damaged pool file"
        if number == 1 and line.startswith(b"\xef\xbb\xbf"):
            reason = ValueError("it begins with a byte order mark; save it without one")
        return CheckpointError(f"{self.path}, line {number}: {what}: {reason}")

    def _take(self, kind: str, record: dict[str, Any], number: int) -> str | None:
        """Keep what a line declares; returns the problem of a candidate or a score."""
        if (kind == "pool") != (number == 1):
            more = "; to join two files use edifice-tt merge" if kind == "pool" else ""
            raise ValueError(f"the first line, and no other, must be a pool header{more}")
        if kind == "pool":
            self.schema = record["schema"]
            self.settings = sampling_of(record["settings"])
            self.answered = isinstance(self.settings.get("answer"), str)
            return None
        if kind == "scorer":
            if "trained_on" in record:
                record["trained_on"] = frozenset(record["trained_on"])
            self.scorers[record.pop("scorer")] = record
            return None
        problem: str = record.pop("problem")
        if kind == "problem":
            if problem in self.problems:
                raise ValueError(f"problem {problem!r:.40} is there twice")
            record["prompt"] = with_plain(record["prompt"], record.pop("plain", ()))
            messages = record.get("messages")
            record["messages"] = None if messages is None else keep(messages)
            self.problems[problem] = record
            self._rows[problem] = array("I")
            self.lines[problem] = number
            self.indices[problem] = set()
            return None
        if problem not in self.problems:
            raise ValueError(f"a {kind} of problem {problem!r:.40}, which no line before declares")
        if kind == "search":
            self.searched[problem] = "progress" not in record
            return problem
        scorer = record.get("scorer")
        if kind in ("score", "scoring") and scorer not in self.scorers:
            raise ValueError(f"a {kind} of {scorer!r:.40}, which no line before declares")
        if kind == "scoring":
            return problem
        index, present = record["index"], self.indices[problem]
        if kind == "candidate":
            if index in present:
                raise ValueError(f"candidate {index} of problem {problem!r:.40} is there twice")
            present.add(index)
            self.answered = self.answered or record["answer"] is not None
            return problem
        if index not in present:
            raise ValueError(f"a score for candidate {index}, which is not there")
        return problem

    def with_problems(self) -> Self:
        """This file. Raises `CheckpointError` when it holds no problem."""
        if not any(self.indices.values()):
            raise CheckpointError(f"{self.path}: the pool holds no candidates")
        return self

    def fields(self, *problems: str) -> Iterator[dict[str, Any]]:
        """What a `Pool` of each of these problems holds, by default of all."""
        with self._open() as file:
            for problem in problems or self.problems:
                yield self._fields(problem, self._read(file, problem))

    def _open(self) -> BinaryIO:
        file = self.path.open("rb")
        if _inode(file) != self._inode:
            file.close()
            raise self._changed()
        return file

    def _changed(self) -> CheckpointError:
        return CheckpointError(f"{self.path}: it was changed while it was read; read it again")

    def line_of(self, problem: str, index: int) -> int:
        """The number of a candidate's line."""
        with self._open() as file:
            rows = zip(self._rows[problem], self._read(file, problem), strict=True)
            lines = (row + 1 for row, r in rows if "text" in r and r["index"] == index)
            return int(next(lines))

    def _read(self, file: BinaryIO, problem: str) -> Iterator[dict[str, Any]]:
        """Parse a problem's lines again, which were found whole; neighbours in one go."""
        for _, some in groupby(enumerate(self._rows[problem]), lambda pair: pair[1] - pair[0]):
            run = [row for _, row in some]
            start, after = self._starts[run[0]], run[-1] + 1
            stop = self._starts[after] if after < len(self._starts) else self.size
            file.seek(start)
            block = file.read(stop - start)
            if len(block) < stop - start:  # another process took back what it had appended
                raise self._changed()
            # Within a line JSON has no bare line end: each is between two of them.
            records = b"[" + block.rstrip(b"\r\n").replace(b"\n", b",") + b"]"
            try:
                values = json.loads(records)
            except ValueError as error:
                raise self._changed() from error
            yield from values

    def _fields(self, problem: str, records: Iterable[dict[str, Any]]) -> dict[str, Any]:
        candidates: dict[int, dict[str, Any]] = {}
        scores: dict[int, dict[str, float]] = {}
        steps: dict[int, dict[str, tuple[float, ...]]] = {}
        scoring: dict[str, dict[str, Any]] = {}
        search = None
        for record in records:
            if "method" in record:  # a later one replaces it
                search = {n: value for n, value in record.items() if n not in ("kind", "problem")}
                continue
            if "candidates" in record:
                cost = ("candidates", "tokens", "seconds")
                scoring[record["scorer"]] = {name: record[name] for name in cost}
                continue
            index = record["index"]
            if "text" in record:
                candidates[index], scores[index], steps[index] = record, {}, {}
                continue
            scorer = record["scorer"]
            scores[index][scorer] = float(record["score"])
            steps[index].pop(scorer, None)
            scoring.pop(scorer, None)  # what was spent on scores that this one replaces
            if "steps" in record:
                steps[index][scorer] = tuple(map(float, record["steps"]))
        self._tell_none_from_nobody(list(candidates.values()))
        there = sorted(candidates.keys() & self.indices[problem])
        made = (to_candidate(candidates[i], scores[i], steps[i]) for i in there)
        names = sorted({name for numbers in scores.values() for name in numbers})
        about = {name: self.scorers[name] for name in names}
        seen_by = (n for n, declared in about.items() if problem in declared.get("trained_on", ()))
        return {
            **self.problems[problem],  # prompt, messages, gold and what was picked
            "candidates": tuple(made),
            "settings": self.settings,
            "problem": problem,
            "ranges": {n: d["range"] for n, d in about.items() if d["range"] is not None},
            "seen_by": frozenset(seen_by),
            "scoring": scoring,
            "search": search,
        }

    def _tell_none_from_nobody(self, candidates: list[dict[str, Any]]) -> None:
        """Older files say null also where somebody has looked for an answer and found none."""
        extracted = isinstance(self.settings.get("answer"), str)
        if not (extracted or (self.answered and all(c["answer"] is None for c in candidates))):
            return  # among answers a mark alone tells
        for candidate in candidates:
            if candidate["answer"] is None and (extracted or candidate["correct"] is not None):
                candidate["answer"] = ""


def _inode(file: BinaryIO) -> tuple[int, int]:
    about = os.fstat(file.fileno())
    return about.st_dev, about.st_ino
