"""Commands that sample: best-of, generate."""

import argparse
import shlex
from typing import TYPE_CHECKING, Any

import edifice_tt as et
from edifice_tt.cli import asking, judging, options, outputs, searching, terminal, workers
from edifice_tt.cli.choosing import Chooser, add_selection, cut_off_lines, sample, table_of
from edifice_tt.cli.options import Add
from edifice_tt.cli.rating import RatedRun, Rating, wanted
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.tracing import message_of
from edifice_tt.contract.wording import counted

if TYPE_CHECKING:
    from edifice_tt.machine.meter import SamplingMeter
    from edifice_tt.sampling.runs import Run

HEADING = "sample answers"


def register(add: Add) -> None:
    best = add(
        "best-of",
        _best_of,
        "sample, score, select",
        options.add_sampling,
        add_selection,
        options.add_scoring,
        judging.add_judging,
    )
    best.add_argument("prompt", help="the question; - reads it from standard input")
    best.add_argument(
        "--task", help="ask a question of a task, after its examples (edifice-tt tasks NAME)"
    )
    outputs.add_output(best, "keep the scored pool in this file")
    generate = add(
        "generate",
        _generate,
        "sample candidates into a pool",
        options.add_sampling,
        options.add_scoring,
        judging.add_judging,
    )
    asking.add_problems(generate)
    scorer = "score each problem's candidates when they are sampled, by the same model in one go"
    generate.add_argument("--scorer", metavar="NAME", help=scorer)
    workers.add_workers(generate)
    stop = "stop a problem when its vote is clear: adaptive:0.95 is a search, with that threshold"
    generate.add_argument("--stop-when", metavar="METHOD:VALUE", help=stop)
    resume = "make only what the file lacks"
    outputs.add_output(generate, "pool file (default: print the candidates)", resume=resume)


def _generate(arguments: argparse.Namespace) -> int:
    asking.check_sources(arguments)
    rating = wanted(arguments)
    workers.check(arguments)
    if rating is not None and workers.are_asked_for(arguments):
        raise ValueError(
            "several workers sample first and score then; leave the scorer out, and give it to "
            "edifice-tt score --workers"
        )
    if arguments.stop_when is not None:
        if rating is not None:
            raise ValueError(
                "--stop-when is a search by answers, which has no scores; score its pool with "
                "edifice-tt score"
            )
        return searching.generate(arguments)
    if arguments.output:
        return _generate_file(arguments, rating)
    asking.check_for_one(arguments)
    question = asking.read_question(arguments)
    reads = rating.reads if rating else None
    request = options.request_of(arguments, answer=arguments.answer, reads=reads)
    lm = options.load(arguments, arguments.model, request.devices)
    pool = sample(lm, asking.prompt_of(arguments, question, lm), request)
    if rating is not None:
        pool = rating.rate(lm, pool)
    terminal.show_result(arguments, pool.to_dict(), table_of(pool, request.max_tokens))
    # What is finished is shown, yet whoever goes on by the status must know that it is not all.
    return 130 if pool.interrupted else 0


def _generate_file(arguments: argparse.Namespace, rating: Rating | None) -> int:
    from edifice_tt.sampling.runs import open_run

    arguments = options.keep_n(arguments)
    task, problems = asking.problems_of(arguments)
    answer = arguments.answer or task.answer if task else arguments.answer
    request = options.request_of(arguments, task, answer, rating.reads if rating else None)
    outputs.check_new(arguments)  # last, so that it hides no other mistake
    lm = options.load(arguments, arguments.model, request.devices)
    problems = asking.as_prompts(arguments, problems, lm, task)
    path, status, failed = arguments.output, 0, dict[str, str]()
    how = {"resume": arguments.resume, "force": arguments.force}
    with (
        workers.executor_of(arguments) as executor,
        options.naming_sources(arguments),
        open_run(lm, problems, path, request, **how) as run,
    ):
        rated = rating and RatedRun.of(rating, lm, run, arguments.resume)
        total = request.n * len(problems)
        done = total - run.num_missing
        if done:
            terminal.say(f"{done} of {total} candidates are in {path}")
        try:
            with terminal.sampling_progress(run.num_missing, done=done) as meter:
                if executor is None:
                    (rated or run).sample(meter)
                else:
                    failed = _sample_by(executor, run, meter)
        except KeyboardInterrupt:
            status = 130
        done += run.num_made
    if status:
        again = "" if arguments.resume else " with --resume"
        made = f"interrupted; {done} of {total} candidates are in {path}"
        terminal.tell(f"{made}; the same command{again} makes the others")
    if failed:
        workers.tell_failed(arguments, failed, len(problems), "lack candidates")
        status = workers.FAILED
    counts = {"problems": len(problems), "candidates": done, "made": run.num_made}
    counts |= {"tokens": meter.tokens, "cut_off": meter.cut_off}
    counts |= {"scored": rated.scored} if rated else {}
    lines = [
        f"{done} candidates of {counted(len(problems), 'problem')} in {path}; {_made(meter)}",
        *cut_off_lines(meter.cut_off, meter.made, request.max_tokens),
        *([rated.told] if rated else []),
    ]
    if arguments.json or status != 130:
        terminal.show_result(arguments, {"pool": str(path), **counts}, "\n".join(lines))
    return status


def _sample_by(executor: Any, run: "Run", meter: "SamplingMeter") -> dict[str, str]:
    """Sample by several workers; why problems failed."""
    from edifice_tt.workers.sampling import sample_by

    return sample_by(executor, run, terminal.tell, meter.on_candidate)


def _made(meter: "SamplingMeter") -> str:
    """What this run has made, and how fast."""
    speed = f", {meter.tokens / meter.seconds:.1f} per second" if meter.tokens else ""
    return f"this run made {meter.made}, of {counted(meter.tokens, 'token')}{speed}"


def _scored(arguments: argparse.Namespace, chooser: Chooser, lm: Any, pool: Any) -> Any:
    """The pool with scores; where there are none, the error says how to add them to the file."""
    try:
        return chooser.score(lm, pool)
    except EdificeError as error:
        if not arguments.output:
            raise
        words = ["edifice-tt", "score", str(arguments.output)]
        words += ["--scorer", chooser.scorer] if chooser.scorer else []
        do = f"the candidates are kept; `{shlex.join(words)}` scores them"
        raise type(error)(f"{message_of(error)}; {do}") from error


def _best_of(arguments: argparse.Namespace) -> int:
    from edifice_tt.pools.tasks import find_task

    # What can be wrong is found before minutes of sampling.
    chooser = Chooser(arguments)
    task = find_task(arguments.task) if arguments.task else None
    question = (task.examples if task else "") + asking.read_question(arguments)
    request = options.request_of(arguments, task, reads=chooser.reads)
    if arguments.output:
        outputs.check_new(arguments)
    lm = chooser.load(request.devices)
    pool, choice = sample(lm, asking.prompt_of(arguments, question, lm, task), request), None
    try:
        pool = _scored(arguments, chooser, lm, pool)
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
