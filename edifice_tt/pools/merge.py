"""Several pool files of one model and sampling -> one file with all they hold."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.files import replacing
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool, PoolFile
from edifice_tt.pools.writer import differing, put_pools

_ASKED = {
    "prompt": "prompts",
    "messages": "messages",
    "gold": "gold answers",
    "picked": "picked answers",
}
_EARNED = ("answer", "correct", "seconds", "scores", "step_scores")  # after it was sampled
_SAMPLED = tuple(f.name for f in dataclasses.fields(Candidate) if f.name not in _EARNED)


def merge_pools(
    sources: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = True,
) -> tuple[int, int]:
    """Merge pool files into a new one, atomically; returns the numbers of problems and candidates.

    Their settings must agree except for `n`. If several files have a score of the same candidate
    and scorer, the last one counts. An answer or a mark that only one file has is kept. Raises
    `CheckpointError`, with both files and lines, for settings, problems or candidates that differ,
    and `OSError` as `write_pools` does.
    """
    with replacing(Path(path), overwrite=overwrite) as replace:  # it may be one of the sources
        files = [PoolFile(source).with_problems() for source in sources]
        settings = _common_settings(files)
        scorers = {name: about for file in files for name, about in file.scorers.items()}
        counts = [0, 0]

        def pools() -> Iterator[Pool]:
            for problem in dict.fromkeys(name for file in files for name in file.problems):
                pool = _unite(problem, [file for file in files if problem in file.problems])
                counts[0] += 1
                counts[1] += len(pool)
                yield dataclasses.replace(pool, settings=settings)

        put_pools(replace, pools(), scorers)
    return counts[0], counts[1]


def _common_settings(files: list[PoolFile]) -> dict[str, Any]:
    """The settings of all files, with the largest `n`."""
    if not files:
        raise ValueError("there are no pool files to merge")
    first, *others = files
    for file in others:
        if different := differing({**first.settings, "n": 0}, {**file.settings, "n": 0}):
            name, one, other = different
            raise CheckpointError(
                f"{first.path}, line 1, has {name}={one!r:.60}, {file.path}, line 1, has "
                f"{other!r:.60}; merge files of one model and one sampling"
            )
        for scorer in first.scorers.keys() & file.scorers.keys():
            ranges = [f.scorers[scorer]["range"] for f in (first, file)]
            if ranges[0] != ranges[1]:
                raise CheckpointError(
                    f"scorer {scorer!r} has the range {ranges[0]!r} in {first.path} and "
                    f"{ranges[1]!r} in {file.path}; score one of them again"
                )
    sizes = [n for file in files if type(n := file.settings.get("n")) is int]
    settings = dict(first.settings)
    for file in others:
        settings = {**settings, **file.settings, **settings}  # one alone may be graded
    return {**settings, "n": max(sizes)} if sizes else settings


def _unite(problem: str, files: list[PoolFile]) -> Pool:
    first, *others = files
    pool = first.pool(problem)
    home = {candidate.index: first for candidate in pool}
    candidates = {candidate.index: candidate for candidate in pool}
    asked: dict[str, Any] = {name: getattr(pool, name) for name in _ASKED}
    ranges, seen_by, scoring = dict(pool.ranges), pool.seen_by, dict(pool.scoring)
    for file in others:
        more = file.pool(problem)
        for part, what in _ASKED.items():
            known = [x for x in (asked[part], getattr(more, part)) if x is not None]
            if len(known) == 2 and known[0] != known[1]:
                raise CheckpointError(
                    f"problem {problem!r} has different {what} in {first.path}, line "
                    f"{first.lines[problem]}, and {file.path}, line {file.lines[problem]}"
                )
            asked[part] = known[0] if known else None
        ranges |= more.ranges
        theirs = {name for candidate in more for name in candidate.scores}
        scoring = {name: cost for name, cost in scoring.items() if name not in theirs}
        scoring |= more.scoring
        seen_by = (seen_by - theirs) | more.seen_by
        for candidate in more:
            index = candidate.index
            earlier, source = candidates.get(index, candidate), home.setdefault(index, file)
            if (name := _conflict(earlier, candidate)) is not None:
                raise CheckpointError(
                    f"candidate {index} of problem {problem!r} has different {name} in "
                    f"{source.path}, line {source.line_of(problem, index)}, and {file.path}, line "
                    f"{file.line_of(problem, index)}"
                )
            candidates[index] = _join(earlier, candidate)
    merged = tuple(candidates[index] for index in sorted(candidates))
    asked |= {"ranges": ranges, "seen_by": seen_by, "scoring": scoring}
    return dataclasses.replace(pool, candidates=merged, **asked)


def _conflict(one: Candidate, other: Candidate) -> str | None:
    """The first field with two values; that of a grade may be known to one alone."""
    for name in (*_SAMPLED, "answer", "correct"):
        values = [getattr(one, name), getattr(other, name)]
        if values[0] != values[1] and (name in _SAMPLED or None not in values):
            return name
    return None


def _join(one: Candidate, other: Candidate) -> Candidate:
    steps = {n: s for n, s in one.step_scores.items() if n not in other.scores}
    return dataclasses.replace(
        one,
        answer=one.answer if one.answer is not None else other.answer,
        correct=one.correct if one.correct is not None else other.correct,
        scores={**one.scores, **other.scores},
        step_scores={**steps, **other.step_scores},
    )
