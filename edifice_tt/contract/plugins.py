"""Which plugins there are: built-ins first, then entry points, each isolated from the others.

Each call makes a fresh manager; `surroundings` tells whether another call would find the same
plugins. Knows no tensor.
"""

import importlib
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Any

import pluggy

from edifice_tt.contract import hookspecs
from edifice_tt.contract.errors import PluginError, name_taken
from edifice_tt.contract.tracing import OWN_NAME as OWN_NAME
from edifice_tt.contract.tracing import is_tracing, one_line, timed, traced, watch, with_place

GROUP = "edifice_tt"
SELECTION = "EDIFICE_TT_PLUGINS"

# The library registers its own parts as plugins.
BUILT_INS = (
    "edifice_tt.architectures",
    "edifice_tt.nn",
    "edifice_tt.weights",
    "edifice_tt.pools",
    "edifice_tt.selection",
    "edifice_tt.search",
    "edifice_tt.scoring",
    "edifice_tt.scoring.shipped",
    "edifice_tt.workers",
)


@dataclass(frozen=True)
class Failure:
    """A plugin that was left out, and why."""

    plugin: str
    owner: str
    reason: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} of {self.owner} was left out: {self.reason}"


_SETTLED = 2_000_000_000  # ns; a second change so soon may leave the time as it was
_NOBODY = "an unknown package"
Begin = Callable[[str, str], tuple[dict[str, Any], Callable[[], None]]]


@dataclass
class Plugins:
    """A manager with every working plugin registered, the owner of each, and the failures.

    `modules` are the modules that hold the plugins, `unloaded` the entry points that
    `EDIFICE_TT_PLUGINS` does not name.
    """

    manager: pluggy.PluginManager
    owners: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=lambda: list(BUILT_INS))

    def call_each(self, begin: Begin, *hooks: str) -> None:
        """Call `hooks` plugin by plugin, in order, so that everything added has an owner.

        `begin(hook, owner)` returns the hook's arguments and a function that keeps what was added.
        A plugin that raises in one hook is left out of all of them.
        """
        everyone = {name: self.manager.get_plugin(name) for name in self.owners}
        for name, plugin in everyone.items():
            others = [other for other in everyone.values() if other is not plugin]
            keepers = []
            for hook in hooks:
                arguments, keep = begin(hook, self.owners[name])
                call = self.manager.subset_hook_caller(hook, remove_plugins=others)
                try:
                    call(**traced(name, arguments))
                except KeyboardInterrupt:
                    raise
                # A plugin is foreign code: whatever it raises, the other plugins must keep working.
                except BaseException as error:
                    if name in BUILT_INS:
                        raise
                    self.manager.unregister(name=name)
                    owner = self.owners.pop(name)
                    self.failures.append(Failure(name, owner, f"{hook}: {with_place(error)}"))
                    break
                keepers.append(keep)
            else:
                for keep in keepers:
                    keep()


def load_plugins() -> Plugins:
    """Load the built-ins and every installed plugin; a broken plugin is recorded, not raised.

    The environment variable `EDIFICE_TT_PLUGINS` limits which entry points load: names separated by
    commas; empty means built-ins only. `EDIFICE_TT_TRACE_PLUGINS=1` prints each import with its
    duration, each registration, and each hook call with its result to stderr.

    Raises `PluginError` when `EDIFICE_TT_PLUGINS` names an entry point that is not installed.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    watch(manager)
    plugins = Plugins(manager)
    for module in BUILT_INS:
        manager.register(importlib.import_module(module), module)
        plugins.owners[module] = OWN_NAME
    installed, plugins.failures = _installed()
    wanted, plugins.unloaded = _wanted(installed)
    for entry_point in wanted:
        name, owner = entry_point.name, owner_of(entry_point.dist)
        try:
            if name in plugins.owners:
                raise name_taken(f"plugin name {name!r}", plugins.owners[name], owner)
            plugins.modules.append(entry_point.module)
            _register(manager, entry_point)
        except KeyboardInterrupt:
            raise
        # As above: importing a plugin runs foreign code.
        except BaseException as error:
            plugins.failures.append(Failure(name, owner, with_place(error)))
        else:
            plugins.owners[name] = owner
    manager.check_pending()
    return plugins


def surroundings(modules: Iterable[str]) -> list[Any] | None:
    """What decides which plugins exist and what they offer; equal results mean nothing has changed.

    It holds the folders that Python searches with their times, the value of `EDIFICE_TT_PLUGINS`,
    and the objects in `modules`, which a reload replaces. None when this is not certain (a folder
    has just changed), or when plugins are traced.
    """
    folders = [_folder(path) for path in sys.path]
    newest = max((changed for _, _, changed in folders), default=0)
    if is_tracing() or newest > time.time_ns() - _SETTLED:
        return None
    members = [list(getattr(sys.modules.get(name), "__dict__", {}).values()) for name in modules]
    objects = [list(map(_Itself, values)) for values in members]
    return [os.environ.get(SELECTION), entry_points, folders, list(sys.meta_path), objects]


@dataclass(frozen=True, eq=False)
class _Itself:
    """Equal only for the same object, and keeps it alive so that no other gets its address."""

    one: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.one is other.one

    __hash__ = None  # type: ignore[assignment]


def _folder(path: str) -> tuple[str, int, int]:
    try:
        about = os.stat(path or os.curdir)
    except (OSError, ValueError):  # entries of sys.path need not exist
        return path, 0, 0
    return path, about.st_ino, about.st_mtime_ns


def _register(manager: pluggy.PluginManager, entry_point: EntryPoint) -> None:
    plugin = timed(f"{entry_point.name}: import {entry_point.value}", entry_point.load)
    hash(plugin)  # pluggy keeps plugins in sets: an unhashable one would break every other
    try:
        manager.register(plugin, entry_point.name)
        manager.check_pending()
        if not manager.get_hookcallers(plugin):
            raise PluginError(
                "it has no hook; mark one with @edifice_tt.hookimpl: " + ", ".join(_hooks())
            )
    except BaseException as error:
        if manager.has_plugin(entry_point.name):
            manager.unregister(name=entry_point.name)
        if isinstance(error, pluggy.PluginValidationError):
            raise PluginError(_explain(error, manager, plugin)) from error
        raise


def _hooks() -> dict[str, Any]:
    return {name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, f"{GROUP}_spec")}


def _explain(
    error: pluggy.PluginValidationError, manager: pluggy.PluginManager, plugin: object
) -> str:
    hooks = _hooks()
    for name in dir(plugin):
        if (options := manager.parse_hookimpl_opts(plugin, name)) is None:
            continue
        hook = options["specname"] or name
        if hook not in hooks:
            near = get_close_matches(hook, hooks, n=1, cutoff=0.0)
            return f"unknown hook {hook!r}; did you mean {near[0]!r}? Hooks: {', '.join(hooks)}"
        parameters = list(inspect.signature(getattr(plugin, name)).parameters)
        expected = list(inspect.signature(hooks[hook]).parameters)
        if not set(parameters) <= set(expected):
            return (
                f"hook {hook} is declared with ({', '.join(parameters)}), expected "
                f"({', '.join(expected)}); rename its parameters"
            )
    return " ".join(str(error).split())


def _installed() -> tuple[list[EntryPoint], list[Failure]]:
    """The entry points of the group, and a failure per distribution with unreadable ones."""
    try:
        return list(entry_points(group=GROUP)), []
    except Exception:  # one is damaged; reading them one by one tells which
        by_owner: dict[str, list[EntryPoint]] = {}
        failures = []
        for distribution in distributions():
            owner = owner_of(distribution)
            try:
                by_owner.setdefault(owner, list(distribution.entry_points.select(group=GROUP)))
            except Exception as error:
                reason = f"its entry_points.txt cannot be read ({one_line(error)}); install it anew"
                failures.append(Failure(owner.split()[0], owner, reason))
        return [entry_point for several in by_owner.values() for entry_point in several], failures


def _wanted(installed: Any) -> tuple[list[EntryPoint], list[str]]:
    """The entry points to load, in the order of their names, and the names of the others."""
    in_order = sorted(installed, key=lambda one: (one.name, owner_of(one.dist)))
    if (selection := os.environ.get(SELECTION)) is None:
        return in_order, []
    wanted = [name.strip() for name in selection.split(",") if name.strip()]
    names = [entry_point.name for entry_point in in_order]
    if missing := [name for name in wanted if name not in names]:
        raise PluginError(
            f"{SELECTION}={selection} names {', '.join(missing)}, which is not installed; "
            f"installed: {', '.join(names) or 'none'}"
        )
    others = [name for name in names if name not in wanted]
    return [entry_point for entry_point in in_order if entry_point.name in wanted], others


def owner_of(distribution: Distribution | None) -> str:
    """The name and version of a distribution."""
    try:
        return f"{distribution.name} {distribution.version}" if distribution else _NOBODY
    except Exception:  # its metadata are damaged
        return _NOBODY
