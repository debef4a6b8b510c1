"""The command line: one sub-command, one public call. Prints; computes nothing.

A user's mistake is one line on stderr and exit status 2, never a traceback.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from edifice_tt import terminal
from edifice_tt.commands import curve, installed, pools, sampling
from edifice_tt.commands.options import Add
from edifice_tt.errors import EdificeError, PluginWarning, PoolWarning
from edifice_tt.plugins import load_plugins
from edifice_tt.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 (a check failed), 2 (a mistake) or 130 (Ctrl-C)."""
    warnings.showwarning = terminal.show_each_once()
    warnings.simplefilter("once", PluginWarning)
    warnings.simplefilter("always", PoolWarning)
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
    parser.add_argument("--version", action="version", version=f"edifice-tt {__version__}")
    parser.set_defaults(run=_no_run)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )

    for room in (installed, sampling, pools, curve):
        room.register(_adder(commands))
    plugins = load_plugins()
    plugins.call_each(lambda *_: ({"subparsers": commands}, lambda: None), "register_commands")
    for failure in plugins.failures:
        warnings.warn(str(failure), PluginWarning, stacklevel=2)
    return parser


def _adder(commands: Any) -> Add:
    def add(name: str, run: Callable[..., int | None], summary: str, *groups: Any) -> Any:
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
        for add_group in groups:
            add_group(command)
        return command

    return add


def _no_run(arguments: argparse.Namespace) -> None:
    raise EdificeError(f"{arguments.command}: its plugin forgot set_defaults(run=function)")
