"""Arguments that several commands share. Knows no command."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.registry import list_verifiers
from edifice_tt.machine.files import find_target

DEFAULT_MODEL = "smollm2-135m"
EXTRACTORS = "text, number, boxed, regex:PATTERN, or a plugin's"
DEFAULT_MAX_TOKENS = 128
# (name, function, summary, *groups of arguments) -> the command's parser
Add = Callable[..., argparse.ArgumentParser]


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", help="tinygrad device, for example METAL, CUDA, CL or CPU")


def add_activations(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--activations",
        default="float32",
        metavar="KIND",
        help="float32 (default), or int8: rounded to 8 bits as llama.cpp does, faster on a CPU "
        "with a quantised model",
    )


def add_dtype(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dtype",
        help="store the weights as float32, float16 or bfloat16 (default: a CPU keeps the blocks "
        "of a GGUF file, else float32)",
    )


def load(arguments: argparse.Namespace, model: str) -> Any:
    """Load the model of that name with `--device`, `--dtype` and `--activations`."""
    import edifice_tt as et

    names = ("device", "dtype", "activations")
    return et.load_pretrained(model, **{name: getattr(arguments, name) for name in names})


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
        "--stop",
        action="append",
        type=stop_text,
        default=[],
        metavar="TEXT",
        help=r"end an answer here; \n is a line end; repeatable",
    )
    command.add_argument("--system", help="system message of the chat template")
    command.add_argument(
        "--template-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the chat template reads, in JSON or as text: enable_thinking=false; repeatable",
    )
    command.add_argument("--raw", action="store_true", help="no chat template: continue the text")
    command.add_argument(
        "--batch-size",
        type=int,
        default=32,
        help="candidates that decode together: fewer need less memory (default: %(default)s)",
    )
    add_device(command)
    add_activations(command)
    command.add_argument(
        "--devices",
        metavar="A,B",
        help="several of one kind that share the candidates, for example CUDA:0,CUDA:1",
    )
    add_dtype(command)


def add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--rule",
        default="best_of_n",
        help="best_of_n (default), majority, weighted, weighted_logit, pessimistic, random, "
        "oracle, or a plugin's",
    )
    command.add_argument(
        "--scorer",
        help="whose scores to use, for best_of_n, weighted, weighted_logit and pessimistic; may be "
        "left out where there is one (best-of: what suits the prompt)",
    )
    command.add_argument(
        "--answer",
        help="what counts as one answer, for majority, weighted, weighted_logit and pessimistic: "
        f"{EXTRACTORS}",
    )
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another option of the rule: seed=3 for random, delta=0.05 for pessimistic; "
        "repeatable",
    )


def add_reduce(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--reduce",
        help="what makes one score of a scorer of steps: last (default), min, max, mean or product",
    )


def add_verifier(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--verifier", metavar="FILE", help="score with a head of edifice-tt train, not --scorer"
    )


def open_verifier(arguments: argparse.Namespace) -> Any:
    """The verifier of `--verifier`, or the one named by `--scorer`, or None."""
    if arguments.verifier is not None and arguments.scorer is not None:
        raise ValueError("give either --scorer or --verifier")
    named = arguments.verifier or arguments.scorer
    if arguments.verifier is None and named not in list_verifiers():
        return None
    import edifice_tt as et

    return et.load_verifier(named, device=arguments.device)


def stop_text(text: str) -> str:
    r"""A stop string; `\n`, `\r` and `\t` are read as in C, but not in `\neq`, which is LaTeX."""
    return re.sub(r"\\([nrt])(?![a-z])", lambda found: _ESCAPES[found.group(1)], text)


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def template_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values of `--template-option`: JSON if a value is valid JSON, else text."""
    given: dict[str, Any] = {}
    for text in arguments.template_option:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(
                f"--template-option {text}: expected NAME=VALUE, for example enable_thinking=false"
            )
        if name in given:
            raise ValueError(f"--template-option {text}: {name} is given twice; give it once")
        given[name] = _json_or_text(value)
    return given


def _json_or_text(text: str) -> Any:
    def refuse(constant: str) -> None:  # NaN and Infinity are no JSON
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text


def new_file(text: str) -> Path:
    # Asked before minutes of sampling, not after.
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


def check_new(arguments: argparse.Namespace) -> None:
    """Refuse to overwrite a file, unless `--resume` or `--force` is given."""
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


def sharing(arguments: argparse.Namespace) -> dict[str, Any]:
    """The devices that share the work; sets `--device` to the first of several.

    Raises `ValueError` for both `--device` and `--devices`.
    """
    if arguments.devices is None:
        return {"batch_size": arguments.batch_size}
    devices = arguments.devices.split(",")
    if arguments.device not in (None, devices[0]):
        raise ValueError("give either --device or --devices")
    arguments.device = devices[0]
    return {"batch_size": arguments.batch_size, "devices": devices}


def read_prompt(arguments: argparse.Namespace) -> str:
    """The question, from the command line or from standard input."""
    try:
        prompt: str = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
        prompt.encode()
    except UnicodeError as error:
        raise ValueError("the prompt is no UTF-8 text; convert it") from error
    if not prompt.strip():
        raise ValueError('the prompt is empty; give a question, for example "What is gravity?"')
    return prompt
