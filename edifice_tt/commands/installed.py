"""Commands that look at what is here: list, plugins, doctor, pull."""

import argparse
import warnings

from edifice_tt import terminal
from edifice_tt.commands import options
from edifice_tt.commands.options import Add
from edifice_tt.errors import PluginWarning
from edifice_tt.registry import load_registry


def register(add: Add) -> None:
    """Add the commands of this room."""
    add("list", _list, "show architectures, scorers and selection rules")
    add("plugins", _plugins, "show who provides what, and what failed")
    add(
        "doctor",
        _doctor,
        "check device, compiler, versions, plugins and numbers",
        options.add_device,
    )
    pull = add("pull", _pull, "download a model of the catalog")
    pull.add_argument("model", help=f"catalog name, for example {options.DEFAULT_MODEL}")
    pull.add_argument("--force", action="store_true", help="download even if it is here")


def _list(arguments: argparse.Namespace) -> None:
    registry = load_registry()
    found: dict[str, list[dict[str, str]]] = {
        kind: [
            {"name": r.name, "summary": r.summary, "owner": r.owner}
            for _, r in sorted(getattr(registry, kind).items())
        ]
        for kind in ("architectures", "scorers", "selectors")
    }
    if arguments.json:
        terminal.print_json(found)
        return
    for kind, records in found.items():
        rows = [tuple(record.values()) for record in records]
        print(terminal.table((kind, "", "from"), rows), end="\n\n")


def _plugins(arguments: argparse.Namespace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the failures are part of the table
        registry = load_registry()
    owned: dict[str, list[str]] = {owner: [] for owner in registry.plugins.owners.values()}
    for kind in ("architectures", "scorers", "selectors"):
        for record in getattr(registry, kind).values():
            owned[record.owner].append(f"{kind.removesuffix('s')} {record.name}")
    if arguments.json:
        failures = [
            {"plugin": f.plugin, "owner": f.owner, "reason": f.reason} for f in registry.failures
        ]
        terminal.print_json({"plugins": owned, "failures": failures})
        return
    rows = [(owner, ", ".join(names) or "nothing") for owner, names in owned.items()]
    print(terminal.table(("distribution", "provides"), rows))
    for failure in registry.failures:
        print(f"FAILED {failure}")


def _doctor(arguments: argparse.Namespace) -> int:
    from edifice_tt import doctor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the failures are among the checks
        checks = doctor.diagnose(arguments.device)
    if arguments.json:
        terminal.print_json(doctor.to_dict(checks))
    else:
        print(terminal.show_checks(checks))
    return 0 if doctor.passed(checks) else 1


def _pull(arguments: argparse.Namespace) -> None:
    from edifice_tt.weights import catalog

    path = catalog.pull(arguments.model, force=arguments.force)
    if arguments.json:
        terminal.print_json({"model": arguments.model, "path": str(path)})
    else:
        print(path)
