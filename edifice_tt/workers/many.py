"""Many problems in one call, in this process or by several workers. Knows no executor."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Unpack

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.spelled import takes_options_of
from edifice_tt.live.plan import Plan
from edifice_tt.live.runs import Listeners, open_searches, search_problems
from edifice_tt.live.search import search
from edifice_tt.machine.progress import Shows, each, length_of, showing
from edifice_tt.pools import given
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.index import header_settings
from edifice_tt.pools.pool import Pool, Problem
from edifice_tt.sampling.generate import Event, counting, generate, make_request
from edifice_tt.sampling.request import Request, Sampling, today
from edifice_tt.sampling.runs import open_run
from edifice_tt.scoring.judges.judge import Judge
from edifice_tt.scoring.many import ScoreOptions, about, score_each, telling_of_seen
from edifice_tt.scoring.score import score
from edifice_tt.scoring.verifier import Verifier
from edifice_tt.workers.sampling import sample_by
from edifice_tt.workers.scoring import score_by
from edifice_tt.workers.searching import search_by
from edifice_tt.workers.sharing import (
    Sharing,
    check_done,
    divide,
    is_shared,
    open_executor,
    warn_of_refused,
)


class SharedSampling(Sampling, Sharing, total=False):
    """What to sample, and who does it."""


class SharedScoring(ScoreOptions, Sharing, total=False):
    """How to score, and who does it."""


SAMPLING = tuple(field.name for field in fields(Request))
SEARCHING = tuple(name for name in SAMPLING if name != "n")
SCORING = tuple(ScoreOptions.__annotations__)


@takes_options_of(open_executor)
@takes_options_of(generate, SAMPLING)
def generate_pools(
    lm: CausalLM,
    problems: Iterable[Problem],
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    on_token: Callable[[Event], None] | None = None,
    progress: Shows = False,
    **options: Unpack[SharedSampling],
) -> int:
    """Sample candidates for many problems into a pool file; returns the number of new candidates.

    Each candidate is written when it finishes, so a killed run loses at most one line.
    `resume=True` adds what is missing; the result equals that of an uninterrupted run. With a
    larger `n` it adds more candidates to each problem, and those that are there stay. `options` are
    those of `generate`, as is `progress`; `edifice_tt.read_pools` reads the file.

    `workers=4` shares the problems out to processes; `executor="ray", address="auto"` to those of a
    cluster. The candidates are the same. `cores_per_worker` and `gpus_per_worker` say what each
    may use. A worker loads the model as `lm` was loaded; one that no loader made is sent whole.

    Ctrl-C raises KeyboardInterrupt, with every finished candidate in the file. Raises
    `EdificeError` for a file that exists, or one with another model, settings or problems. So it
    does at the end for problems that failed in their workers. Raises `ValueError` as `generate`
    does, before anything is sampled.
    """
    given.check_writer(lm)
    given.check_path(path, "generate_pools(lm, problems, path)")
    problems = [*given.check_problems(problems)]
    sharing, sampling = divide(options, "generate_pools", SAMPLING)
    request, how = make_request(**sampling), {"resume": resume}
    if not _is_for_workers(sharing, request):
        with (
            open_run(lm, problems, path, request, **how) as run,
            showing(progress, run.num_missing, "candidates") as add,
        ):
            return run.sample(counting(add, on_token))
    if on_token is not None:
        raise ValueError("workers give whole candidates; leave out on_token, and give progress")
    with (
        open_executor(**sharing) as executor,
        open_run(lm, problems, path, request, **how) as run,
        showing(progress, run.num_missing, "candidates") as add,
    ):

        def count(candidate: Candidate) -> None:
            add(1, candidate.num_tokens)

        failed = sample_by(executor, run, warn_of_refused, count)
    check_done(failed, len(problems), "lack candidates; resume=True goes on with them")
    return run.num_made


@takes_options_of(open_executor)
@takes_options_of(score, SCORING)
def score_pools(
    lm: CausalLM | None,
    pools: Iterable[Pool],
    scorer: str | Verifier | Judge | Callable[..., Any] = "logprob",
    *,
    concurrency: int | None = None,
    progress: Shows = False,
    **options: Unpack[SharedScoring],
) -> Iterator[Pool]:
    """Yield each pool with a scorer's scores when it is ready; `options` are those of `score`.

    A verifier that was trained on some of the problems is one `TrainedOnWarning` at the end.

    `concurrency` is the number of calls at once, from several threads: of pools, or of candidates
    with `per="answer"`. It is for scorers and functions that read text, and by default what the
    scorer declares. `workers`, `executor` and so on are those of `generate_pools`: each worker has
    the scorer, and a function must be of a module that workers can import.
    `progress=True` shows how far it is, and a function is called with each `Progress`.

    Raises as `score` does; pools whose scoring had begun are yielded first. Those that fail in
    their workers are an `EdificeError` when all others are yielded. Raises `ValueError` for a
    `concurrency` that the scorer cannot have.
    """
    given.check_model(lm)
    total, pools = length_of(pools), given.check_pools(pools)
    sharing, how = divide(options, "score_pools", SCORING)
    declared: Any = how
    if is_shared(sharing):
        scored = score_by(sharing, lm, pools, scorer, concurrency, declared)
    else:
        scored = score_each(lm, pools, scorer, concurrency, declared)
    if about(scorer, declared)[0] == "states":
        scored = telling_of_seen(scored, str(getattr(scorer, "name", scorer)))
    return each(progress, scored, total, "problems scored")


@takes_options_of(open_executor)
@takes_options_of(search, SEARCHING)
def search_pools(
    lm: CausalLM,
    problems: Iterable[Problem],
    path: str | os.PathLike[str],
    method: str = "adaptive",
    scorer: str | Verifier | Judge | None = None,
    *,
    budget: int | None = None,
    settings: Mapping[str, Any] | None = None,
    reduce: str | None = None,
    resume: bool = False,
    progress: Shows = False,
    **options: Unpack[SharedSampling],
) -> int:
    """Search on many problems into a pool file; returns the number of searches that have ended.

    All is as in `search`, `options` too; `n` is one of `settings`. A problem is written when its
    search has ended. `resume=True` makes what is missing, and goes on with what was interrupted.
    `workers`, `executor` and so on are those of `generate_pools`.

    Ctrl-C raises KeyboardInterrupt. Raises `EdificeError` for a file that exists, or one with
    another model, settings or problems. So it does at the end for problems that failed in their
    workers. Raises as `search` does, before anything is sampled.
    """
    given.check_writer(lm)
    given.check_path(path, "search_pools(lm, problems, path, method)")
    problems, path = [*given.check_problems(problems)], Path(path)
    if "n" in options:
        raise ValueError(f"n is one of the settings of a search: settings={{'n': {options['n']}}}")
    sharing, sampling = divide(options, "search_pools", SEARCHING)
    begun = header_settings(path).get("date") if resume else None
    sampling["date"] = sampling.get("date") or begun or today()
    how: dict[str, Any] = {
        "method": method,
        "scorer": scorer,
        "settings": settings or {},
        "budget": budget,
    }
    how |= {"reduce": reduce, **sampling}
    plan, ended = Plan.of(lm, **how), list[str]()
    how["stop"] = plan.request.stop  # which need not be read twice
    shared = _is_for_workers(sharing, plan.request)
    with showing(progress, len(problems), "problems") as add:

        def count(pool: Pool) -> None:
            add(1, (pool.search or {})["spent"])
            ended.append(pool.problem)

        if not shared:
            search_problems(
                plan, problems, path, resume=resume, listeners=Listeners(on_problem=count)
            )
            return len(ended)
        with (
            open_executor(**sharing) as executor,
            open_searches(plan, problems, path, resume=resume, force=False) as run,
        ):
            failed = search_by(executor, lm, run, how, warn_of_refused, count)
    check_done(failed, len(problems), "have no search that ended; resume=True goes on with them")
    return len(ended)


def _is_for_workers(sharing: Sharing, request: Request) -> bool:
    """Whether workers are asked for; raises `ValueError` for what one process alone can have."""
    if not is_shared(sharing):
        return False
    if request.devices is not None:
        raise ValueError(
            f"devices={request.devices!r:.60} is for one process; for workers give cores_per_worker"
        )
    return True
