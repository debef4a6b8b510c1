"""The files that commands write, asked about before anything is made. Knows no command."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine.files import check_other_file, find_target

WRITTEN, MODELS = ("output", "csv", "parquet"), ("model", "verifier", "judge", "scorer")


def new_file(text: str) -> Path:
    """The type of an argument that names a file to write; asked before minutes of sampling."""
    reason = None
    if text == "-":
        reason = "it would be standard output; give the name of a file (./- for one of that name)"
    else:
        try:
            target = find_target(Path(text))
            if target.exists() and not os.access(target, os.W_OK):
                reason = "it is read-only"
            elif not os.access(target.parent, os.W_OK):
                reason = "no such folder, or not writable"
        except OSError as error:
            reason = error.strerror
    if reason is not None:
        raise argparse.ArgumentTypeError(f"cannot write {text}: {reason}")
    return Path(text)


def add_output(
    command: argparse.ArgumentParser,
    help: str,
    *,
    names: Sequence[str] = ("-o", "--output"),
    resume: str = "",
    **more: Any,
) -> None:
    """Add the file that a command writes, and what to do when it is there."""
    command.add_argument(*names, dest="output", type=new_file, help=help, **more)
    how = command.add_mutually_exclusive_group()
    if resume:
        how.add_argument("--resume", action="store_true", help=resume)
    how.add_argument("--force", action="store_true", help="replace the file if it is there")


def check_new(arguments: argparse.Namespace) -> None:
    """Refuse to overwrite a file, unless `--resume` or `--force` is given."""
    resume = "--resume to complete it, " if "resume" in arguments else ""
    check_absent(arguments.output, arguments.force or getattr(arguments, "resume", False), resume)


def check_absent(path: Path, may_exist: bool, resume: str = "") -> None:
    """Raise `EdificeError` for a file that is there, unless it may be."""
    if path.exists() and not may_exist:
        raise EdificeError(f"{path} exists; use {resume}--force to replace it, or another name")


def check_apart(arguments: argparse.Namespace) -> None:
    """Raise `EdificeError` if the file to write is one of those to read, with `--force` or not."""
    values = vars(arguments)
    if values.get("holds_what_it_reads"):
        return
    written = [values[name] for name in WRITTEN if values.get(name) is not None]
    read = [
        one
        for name, value in values.items()
        for one in (value if isinstance(value, list) else [value])
        if name not in WRITTEN and (isinstance(one, Path) or (one and name in MODELS))
    ]
    for path in written:
        check_other_file(path, read)
