"""Writes pool files, as a whole or by appending lines. Knows what keeps a file complete.

What a line says is for `lines`, how a file is read for `index`. Knows no model.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.files import find_target, open_alone, replacing
from edifice_tt.pools.given import check_path, check_pools
from edifice_tt.pools.index import PoolIndex
from edifice_tt.pools.lines import (
    SCHEMA,
    candidate_line,
    encode,
    header_line,
    problem_line,
    score_lines,
    scorer_line,
    scoring_line,
    search_line,
)

if TYPE_CHECKING:
    from edifice_tt.pools.pool import Pool

Scorers = Mapping[str, Mapping[str, Any]]


def write_pools(
    path: str | os.PathLike[str],
    pools: Iterable["Pool"],
    scorers: Scorers | None = None,
    *,
    overwrite: bool = True,
) -> None:
    """Write a stream of pools of one model and sampling to a file, atomically.

    `scorers` adds what pools do not hold: each scorer's `owner` and `fingerprint`. Raises
    `ValueError` for pools of different settings, a duplicate problem, or no pools. Raises `OSError`
    as `files.replacing` does, for example while another process is writing to the file.
    """
    check_path(path, "write_pools(path, pools)")
    pools = check_pools(pools)
    with replacing(Path(path), overwrite=overwrite) as replace:
        put_pools(replace, pools, scorers or {})


def put_pools(
    replace: Callable[[Callable[[BinaryIO], object]], None],
    pools: Iterable["Pool"],
    scorers: Scorers,
) -> None:
    """`write_pools` with the function that `files.replacing` yields."""
    lines = _pool_lines(pools, scorers)
    first = next(lines)  # what makes no pool costs no file
    replace(lambda file: [file.write(line) for line in (first, *lines)])


def _pool_lines(pools: Iterable["Pool"], scorers: Scorers) -> Iterator[bytes]:
    settings: Mapping[str, Any] | None = None
    seen: set[str] = set()
    declared: dict[str, tuple[str, str | None, str | None, str | None]] = {}
    trained_on: dict[str, list[str]] = {}
    for pool in pools:
        if settings is None:
            settings = pool.settings
            yield header_line(settings)
        if different := differing(settings, pool.settings):
            name, one, other = different
            raise ValueError(
                f"problem {pool.problem!r} has {name}={other!r}, the ones before {one!r}; "
                "write pools of different settings to files of their own"
            )
        if pool.problem in seen:
            raise ValueError(f"problem {pool.problem!r} is there twice; give each another name")
        seen.add(pool.problem)
        yield problem_line(pool.problem, pool.prompt, pool.gold, pool.messages, pool.picked)
        yield from (candidate_line(pool.problem, candidate) for candidate in pool)
        for scorer in sorted({name for candidate in pool for name in candidate.scores}):
            if scorer not in declared:
                about = scorers.get(scorer, {})
                named = (about.get("owner"), about.get("fingerprint"))
                declared[scorer] = (scorer, pool.ranges.get(scorer), *named)
                yield scorer_line(*declared[scorer])
            if scorer in pool.seen_by:
                trained_on.setdefault(scorer, []).append(pool.problem)
            yield score_lines(pool.problem, pool, scorer) + _cost_of(pool, scorer)
        if pool.search is not None:
            yield search_line(pool.problem, pool.search)
    if settings is None:
        raise ValueError("there are no pools to write")
    for scorer, problems in trained_on.items():  # known only now: pools may be a stream
        yield scorer_line(*declared[scorer], trained_on=problems)


def _cost_of(pool: "Pool", scorer: str) -> bytes:
    """The line of what a scorer has spent on a problem, if that is known."""
    cost = pool.scoring.get(scorer)
    return b"" if cost is None else scoring_line(pool.problem, scorer, cost)


def differing(
    settings: Mapping[str, Any], others: Mapping[str, Any]
) -> tuple[str, Any, Any] | None:
    """The first setting that differs, with both values; None if all agree.

    What has not been graded agrees with any extractor.
    """
    for name in (*settings, *others):
        if name == "graded" and not (name in settings and name in others):
            continue
        if (one := settings.get(name)) != (other := others.get(name)):
            return name, one, other
    return None


def raise_n(path: Path, n: int) -> None:
    """Ask for more candidates per problem: a larger `n` in the first line, and the rest as it is.

    The file is replaced atomically. Raises `CheckpointError` while another process is writing.
    """
    try:
        with replacing(path) as replace:
            file = PoolIndex(path)
            header = encode("pool", schema=file.schema, settings={**file.settings, "n": n})

            def write(out: BinaryIO) -> None:
                out.write(header)
                with path.open("rb") as old:
                    old.readline()
                    shutil.copyfileobj(old, out)

            replace(write)
    except BlockingIOError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error


class PoolWriter:
    """Appends to a pool file, each time with a single write, so that the file stays complete.

    `file` is the existing content; an incomplete last line is removed. A file has one writer at a
    time. Raises `CheckpointError` as `read_pools` does, and when another process is writing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._raw = open_alone(find_target(self.path))
        except BlockingIOError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from error
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error
        try:
            self.file = PoolIndex(path)
            self._declared: dict[str, set[str]] = {}  # each scorer with what it was trained on
            self._started = set(self.file.problems)
            self._raw.truncate(self.file.size)
            if not self.file.ended:
                self._append(b"\n")
            self._start = self._raw.seek(0, os.SEEK_END)
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> "PoolWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def add_candidates(self, pool: "Pool") -> None:
        """Append a pool's candidates, after a line for their problem if it is new.

        A file of an older schema keeps it, so it gets no messages.
        """
        lines = b"".join(candidate_line(pool.problem, candidate) for candidate in pool)
        if pool.problem not in self._started:
            messages = pool.messages if self.file.schema == SCHEMA else None
            about = (pool.problem, pool.prompt, pool.gold, messages, pool.picked)
            lines = problem_line(*about) + lines
        self._append(lines)
        self._started.add(pool.problem)

    def add_scores(
        self,
        pool: "Pool",
        scorer: str,
        owner: str | None = None,
        fingerprint: str | None = None,
        trained_on: Iterable[str] | None = None,
    ) -> None:
        """Append one scorer's scores of a pool; later scores replace earlier ones.

        `trained_on` lists the file's problems that the scorer was trained on, if known in advance;
        by default each pool's `seen_by` tells. Raises `CheckpointError` when the file lacks a
        candidate.
        """
        present = self.file.indices.get(pool.problem, set())
        if missing := {c.index for c in pool} - present:
            raise CheckpointError(
                f"{self.path}: it has no candidate {min(missing)} of problem {pool.problem!r}, so "
                "it cannot take its score; save the pool first"
            )
        if trained_on is None:
            before = self.file.scorers.get(scorer, {}).get("trained_on", ())
            seen = self._declared.get(scorer, set(before)) - {pool.problem}
            trained_on = seen | {pool.problem} if scorer in pool.seen_by else seen
        lines, trained_on = b"", set(trained_on)
        if self._declared.get(scorer) != trained_on:
            range = pool.ranges.get(scorer)
            lines = scorer_line(scorer, range, owner, fingerprint, sorted(trained_on))
        lines += score_lines(pool.problem, pool, scorer)
        if self.file.schema == SCHEMA:
            lines += _cost_of(pool, scorer)
        self._append(lines)
        self._declared[scorer] = trained_on

    def add_searched(self, pool: "Pool") -> None:
        """Append a problem of a search: candidates, scores, and last what it has spent."""
        self.add_candidates(pool)
        self.file.indices[pool.problem] = {candidate.index for candidate in pool}
        for scorer in sorted({name for candidate in pool for name in candidate.scores}):
            self.add_scores(pool, scorer)
        if pool.search is not None:
            self._append(search_line(pool.problem, pool.search))

    def take_back(self) -> None:
        """Remove everything that this writer has appended."""
        self._raw.truncate(self._start)

    def _append(self, lines: bytes) -> None:
        before = self._raw.seek(0, os.SEEK_END)
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._raw.write(rest) :]
        except BaseException as error:  # a full disk, Ctrl-C: half a line would harm the file
            self._raw.truncate(before)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            raise
