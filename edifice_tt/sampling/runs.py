"""Many problems -> one pool file, written as candidates finish; interrupted runs can resume.

Knows which candidates are missing; `sample` makes them, `PoolWriter` writes them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.registry import one_registry
from edifice_tt.machine.files import write_atomically
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.index import header_settings
from edifice_tt.pools.lines import header_line
from edifice_tt.pools.pool import Pool, Problem
from edifice_tt.pools.writer import PoolWriter, differing, raise_n
from edifice_tt.sampling.generate import Event, check_memory, make_request, sample
from edifice_tt.sampling.prompts import TokenizedProblem, tokenize
from edifice_tt.sampling.request import Request, today
from edifice_tt.sampling.settings import describe_sampling
from edifice_tt.sampling.stops import Stops


def generate_pools(
    lm: CausalLM,
    problems: Iterable[Problem],
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    on_token: Callable[[Event], None] | None = None,
    **options: Any,
) -> int:
    """Sample candidates for many problems into a pool file; returns the number of new candidates.

    Each candidate is written when it finishes, so a killed run loses at most one line.
    `resume=True` adds what is missing; the result equals that of an uninterrupted run. With a
    larger `n` it adds more candidates to each problem, and those that are there stay. `options` are
    those of `generate`; `edifice_tt.read_pools` reads the file.

    Ctrl-C raises KeyboardInterrupt, with every finished candidate in the file. Raises
    `EdificeError` for a file that exists, or one with another model, settings or problems. Raises
    `ValueError` as `generate` does, before anything is sampled.
    """
    request = make_request(**options)
    with open_run(lm, problems, path, request, resume=resume) as run:
        return run.sample(on_token)


@dataclass
class Run:
    """A pool file and what is `missing` in it: problems with the indices of their candidates."""

    lm: CausalLM
    writer: PoolWriter
    request: Request
    stops: Stops
    missing: Sequence[tuple[TokenizedProblem, Sequence[int]]]
    num_made: int = 0

    @property
    def num_missing(self) -> int:
        return sum(len(indices) for _, indices in self.missing)

    def sample(self, on_token: Callable[[Event], None] | None = None) -> int:
        """Sample what is missing; returns the number of new candidates."""
        with one_registry():
            for problem, indices in self.missing:
                check_unchanged(self.lm)
                write = partial(self._write, problem)
                sample(self.lm, problem, self.request, self.stops, indices, write, on_token)
        return self.num_made

    def _write(self, problem: TokenizedProblem, candidate: Candidate) -> None:
        pool = Pool(
            problem.text,
            (candidate,),
            problem=problem.problem,
            gold=problem.gold,
            messages=problem.messages,
        )
        self.writer.add_candidates(pool)
        self.num_made += 1


@contextmanager
def open_run(
    lm: CausalLM,
    problems: Iterable[Problem],
    path: str | os.PathLike[str],
    request: Request,
    *,
    resume: bool = False,
    force: bool = False,
) -> Iterator[Run]:
    """Check problems against the model, and open the file; `force` replaces one that is there."""
    path, problems = Path(path), list(problems)
    if request.date is None:  # a run that goes on another day tells the day of its beginning
        begun = header_settings(path).get("date") if resume else None
        request = replace(request, date=begun or today())
    request = request.on(lm.device)
    chat = check_problems(problems)
    stops = Stops.of(lm, request.stop, chat)
    tokenized = tokenize_all(lm, problems, request)
    check_memory(lm, request, tokenized, request.n)
    tells_date = any(problem.tells_date for problem in tokenized)
    settings = describe_sampling(lm, request, stops, chat=chat, tells_date=tells_date)
    if not (resume and path.exists()):
        if path.exists() and not force:
            raise EdificeError(
                f"{path} exists; use --resume to complete it, --force to replace it, or another "
                "name (resume=True in Python)"
            )
        header = header_line(settings)
        write_atomically(path, lambda file: file.write(header), overwrite=force)
    with PoolWriter(path) as writer:
        if resume and tells_date and "date" not in writer.file.settings:  # an older file
            request = replace(request, date=_day_of(lm, writer, problems, request))
            tokenized = tokenize_all(lm, problems, request)
            del settings["date"]
        # Also of a new file: before it was locked, another process may have put its own there.
        _check_same(lm, writer, settings, tokenized)
        if writer.file.settings["n"] == request.n:
            yield Run(lm, writer, request, stops, list(_missing(writer, tokenized, request.n)))
            return
    raise_n(path, request.n)  # only now: what cannot be resumed stays as it is
    with open_run(lm, problems, path, request, resume=True) as run:
        yield run


def _missing(
    writer: PoolWriter, problems: Iterable[TokenizedProblem], n: int
) -> Iterator[tuple[TokenizedProblem, Sequence[int]]]:
    for problem in problems:
        present = writer.file.indices.get(problem.problem)
        indices = [i for i in range(n) if i not in present] if present else range(n)
        if indices:
            yield problem, indices


def check_problems(problems: Sequence[Problem]) -> bool:
    """Whether all are chats; raises `ValueError` when some are, or two have one name."""
    if not problems:
        raise ValueError("there are no problems; give at least one")
    seen: set[str] = set()
    for problem in problems:
        if problem.problem in seen:
            raise ValueError(f"problem {problem.problem!r} is there twice; give each another id")
        seen.add(problem.problem)
        if isinstance(problem.prompt, str) != isinstance(problems[0].prompt, str):
            raise ValueError("some prompts are texts and some are chats; make them all of one kind")
    return not isinstance(problems[0].prompt, str)


def tokenize_all(
    lm: CausalLM, problems: Iterable[Problem], request: Request
) -> list[TokenizedProblem]:
    """Every problem, once: what would fail at the last is told before the first is sampled."""
    tokenized = []
    for problem in problems:
        try:
            tokenized.append(tokenize(lm, problem, request))
        except ValueError as error:
            raise ValueError(f"problem {problem.problem!r}: {error}") from error
    return tokenized


def _day_of(
    lm: CausalLM, writer: PoolWriter, problems: Iterable[Problem], request: Request
) -> str | None:
    """The day with which a file's first prompt was made, by trying; else that of the request."""
    first, about = next(iter(writer.file.problems.items()), (None, {}))
    for problem in (one for one in problems if one.problem == first):
        for day in (str(date.today() - timedelta(back)) for back in range(-1, 1000)):
            if tokenize(lm, problem, replace(request, date=day)).text == about["prompt"]:
                return day
    return request.date


def _check_same(
    lm: CausalLM,
    writer: PoolWriter,
    settings: Mapping[str, Any],
    problems: Iterable[TokenizedProblem],
) -> None:
    """Raise `EdificeError` if the file has another model, other settings or other problems.

    It may ask for fewer candidates: those are the first of more.
    """
    path, file = writer.path, writer.file
    recorded, expected = (
        {name: value for name, value in one.items() if name != "model"}
        for one in (file.settings, settings)
    )
    n = recorded.get("n")
    if type(n) is int and n < expected["n"]:
        recorded["n"] = expected["n"]
    if different := differing(recorded, expected):
        name, theirs, ours = different
        models = f" (model {file.settings.get('model')!r}, given {lm.name!r})"
        raise EdificeError(
            f"{path} was made with {name}={theirs!r}, given {name}={ours!r}"
            + models * (name == "fingerprint")
            + "; resume it with what it was made with, or write to another file"
        )
    now = {
        one.problem: {"prompt": one.text, "messages": one.messages, "gold": one.gold}
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
