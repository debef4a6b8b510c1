"""The records that plugins register under a name, one class per kind; each checks itself.

Knows what a plugin may declare; calls none of its functions and opens none of its files.
"""

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from edifice_tt.contract.errors import PluginError
from edifice_tt.contract.factories import check_callable, check_factory, check_takes, parameters
from edifice_tt.contract.tracing import show

CONFIDENCES = ("entropy", "self_certainty", "deepconf")  # of each token, kept on request
PER_TOKEN = ("logprobs", *CONFIDENCES)
READS = ("hidden", "text", "logprobs", "states", "judge", *CONFIDENCES)
RANGES = ("probability", "logit", "unbounded")
LEVELS = ("answer", "step")
PER = ("problem", "answer")
NEEDS = (None, "probability", "logit")
SEARCH_NEEDS = ("answers", "scores", "probabilities", "confidences")
PATTERN = "regex:"  # an extractor given as a pattern begins so; no name may


@dataclass(frozen=True)
class Architecture:
    """A model that can be built by name."""

    name: str
    build: Callable[..., Any]
    output_size: Callable[..., int]
    recommended_defaults: Callable[[], dict[str, Any]]
    summary: str = ""
    source: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        who, build = f"architecture {self.name!r}", self.build
        for option in ("build", "output_size", "recommended_defaults"):
            check_callable(who, option, getattr(self, option))
        if (
            not inspect.isclass(build)
            and hasattr(build, "architecture")
            and hasattr(build, "config")
        ):
            raise PluginError(
                f"{who}: build={show(build):.60} is the model itself; give a function"
            )


@dataclass(frozen=True)
class Scorer:
    """A function that rates candidates; see `hookspecs.register_scorers`.

    With `reads="states"`, the factory returns a verifier or the path of its file, with
    `reads="judge"` a judge or the path or name of its model.
    """

    name: str
    factory: Callable[..., Any]
    reads: str
    range: str = "unbounded"
    summary: str = ""
    level: str = "answer"
    model: str = ""
    concurrency: int = 1
    per: str = "problem"
    owner: str = ""

    def __post_init__(self) -> None:
        who = f"scorer {self.name!r}"
        _check_declared(who, "reads", self.reads, READS)
        _check_declared(who, "range", self.range, RANGES)
        _check_declared(who, "level", self.level, LEVELS)
        _check_declared(who, "per", self.per, PER)
        if self.level == "step" and self.reads not in ("text", "judge"):
            raise PluginError(
                f"{who}: level='step' needs reads='text' or 'judge', given reads={self.reads!r}; "
                "register it with level='answer'"
            )
        if self.reads == "states":
            self._settle_verifier(who)
        elif self.reads == "judge":
            self._settle_path(who)
        if self.model and self.reads != "states":
            raise PluginError(
                f"{who}: model={self.model!r} is for reads='states', given reads={self.reads!r}; "
                "leave it out"
            )
        if type(self.concurrency) is not int or self.concurrency < 1:
            raise PluginError(
                f"{who}: concurrency={self.concurrency!r} must be a whole number, at least 1"
            )
        for option, usual in (("concurrency", 1), ("per", PER[0])):
            value = getattr(self, option)
            if value != usual and self.reads != "text":
                raise PluginError(
                    f"{who}: {option}={value!r} is for reads='text', given reads={self.reads!r}; "
                    "leave it out"
                )
        check_factory(who, self.reads, self.factory)

    def _settle_verifier(self, who: str) -> None:
        if self.range == "logit":
            raise PluginError(f"{who}: a verifier gives probabilities; leave out range='logit'")
        object.__setattr__(self, "range", "probability")
        self._settle_path(who)

    def _settle_path(self, who: str) -> None:
        source: object = self.factory
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            if not path.is_absolute():
                raise PluginError(
                    f"{who}: {str(path)!r} depends on the current folder; give the whole path, for "
                    "example Path(__file__).with_name(...)"
                )
            object.__setattr__(self, "factory", partial(Path, path))


@dataclass(frozen=True)
class Selector:
    """A rule that chooses among candidates; see `hookspecs.register_selectors`."""

    name: str
    function: Callable[..., Any]
    summary: str = ""
    needs: str | None = None
    owner: str = ""

    def __post_init__(self) -> None:
        who = f"selector {self.name!r}"
        _check_declared(who, "needs", self.needs, NEEDS)
        if self.needs is not None and not self.takes("scorer"):
            raise PluginError(
                f"{who}: needs={self.needs!r} is about scores, so its function must take an option "
                "scorer"
            )
        check_callable(who, "function", self.function)
        check_takes(who, "function", self.function, "candidates")

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """Its options by name: the parameters after the candidates, without a `**`."""
        return _named(list(parameters(self.function).values())[1:])

    def takes(self, option: str) -> bool:
        """Whether its function has an option of that name, or takes any."""
        return option in self.options or _takes_any(parameters(self.function).values())


@dataclass(frozen=True, eq=False)
class Extractor:
    """A way to find a text's answer; see `hookspecs.register_answers`."""

    name: str
    function: Callable[[str], str | None]
    equal: Callable[[str, str], bool] | None = None
    summary: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        who = f"extractor {self.name!r}"
        if self.name.startswith(PATTERN):
            raise PluginError(f"{who}: {PATTERN} begins a pattern, not a name; rename it")
        check_callable(who, "function", self.function)
        check_takes(who, "function", self.function, "text")
        if self.equal is not None:
            check_callable(who, "equal", self.equal)
            check_takes(who, "equal", self.equal, "answer", "other")


@dataclass(frozen=True)
class Task:
    """A family of problems whose answers are computed; see `hookspecs.register_tasks`."""

    name: str
    make: Callable[[Random], tuple[str, str]]
    summary: str = ""
    answer: str = "number"
    max_tokens: int = 6
    stop: tuple[str, ...] = ("\n",)
    examples_seed: int = 0
    owner: str = ""

    def __post_init__(self) -> None:
        who = f"task {self.name!r}"
        check_callable(who, "make", self.make)
        check_takes(who, "make", self.make, "rng")
        for option, least in (("max_tokens", 1), ("examples_seed", 0)):
            value = getattr(self, option)
            if type(value) is not int or value < least:
                raise PluginError(
                    f"{who}: {option}={value!r} must be a whole number, at least {least}"
                )
        several = isinstance(self.stop, list | tuple)
        if not several or not all(isinstance(text, str) and text for text in self.stop):
            raise PluginError(f"{who}: stop={self.stop!r} must be a tuple of str; use ('\\n',)")
        object.__setattr__(self, "stop", tuple(self.stop))


@dataclass(frozen=True)
class Search:
    """A way to spend samples; see `hookspecs.register_searches`."""

    name: str
    make: Callable[..., Any]
    summary: str = ""
    needs: tuple[str, ...] = ()
    gathers: bool = False
    breaks: str = ""
    source: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        who = f"search {self.name!r}"
        check_callable(who, "make", self.make)
        if not isinstance(self.needs, list | tuple):
            raise PluginError(f"{who}: needs={self.needs!r} must be a list of {SEARCH_NEEDS}")
        for need in self.needs:
            _check_declared(who, "needs", need, SEARCH_NEEDS)
        object.__setattr__(self, "needs", tuple(self.needs))
        if not self.takes("n"):
            raise PluginError(f"{who}: make has no option n, the most rows; add one")

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The settings of the search by name, without a `**`."""
        return _named(parameters(self.make).values())

    def takes(self, option: str) -> bool:
        """Whether the search has a setting of that name, or takes any."""
        return option in self.options or _takes_any(parameters(self.make).values())


@dataclass(frozen=True)
class Executor:
    """A way to have work done by many workers; see `hookspecs.register_executors`."""

    name: str
    make: Callable[..., Any]
    summary: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        who = f"executor {self.name!r}"
        check_callable(who, "make", self.make)
        needed = [one.name for one in self.options.values() if one.default is one.empty]
        if needed:
            raise PluginError(f"{who}: make's option {needed[0]} has no default; give it one")

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """What can be said of its workers, by name."""
        return _named(parameters(self.make).values())


def _named(parameters: Iterable[inspect.Parameter]) -> dict[str, inspect.Parameter]:
    return {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def _takes_any(parameters: Iterable[inspect.Parameter]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def _check_declared(who: str, option: str, value: str | None, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise PluginError(f"{who}: {option}={value!r} is none of {allowed}")


Record = Architecture | Scorer | Selector | Extractor | Task | Search | Executor
