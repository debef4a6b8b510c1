"""Many problems -> one pool file, written as candidates finish; interrupted runs can resume.

Knows which candidates are missing; `generate` makes them, `pools.writer` writes them.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from inspect import signature
from pathlib import Path
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import EdificeError, unknown_name
from edifice_tt.contract.registry import held
from edifice_tt.engine.capacity import check_capacity
from edifice_tt.engine.prompt import encode_prompt
from edifice_tt.machine.files import write_atomically
from edifice_tt.machine.toolchain import open_devices
from edifice_tt.pools.candidates import Candidate, Pool, Problem
from edifice_tt.pools.lines import header_line
from edifice_tt.pools.reader import header_settings
from edifice_tt.pools.writer import PoolWriter, differing
from edifice_tt.sampling.generate import Event, generate
from edifice_tt.sampling.settings import describe_sampling, render_prompt, tells_date, today

# What `generate` takes and what of it is written into the file, with defaults.
_EACH = {"lm", "prompt", "problem", "gold", "indices", "on_token", "on_finish"}
_OPTIONS = {n: p.default for n, p in signature(generate).parameters.items() if n not in _EACH}
_WRITTEN = [name for name in _OPTIONS if name in signature(describe_sampling).parameters]


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
    `resume=True` adds what is missing; the result equals that of an uninterrupted run. `options`
    are those of `generate`; `edifice_tt.read_pools` reads the file.

    Ctrl-C raises KeyboardInterrupt, with every finished candidate in the file. Raises
    `EdificeError` for a file that exists, or one with another model, settings or problems. Raises
    `ValueError` as `generate` does, before anything is sampled.
    """
    with open_run(lm, problems, path, resume=resume, **options) as run:
        return run.sample(on_token)


class Run:
    """A pool file and what is `missing` in it: problems with the indices of their candidates."""

    def __init__(
        self, lm: CausalLM, writer: PoolWriter, problems: list[Problem], options: dict[str, Any]
    ) -> None:
        self.lm = lm
        self.writer = writer
        self.options = options
        self.num_made = 0
        present = writer.file.indices
        self.missing = [
            (problem, indices)
            for problem in problems
            if (indices := _without(range(options["n"]), present.get(problem.problem, set())))
        ]

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.__exit__(*error)

    @property
    def num_missing(self) -> int:
        return sum(len(indices) for _, indices in self.missing)

    def sample(self, on_token: Callable[[Event], None] | None = None) -> int:
        """Sample what is missing; returns the number of new candidates."""
        with held():
            return self._sample(on_token)

    def _sample(self, on_token: Callable[[Event], None] | None) -> int:
        for problem, indices in self.missing:
            text = _render(self.lm, problem, self.options)
            empty = Pool(text, (), problem=problem.problem, gold=problem.gold)

            def write(candidate: Candidate, empty: Pool = empty) -> None:
                self.writer.add_candidates(replace(empty, candidates=(candidate,)))
                self.num_made += 1

            pool = generate(
                self.lm,
                problem.prompt,
                problem=problem.problem,
                gold=problem.gold,
                indices=indices,
                on_token=on_token,
                on_finish=write,
                **self.options,
            )
            if pool.interrupted:
                raise KeyboardInterrupt
        return self.num_made


def _without(every: range, present: set[int]) -> Sequence[int]:
    return [i for i in every if i not in present] if present else every


def open_run(
    lm: CausalLM,
    problems: Iterable[Problem],
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Run:
    """Check problems and options, and open the file; `force` replaces an existing one."""
    for name in options.keys() - _OPTIONS.keys():
        raise unknown_name("option of generate_pools", name, _OPTIONS)
    options = {**_OPTIONS, **options}
    if not isinstance(options["stop"], str):  # which is a mistake that will be told
        options["stop"] = list(options["stop"])
    options["template_options"] = options["template_options"] or {}
    path, problems = Path(path), list(problems)
    held = header_settings(path) if resume else {}
    if options["date"] is None:  # a run that goes on another day tells the day of its beginning
        options["date"] = held.get("date") or today()
    settings, longest = _check_problems(lm, problems, {name: options[name] for name in _WRITTEN})
    devices = options["devices"]
    check_capacity(
        lm,
        prompt=longest,
        n=options["n"],
        tokens=min(options["max_tokens"], lm.config.context_length - longest),
        batch_size=options["batch_size"],
        devices=devices if devices is None else open_devices(devices, lm.device),
    )
    if not (resume and path.exists()):
        if path.exists() and not force:
            raise EdificeError(
                f"{path} exists; use --resume to complete it, --force to replace it, or another "
                "name (resume=True in Python)"
            )
        header = header_line(settings)
        write_atomically(path, lambda file: file.write(header), overwrite=force)
    writer = PoolWriter(path)
    try:
        if resume and "date" in settings and "date" not in writer.file.settings:  # an older file
            options["date"] = _told_day(lm, writer, problems, options)
            del settings["date"]
        # Also of a new file: before it was locked, another process may have put its own there.
        _check_same(lm, writer, settings, problems, options)
        return Run(lm, writer, problems, options)
    except BaseException:
        writer.__exit__()
        raise


def _check_problems(
    lm: CausalLM, problems: list[Problem], options: Mapping[str, Any]
) -> tuple[dict[str, Any], int]:
    """The settings of the file, and the tokens of the longest prompt.

    Raises before the first token for errors that would otherwise come at the last problem.
    """
    if not problems:
        raise ValueError("there are no problems; give at least one")
    seen: set[str] = set()
    for problem in problems:
        if problem.problem in seen:
            raise ValueError(f"problem {problem.problem!r} is there twice; give each another id")
        seen.add(problem.problem)
    settings, longest = describe_sampling(lm, problems[0].prompt, **options), 0
    for problem in problems:
        if isinstance(problem.prompt, str) != isinstance(problems[0].prompt, str):
            raise ValueError("some prompts are texts and some are chats; make them all of one kind")
        try:
            longest = max(longest, len(encode_prompt(lm, _render(lm, problem, options))))
            if "date" not in settings and tells_date(
                lm, problem.prompt, options["template_options"]
            ):
                settings["date"] = options["date"]
        except ValueError as error:
            raise ValueError(f"problem {problem.problem!r}: {error}") from error
    return settings, longest


def _told_day(
    lm: CausalLM, writer: PoolWriter, problems: list[Problem], options: Mapping[str, Any]
) -> str:
    """The day in a file's first prompt, found by trying days; else the one in the options."""
    asked = {problem.problem: problem for problem in problems}
    for name, about in list(writer.file.problems.items())[:1]:
        for day in (str(date.today() - timedelta(back)) for back in range(-1, 1000)):
            told = {**options, "date": day}
            if name in asked and _render(lm, asked[name], told) == about["prompt"]:
                return day
    return str(options["date"])


def _render(lm: CausalLM, problem: Problem, options: Mapping[str, Any]) -> str:
    return render_prompt(lm, problem.prompt, options["template_options"], options["date"])


def _check_same(
    lm: CausalLM,
    writer: PoolWriter,
    settings: dict[str, Any],
    problems: list[Problem],
    options: Mapping[str, Any],
) -> None:
    """Raise `EdificeError` if the file has another model, other settings or other problems."""
    path, file = writer.path, writer.file
    held = {name: value for name, value in file.settings.items() if name != "model"}
    given = {name: value for name, value in settings.items() if name != "model"}
    if different := differing(held, given):
        name, theirs, ours = different
        models = (
            f" (model {file.settings.get('model')!r}, given {lm.name!r})"
            if name == "fingerprint"
            else ""
        )
        raise EdificeError(
            f"{path} was made with {name}={theirs!r}, given {name}={ours!r}{models}; resume it "
            "with what it was made with, or write to another file"
        )
    asked = {problem.problem: problem for problem in problems}
    for name, about in file.problems.items():
        if name not in asked:
            raise EdificeError(
                f"{path} holds problem {name!r}, which is not among those given; resume it with "
                "its own problems, or write to another file"
            )
        now = {"prompt": _render(lm, asked[name], options), "gold": asked[name].gold}
        for field, ours in now.items():
            if about[field] != ours:
                raise EdificeError(
                    f"{path}: problem {name!r} has {field}={about[field]!r:.60}, given {ours!r:.60}"
                    "; resume it with its own problems, or write to another file"
                )
