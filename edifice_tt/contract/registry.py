"""Names -> records of every kind, each with its owner; builds nothing itself.

When two plugins register the same name, the second is left out entirely, with a warning that names
both. Who asks for that name gets an error, unless it is the library's own.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from edifice_tt.contract.errors import (
    EdificeError,
    PluginWarning,
    disputed,
    name_taken,
    unknown_name,
)
from edifice_tt.contract.factories import check_arguments, check_name
from edifice_tt.contract.plugins import OWN_NAME, Failure, Plugins, load_plugins, surroundings
from edifice_tt.contract.records import CONFIDENCES as CONFIDENCES
from edifice_tt.contract.records import RANGES as RANGES
from edifice_tt.contract.records import Architecture as Architecture
from edifice_tt.contract.records import Executor as Executor
from edifice_tt.contract.records import Extractor as Extractor
from edifice_tt.contract.records import Record
from edifice_tt.contract.records import Scorer as Scorer
from edifice_tt.contract.records import Search as Search
from edifice_tt.contract.records import Selector as Selector
from edifice_tt.contract.records import Task as Task
from edifice_tt.contract.scorer_options import full_name, with_options

# The original accepts these for its `embed_dim`.
EMBED_DIM_ALIASES = ("input_size", "input_dim", "obs_size")


@dataclass
class Registry:
    """Everything that is registered at one moment, and the plugins that failed."""

    plugins: Plugins
    architectures: dict[str, Architecture] = field(default_factory=dict)
    scorers: dict[str, Scorer] = field(default_factory=dict)
    selectors: dict[str, Selector] = field(default_factory=dict)
    extractors: dict[str, Extractor] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    searches: dict[str, Search] = field(default_factory=dict)
    executors: dict[str, Executor] = field(default_factory=dict)
    disputed: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def failures(self) -> list[Failure]:
        return self.plugins.failures

    @property
    def verifiers(self) -> dict[str, Scorer]:
        """The scorers that are verifiers: trained heads on the states of one model."""
        return {name: one for name, one in self.scorers.items() if one.reads == "states"}

    def find(self, kind: str, name: str, also: tuple[str, ...] = ()) -> Any:
        """The record of that name, or `UnknownNameError` with the nearest names.

        The name of a scorer may hold options: see `scorer_options`. Raises `NameTakenError` for a
        name that two plugins register: which of them is meant, nobody has said.

        `also` lists forms other than names that the message should mention.
        """
        one = kind.split()[-1]
        names: dict[str, Any] = getattr(self, f"{one}es" if one.endswith("ch") else f"{one}s")
        base, colon, _ = str(name).partition(":") if kind == "scorer" else (name, "", "")
        if owners := self.disputed.get((one, base)):
            raise disputed(f"{one} {base!r}", owners)
        if name in names:
            return names[name]
        if colon and base in names:
            return with_options(names[base], name)
        left_out = ", ".join(repr(failure.plugin) for failure in self.failures)
        note = f"; it may be of a plugin that was left out: {left_out}" if left_out else ""
        raise unknown_name(kind, name, [*names, *also], note)

    def full_name(self, scorer: str) -> str:
        """The name under which this scorer's scores stand: its options in their usual spelling."""
        base, colon, _ = scorer.partition(":")
        if not colon or base not in self.scorers:
            return scorer
        with suppress(EdificeError, ValueError):
            return full_name(self.scorers[base], scorer)
        return scorer


_cache: tuple[Registry, Any] | None = None  # with the surroundings in which it is valid
_current: ContextVar[list[Registry] | None] = ContextVar("current", default=None)


@contextmanager
def one_registry() -> Iterator[None]:
    """Within this context plugins are asked at most once; for work that looks up many names."""
    token = _current.set([]) if _current.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _current.reset(token)


def load_registry() -> Registry:
    """What every plugin offers; warn once for each plugin that was left out.

    The answer is kept until a plugin is installed, removed or reloaded, or `EDIFICE_TT_PLUGINS`
    changes. While one is broken they are asked at every call, so that a repair takes effect.
    """
    one = _current.get()
    if one is None:
        return _load()
    if not one:
        one.append(_load())
    return one[0]


def _load() -> Registry:
    global _cache
    cache = _cache  # another thread may exchange it
    if cache is not None and surroundings(cache[0].plugins.modules) == cache[1]:
        return cache[0]
    before = surroundings(())  # taken first, so that a change while plugins are asked is noticed
    registry = _ask_plugins()
    for failure in registry.failures:
        warnings.warn(str(failure), PluginWarning, stacklevel=4)
    now = surroundings(registry.plugins.modules)
    unchanged = before is not None and now is not None and before[:-1] == now[:-1]
    _cache = (registry, now) if unchanged and not registry.failures else None
    return registry


def _ask_plugins() -> Registry:
    registry = Registry(load_plugins())
    kinds: dict[str, tuple[str, Callable[..., Record], dict[str, Any]]] = {
        "register_architectures": ("architecture", Architecture, registry.architectures),
        "register_scorers": ("scorer", Scorer, registry.scorers),
        "register_selectors": ("selector", Selector, registry.selectors),
        "register_answers": ("extractor", Extractor, registry.extractors),
        "register_tasks": ("task", Task, registry.tasks),
        "register_searches": ("search", Search, registry.searches),
        "register_executors": ("executor", Executor, registry.executors),
    }

    def begin(hook: str, owner: str) -> tuple[dict[str, Any], Callable[[], None]]:
        kind, make, records = kinds[hook]
        added: dict[str, Any] = {}

        def register(name: str, *arguments: Any, **options: Any) -> None:
            check_name(kind, name)
            if (other := records.get(name) or added.get(name)) is not None:
                if owner != other.owner != OWN_NAME:
                    registry.disputed[kind, name] = f"{other.owner} and by {owner}"
                raise name_taken(f"{kind} {name!r}", other.owner, owner)
            check_arguments(kind, name, make, options, len(arguments))
            added[name] = make(name, *arguments, **options, owner=owner)

        return {"register": register}, lambda: records.update(added)

    registry.plugins.call_each(begin, *kinds)
    return registry


def list_architectures() -> list[str]:
    """The names that `build` accepts, sorted.

    >>> list_architectures()
    ['causal_lm', 'test_time_compute']
    """
    return sorted(load_registry().architectures)


def list_scorers() -> list[str]:
    """The names of all scorers, built-in and installed, verifiers too; sorted."""
    return sorted(load_registry().scorers)


def list_verifiers() -> list[str]:
    """The names of all verifiers (trained heads for one model), sorted."""
    return sorted(load_registry().verifiers)


def list_selectors() -> list[str]:
    """The names of all selection rules, built-in and installed, sorted."""
    return sorted(load_registry().selectors)


def list_extractors() -> list[str]:
    """The names of all answer extractors, built-in and installed, sorted; not `regex:PATTERN`."""
    return sorted(load_registry().extractors)


def list_tasks() -> list[str]:
    """The names of all tasks, built-in and installed, sorted."""
    return sorted(load_registry().tasks)


def list_searches() -> list[str]:
    """The names of all searches, built-in and installed, sorted."""
    return sorted(load_registry().searches)


def list_executors() -> list[str]:
    """The names of all executors, built-in and installed, sorted."""
    return sorted(load_registry().executors)


def architecture(name: str) -> Architecture:
    """The record of an architecture; raises `UnknownNameError` for an unknown name.

    >>> architecture("test_time_compute").owner
    'edifice-tt'
    """
    record: Architecture = load_registry().find("architecture", name)
    return record


def scorer(name: str) -> Scorer:
    """The record of a scorer; raises `UnknownNameError` for an unknown name."""
    record: Scorer = load_registry().find("scorer", name)
    return record


def selector(name: str) -> Selector:
    """The record of a selection rule; raises `UnknownNameError` for an unknown name."""
    record: Selector = load_registry().find("selector", name)
    return record


def build(name: str, **options: Any) -> Any:
    """`edifice_tt.build`, for callers below the architectures: of no type that is known here."""
    return architecture(name).build(**_resolve_aliases(options))


def output_size(name: str, **options: Any) -> int:
    """The width of an architecture's output, without building it. Source: Edifice.output_size.

    >>> output_size("test_time_compute", hidden_size=128)
    128
    """
    return architecture(name).output_size(**_resolve_aliases(options))


def recommended_defaults(name: str) -> dict[str, Any]:
    """The options of an architecture that a user would set, with their defaults.

    >>> list(recommended_defaults("test_time_compute"))[:3]
    ['hidden_size', 'num_layers', 'num_heads']
    """
    return architecture(name).recommended_defaults()


def _resolve_aliases(options: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in ("embed_dim", *EMBED_DIM_ALIASES) if name in options]
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} mean the same; give one of them")
    return {"embed_dim" if name in names else name: value for name, value in options.items()}
