"""The command `edifice-tt openai generate`: problems in, a pool file out.

Knows the command line; what talks to servers is imported when the command runs.
"""

import json
import math
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edifice_tt as et

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from edifice_tt_openai.sampling import Missing, Request
    from edifice_tt_openai.server import Server

FAILED = 3
LISTED = 20  # problems that failed, at the end
SECONDS = 10.0  # between two lines where no terminal is
FIELDS = {"prompt": "the question", "gold": "the right answer", "problem": "the id"}


def add(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add the command `openai` and its own commands."""
    summary = "work with an OpenAI-compatible server"
    top = subparsers.add_parser("openai", help=summary, description=f"{summary.capitalize()}.")
    actions = top.add_subparsers(metavar="COMMAND", dest="openai_command", required=True)
    summary = "sample candidates from a server into a pool"
    command = actions.add_parser("generate", help=summary, description=f"{summary.capitalize()}.")
    command.set_defaults(run=_generate)
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


def _generate(arguments: Namespace) -> int:
    from edifice_tt_openai.sampling import Request
    from edifice_tt_openai.server import Server, run

    _check(arguments)
    problems = [_empty_pool(arguments, problem) for problem in _read_problems(arguments)]
    names = ("n", "seed", "temperature", "top_p", "max_tokens", "logprobs", "raw")
    asked = {name: getattr(arguments, name) for name in names}
    request = Request(**asked, stop=tuple(arguments.stop), body=_body(arguments.body))
    names = ("url", "key_from", "timeout", "retries", "unlisted")
    server = Server(**{name: getattr(arguments, name) for name in names})
    settings = request.settings(run(server.find_model(arguments.model)))
    if arguments.output is None:
        pools: list[et.Pool] = []
        missing = [(problems[0], range(request.n))]
        status = _sample(arguments, Work(server, request, settings, missing, pools.append))
        _print(arguments, replace(problems[0], candidates=_in_order(pools), settings=settings))
        return status
    how = {"resume": arguments.resume, "force": arguments.force}
    with et.fill_pool(arguments.output, problems, settings, **how) as filling:
        work = Work(server, request, settings, filling.missing, filling.add)
        work.done = request.n * len(problems) - filling.num_missing
        status = _sample(arguments, work)
    _report(arguments, work, len(problems))
    return status


@dataclass
class Work:
    """What is to be asked for, where it goes, and how much is done."""

    server: "Server"
    request: "Request"
    settings: dict[str, Any]
    missing: "Missing"
    add: Callable[[et.Pool], None]
    done: int = 0
    made: int = 0
    with_logprobs: int = 0
    tokens: int = 0
    cut_off: int = 0


def _sample(arguments: Namespace, work: Work) -> int:
    """Ask for what is missing; returns the exit status, and tells what failed."""
    from edifice_tt_openai.sampling import Sampler
    from edifice_tt_openai.server import UselessServerError, run

    total = work.done + sum(len(indices) for _, indices in work.missing)
    progress = _Progress(work.done, total)

    def add(pool: et.Pool) -> None:
        work.add(pool)
        work.made += len(pool)
        work.with_logprobs += sum(bool(candidate.token_logprobs) for candidate in pool)
        work.tokens += sum(candidate.num_tokens for candidate in pool)
        work.cut_off += sum(candidate.is_cut_off for candidate in pool)
        progress.show(work.done + work.made)

    sampler = Sampler(work.server, work.request, add, work.settings["model"], arguments.concurrency)
    goes_on = "; the same command with --resume asks for the others" * bool(arguments.output)
    status, state = 0, lambda: f"{work.done + work.made} of {total} candidates are there{goes_on}"
    try:
        run(sampler.sample(work.missing))
    except KeyboardInterrupt:
        status = 130
    except UselessServerError as error:
        raise et.EdificeError(f"{error}; {state()}") from error
    finally:
        progress.end()
    if work.request.logprobs and work.with_logprobs < work.made:
        _tell(f"{work.made - work.with_logprobs} of {work.made} came without log-probabilities")
    if status:
        _tell(f"interrupted; {state()}")
    elif sampler.failed:
        _tell(f"{len(sampler.failed)} of {len(work.missing)} problems lack candidates:")
        for problem, fault in [*sampler.failed.items()][:LISTED]:
            _tell(f"  {problem}: {fault}")
        if (more := len(sampler.failed) - LISTED) > 0:
            _tell(f"  and {more} others")
        _tell(state())
        status = FAILED
    return status


def _check(arguments: Namespace) -> None:
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
    path = arguments.output
    if path and path.exists() and not (arguments.resume or arguments.force):
        raise et.EdificeError(
            f"{path} exists; use --resume to complete it, --force to replace it, or another name"
        )


def _read_problems(arguments: Namespace) -> list[et.Problem]:
    if arguments.problems is None:
        text = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
        if not text.strip():
            raise ValueError('the prompt is empty; give a question, as in "What is gravity?"')
        return [et.Problem(text)]
    fields = {f"{part}_field": vars(arguments)[f"{part}_field"] for part in FIELDS}
    return et.read_problems(arguments.problems, format=arguments.format, **fields)


def _empty_pool(arguments: Namespace, problem: et.Problem) -> et.Pool:
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


def _body(texts: Sequence[str]) -> dict[str, Any]:
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


def _in_order(pools: Sequence[et.Pool]) -> tuple[et.Candidate, ...]:
    found = (candidate for pool in pools for candidate in pool)
    return tuple(sorted(found, key=lambda candidate: candidate.index))


def _print(arguments: Namespace, pool: et.Pool) -> None:
    if arguments.json:
        print(json.dumps(pool.to_dict()))
        return
    for one in pool:
        print(f"{one.index}  {one.finish_reason}  {_visible(one.text)}")


def _report(arguments: Namespace, work: Work, problems: int) -> None:
    done = work.done + work.made
    if arguments.json:
        counts = {"problems": problems, "candidates": done, "made": work.made}
        counts |= {"tokens": work.tokens, "cut_off": work.cut_off}
        print(json.dumps({"pool": str(arguments.output), **counts}))
        return
    told = f"{done} candidates of {problems} problems in {arguments.output}; this run made "
    told += f"{work.made}" + (f", of {work.tokens} tokens" if work.tokens else "")
    print(_visible(told + (f"; {work.cut_off} were cut off" if work.cut_off else "")))


def _tell(text: str) -> None:
    with suppress(OSError):
        print(f"edifice-tt: {_visible(text)}", file=sys.stderr)


def _visible(text: str) -> str:
    """The text with what controls a terminal escaped, for a server may send anything."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )


class _Progress:
    """How many candidates are finished: a line that moves, or a line every ten seconds."""

    def __init__(self, done: int, total: int) -> None:
        self._first, self._total = done, total
        self._moves = sys.stderr.isatty()
        self._begun = self._told = time.monotonic()

    def show(self, done: int) -> None:
        """Write how far it is, and how long the rest will take at this pace."""
        now = time.monotonic()
        if not self._moves and now - self._told < SECONDS:
            return
        self._told = now
        pace = (now - self._begun) / max(done - self._first, 1)
        text = f"{done}/{self._total} finished, about {pace * (self._total - done):.0f} s left"
        start, end = ("\r\x1b[K", "") if self._moves else ("", "\n")
        with suppress(OSError):
            print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    def end(self) -> None:
        """End the line that moves."""
        if self._moves and self._told != self._begun:
            with suppress(OSError):
                print(file=sys.stderr)
