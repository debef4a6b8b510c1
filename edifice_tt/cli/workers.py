"""Commands by several workers: their options, the executor, what failed. Knows no work."""

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from edifice_tt.cli import terminal
from edifice_tt.cli.parser import whole_number
from edifice_tt.cli.spelling import as_typed
from edifice_tt.workers.sharing import NAMES, is_shared, open_executor

FAILED = 3  # the exit status where some problems failed
LISTED = 20  # of them, at the end
_PATHS = ("pool", "model", "judge", "judge_prompt", "verifier")  # which need not be there


def add_workers(command: argparse.ArgumentParser) -> None:
    """Add the options that have the work done by several workers."""
    group = command.add_argument_group("several workers")
    group.add_argument(
        "--workers",
        type=whole_number(1, "4"),
        metavar="N",
        help="share the problems out to so many processes, each with a model of its own",
    )
    cores = "what each may use (default: this machine's, shared out; of a cluster: 1)"
    group.add_argument("--cores-per-worker", type=whole_number(1, "2"), metavar="N", help=cores)
    gpus = "GPUs for each, where the executor knows them"
    group.add_argument("--gpus-per-worker", type=whole_number(1, "1"), metavar="N", help=gpus)
    executor = "who runs the workers: processes (default), or a plugin's: ray, dask"
    group.add_argument("--executor", metavar="NAME", help=executor)
    group.add_argument("--address", help="where the executor's cluster is")


def are_asked_for(arguments: argparse.Namespace) -> bool:
    """Whether several workers are to do the work; `ValueError` for what is for them only."""
    return is_shared(_sharing(arguments))


def _sharing(arguments: argparse.Namespace) -> Any:
    return {name: getattr(arguments, name) for name in NAMES}


def check(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` for options that go with several workers, or do not."""
    if are_asked_for(arguments):
        if getattr(arguments, "devices", None):
            raise ValueError("--devices is for one process; for workers give --cores-per-worker")
        if "output" in arguments and not arguments.output:
            raise ValueError("several workers fill a pool file; name it with -o POOL")


def executor_of(arguments: argparse.Namespace) -> AbstractContextManager[Any]:
    """The executor that is asked for, or None; its workers end with the context."""
    if not are_asked_for(arguments):
        return nullcontext()
    return open_executor(**_sharing(arguments))


def portable(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments for a worker, with whole paths of what they name, and no functions."""
    values = {
        name: value
        for name, value in vars(arguments).items()
        if name != "run" and not name.startswith("_")
    }
    for name in _PATHS:
        if values.get(name) is not None and Path(values[name]).exists():
            values[name] = type(values[name])(Path(values[name]).resolve())
    return argparse.Namespace(**values)


def tell_failed(
    arguments: argparse.Namespace, failed: Mapping[str, str], total: int, what: str
) -> None:
    """List the problems that failed, with why."""
    terminal.tell(f"{len(failed)} of {total} problems {what}; --resume goes on with them:")
    for problem, reason in [*failed.items()][:LISTED]:
        terminal.tell(f"  {problem}: {as_typed(reason, arguments)}")
    if len(failed) > LISTED:
        terminal.tell(f"  and {len(failed) - LISTED} others")
