"""What is asked on the command line: a question, a file of problems, or a task. Samples nothing."""

import argparse
import sys
from pathlib import Path
from typing import Any

import edifice_tt as et
from edifice_tt.cli import options, terminal
from edifice_tt.cli.parser import add_option, default_of
from edifice_tt.contract.records import Task
from edifice_tt.pools.problems import FORMATS
from edifice_tt.pools.tasks import SPLITS

FIELDS = {"prompt": "the question", "gold": "the right answer", "problem": "the id"}
NUM_PROBLEMS = 100  # of a task, unless told otherwise
MAKE_PROBLEMS = "pools.tasks:make_problems"


def add_problems(command: argparse.ArgumentParser) -> None:
    """Add the arguments that name one question or many, and how answers are found."""
    command.add_argument("prompt", nargs="?", help="the question; - reads it from standard input")
    group = command.add_argument_group("many questions")
    group.add_argument(
        "--problems",
        type=Path,
        metavar="FILE",
        help='many questions: JSON lines of {"prompt" or "messages", "problem", "gold"}, a .csv or '
        "a .parquet; needs -o",
    )
    add_reading(group)
    group.add_argument("--task", help="problems of a task (edifice-tt tasks); needs -o")
    group.add_argument(
        "--num", type=int, help=f"how many problems of the task (default: {NUM_PROBLEMS})"
    )
    splits = "of the task: {} (default) or test"
    add_option(group, MAKE_PROBLEMS, "--split", splits, unset=True, choices=SPLITS)
    group.add_argument(
        "--answer", help=f"extract answers and mark those that are right: {options.EXTRACTORS}"
    )


def add_reading(command: options.Group) -> None:
    """Add how a file of problems is to be read."""
    command.add_argument(
        "--format", metavar="NAME", help=f"of the problems: {', '.join(sorted(FORMATS))}"
    )
    for part, what in FIELDS.items():
        name = f"the field of the problems that is {what} (default: {part}, or the format's)"
        command.add_argument(f"--{part}-field", metavar="NAME", help=name)


def check_sources(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` unless one source of questions is given, with options of its own."""
    sources = [arguments.prompt, arguments.problems, arguments.task]
    if sum(one is not None for one in sources) != 1:
        raise ValueError(
            "give either a prompt or --problems FILE, with one JSON object a line, or --task NAME"
        )
    if arguments.task is None and (arguments.num or arguments.split):
        raise ValueError("--num and --split are for --task; leave them out")
    check_reading(arguments)


def check_for_one(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` for what needs a pool file, where none is named."""
    if arguments.problems or arguments.task or arguments.resume or arguments.force:
        many = "--task" if arguments.task else "--problems"
        option = many if arguments.problems or arguments.task else "--resume and --force"
        raise ValueError(f"{option} need a pool file; name it with -o POOL")


def check_reading(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` for what says how to read problems, where no file of them is given."""
    if arguments.problems is None and (given := reading(arguments)):
        name = next(iter(given)).replace("_", "-")
        raise ValueError(f"--{name} is for --problems; leave it out")


def problems_of(arguments: argparse.Namespace) -> tuple[Task | None, list[et.Problem]]:
    """The task, if there is one, and the problems as they were given."""
    from edifice_tt.pools.tasks import find_task

    task = find_task(arguments.task) if arguments.task else None
    if task:
        num = NUM_PROBLEMS if arguments.num is None else arguments.num
        split = arguments.split or default_of(MAKE_PROBLEMS, "split")
        problems = et.make_problems(task.name, num, split=split)
    elif arguments.problems:
        problems = et.read_problems(arguments.problems, **reading(arguments))
        if not arguments.format and all(one.gold is None for one in problems):
            terminal.warn(
                f"no problem of {arguments.problems} has a right answer (gold), so grade and curve "
                "cannot tell what is right; name its field with --gold-field, or a --format"
            )
    else:
        problems = [et.Problem(read_question(arguments))]
    return task, list(problems)


def as_prompts(
    arguments: argparse.Namespace, problems: list[et.Problem], lm: Any, task: Task | None
) -> list[et.Problem]:
    """The problems as the model is given them."""
    return [
        et.Problem(prompt_of(arguments, p.prompt, lm, task), p.problem, p.gold) for p in problems
    ]


def reading(arguments: argparse.Namespace) -> dict[str, str]:
    """How a file of problems is to be read, where that was said."""
    names = ("format", *(f"{part}_field" for part in FIELDS))
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def prompt_of(
    arguments: argparse.Namespace, question: Any, lm: Any, task: Task | None = None
) -> str | list[dict[str, str]]:
    """What the model is given: chat messages where it knows chats, unless told otherwise.

    A task's examples are to be continued, which is no conversation.
    """
    if not isinstance(question, str):
        return _chat(arguments, question)
    if arguments.raw or task or not lm.tokenizer.has_chat_template:
        if arguments.system or arguments.template_option:
            name = "--system" if arguments.system else "--template-option"
            raise ValueError(f"{name} is for a chat template, and none is used here; leave it out")
        return question
    return _chat(arguments, [{"role": "user", "content": question}])


def _chat(arguments: argparse.Namespace, messages: Any) -> list[dict[str, str]]:
    """The messages, after the system message of `--system`."""
    if arguments.raw:
        raise ValueError("--raw continues a text, and a problem has messages; leave it out")
    if not arguments.system:
        return [*messages]
    if messages[0]["role"] == "system":
        raise ValueError("a problem has a system message of its own; leave --system out")
    return [{"role": "system", "content": arguments.system}, *messages]


def read_question(arguments: argparse.Namespace) -> str:
    """The question, from the command line or from standard input."""
    try:
        prompt: str = arguments.prompt
        if prompt == "-":  # the end of its last line is no part of a question
            prompt = sys.stdin.read().removesuffix("\n").removesuffix("\r")
        prompt.encode()
    except UnicodeError as error:
        raise ValueError("the prompt is no UTF-8 text; convert it") from error
    if not prompt.strip():
        raise ValueError('the prompt is empty; give a question, for example "What is gravity?"')
    return prompt
