"""The arguments of `edifice-tt openai generate`, and what is made of them. Knows no server."""

import json
import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edifice_tt as et

if TYPE_CHECKING:
    from argparse import _SubParsersAction

FIELDS = {"prompt": "the question", "gold": "the right answer", "problem": "the id"}


def add(
    subparsers: "_SubParsersAction[ArgumentParser]", run: Callable[[Namespace], int | None]
) -> None:
    """Add the command `openai` and its own commands; `run` is what `generate` does."""
    summary = "work with an OpenAI-compatible server"
    top = subparsers.add_parser("openai", help=summary, description=f"{summary.capitalize()}.")
    actions = top.add_subparsers(metavar="COMMAND", dest="openai_command", required=True)
    summary = "sample candidates from a server into a pool"
    command = actions.add_parser("generate", help=summary, description=f"{summary.capitalize()}.")
    command.set_defaults(run=run)
    _add_problems(command)
    _add_sampling(command)
    _add_server(command)


def _add_problems(command: ArgumentParser) -> None:
    command.add_argument("prompt", nargs="?", help="the question; - reads it from standard input")
    command.add_argument(
        "--problems",
        type=Path,
        metavar="FILE",
        help='many questions: JSON lines of {"prompt" or "messages", "problem", "gold"}, a .csv or '
        "a .parquet; needs -o",
    )
    command.add_argument("--format", metavar="NAME", help="of the problems, as for generate")
    for part, what in FIELDS.items():
        name = f"the field of the problems that is {what}"
        command.add_argument(f"--{part}-field", metavar="NAME", help=name)
    command.add_argument("--system", help="system message before each question")
    command.add_argument(
        "--raw", action="store_true", help="no chat: the server continues the text (/completions)"
    )
    command.add_argument(
        "-o", "--output", type=Path, help="pool file (default: print the candidates)"
    )
    how = command.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="ask only for what the file lacks")
    how.add_argument("--force", action="store_true", help="replace the file if it is there")
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_sampling(command: ArgumentParser) -> None:
    def option(name: str, kind: Callable[[str], Any], default: Any, help: str = "") -> None:
        told = f"{help}{' ' if help else ''}(default: %(default)s)"
        command.add_argument(name, type=kind, default=default, help=told)

    option("-n", int, 16, "candidates")
    option("--seed", int, 0)
    option("--temperature", float, 0.8)
    option("--top-p", float, 1.0)
    option("--max-tokens", int, 128)
    command.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end an answer here; repeatable"
    )
    command.add_argument(
        "--logprobs", action="store_true", help="keep the log-probability of each token"
    )
    command.add_argument(
        "--body",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another field of each request, in JSON or as text: top_k=40; null leaves a field "
        "out; repeatable",
    )


def _add_server(command: ArgumentParser) -> None:
    command.add_argument(
        "--url", required=True, help="address of the server, as in http://localhost:8000/v1"
    )
    command.add_argument(
        "--model", default="", help="its name on the server (default: the only one there)"
    )
    command.add_argument(
        "--unlisted", action="store_true", help="the model need not be on the server's list"
    )
    command.add_argument(
        "--key-from",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable that holds the key (default: %(default)s)",
    )
    command.add_argument(
        "--concurrency", type=int, default=8, help="requests at a time (default: %(default)s)"
    )
    command.add_argument(
        "--timeout", type=float, default=600.0, help="seconds per request (default: %(default)s)"
    )
    command.add_argument(
        "--retries", type=int, default=5, help="after faults that may pass (default: %(default)s)"
    )


def check(arguments: Namespace) -> None:
    """Raise `ValueError` for what cannot work, before any request."""
    for name in ("prompt", "system", "model", "stop", "body"):
        try:
            "".join(vars(arguments)[name] or ()).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name}: it is no UTF-8 text; convert it") from error
    if (arguments.prompt is None) == (arguments.problems is None):
        raise ValueError("give either a prompt or --problems FILE, with one JSON object per line")
    given = [f for f in ("format", *(f"{part}_field" for part in FIELDS)) if vars(arguments)[f]]
    if arguments.problems is None and given:
        raise ValueError(f"--{given[0].replace('_', '-')} is for --problems; leave it out")
    if not arguments.output and (arguments.problems or arguments.resume or arguments.force):
        raise ValueError("--problems, --resume and --force need a pool file; name it with -o POOL")
    if arguments.raw and arguments.system:
        raise ValueError("--system is for a chat, and --raw continues a text; leave one out")
    for name, least in (("n", 1), ("max_tokens", 1), ("concurrency", 1), ("retries", 0)):
        if vars(arguments)[name] < least:
            raise ValueError(f"{name}={vars(arguments)[name]} must be at least {least}")
    if not math.isfinite(arguments.temperature) or arguments.temperature < 0:
        raise ValueError(f"temperature={arguments.temperature} must be a number, at least 0")
    if not 0 < arguments.top_p <= 1:
        raise ValueError(f"top_p={arguments.top_p} must be above 0 and at most 1")
    path, problems = arguments.output, arguments.problems
    if path and problems and path.exists() and problems.exists() and path.samefile(problems):
        raise et.EdificeError(f"{path} holds the problems; give the pool file another name")
    if path and path.exists() and not (arguments.resume or arguments.force):
        raise et.EdificeError(
            f"{path} exists; use --resume to complete it, --force to replace it, or another name"
        )


def read_problems(arguments: Namespace) -> list[et.Problem]:
    """The questions, of a file or the command line."""
    if arguments.problems is None:
        text = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
        if not text.strip():
            raise ValueError('the prompt is empty; give a question, as in "What is gravity?"')
        return [et.Problem(text)]
    fields = {f"{part}_field": vars(arguments)[f"{part}_field"] for part in FIELDS}
    return et.read_problems(arguments.problems, format=arguments.format, **fields)


def empty_pool(arguments: Namespace, problem: et.Problem) -> et.Pool:
    """A pool without candidates; what the model reads of a chat, its server alone knows."""
    about: dict[str, Any] = {"problem": problem.problem, "gold": problem.gold}
    is_text = isinstance(problem.prompt, str)
    if arguments.raw:
        if not is_text:
            raise ValueError("--raw continues a text, and a problem has messages; leave it out")
        return et.Pool(problem.prompt, (), **about)
    asked = [{"role": "user", "content": problem.prompt}] if is_text else [*problem.prompt]
    if arguments.system:
        if asked[0]["role"] == "system":
            raise ValueError("a problem has a system message of its own; leave --system out")
        asked = [{"role": "system", "content": arguments.system}, *asked]
    return et.Pool("", (), messages=asked, **about)


def read_body(texts: Sequence[str]) -> dict[str, Any]:
    """The further fields of a request."""
    fields: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in (*fields, "n", "seed", "messages", "prompt", "stream"):
            raise ValueError(
                f"--body {text}: expected NAME=VALUE, each name once, and none of n, seed, "
                "messages, prompt and stream"
            )
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields
