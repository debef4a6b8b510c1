"""A pool file that lacks candidates: begun, or opened again to be completed. Knows no model."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine.files import write_atomically
from edifice_tt.pools.golds import write_golds
from edifice_tt.pools.index import PoolIndex
from edifice_tt.pools.lines import header_line
from edifice_tt.pools.writer import PoolWriter, differing, raise_n

if TYPE_CHECKING:
    from edifice_tt.pools.pool import Pool, Problem


@dataclass
class Filling:
    """A pool file that is being filled, and what it lacks.

    `missing` holds the problems, as pools without candidates, each with the indices of its missing
    candidates.
    """

    writer: PoolWriter
    missing: Sequence[tuple["Pool", Sequence[int]]]

    @property
    def num_missing(self) -> int:
        """How many candidates the file lacked when it was opened."""
        return sum(len(indices) for _, indices in self.missing)

    def add(self, pool: "Pool") -> None:
        """Append the pool's candidates, with a single write."""
        self.writer.add_candidates(pool)


@contextmanager
def fill_pool(
    path: str | os.PathLike[str],
    problems: Iterable["Pool"],
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    force: bool = False,
) -> Iterator[Filling]:
    """Open a pool file for candidates of these problems, `settings["n"]` for each of them.

    The problems are pools without candidates. Whoever samples them adds each candidate when it is
    finished, so a killed run loses at most one line. `resume` opens a file that is there, for what
    it lacks; a larger `n` asks for more candidates per problem. It fills in right answers that the
    file lacks. `force` replaces a file.

    Raises `EdificeError` for a file that exists, or one with other settings or problems. Where the
    settings have a `fingerprint` of the model, its name may differ.
    """
    path, problems = Path(path), list(problems)
    check_distinct(problems)
    begin_file(path, settings, resume=resume, force=force)
    with PoolWriter(path) as writer:
        # Also of a new file: before it was locked, another process may have put its own there.
        file = writer.file
        new = _new_golds(file, problems)
        asked = [replace(one, gold=None) if one.problem in new else one for one in problems]
        check_same(file, settings, asked)
        if file.settings["n"] == settings["n"] and not new:
            yield Filling(writer, list(_missing(writer, problems, settings["n"])))
            return
    # Only now: what cannot be resumed stays as it is.
    if new:
        write_golds(path, new)
    if file.settings["n"] != settings["n"]:
        raise_n(path, settings["n"])
    with fill_pool(path, problems, settings, resume=True) as filling:
        yield filling


def _new_golds(file: PoolIndex, problems: Iterable["Pool"]) -> dict[str, str | None]:
    """The right answers that the file lacks, by problem."""
    lacking = {name for name, about in file.problems.items() if about["gold"] is None}
    return {p.problem: p.gold for p in problems if p.problem in lacking and p.gold is not None}


def begin_file(path: Path, settings: Mapping[str, Any], *, resume: bool, force: bool) -> bool:
    """Make a file with nothing but settings, unless one is there to be resumed; tells if it did."""
    if resume and path.exists():
        return False
    if path.exists() and not force:
        raise EdificeError(
            f"{path} exists; use --resume to complete it, --force to replace it, or another name "
            "(in Python: resume=True, or delete the file)"
        )
    header = header_line(settings)
    write_atomically(path, lambda file: file.write(header), overwrite=force)
    return True


def check_distinct(problems: Sequence["Pool | Problem"]) -> None:
    """Raise `ValueError` when there are no problems, or two have one name."""
    if not problems:
        raise ValueError("there are no problems; give at least one")
    seen: set[str] = set()
    for problem in problems:
        if problem.problem in seen:
            raise ValueError(f"problem {problem.problem!r} is there twice; give each another id")
        seen.add(problem.problem)


def _missing(
    writer: PoolWriter, problems: Iterable["Pool"], n: int
) -> Iterator[tuple["Pool", Sequence[int]]]:
    for problem in problems:
        present = writer.file.indices.get(problem.problem)
        indices = [i for i in range(n) if i not in present] if present else range(n)
        if indices:
            yield problem, indices


def check_same(file: PoolIndex, settings: Mapping[str, Any], problems: Iterable["Pool"]) -> None:
    """Raise `EdificeError` if the file has another model, other settings or other problems.

    It may ask for fewer candidates: those are the first of more.
    """
    path = file.path
    told_otherwise = {"graded"} | ({"model"} if "fingerprint" in settings else set())
    recorded, expected = (
        {name: value for name, value in one.items() if name not in told_otherwise}
        for one in (file.settings, settings)
    )
    n = recorded.get("n")
    if type(n) is int and n < expected.get("n", 0):
        recorded["n"] = expected["n"]
    if different := differing(recorded, expected):
        name, theirs, ours = different
        do = "resume it with what it was made with"
        if name == "n":  # ours are fewer
            do = f"no candidate is taken away: resume it with n={theirs!r:.80}"
        models = f" (model {file.settings.get('model')!r}, given {settings.get('model')!r})"
        raise EdificeError(
            f"{path} was made with {name}={theirs!r:.80}, given {name}={ours!r:.80}"
            + models * (name == "fingerprint")
            + f"; {do}, or write to another file"
        )
    now = {
        one.problem: {"prompt": one.prompt, "messages": one.messages, "gold": one.gold}
        for one in problems
    }
    for name, about in file.problems.items():
        if name not in now:
            raise EdificeError(
                f"{path} holds problem {name!r}, which is not among those given; resume it with "
                "its own problems, or write to another file"
            )
        for field, ours in now[name].items():
            known = field != "messages" or about[field] is not None  # an older file has none
            if known and about[field] != ours:
                raise EdificeError(
                    f"{path}: problem {name!r} has {field}={about[field]!r:.60}, given {ours!r:.60}"
                    "; resume it with its own problems, or write to another file"
                )
