"""Commands about what is installed: list, plugins, doctor, models, pull."""

import argparse
import textwrap
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from edifice_tt.cli import new_plugin, options, terminal
from edifice_tt.cli.options import Add
from edifice_tt.cli.settings import PROJECT, TABLE, read_settings, user_file
from edifice_tt.contract.astray import find_astray
from edifice_tt.contract.errors import EdificeError, PluginWarning
from edifice_tt.contract.plugins import OWN_NAME, SELECTION
from edifice_tt.contract.records import CONFIDENCES, Scorer
from edifice_tt.contract.registry import Registry, load_registry
from edifice_tt.version import __version__

if TYPE_CHECKING:
    from edifice_tt.doctor.check import Check

HEADING = "what is here"
NAMED = ("architectures", "scorers", "selectors", "extractors", "tasks", "searches", "executors")
KINDS = (*NAMED, "formats", "commands")


def register(add: Add) -> None:
    add("list", _list, "show scorers, rules, answer extractors, tasks, searches, models")
    plugins = add("plugins", _plugins, "show who provides what, and what failed; begin a new one")
    new_plugin.add_options(plugins)
    doctor = add(
        "doctor",
        _doctor,
        "check device, compiler, memory, plugins, numbers and speed",
        options.add_device,
    )
    doctor.add_argument("--quick", action="store_true", help="leave out the speed")
    doctor.add_argument(
        "--tune",
        action="store_true",
        help="first measure which sizes suit the kernels of this CPU best, and keep them (about "
        "half a minute; results stay the same bits)",
    )
    doctor.add_argument(
        *("-m", "--model"),
        help="also say whether this model fits, and with how many candidates, before it is loaded",
    )
    options.add_kv_dtype(doctor)
    models = add(
        "models", _models, "show the models that are here, and those to pull", options.add_device
    )
    models.add_argument(
        "--dtype", help="tell the memory of weights stored as float32, float16 or bfloat16"
    )
    pull = add("pull", _pull, "download a model")
    pull.add_argument(
        "model",
        help=f"{options.DEFAULT_MODEL} or another name that edifice-tt models shows, or one of "
        "Hugging Face: owner/repo, owner/repo/FILE.gguf",
    )
    pull.add_argument("--force", action="store_true", help="download even if it is here")


def _list(arguments: argparse.Namespace) -> None:
    registry = load_registry()
    by_kind: dict[str, list[dict[str, str]]] = {
        kind: [
            {"name": r.name, "summary": r.summary, "owner": r.owner}
            for _, r in sorted(getattr(registry, kind).items())
        ]
        for kind in NAMED
    }
    for scorer in by_kind["scorers"]:
        scorer["reads"] = _reads(registry.scorers[scorer["name"]])
    for search in by_kind["searches"]:
        record = registry.searches[search["name"]]
        copies = ["copies rows"] if record.gathers else []
        search["reads"] = "; ".join([", ".join(record.needs) or "nothing", *copies])
        search["breaks"] = record.breaks
    by_kind["verifiers"] = [
        {"name": name, "summary": ": ".join(filter(None, (r.model, r.summary))), "owner": r.owner}
        for name, r in sorted(registry.verifiers.items())
    ]
    if arguments.json:
        terminal.print_json(by_kind)
        return
    for kind, records in by_kind.items():
        header = (kind, "", *(["reads"] if kind in ("scorers", "searches") else []))
        rows = [
            (r["name"], _summary(r), *([r["reads"]] if len(header) > 2 else [])) for r in records
        ]
        terminal.show(terminal.table(header, rows), end="\n\n")


def _summary(record: dict[str, str]) -> str:
    """What it is, and which plugin it is from."""
    return record["summary"] + ("" if record["owner"] == OWN_NAME else f" ({record['owner']})")


def _reads(scorer: Scorer) -> str:
    return {
        "text": "text",
        "judge": "questions and answers, as a judge",
        "logprobs": "log-probabilities",
        **{name: f"confidence of tokens ({name})" for name in CONFIDENCES},
        "hidden": "hidden states, as a model's head",
        "states": f"hidden states of {scorer.model or 'the model that it was trained on'}",
    }[scorer.reads]


def _plugins(arguments: argparse.Namespace) -> None:
    if arguments.new is not None:
        new_plugin.write(arguments)
        return
    if arguments.folder is not None:
        raise ValueError("--folder says where --new NAME writes; give both")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the failures are part of the table
        registry = load_registry()
    commands = arguments._commands
    distributions = _provided(registry, commands.owners)
    # Most failed twice, once for the registry and once for the commands.
    failures = list(
        {(f.plugin, f.owner): f for f in commands.failures + registry.failures}.values()
    )
    astray = [{"owner": one.owner, "reason": one.reason} for one in find_astray()]
    if arguments.json:
        plain = {"distributions": distributions, "failures": [*map(asdict, failures)]}
        terminal.print_json({**plain, "unloaded": registry.plugins.unloaded, "no_plugins": astray})
        return
    rows: list[tuple[str, str, str]] = []
    for one in distributions:
        kinds = [kind for kind in KINDS if one[kind]] or ["nothing"]
        names = [", ".join(one.get(kind, ())) for kind in kinds]
        firsts = [f"{one['name']} {one['version']}", *[""] * (len(kinds) - 1)]
        rows += zip(firsts, kinds, names, strict=True)
    terminal.show(terminal.table(("distribution", "provides", ""), rows))
    for failure in failures:
        terminal.show(f"FAILED {failure}")
    for one in astray:
        told = f"NO PLUGIN {one['owner']}: {one['reason']}"
        terminal.show(textwrap.fill(told, terminal.width(), break_on_hyphens=False))
    if registry.plugins.unloaded:
        told = f"NOT LOADED, for {SELECTION} is set: {', '.join(registry.plugins.unloaded)}"
        terminal.show(textwrap.fill(told, terminal.width()))


def _provided(registry: Registry, commands: dict[str, str]) -> list[dict[str, Any]]:
    """What each distribution provides, in the order of loading."""
    owners, manager = registry.plugins.owners, registry.plugins.manager
    names: dict[str, dict[str, list[str]]] = {
        owner: {kind: [] for kind in KINDS} for owner in [*owners.values(), *commands.values()]
    }
    for kind in NAMED:
        for record in getattr(registry, kind).values():
            names[record.owner][kind].append(record.name)
    for plugin, owner in owners.items():
        hooks = manager.get_hookcallers(manager.get_plugin(plugin)) or ()
        if any(hook.name == "load_pretrained" for hook in hooks):
            names[owner]["formats"].append(plugin)
    for command, owner in commands.items():
        names[owner]["commands"].append(command)
    versions = {OWN_NAME: __version__}
    return [
        {"name": name, "version": versions.get(name, version), **kinds}
        for (name, _, version), kinds in ((key.partition(" "), names[key]) for key in names)
    ]


def _doctor(arguments: argparse.Namespace) -> int:
    from edifice_tt import doctor

    settings, found = _settings()
    device = arguments.device or settings.get("device")
    kept = arguments.kv_dtype or settings.get("kv_dtype")
    checks = []
    if arguments.tune:
        doctor.tune(progress=True)
    for check in chain(
        doctor.diagnose(device, arguments.quick, terminal.say, arguments.model, kept), found
    ):
        checks.append(check)
        if not arguments.json:  # at once, since some take seconds
            _show_check(check)
    if arguments.json:
        terminal.print_json(doctor.to_dict(checks))
    for check in checks:
        if check.advice and not arguments.json:
            terminal.show(f"{check.name}: {check.advice}")
    return 0 if doctor.passed(checks) else 1


def _show_check(check: "Check") -> None:
    mark = {True: "ok", False: "FAIL", None: ""}[check.ok]
    row = (mark.ljust(len("FAIL")), check.name.ljust(len("random draws")), check.found)
    terminal.show(terminal.table(("", "", ""), [row]), flush=True)


def _settings() -> tuple[Mapping[str, Any], list[Any]]:
    """The settings of files, and what the doctor says of each."""
    from edifice_tt.doctor.check import Check

    places = f"{PROJECT} [{TABLE}] and {user_file() or 'the folder of the user'}"
    try:
        values, files = read_settings()
    except EdificeError as error:
        return {}, [Check("settings", str(error), False, "mend the file, or remove it")]
    told = [Check(f"setting {key}", f"{values[key]!r}, from {files[key]}") for key in values]
    return values, told or [Check("settings", f"none in {places}")]


def _models(arguments: argparse.Namespace) -> None:
    from edifice_tt.weights.catalog import CATALOG
    from edifice_tt.weights.local_models import default_device, local_models

    device = arguments.device or _settings()[0].get("device") or default_device()
    found = local_models(device=device, dtype=arguments.dtype)
    here = [{**asdict(one), "path": str(one.path)} for one in found]
    names = {one["name"] for one in here}
    known = [
        asdict(one)
        | {"memory_bytes": one.memory_bytes, "source": one.source}
        | {"here": one.name in names or one.source in names}
        for one in CATALOG
    ]
    if arguments.json:
        terminal.print_json({"here": here, "catalog": known})
        return
    header = ("here", "size", "memory", "family", "from", f"on {device}")
    rows = [
        (*_in_words(one, "family"), one["place"], one["problem"] or _FITS[one["fits"]])
        for one in here
    ]
    terminal.show(terminal.table(header, rows), end="\n\n")
    header = ("edifice-tt pull", "size", "memory", "license", "", "")
    rows = [(*_in_words(one, "license"), one["kind"], "here" * one["here"]) for one in known]
    terminal.show(terminal.table(header, rows))


_FITS = {True: "fits", False: "needs more memory than is free", None: ""}


def _in_words(model: dict[str, Any], field: str) -> tuple[str, str, str, str]:
    """The name of a model, its size and its memory in words, and another of its fields."""
    from edifice_tt.machine.memory import in_words

    sizes = (model["size_bytes"], model["memory_bytes"])
    size, memory = ("" if one is None else in_words(one) for one in sizes)
    return model["name"], size, memory, model[field]


def _pull(arguments: argparse.Namespace) -> None:
    from edifice_tt.weights import catalog

    path = catalog.pull(arguments.model, force=arguments.force)
    terminal.show_result(arguments, {"model": arguments.model, "path": str(path)}, path)
    terminal.say(f'now: edifice-tt best-of "What is 12 + 30?" --model {arguments.model}')
