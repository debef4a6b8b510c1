"""A scorer ready for the pools of a file, as the arguments of a command ask for it."""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import edifice_tt as et
from edifice_tt.cli import options, terminal
from edifice_tt.cli.parser import default_of
from edifice_tt.contract import registry
from edifice_tt.contract.errors import CheckpointError, TrainedOnWarning
from edifice_tt.contract.plugins import OWN_NAME
from edifice_tt.contract.tracing import message_of
from edifice_tt.version import __version__


@dataclass(frozen=True)
class Work:
    """A scorer, ready to score the pools of a file; `check` looks at a pool before all are scored.

    `fingerprint` identifies its model and its reduction of steps, if it has any. `seen` are the
    problems that it was trained on. `told` ends the line that tells of the scores. `rename` is the
    option that gives it another name. Its scores are asked for, and kept, `per` problem or answer.
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
    per: str = "problem"


def open_work(arguments: argparse.Namespace, file: Any) -> Work:
    """The scorer that `--scorer`, `--verifier` and `--model` ask for; a worker has no file."""
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
    prompts = {name: about["prompt"] for name, about in file.problems.items()} if file else {}
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
    return Work(record.name, owner, fingerprint, score, check, concurrency=count, per=record.per)


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

    for positions in ("all",) if verifier.reads_all else ("last", "all"):
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
