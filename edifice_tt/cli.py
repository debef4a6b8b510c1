"""The command line: one sub-command, one public call. Prints; computes nothing.

A user's mistake is one line on stderr and exit status 2, never a traceback.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import edifice_tt as et
from edifice_tt import terminal
from edifice_tt.errors import EdificeError, PluginWarning
from edifice_tt.plugins import load_plugins
from edifice_tt.registry import load_registry

DEFAULT_MODEL = "smollm2-135m"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 (a check failed), 2 (a mistake) or 130 (Ctrl-C)."""
    warnings.showwarning = terminal.show_each_once()
    warnings.simplefilter("once", PluginWarning)
    try:
        parser = make_parser()
        arguments = parser.parse_args(argv)
        status = arguments.run(arguments) or 0
        sys.stdout.flush()  # here, where a reader that has left is expected
        return status
    except (EdificeError, ValueError) as error:
        print(f"edifice-tt: error: {error}", file=sys.stderr)
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f" {error.filename}:" if error.filename else ""
        print(f"edifice-tt: error:{where} {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("edifice-tt: interrupted", file=sys.stderr)
        return 130
    return 2


def make_parser() -> argparse.ArgumentParser:
    """The parser with every command, those of plugins included."""
    parser = terminal.Parser(
        prog="edifice-tt", description="Sample N answers, score them, keep the best."
    )
    parser.add_argument("--version", action="version", version=f"edifice-tt {et.__version__}")
    parser.set_defaults(run=_no_run)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )

    add = _adder(commands)
    add("list", _list, "show architectures, scorers and selection rules")
    add("plugins", _plugins, "show who provides what, and what failed")
    add("doctor", _doctor, "check device, compiler, versions, plugins and numbers", _add_device)

    pull = add("pull", _pull, "download a model of the catalog")
    pull.add_argument("model", help=f"catalog name, for example {DEFAULT_MODEL}")
    pull.add_argument("--force", action="store_true", help="download even if it is here")

    generate = add("generate", _generate, "sample candidates into a pool", _add_sampling)
    generate.add_argument("-o", "--output", type=_new_file, help="pool file (default: print it)")

    score = add("score", _score, "add a scorer's scores to a pool file", _add_device)
    score.add_argument("pool", type=Path, help="pool file; the scores are appended")
    score.add_argument("--scorer", default="logprob", help="registered scorer (default: logprob)")
    score.add_argument("--model", help="model, for a scorer that reads hidden states")

    select = add("select", _select, "choose a candidate from a pool file", _add_selection)
    select.add_argument("pool", type=Path, help="pool file")

    best = add("best-of", _best_of, "sample, score, select", _add_sampling, _add_selection)
    best.add_argument("-o", "--output", type=_new_file, help="keep the scored pool in this file")

    plugins = load_plugins()
    plugins.call_each(lambda *_: ({"subparsers": commands}, lambda: None), "register_commands")
    for failure in plugins.failures:
        warnings.warn(str(failure), PluginWarning, stacklevel=2)
    return parser


def _adder(commands: Any) -> Callable[..., argparse.ArgumentParser]:
    def add(name: str, run: Callable[..., int | None], summary: str, *groups: Any) -> Any:
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
        for add_group in groups:
            add_group(command)
        return command

    return add


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", help="tinygrad device, for example METAL, CUDA, CL or CPU")


def _add_sampling(command: argparse.ArgumentParser) -> None:
    command.add_argument("prompt", help="the question; - reads it from standard input")
    command.add_argument(
        "--model", default=DEFAULT_MODEL, help="catalog name or file (default: %(default)s)"
    )
    command.add_argument("-n", type=int, default=16, help="candidates (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    command.add_argument("--temperature", type=float, default=0.8, help="default: %(default)s")
    command.add_argument("--top-k", type=int, default=0, help="0: all tokens (default)")
    command.add_argument("--top-p", type=float, default=1.0, help="1: all tokens (default)")
    command.add_argument("--max-tokens", type=int, default=128, help="default: %(default)s")
    command.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end an answer here; repeatable"
    )
    command.add_argument("--system", help="system message of the chat template")
    command.add_argument("--raw", action="store_true", help="no chat template: continue the text")
    _add_device(command)


def _add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--rule", default="best_of_n", help="selection rule (default: %(default)s)"
    )
    command.add_argument("--scorer", help="whose scores best_of_n compares (best-of: logprob)")
    command.add_argument(
        "--answer", help="what majority compares: text, number, boxed or regex:PATTERN"
    )


def _new_file(text: str) -> Path:
    # Asked before minutes of sampling, not after.
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write {text}: no such folder, or not writable")
    return path


def _no_run(arguments: argparse.Namespace) -> None:
    raise EdificeError(f"{arguments.command}: its plugin forgot set_defaults(run=function)")


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


def _generate(arguments: argparse.Namespace) -> None:
    pool = _sample(arguments, *_open(arguments))
    if arguments.output:
        pool.save(arguments.output)
        terminal.say(f"{len(pool)} candidates in {arguments.output}")
    if arguments.json:
        terminal.print_json(pool.to_dict())
    elif not arguments.output:
        print(terminal.show_candidates(pool))


def _score(arguments: argparse.Namespace) -> None:
    pool = et.Pool.load(arguments.pool)
    lm = et.load_pretrained(arguments.model, device=arguments.device) if arguments.model else None
    pool = et.score(lm, pool, scorer=arguments.scorer)
    pool.append_scores(arguments.pool, arguments.scorer)
    if arguments.json:
        terminal.print_json(pool.to_dict())
    else:
        print(terminal.show_candidates(pool))


def _select(arguments: argparse.Namespace) -> None:
    pool = et.Pool.load(arguments.pool)
    choice = et.select(pool, arguments.rule, **_selection_options(arguments))
    if arguments.json:
        terminal.print_json({"choice": choice.to_dict()})
    else:
        print(choice.text)


def _best_of(arguments: argparse.Namespace) -> None:
    from edifice_tt.inference import answers, score, select

    # What can be wrong is found before minutes of sampling.
    options = {} if arguments.answer is None else {"answer": arguments.answer}
    select.check_options(arguments.rule, options)
    if options:
        answers.extractor(arguments.answer)
    scorer = load_registry().find("scorer", arguments.scorer or "logprob").name
    prompt, lm = _open(arguments)
    score.check_scorer(lm, scorer)
    pool, choice = _sample(arguments, prompt, lm), None
    try:
        pool = et.score(lm, pool, scorer=scorer)
        choice = et.select(pool, arguments.rule, **options)
    finally:  # what was sampled is not lost when the scorer fails or the rule chooses nobody
        _show_best(arguments, pool, choice)
        if arguments.output:
            pool.save(arguments.output)


def _show_best(arguments: argparse.Namespace, pool: Any, choice: Any) -> None:
    if arguments.json:
        terminal.print_json({"choice": choice and choice.to_dict(), "pool": pool.to_dict()})
    else:
        print(terminal.show_choice(pool, choice))


def _open(arguments: argparse.Namespace) -> tuple[str, Any]:
    from edifice_tt.inference.generate import check_settings

    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    if not prompt.strip():
        raise ValueError('the prompt is empty; give a question, for example "What is gravity?"')
    check_settings(**_settings(arguments))
    terminal.say(f"loading {arguments.model}")
    return prompt, et.load_pretrained(arguments.model, device=arguments.device)


def _sample(arguments: argparse.Namespace, prompt: str, lm: Any) -> Any:
    chat = [{"role": "system", "content": arguments.system}] if arguments.system else []
    chat.append({"role": "user", "content": prompt})
    templated = lm.tokenizer.has_chat_template and not arguments.raw
    with terminal.sampling_progress(arguments.n, arguments.max_tokens) as on_token:
        pool = et.generate(
            lm,
            chat if templated else prompt,
            **_settings(arguments),
            stop=arguments.stop,
            on_token=on_token,
        )
    if pool.settings.get("interrupted"):
        print(f"edifice-tt: interrupted; {len(pool)} candidates are finished", file=sys.stderr)
    return pool


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("n", "max_tokens", "temperature", "top_k", "top_p", "seed")
    return {name: getattr(arguments, name) for name in names}


def _selection_options(arguments: argparse.Namespace) -> dict[str, str]:
    given = {"scorer": arguments.scorer, "answer": arguments.answer}
    return {option: value for option, value in given.items() if value is not None}
