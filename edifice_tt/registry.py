"""Names -> architectures, scorers and selectors; knows who owns each, builds nothing itself.

What plugins offer is kept until one is installed, removed or reloaded. A name that two plugins
claim belongs to the first; the second is left out whole, with a warning that names both.
"""

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edifice_tt.errors import NameTakenError, PluginError, PluginWarning, unknown_name
from edifice_tt.exclusive import exclusive
from edifice_tt.plugins import Failure, Plugins, load_plugins, surroundings
from edifice_tt.verifiers import list_verifiers

READS = ("hidden", "text", "logprobs")
RANGES = ("probability", "logit", "unbounded")
LEVELS = ("answer", "step")
NEEDS = (None, "probability", "logit")

# The original accepts these for its `embed_dim`.
EMBED_DIM_ALIASES = ("input_size", "input_dim", "obs_size")


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


@dataclass(frozen=True)
class Scorer:
    """A way to give a candidate a number; see `hookspecs.register_scorers`."""

    name: str
    factory: Callable[..., Any]
    reads: str
    range: str = "unbounded"
    summary: str = ""
    level: str = "answer"
    owner: str = ""

    def __post_init__(self) -> None:
        who = f"scorer {self.name!r}"
        _check_declared(who, "reads", self.reads, READS)
        _check_declared(who, "range", self.range, RANGES)
        _check_declared(who, "level", self.level, LEVELS)
        if self.level == "step" and self.reads != "text":
            raise PluginError(
                f"{who}: level='step' needs reads='text', given reads={self.reads!r}; register it "
                "with level='answer'"
            )


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

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """Its options by name: the parameters after the candidates, without a `**`."""
        parameters = list(_parameters(self.function).values())[1:]
        return {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}

    def takes(self, option: str) -> bool:
        """Whether its function has an option of that name, or takes any."""
        parameters = _parameters(self.function).values()
        return option in self.options or any(p.kind is p.VAR_KEYWORD for p in parameters)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError):  # a function in C need not tell: it may take any
        return inspect.signature(lambda *_, **__: None).parameters


def _check_declared(who: str, option: str, value: str | None, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise PluginError(f"{who}: {option}={value!r} is none of {allowed}")


Record = Architecture | Scorer | Selector


@dataclass
class Registry:
    """Everything that is registered at one moment, and the plugins that failed to."""

    plugins: Plugins
    architectures: dict[str, Architecture] = field(default_factory=dict)
    scorers: dict[str, Scorer] = field(default_factory=dict)
    selectors: dict[str, Selector] = field(default_factory=dict)

    @property
    def failures(self) -> list[Failure]:
        return self.plugins.failures

    def find(self, kind: str, name: str) -> Any:
        """The record of that name, or `UnknownNameError` with the nearest names."""
        names: dict[str, Any] = getattr(self, f"{kind}s")
        if name in names:
            return names[name]
        note = "".join(f"; perhaps it was in this: {failure}" for failure in self.failures)
        raise unknown_name(kind, name, names, note)


_kept: tuple[Registry, Any] | None = None  # and the surroundings in which it holds


def load_registry() -> Registry:
    """What every plugin offers; warn once for each plugin that was left out.

    The plugins are asked again when one is installed, removed or reloaded, or `EDIFICE_TT_PLUGINS`
    changes; while one is broken, at every call, so that mending it takes effect.
    """
    global _kept
    kept = _kept  # another thread may exchange it
    if kept is not None and surroundings(kept[0].plugins.modules) == kept[1]:
        return kept[0]
    before = surroundings(())  # before they are asked: what comes in between is not missed
    registry = _ask_plugins()
    for failure in registry.failures:
        warnings.warn(str(failure), PluginWarning, stacklevel=3)
    now = surroundings(registry.plugins.modules)
    unchanged = before is not None and now is not None and before[:-1] == now[:-1]
    _kept = (registry, now) if unchanged and not registry.failures else None
    return registry


def _ask_plugins() -> Registry:
    registry = Registry(load_plugins())
    kinds: dict[str, tuple[str, Callable[..., Record], dict[str, Any]]] = {
        "register_architectures": ("architecture", Architecture, registry.architectures),
        "register_scorers": ("scorer", Scorer, registry.scorers),
        "register_selectors": ("selector", Selector, registry.selectors),
    }

    def begin(hook: str, owner: str) -> tuple[dict[str, Any], Callable[[], None]]:
        return _collect(*kinds[hook], owner)

    registry.plugins.call_each(begin, *kinds)
    return registry


def _collect(
    kind: str, make: Callable[..., Record], found: dict[str, Any], owner: str
) -> tuple[dict[str, Any], Callable[[], None]]:
    """The `register` that one plugin is given, and what keeps all that it registered."""
    added: dict[str, Any] = {}

    def register(name: str, *arguments: Any, **options: Any) -> None:
        if not isinstance(name, str) or not name:
            raise PluginError(f"the name of a {kind} must be a non-empty str, given {name!r}")
        if (holder := found.get(name) or added.get(name)) is not None:
            raise NameTakenError(
                f"{kind} {name!r} is registered by {holder.owner} and claimed again by {owner};"
                " rename one of them"
            )
        if kind == "scorer" and name in list_verifiers():
            raise NameTakenError(f"scorer {name!r} is a verifier of edifice-tt; rename it")
        record = make(name, *arguments, **options, owner=owner)
        _check_callables(kind, record)
        added[name] = record

    return {"register": register}, lambda: found.update(added)


def _check_callables(kind: str, record: Record) -> None:
    for attribute in ("build", "output_size", "recommended_defaults", "factory", "function"):
        if not callable(getattr(record, attribute, callable)):
            given = getattr(record, attribute)
            raise PluginError(f"{kind} {record.name!r}: {attribute}={given!r} is not callable")


def list_architectures() -> list[str]:
    """The names that `build` accepts, sorted.

    >>> list_architectures()
    ['causal_lm', 'test_time_compute']
    """
    return sorted(load_registry().architectures)


def list_scorers() -> list[str]:
    """The names of all scorers, built-in and installed, sorted."""
    return sorted(load_registry().scorers)


def list_selectors() -> list[str]:
    """The names of all selection rules, built-in and installed, sorted."""
    return sorted(load_registry().selectors)


def architecture(name: str) -> Architecture:
    """The record of an architecture; `UnknownNameError` when there is none of that name.

    >>> architecture("test_time_compute").owner
    'edifice-tt'
    """
    found: Architecture = load_registry().find("architecture", name)
    return found


def scorer(name: str) -> Scorer:
    """The record of a scorer; `UnknownNameError` when there is none of that name."""
    found: Scorer = load_registry().find("scorer", name)
    return found


def selector(name: str) -> Selector:
    """The record of a selection rule; `UnknownNameError` when there is none of that name."""
    found: Selector = load_registry().find("selector", name)
    return found


def build(name: str, **options: Any) -> Any:
    """Build an architecture by name.

    `input_size`, `input_dim` and `obs_size` are accepted for `embed_dim`, as in the original.
    Raises `UnknownNameError` for an unknown architecture or option (with the nearest known one)
    and `ValueError` for a value that cannot work. Source: Edifice.build.

    >>> model = build("test_time_compute", embed_dim=16, hidden_size=32, num_layers=1, seed=0)
    >>> model.config.num_kv_heads
    2
    """
    record = architecture(name)
    with exclusive:
        return record.build(**_resolve_aliases(options))


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
    given = [name for name in ("embed_dim", *EMBED_DIM_ALIASES) if name in options]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} mean the same; give one of them")
    return {"embed_dim" if name in given else name: value for name, value in options.items()}
