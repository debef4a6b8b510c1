"""The command `edifice-tt lm-eval`: lm-eval's own command line, which knows the model `edifice_tt`.

lm-eval finds no models of other packages by itself, so they are registered before it begins.
"""

import sys
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edifice_tt import EdificeError, hookimpl

if TYPE_CHECKING:
    from argparse import _SubParsersAction


@hookimpl
def register_commands(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    # No prefix marks an option: every word is lm-eval's, `--help` too.
    command = subparsers.add_parser(
        "lm-eval",
        help="lm_eval, which knows the model edifice_tt",
        prefix_chars="\0",
        add_help=False,
    )
    command.add_argument("words", nargs="*")
    command.set_defaults(run=_run)


def _run(arguments: Namespace) -> None:
    if find_spec("lm_eval") is None:
        raise EdificeError("lm-eval is not installed; pip install 'edifice-tt-lm-eval[lm-eval]'")
    from lm_eval.__main__ import cli_evaluate

    import edifice_tt_lm_eval.model  # noqa: F401, which registers it

    before, sys.argv = sys.argv, ["lm_eval", *arguments.words]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
