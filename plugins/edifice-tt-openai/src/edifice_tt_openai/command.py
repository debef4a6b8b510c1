"""The command `edifice-tt openai generate`: problems in, a pool file out.

Knows what to tell; what talks to servers is imported when the command runs.
"""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import edifice_tt as et
from edifice_tt_openai.arguments import check, empty_pool, read_body, read_problems

if TYPE_CHECKING:
    from edifice_tt_openai.sampling import Missing, Request
    from edifice_tt_openai.server import Server

FAILED = 3
LISTED = 20  # problems that failed, at the end
MANY = 8  # answers that only repeat others, so that it is worth a line
SECONDS = 10.0  # between two lines where no terminal is


def generate(arguments: Namespace) -> int:
    """Run the command; returns its exit status."""
    from edifice_tt_openai.sampling import Request
    from edifice_tt_openai.server import Server, run

    check(arguments)
    problems = [empty_pool(arguments, problem) for problem in read_problems(arguments)]
    names = ("n", "seed", "temperature", "top_p", "max_tokens", "logprobs", "raw")
    asked = {name: getattr(arguments, name) for name in names}
    request = Request(**asked, stop=tuple(arguments.stop), body=read_body(arguments.body))
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
    repeated: int = 0  # answers that were their problem's first once more, while none was another
    differ: bool = False
    first: dict[str, str] = field(default_factory=dict)

    def compare(self, pool: et.Pool) -> None:
        """Look whether all answers of a problem are the same."""
        for one in () if self.differ else pool:
            first = self.first.setdefault(pool.problem, one.text)
            self.differ = self.differ or first != one.text
        if self.differ:
            self.first, self.repeated = {}, 0
        else:
            self.repeated = self.made - len(self.first)


def _sample(arguments: Namespace, work: Work) -> int:
    """Ask for what is missing; returns the exit status, and tells what failed."""
    from edifice_tt_openai.sampling import Sampler
    from edifice_tt_openai.server import UselessServerError, run

    total = work.done + sum(len(indices) for _, indices in work.missing)
    progress = _Progress(work.done, total)

    def add(pool: et.Pool) -> None:
        work.add(pool)
        work.made += len(pool)
        work.compare(pool)
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
    if work.repeated >= MANY and work.request.temperature > 0:
        told = "all answers to a problem are the same, in each of them; "
        _tell(f"{told}the server may ignore the seed or the temperature")
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
