"""Scoring a pool file, whoever scores: a problem is written when it is scored, and so kept."""

import argparse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import edifice_tt as et
from edifice_tt.cli import terminal, workers
from edifice_tt.cli.work import Work
from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.tracing import message_of
from edifice_tt.contract.wording import held

Job = tuple[Mapping[str, Any], Sequence[slice]]  # a problem's pool, and what is scored per call


def score_file(
    arguments: argparse.Namespace, open_work: Callable[[argparse.Namespace, Any], Work]
) -> int:
    """Score a pool file; what is scored stays when the scorer fails or is interrupted.

    Where it would replace the scores of another, or of nobody knows whom, those stay whole instead.
    """
    from edifice_tt.pools.writer import PoolWriter
    from edifice_tt.scoring.at_once import call_at_once

    with PoolWriter(arguments.pool) as writer:  # opened first: a mistake in it costs no loading
        file = writer.file.with_problems()
        work = open_work(arguments, file)
        same = is_same(file, work, arguments.resume)
        left = dict(_left(file, work, arguments.resume))
        count, failed = sum(map(len, left.values())), dict[str, str]()
        done = _total(file, work) - count
        try:
            with workers.executor_of(arguments) as executor:
                if executor is None:
                    ask = partial(_at_line, file, do=work.score)
                    pools = (pool for job in _jobs(file, left) for pool in _pools(*job))
                    scored = call_at_once(ask, pools, work.concurrency)
                else:
                    begin = partial(_begin, workers.portable(arguments), open_work, _who(work))
                    scored = _score_by(executor, begin, _jobs(file, left), failed)
                for pool in terminal.progress(scored, count, f"scoring by {work.name}"):
                    writer.add_scores(pool, work.name, work.owner, work.fingerprint, work.seen)
                    done += 1
            if failed and not same:
                raise EdificeError(f"problem {next(iter(failed))!r}: {next(iter(failed.values()))}")
        except BaseException as error:
            if not same:
                writer.take_back()
            state = _state(file, work, done, same)
            if isinstance(error, KeyboardInterrupt):
                terminal.tell(f"interrupted; {state}")
                return 130
            if isinstance(error, EdificeError) and (done or not same):
                raise type(error)(f"{message_of(error)}; {state}") from error
            raise
        if failed:
            workers.tell_failed(arguments, failed, len(file.problems), "have no score")
            return workers.FAILED
        _show(arguments, file, work, left)
    return 0


def _who(work: Work) -> tuple[str, ...]:
    """What must be the same in all workers."""
    return work.name, work.owner, work.fingerprint or "no model"


def _begin(
    arguments: argparse.Namespace,
    open_work: Callable[[argparse.Namespace, Any], Work],
    expected: tuple[str, ...],
) -> Callable[..., None]:
    """In a worker: the function that scores a pool."""
    from edifice_tt.scoring.at_once import call_at_once

    work = open_work(arguments, None)
    if different := [pair for pair in zip(_who(work), expected, strict=True) if pair[0] != pair[1]]:
        here, wanted = different[0]
        raise EdificeError(f"the scorer is of {here} here, and the driver's of {wanted}")

    def score(job: Job, give: Callable[[Any], object]) -> None:
        for pool in call_at_once(work.score, _pools(*job), work.concurrency):
            give(pool)

    return score


def _state(file: Any, work: Work, done: int, same: bool) -> str:
    """What is in the file when scoring ends early, and how to go on."""
    if not same:
        return f"the scores by {work.name} that were there before stay as they were"
    return (
        f"{done} of {_total(file, work)} {work.per}s in {file.path} have a score; the same command "
        "with --resume scores the others"
    )


def _score_by(
    executor: Any, begin: Callable[[], Any], jobs: Iterable[Job], failed: dict[str, str]
) -> Iterator[Any]:
    """The pools that several workers have scored."""
    from edifice_tt.workers.driving import drive
    from edifice_tt.workers.items import Item

    items = (Item(job[0]["problem"], job) for job in jobs)
    seen: set[Any] = set()
    for problem, pool in drive(executor, begin, items, failed, terminal.tell):
        which = problem, *(candidate.index for candidate in pool)
        if which not in seen:  # one that was begun again may be scored twice
            seen.add(which)
            yield pool


def _total(file: Any, work: Work) -> int:
    """How many calls score the whole file."""
    return len(file.problems) if work.per == "problem" else sum(map(len, file.indices.values()))


def _show(arguments: argparse.Namespace, file: Any, work: Work, left: Collection[str]) -> None:
    count = sum(map(len, file.indices.values()))
    have = "has" if count == 1 else "have"
    text = f"{held(count, len(file.problems))} in {arguments.pool} {have} a "
    text += f"score by {work.name}{work.told}" if left else f"score by {work.name} already"
    pools: list[Any] = []
    if left and (arguments.json or len(file.problems) == 1):
        fields = type(file)(file.path).with_problems().fields(*left)  # with what was appended
        pools = [et.Pool(**one) for one in fields]
    if pools and len(file.problems) == 1:
        text = terminal.show_candidates(pools[0])
    plain = [pool.to_dict() for pool in pools] if arguments.json else []
    terminal.show_result(arguments, plain, text)


def _left(file: Any, work: Work, resume: bool) -> Iterator[tuple[str, list[slice]]]:
    """The problems to score, each with the parts of its candidates that are one call.

    All their texts are looked at before hours of reading.
    """
    for fields in file.fields():
        pool = et.Pool(**fields)
        missing = [at for at, one in enumerate(pool) if not resume or work.name not in one.scores]
        if missing or not resume:
            _at_line(file, pool, work.check)
            alone = work.per == "answer"
            yield pool.problem, [slice(at, at + 1) for at in missing] if alone else [slice(None)]


def _jobs(file: Any, left: Mapping[str, Sequence[slice]]) -> Iterator[Job]:
    for fields in file.fields(*left) if left else ():
        yield fields, left[fields["problem"]]


def _pools(fields: Mapping[str, Any], parts: Sequence[slice]) -> Iterator[Any]:
    pool = et.Pool(**fields)
    yield from (replace(pool, candidates=pool.candidates[part]) for part in parts)


def _at_line(file: Any, pool: Any, do: Callable[[Any], Any]) -> Any:
    """Do something with a pool; an error names its line in the file."""
    try:
        return do(pool)
    except (EdificeError, ValueError) as error:
        line = f"line {file.lines[pool.problem]}, problem {pool.problem!r}"
        raise EdificeError(f"{file.path}, {line}: {message_of(error)}") from error


def is_same(file: Any, work: Work, resume: bool) -> bool:
    """Whether new scores may stand beside those in the file.

    Raises `EdificeError` where those are known to be of another scorer and were to be completed.
    """
    known = file.scorers.get(work.name)
    if known is None:
        return True
    old = known.get("fingerprint") or "", known.get("owner") or ""
    new = work.fingerprint or "", work.owner
    if old == new:
        return resume or bool(work.fingerprint)
    if resume or work.rename:
        what, instead = "scorer", "score without --resume"
        if work.rename:
            what, instead = "judge", f"give this one another name with {work.rename}"
        raise EdificeError(
            f"{file.path}: it has scores by {work.name} of another {what} or reduction of steps "
            f"({_in_words(old)}, this one is {_in_words(new)}); {instead}"
        )
    return False


def _in_words(known: tuple[str, str]) -> str:
    return " of ".join(filter(None, known)) or "unknown"
