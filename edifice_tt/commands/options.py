"""Arguments that several commands share. Knows no command."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edifice_tt.errors import EdificeError

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_MAX_TOKENS = 128
# (name, function, summary, *groups of arguments) -> the command's parser
Add = Callable[..., argparse.ArgumentParser]


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", help="tinygrad device, for example METAL, CUDA, CL or CPU")


def add_prompt(command: argparse.ArgumentParser) -> None:
    command.add_argument("prompt", help="the question; - reads it from standard input")


def add_sampling(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", default=DEFAULT_MODEL, help="catalog name or file (default: %(default)s)"
    )
    command.add_argument("-n", type=int, default=16, help="candidates (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    command.add_argument("--temperature", type=float, default=0.8, help="default: %(default)s")
    command.add_argument("--top-k", type=int, default=0, help="0: all tokens (default)")
    command.add_argument("--top-p", type=float, default=1.0, help="1: all tokens (default)")
    command.add_argument(
        "--max-tokens", type=int, help=f"default: {DEFAULT_MAX_TOKENS}, or the task's"
    )
    command.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end an answer here; repeatable"
    )
    command.add_argument("--system", help="system message of the chat template")
    command.add_argument("--raw", action="store_true", help="no chat template: continue the text")
    add_device(command)


def add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--rule", default="best_of_n", help="selection rule (default: %(default)s)"
    )
    command.add_argument("--scorer", help="whose scores best_of_n compares (best-of: logprob)")
    command.add_argument(
        "--answer", help="what majority compares: text, number, boxed or regex:PATTERN"
    )


def add_verifier(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--verifier", metavar="FILE", help="score with a head of edifice-tt train, not --scorer"
    )


def open_verifier(arguments: argparse.Namespace) -> Any:
    """The verifier of `--verifier`, or None; not both it and `--scorer` can be asked for."""
    if arguments.verifier is None:
        return None
    if arguments.scorer is not None:
        raise ValueError("give either --scorer or --verifier")
    import edifice_tt as et

    return et.load_verifier(arguments.verifier, device=arguments.device)


def new_file(text: str) -> Path:
    # Asked before minutes of sampling, not after.
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write {text}: no such folder, or not writable")
    return path


def check_new(arguments: argparse.Namespace) -> None:
    """Refuse to write over a file; `--resume` and `--force` say what to do with it."""
    if not arguments.output.exists() or arguments.force or getattr(arguments, "resume", False):
        return
    resume = "--resume to complete it, " if "resume" in arguments else ""
    raise EdificeError(
        f"{arguments.output} exists; use {resume}--force to replace it, or another name"
    )


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.max_tokens is None:
        arguments.max_tokens = DEFAULT_MAX_TOKENS
    names = ("n", "max_tokens", "temperature", "top_k", "top_p", "seed")
    return {name: getattr(arguments, name) for name in names}


def selection_options(arguments: argparse.Namespace) -> dict[str, str]:
    given = {"scorer": arguments.scorer, "answer": arguments.answer}
    return {option: value for option, value in given.items() if value is not None}


def read_prompt(arguments: argparse.Namespace) -> str:
    """The question, from the command line or from standard input."""
    prompt: str = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    if not prompt.strip():
        raise ValueError('the prompt is empty; give a question, for example "What is gravity?"')
    return prompt
