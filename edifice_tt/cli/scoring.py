"""Scoring a pool file, whoever scores: a problem is written when it is scored, and so kept."""

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import edifice_tt as et
from edifice_tt.cli import options, terminal
from edifice_tt.cli.parser import default_of
from edifice_tt.contract import registry
from edifice_tt.contract.errors import CheckpointError, EdificeError, TrainedOnWarning
from edifice_tt.contract.plugins import OWN_NAME
from edifice_tt.contract.tracing import message_of
from edifice_tt.version import __version__


@dataclass(frozen=True)
class Work:
    """A scorer, ready to score the pools of a file; `check` looks at a pool before all are scored.

    `fingerprint` identifies its model and its reduction of steps, if it has any. `seen` are the
    problems that it was trained on. `told` ends the line that tells of the scores. `rename` is the
    option that gives it another name.
    """

    name: str
    owner: str
    fingerprint: str | None
    score: Callable[[Any], Any]
    check: Callable[[Any], object] = lambda pool: None
    seen: Sequence[str] = ()
    told: str = ""
    concurrency: int = 1
    rename: str = ""


def open_work(arguments: argparse.Namespace, file: Any) -> Work:
    """The scorer that `--scorer`, `--verifier` and `--model` ask for."""
    from edifice_tt.scoring.steps import check_reduce

    scorer, model = options.scorer_of(arguments), ""
    if arguments.verifier is None:
        scorer = scorer or default_of(options.SCORE, "scorer")
        record = registry.scorer(scorer)
        check_reduce(record, arguments.reduce)
        model = record.model
    verifier = options.open_verifier(arguments, scorer)
    model = arguments.model or (verifier and (model or options.DEFAULT_MODEL))
    lm = options.load(arguments, model) if model else None
    if verifier is None:
        return work_of_scorer(arguments, lm, str(scorer), arguments.concurrency)
    _check_concurrency(arguments.concurrency, "states")
    prompts = {name: about["prompt"] for name, about in file.problems.items()}
    verifier.check(lm)
    kept = _kept(arguments, lm, verifier)
    return work_of_verifier(arguments, lm, verifier, prompts, kept)


def work_of_verifier(
    arguments: argparse.Namespace,
    lm: Any,
    verifier: Any,
    prompts: Mapping[str, str],
    kept: Any = None,
) -> Work:
    """A verifier, with the model whose states it reads, for the problems of these prompts."""
    verifier.check(lm)
    owner = verifier.owner or f"verifier {arguments.verifier}"
    score = partial(_score_by_verifier, arguments, lm, verifier, kept)
    seen = _seen(verifier, prompts)
    return Work(verifier.name, _versioned(owner), verifier.fingerprint, score, seen=seen)


def work_of_scorer(
    arguments: argparse.Namespace, lm: Any, scorer: str, concurrency: int | None = None
) -> Work:
    """A registered scorer, with the model that it is a head of, if it is one."""
    from edifice_tt.scoring.score import check_pool, check_scorer
    from edifice_tt.scoring.steps import DEFAULT

    record = check_scorer(lm, scorer)
    fingerprint = lm.fingerprint if lm and record.reads == "hidden" else None
    if record.level == "step":
        fingerprint = arguments.reduce or DEFAULT
    owner, check = _versioned(record.owner), partial(check_pool, record)
    score = partial(_score, arguments, lm, scorer)
    count = _check_concurrency(concurrency, record.reads) or record.concurrency
    return Work(record.name, owner, fingerprint, score, check, concurrency=count)


def _check_concurrency(count: int | None, reads: str) -> int | None:
    if count and reads != "text":
        raise ValueError("--concurrency is for a scorer that reads text; leave it out")
    return count


def _versioned(owner: str) -> str:
    return f"{owner} {__version__}" if owner == OWN_NAME else owner


def _score(arguments: argparse.Namespace, lm: Any, scorer: Any, pool: Any) -> Any:
    return et.score(lm, pool, scorer=scorer, reduce=arguments.reduce)


def _score_by_verifier(
    arguments: argparse.Namespace, lm: Any, verifier: Any, kept: Any, pool: Any
) -> Any:
    from edifice_tt.scoring.score import told_cost

    if kept is not None and arguments.reduce is None and kept.holds(pool):
        return told_cost(verifier.name, lambda: verifier.score_states(pool, kept.of(pool)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainedOnWarning)  # one line has told of all
        return _score(arguments, lm, verifier, pool)


def _kept(arguments: argparse.Namespace, lm: Any, verifier: Any) -> Any:
    """The features that training has kept beside the pool file, if the verifier reads these.

    What cannot be used is read anew, as it would be without the file.
    """
    from edifice_tt.training.features import Source, file_beside, load_features

    for positions in ("all",) if verifier.looks_back else ("last", "all"):
        file = file_beside(arguments.pool, verifier.layer, positions)
        if not file.exists():
            continue
        try:
            kept = load_features(file, Source.of(lm, verifier.layer, positions))
        except CheckpointError as error:
            terminal.warn(f"{message_of(error)}; here it is left out, and the states are read")
            continue
        terminal.say(f"what {file} holds is not read again")
        return kept
    return None


def _seen(verifier: Any, prompts: Mapping[str, str]) -> list[str]:
    """The problems that a verifier was trained on; warns in one line."""
    seen = [name for name, prompt in prompts.items() if verifier.has_seen(prompt)]
    if seen:
        terminal.warn(
            f"verifier {verifier.name!r} was trained on {len(seen)} of these {len(prompts)} "
            "problems; how it scores them says nothing about new ones"
        )
    return seen


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
        left = list(_left(file, work, arguments.resume))
        shown: list[Any] = []
        done = len(file.problems) - len(left)
        try:
            fields = file.fields(*left) if left else ()
            scored = call_at_once(partial(_scored, file, work), fields, work.concurrency)
            for pool in terminal.progress(scored, len(left), f"scoring by {work.name}"):
                writer.add_scores(pool, work.name, work.owner, work.fingerprint, work.seen)
                done += 1
                shown += [pool] if arguments.json or len(file.problems) == 1 else []
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
    _show(arguments, file, work, shown)
    return 0


def _state(file: Any, work: Work, done: int, same: bool) -> str:
    """What is in the file when scoring ends early, and how to go on."""
    if not same:
        return f"the scores by {work.name} that were there before stay as they were"
    return (
        f"{done} of {len(file.problems)} problems in {file.path} have a score; the same command "
        "with --resume scores the others"
    )


def _show(arguments: argparse.Namespace, file: Any, work: Work, pools: Sequence[Any]) -> None:
    count = sum(map(len, file.indices.values()))
    text = f"{count} candidates of {len(file.problems)} problems in {arguments.pool} have a "
    text += f"score by {work.name}{work.told}"
    if pools and len(file.problems) == 1:
        text = terminal.show_candidates(pools[0])
    plain = [pool.to_dict() for pool in pools] if arguments.json else []
    terminal.show_result(arguments, plain, text)


def _left(file: Any, work: Work, resume: bool) -> Iterator[str]:
    """The problems to score; all their texts are looked at before hours of reading."""
    for fields in file.fields():
        pool = et.Pool(**fields)
        if not resume or any(work.name not in one.scores for one in pool):
            _at_line(file, pool, work.check)
            yield pool.problem


def _scored(file: Any, work: Work, fields: Any) -> Any:
    return _at_line(file, et.Pool(**fields), work.score)


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
