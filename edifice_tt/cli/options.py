"""Arguments that several commands share. Knows no command."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from edifice_tt.cli import terminal
from edifice_tt.cli.parser import add_option, whole_number
from edifice_tt.cli.settings import (
    FROM_FILES,
    GIVEN,
    LOADING,
    SAMPLING,
    take_settings,
    told_sources,
)
from edifice_tt.cli.texts import json_or_text, named_values, stop_text
from edifice_tt.contract.errors import EdificeError, unknown_name
from edifice_tt.contract.records import CONFIDENCES, Task
from edifice_tt.contract.registry import list_verifiers
from edifice_tt.contract.scorer_options import name_with

if TYPE_CHECKING:
    from edifice_tt.pools.pool import PoolFile
    from edifice_tt.sampling.request import Request

DEFAULT_MODEL = "smollm2-135m"
SCORE = "scoring.score:score"
EXTRACTORS = "text, number, final_number, boxed, regex:PATTERN, or a plugin's"
# (name, function, summary, *groups of arguments) -> the command's parser
Add = Callable[..., argparse.ArgumentParser]
Group = argparse._ActionsContainer  # a command, or a group of its options


def add_device(command: Group) -> None:
    command.add_argument("--device", help="tinygrad device, for example METAL, CUDA, CL or CPU")


def add_kv_dtype(command: Group) -> None:
    command.add_argument(
        "--kv-dtype",
        metavar="KIND",
        help="keep keys and values as float32, float16 (half the memory of a text) or, on a CPU, "
        "int8 (about a quarter; default: float32 on a CPU, float16 on a GPU)",
    )


def add_loading(command: argparse.ArgumentParser, named: bool = False) -> None:
    """Add how a model is loaded; if `named`, its name, too."""
    model = command.add_argument_group("the model")
    if named:
        model.add_argument(
            *("-m", "--model"),
            default=DEFAULT_MODEL,
            help=f"file, folder or name: edifice-tt models shows names (default: {DEFAULT_MODEL})",
        )
    add_device(model)
    add_option(
        model,
        "weights.pretrained:load_pretrained",
        "--activations",
        "{} (default), float16, bfloat16, or int8: rounded to 8 bits as llama.cpp does; all are "
        "faster on a CPU that has them, with a GGUF file",
        metavar="KIND",
    )
    model.add_argument(
        "--dtype",
        help="store the weights as float32, float16 or bfloat16 (default: the blocks of a GGUF "
        "file stay where the device has kernels for them, else float32)",
    )
    add_kv_dtype(model)
    take_settings(command, LOADING)


def load(arguments: argparse.Namespace, model: str, devices: Sequence[str] | None = None) -> Any:
    """The model of that name on the first of the devices, else as the options of loading say."""
    import edifice_tt as et

    device = devices[0] if devices else arguments.device
    how = {name: getattr(arguments, name) for name in ("dtype", "activations", "kv_dtype")}
    with terminal.Working() as working:
        working.begin(f"loading {model}")
        return et.load_pretrained(model, device=device, **how)


def _add_repeatable(command: Any, option: str, metavar: str, help: str, **more: Any) -> None:
    command.add_argument(option, action="append", default=[], metavar=metavar, help=help, **more)


def add_sampling(command: argparse.ArgumentParser, of_search: bool = False) -> None:
    add_loading(command, named=True)
    group = command.add_argument_group("sampling")
    option = partial(add_option, group, "sampling.generate:generate")
    if of_search:
        most = "the most rows; default: the method's own"
        group.add_argument("-n", "--n", type=whole_number(1, "16"), help=most)
    else:
        option(("-n", "--n"), "candidates (default: {})")
    option("--seed")
    option("--temperature")
    option("--top-k", "{}: all tokens (default)")
    option("--top-p", "{:g}: all tokens (default)")
    option("--max-tokens", "default: {}, or the task's", unset=True)
    stop = r"end an answer here; \n is a line end; repeatable"
    _add_repeatable(group, "--stop", "TEXT", stop, type=stop_text)
    group.add_argument("--system", help="system message of the chat template")
    of_template = (
        "what the chat template reads, in JSON or as text: enable_thinking=false; repeatable"
    )
    _add_repeatable(group, "--template-option", "NAME=VALUE", of_template)
    group.add_argument("--raw", action="store_true", help="no chat template: continue the text")
    group.add_argument(
        "--confidence",
        metavar="A,B",
        help=f"keep what scorers of these names read: {', '.join(CONFIDENCES)}",
    )
    batches = "candidates that decode together: fewer need less memory (default: {})"
    option("--batch-size", batches)
    group.add_argument(
        "--devices",
        metavar="A,B",
        help="several of one kind that share the candidates, for example CUDA:0,CUDA:1",
    )
    take_settings(command, SAMPLING)


def add_settings(command: Group) -> None:
    settings = "a setting of the method, as in threshold=0.9 or cuts=32,64; repeatable"
    _add_repeatable(command, "--option", "NAME=VALUE", settings)


def add_scoring(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("scoring")
    group.add_argument(
        "--reduce",
        help="what makes one score of a scorer of steps: last (default), min, max, mean or product",
    )
    group.add_argument(
        "--verifier", metavar="FILE", help="score with a head of edifice-tt train, not --scorer"
    )
    of_scorer = "an option of the scorer, which becomes part of its name: window=64; repeatable"
    _add_repeatable(group, "--scorer-option", "NAME=VALUE", of_scorer)


def scorer_of(arguments: argparse.Namespace) -> str | None:
    """The name of `--scorer`, of which each `--scorer-option` is a part."""
    given = dict(named_values("--scorer-option", arguments.scorer_option, "window=64"))
    if given and arguments.scorer is None:
        raise ValueError("--scorer-option is for the scorer of --scorer, which is not given")
    return name_with(arguments.scorer, given) if given else arguments.scorer


def open_verifier(arguments: argparse.Namespace, scorer: str | None) -> Any:
    """The verifier of `--verifier`, or the one that the scorer's name is, or None."""
    if arguments.verifier is not None and scorer is not None:
        raise ValueError("give either --scorer or --verifier")
    name = arguments.verifier or scorer
    if name is None or (arguments.verifier is None and name not in list_verifiers()):
        return None
    import edifice_tt as et

    return et.load_verifier(name, device=arguments.device)


def add_first(command: argparse.ArgumentParser) -> None:
    """Add the option to read a part of every problem."""
    command.add_argument(
        "--first",
        type=whole_number(1, "16"),
        metavar="N",
        help="take the first N candidates of each problem, as if no more had been asked for",
    )


def open_pools(arguments: argparse.Namespace) -> "PoolFile":
    """The pool file that a command measures, or of each problem the first candidates."""
    from edifice_tt.pools.pool import PoolFile

    file = PoolFile(arguments.pool).with_problems()
    return file if arguments.first is None else file.first(arguments.first)


def check_scorers(file: Any, scorers: Iterable[str]) -> None:
    """Raise `UnknownNameError` for a scorer that has scored nothing in a pool file."""
    for name in scorers:
        if name not in file.scorers:
            raise unknown_name(f"scorer in {file.path}", name, file.scorers)


def at_candidate(file: Any, pool: Any, candidate: Any, problem: str) -> EdificeError:
    """The error for what is wrong with a candidate of a pool file; it names the line."""
    line = file.line_of(pool.problem, candidate.index)
    who = f"candidate {candidate.index} of problem {pool.problem!r}"
    return EdificeError(f"{file.path}, line {line}: {who} {problem}")


def keep_n(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments, where `--resume` without `-n` asks for as many as the file was made with."""
    from edifice_tt.pools.index import header_settings

    if arguments.resume and "n" not in vars(arguments).get(GIVEN, ()):
        n = header_settings(arguments.output).get("n")
        if type(n) is int:
            values = vars(arguments)
            files = {name: one for name, one in values.get(FROM_FILES, {}).items() if name != "n"}
            return argparse.Namespace(**{**values, "n": n, FROM_FILES: files})
    return arguments


@contextmanager
def naming_sources(arguments: argparse.Namespace) -> Iterator[None]:
    """Let the error for a file that cannot be resumed say which settings are from which file."""
    try:
        yield
    except EdificeError as error:
        if not (arguments.resume and type(error) is EdificeError):
            raise
        raise EdificeError(f"{error}{told_sources(arguments)}") from error


def request_of(
    arguments: argparse.Namespace,
    task: Task | None = None,
    answer: str | None = None,
    reads: str | None = None,
) -> "Request":
    """What is to be sampled: as the arguments say, else the task, else by `generate`'s defaults.

    `reads` is what the scorer will read, which is kept if it is a measure of confidence. Raises
    `ValueError` for what cannot work.
    """
    from edifice_tt.sampling.generate import make_request

    names = ("n", "seed", "temperature", "top_k", "top_p", "max_tokens", "stop", "batch_size")
    options: dict[str, Any] = {"max_tokens": task.max_tokens, "stop": task.stop} if task else {}
    values = ((name, getattr(arguments, name)) for name in names)
    options |= {name: value for name, value in values if value not in (None, [])}
    texts = named_values("--template-option", arguments.template_option, "enable_thinking=false")
    options["template_options"] = {name: json_or_text(value) for name, value in texts}
    devices = None if arguments.devices is None else arguments.devices.split(",")
    if devices and arguments.device not in (None, devices[0]):
        raise ValueError("give either --device or --devices")
    asked = arguments.confidence.split(",") if arguments.confidence else []
    asked += [reads] if reads in CONFIDENCES else []
    return make_request(**options, devices=devices, answer=answer, confidence=asked)
