"""The command line: one sub-command, one public call. Prints; computes nothing.

A user's mistake is one line on stderr and exit status 2, never a traceback. Imports are inside
`main`, so that Ctrl-C at any time is one line, too.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from io import TextIOWrapper
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import Namespace

    from edifice_tt.cli.parser import Parser

# What these print names the plugins that failed, so no warning is needed.
SHOW_FAILURES = ("plugins", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, as `edifice-tt --help` explains it."""
    signals: list[int] = []
    try:
        with _stopping() as signals, _hearing():
            status = _guarded(argv)
    except OSError:  # nowhere is left to print to, as when the terminal is gone
        if not signals:
            raise
    except KeyboardInterrupt:
        status = _interrupted()
    return 128 + signals[0] if signals else status


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Make signals that end a command act as Ctrl-C does; yields the signals received."""
    import signal
    import threading

    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    names = [name for name in ("SIGTERM", "SIGHUP") if is_main and hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    # Under nohup, SIGHUP is ignored and stays so.
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _hearing() -> Iterator[None]:
    """Raise an interrupt again that came where Python only reports it: an import, a `__del__`."""
    import signal
    import threading
    import time

    before, main = sys.unraisablehook, threading.main_thread().ident or 0

    def is_reported() -> bool:
        frame = sys._current_frames().get(main)
        while frame is not None and frame.f_code is not hear.__code__:
            frame = frame.f_back
        return frame is not None

    def again() -> None:
        while is_reported():  # raised there, it would be lost too
            time.sleep(0.001)
        if hasattr(signal, "pthread_kill"):  # it also ends a call that waits
            signal.pthread_kill(main, signal.SIGINT)
        else:
            signal.raise_signal(signal.SIGINT)

    def hear(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            threading.Thread(target=again).start()
        else:
            before(unraisable)

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupted() -> int:
    with suppress(OSError):
        print("edifice-tt: interrupted", file=sys.stderr)
    return 130


def _guarded(argv: Sequence[str] | None) -> int:
    """Run one command, even if its streams are closed or break."""
    try:
        for name, mode in (("stdin", "r"), ("stderr", "w")):
            if getattr(sys, name) is None:  # closed by the shell: `2>&-`
                setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, open to the end
        if sys.stdout is None:
            print("edifice-tt: error: standard output is closed; use > /dev/null", file=sys.stderr)
            return 2
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        return _run(argv)
    except BrokenPipeError:  # whoever read our output has left
        return 0
    except KeyboardInterrupt:
        return _interrupted()
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:  # Python would report it at exit
            with suppress(OSError):  # standard output is no file
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: Sequence[str] | None) -> int:
    import argparse
    import warnings

    from edifice_tt.cli import completion, outputs, terminal, texts
    from edifice_tt.cli.spelling import as_typed
    from edifice_tt.contract import errors
    from edifice_tt.contract.plugins import OWN_NAME
    from edifice_tt.contract.registry import one_registry
    from edifice_tt.contract.tracing import message_of, show

    arguments = argparse.Namespace(command="")
    warnings.showwarning = told = terminal.Warnings(lambda text: as_typed(text, arguments))
    for kind in (errors.PluginWarning, errors.PoolWarning, errors.PrecisionWarning):
        warnings.simplefilter("always", kind)
    # A command says so itself, and more.
    warnings.filterwarnings("ignore", "interrupted: ", errors.PoolWarning)
    try:
        with redirect_stdout(sys.stderr):  # what plugins print when they are imported is no result
            parser = make_parser()
        if completion.is_asked():
            completion.complete(parser)
        try:
            parser.parse_args(argv, arguments)
        finally:
            if arguments.command not in SHOW_FAILURES:
                for failure in parser.get_default("_commands").failures:
                    warnings.warn(str(failure), errors.PluginWarning, stacklevel=2)
        if not arguments.command:
            parser.print_help()
            return 0
        if not hasattr(arguments, "run"):
            forgot = "its plugin forgot set_defaults(run=function)"
            raise errors.EdificeError(f"{arguments.command}: {forgot}")
        own = _owner(arguments) == OWN_NAME
        if own:  # a plugin's arguments are its own affair, and it prints as it likes
            texts.check_texts(arguments)
            outputs.check_apart(arguments)
        try:
            with terminal.results_apart() if own else nullcontext(), one_registry():
                status = arguments.run(arguments) or 0
        finally:
            told.close()
        if type(status) is not int:
            raise TypeError(f"it returned {show(status)}, expected an exit status or None")
        sys.stdout.flush()  # here, where a reader that has left is expected
        return status
    except (BrokenPipeError, KeyboardInterrupt, SystemExit):
        raise
    except OSError as error:
        name = error.filename  # of a file without a name, its number
        where = f" {name if isinstance(name, int) else os.fsdecode(name)}:" if name else ""
        terminal.tell(f"error:{where} {error.strerror or message_of(error)}")
        return 2
    except BaseException as error:
        return _report(arguments, error)


def _owner(arguments: "Namespace") -> str:
    from edifice_tt.contract.plugins import OWN_NAME

    commands = getattr(arguments, "_commands", None)
    return commands.owners.get(commands.chosen, OWN_NAME) if commands else OWN_NAME


def _report(arguments: "Namespace", error: BaseException) -> int:
    """Tell an error in one line: a mistake, or what a plugin's command raised. Ours is a defect."""
    from edifice_tt.cli.spelling import as_typed
    from edifice_tt.cli.terminal import tell
    from edifice_tt.contract.errors import EdificeError
    from edifice_tt.contract.plugins import OWN_NAME
    from edifice_tt.contract.tracing import TRACE, is_tracing, message_of, with_place
    from edifice_tt.machine.environment import misread_variable

    error, owner = misread_variable(error) or error, _owner(arguments)
    if isinstance(error, MemoryError) and owner == OWN_NAME:
        what = message_of(error) or "no memory is left"
        error = EdificeError(f"{what}; use fewer or shorter answers at a time, or a smaller model")
    is_mistake = isinstance(error, EdificeError | ValueError)
    if not is_mistake and owner == OWN_NAME:
        raise error
    if is_tracing():
        import traceback

        traceback.print_exc()
    if is_mistake:
        tell(f"error: {as_typed(message_of(error), arguments)}")
        return 2
    who = f"command {arguments._commands.chosen!r} of {owner}"
    tell(f"error: {who} failed: {with_place(error)}; {TRACE}=1 shows where")
    return 1


def make_parser() -> "Parser":
    """The parser with every command, those of plugins included."""
    from edifice_tt.cli import (
        chat,
        contents,
        curve,
        installed,
        judging,
        parser,
        pools,
        replay,
        sampling,
        scorers,
        searching,
        training,
    )
    from edifice_tt.contract.plugins import OWN_NAME, load_plugins
    from edifice_tt.version import __version__

    top = parser.Parser(
        prog="edifice-tt",
        description="Sample N answers, score them, keep the best.",
        epilog="`edifice-tt COMMAND --help` explains one. Exit status: 0, or 1 when a check or a "
        "plugin failed, 2 for a mistake, "
        "3 when some problems failed, 130 after Ctrl-C, 143 after SIGTERM.",
    )
    top.add_argument("--version", action="version", version=f"edifice-tt {__version__}")
    commands: Any = top.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", action=parser.Commands
    )
    rooms = (sampling, searching, chat, pools, contents, judging, scorers, training, curve, replay)
    for room in (*rooms, installed):
        commands.begin(OWN_NAME, room.HEADING)
        room.register(commands.add)
        commands.keep()

    def begin(_: str, owner: str) -> tuple[dict[str, Any], Callable[[], None]]:
        commands.begin(owner)
        # They add their own and cannot remove others: `choices` is a copy, to look at.
        view = SimpleNamespace(add_parser=commands.add_parser, choices=dict(commands.choices))
        return {"subparsers": view}, commands.keep

    plugins = load_plugins()
    plugins.call_each(begin, "register_commands")
    commands.begin(OWN_NAME)  # drops what the last plugin left, if it failed
    commands.failures = plugins.failures
    top.set_defaults(_commands=commands)
    return top
