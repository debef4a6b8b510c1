"""A new plugin of one's own: the template's copy under another name.

The template and the script that renames it are `plugins/template`, which a wheel holds as well.
"""

import argparse
from pathlib import Path
from runpy import run_path

import edifice_tt as et
from edifice_tt.cli import terminal
from edifice_tt.contract.errors import NameTakenError
from edifice_tt.contract.registry import load_registry

_PACKAGE = Path(et.__file__).parent
TEMPLATES = (_PACKAGE / "template", _PACKAGE.parent / "plugins" / "template")  # installed, cloned


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--new", metavar="NAME", help="write a plugin of this name, with tests")
    command.add_argument("--folder", type=Path, help="where to write it (default: edifice-tt-NAME)")


def _check_free(name: str) -> None:
    """Raise `NameTakenError` where the scorer of the new plugin would not be the only one."""
    if (other := load_registry().scorers.get(name)) is not None:
        raise NameTakenError(f"scorer {name!r} is registered by {other.owner}; take another name")


def write(arguments: argparse.Namespace) -> None:
    """Write the copy, and say what to do with it."""
    script = next((one / "rename.py" for one in TEMPLATES if one.exists()), None)
    if script is None:
        raise et.EdificeError("the template is not here; install edifice-tt again")
    template, folder = run_path(str(script)), arguments.folder
    _check_free(arguments.new.replace("-", "_"))
    folder = folder or Path(f"edifice-tt-{arguments.new.replace('_', '-')}")
    template["rename"](arguments.new, folder)
    plain = {"plugin": arguments.new, "folder": str(folder)}
    terminal.show_result(arguments, plain, template["next_steps"](arguments.new, folder))
