"""Commands that sample: best-of, generate."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edifice_tt as et
from edifice_tt.cli import judging, options, terminal
from edifice_tt.cli.choosing import Chooser, cut_off_lines, sample, table_of
from edifice_tt.cli.options import Add
from edifice_tt.cli.parser import add_option, default_of
from edifice_tt.contract.records import Task
from edifice_tt.contract.wording import counted
from edifice_tt.pools.problems import FORMATS
from edifice_tt.pools.tasks import SPLITS

if TYPE_CHECKING:
    from edifice_tt.machine.meter import SamplingMeter

HEADING = "sample answers"
FIELDS = {"prompt": "the question", "gold": "the right answer", "problem": "the id"}
NUM_PROBLEMS = 100  # of a task, unless told otherwise
MAKE_PROBLEMS = "pools.tasks:make_problems"


def register(add: Add) -> None:
    """Add the commands of this room."""
    best = add(
        "best-of",
        _best_of,
        "sample, score, select",
        options.add_sampling,
        options.add_selection,
        options.add_scoring,
        judging.add_judging,
    )
    best.add_argument("prompt", help="the question; - reads it from standard input")
    best.add_argument(
        "--task", help="ask a question of a task, after its examples (edifice-tt tasks NAME)"
    )
    options.add_output(best, "keep the scored pool in this file")
    generate = add("generate", _generate, "sample candidates into a pool", options.add_sampling)
    generate.add_argument("prompt", nargs="?", help="the question; - reads it from standard input")
    generate.add_argument(
        "--problems",
        type=Path,
        metavar="FILE",
        help='many questions: JSON lines of {"prompt" or "messages", "problem", "gold"}, a .csv or '
        "a .parquet; needs -o",
    )
    generate.add_argument(
        "--format", metavar="NAME", help=f"of the problems: {', '.join(sorted(FORMATS))}"
    )
    for part, what in FIELDS.items():
        name = f"the field of the problems that is {what} (default: {part}, or the format's)"
        generate.add_argument(f"--{part}-field", metavar="NAME", help=name)
    generate.add_argument("--task", help="problems of a task (edifice-tt tasks); needs -o")
    generate.add_argument(
        "--num", type=int, help=f"how many problems of the task (default: {NUM_PROBLEMS})"
    )
    splits = "of the task: {} (default) or test"
    add_option(generate, MAKE_PROBLEMS, "--split", splits, unset=True, choices=SPLITS)
    generate.add_argument(
        "--answer", help=f"extract answers and mark those that are right: {options.EXTRACTORS}"
    )
    resume = "make only what the file lacks"
    options.add_output(generate, "pool file (default: print the candidates)", resume=resume)


def _generate(arguments: argparse.Namespace) -> int:
    sources = [arguments.prompt, arguments.problems, arguments.task]
    if sum(one is not None for one in sources) != 1:
        raise ValueError(
            "give either a prompt or --problems FILE, with one JSON object a line, or --task NAME"
        )
    if arguments.task is None and (arguments.num or arguments.split):
        raise ValueError("--num and --split are for --task; leave them out")
    if arguments.problems is None and (given := _reading(arguments)):
        name = next(iter(given)).replace("_", "-")
        raise ValueError(f"--{name} is for --problems; leave it out")
    if arguments.output:
        return _generate_file(arguments)
    if arguments.problems or arguments.task or arguments.resume or arguments.force:
        many = "--task" if arguments.task else "--problems"
        option = many if arguments.problems or arguments.task else "--resume and --force"
        raise ValueError(f"{option} need a pool file; name it with -o POOL")
    question = _read_question(arguments)
    request = options.request_of(arguments, answer=arguments.answer)
    lm = options.load(arguments, arguments.model, request.devices)
    pool = sample(lm, _prompt(arguments, question, lm), request)
    terminal.show_result(arguments, pool.to_dict(), table_of(pool, request.max_tokens))
    # What is finished is shown, yet whoever goes on by the status must know that it is not all.
    return 130 if pool.interrupted else 0


def _generate_file(arguments: argparse.Namespace) -> int:
    from edifice_tt.pools.tasks import find_task
    from edifice_tt.sampling.runs import open_run

    options.check_new(arguments)
    task = find_task(arguments.task) if arguments.task else None
    if task:
        num = NUM_PROBLEMS if arguments.num is None else arguments.num
        split = arguments.split or default_of(MAKE_PROBLEMS, "split")
        problems = et.make_problems(task.name, num, split=split)
    elif arguments.problems:
        problems = et.read_problems(arguments.problems, **_reading(arguments))
    else:
        problems = [et.Problem(_read_question(arguments))]
    answer = arguments.answer or task.answer if task else arguments.answer
    request = options.request_of(arguments, task, answer)
    lm = options.load(arguments, arguments.model, request.devices)
    problems = [
        et.Problem(_prompt(arguments, p.prompt, lm, task), p.problem, p.gold) for p in problems
    ]
    path, status = arguments.output, 0
    with open_run(
        lm, problems, path, request, resume=arguments.resume, force=arguments.force
    ) as run:
        total = request.n * len(problems)
        done = total - run.num_missing
        if done:
            terminal.say(f"{done} of {total} candidates are in {path}")
        try:
            with terminal.sampling_progress(run.num_missing, done=done) as meter:
                run.sample(meter)
        except KeyboardInterrupt:
            status = 130
        done += run.num_made
    if status:
        terminal.tell(
            f"interrupted; {done} of {total} candidates are in {path}; the same command with "
            "--resume makes the others"
        )
    counts = {"problems": len(problems), "candidates": done, "made": run.num_made}
    counts |= {"tokens": meter.tokens, "cut_off": meter.cut_off}
    lines = [
        f"{done} candidates of {counted(len(problems), 'problem')} in {path}; {_made(meter)}",
        *cut_off_lines(meter.cut_off, meter.made, request.max_tokens),
    ]
    if arguments.json or not status:
        terminal.show_result(arguments, {"pool": str(path), **counts}, "\n".join(lines))
    return status


def _made(meter: "SamplingMeter") -> str:
    """What this run has made, and how fast."""
    speed = f", {meter.tokens / meter.seconds:.1f} per second" if meter.tokens else ""
    return f"this run made {meter.made}, of {counted(meter.tokens, 'token')}{speed}"


def _reading(arguments: argparse.Namespace) -> dict[str, str]:
    """How a file of problems is to be read, where that was said."""
    names = ("format", *(f"{part}_field" for part in FIELDS))
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _best_of(arguments: argparse.Namespace) -> int:
    from edifice_tt.pools.tasks import find_task

    # What can be wrong is found before minutes of sampling.
    chooser = Chooser(arguments)
    task = find_task(arguments.task) if arguments.task else None
    if arguments.output:
        options.check_new(arguments)
    question = (task.examples if task else "") + _read_question(arguments)
    request = options.request_of(arguments, task, reads=chooser.reads)
    lm = chooser.load(request.devices)
    pool, choice = sample(lm, _prompt(arguments, question, lm, task), request), None
    try:
        pool = chooser.score(lm, pool)
        choice = chooser.select(pool)
    finally:  # what was sampled is not lost when the scorer fails or the rule chooses nobody
        try:
            if arguments.output:
                et.write_pools(arguments.output, [pool], overwrite=arguments.force)
        finally:  # nor when it cannot be saved; printing comes last, for its reader may have left
            plain = {"choice": choice and choice.to_dict(), "pool": pool.to_dict()}
            table = chooser.show(pool, choice, request.max_tokens)
            text = f"{choice.text}\n\n{table}" if choice else table
            terminal.show_result(arguments, plain, text)
    return 130 if pool.interrupted else 0


def _prompt(
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


def _read_question(arguments: argparse.Namespace) -> str:
    """The question, from the command line or from standard input."""
    try:
        prompt: str = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
        prompt.encode()
    except UnicodeError as error:
        raise ValueError("the prompt is no UTF-8 text; convert it") from error
    if not prompt.strip():
        raise ValueError('the prompt is empty; give a question, for example "What is gravity?"')
    return prompt
