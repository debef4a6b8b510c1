"""Right answers for a pool that was sampled without them. Knows problems and pools; no answer."""

import os
from collections.abc import Mapping
from dataclasses import replace

from edifice_tt.contract.errors import EdificeError
from edifice_tt.pools.messages import keep
from edifice_tt.pools.pool import Pool, Problem, rewrite_pools
from edifice_tt.pools.question import question_text


def add_gold(pool: Pool, problems: Mapping[str, Problem]) -> Pool:
    """The pool with the right answer of its problem among these, by id, if it has none.

    Raises `EdificeError` where that problem asks something else, or has another right answer.
    """
    given = problems.get(pool.problem)
    if given is None or given.gold is None:
        return pool
    asked = _asked(given)
    if pool.prompt and asked not in (question_text(pool), str(pool.prompt)):
        raise EdificeError(
            f"problem {pool.problem!r} of the pool asks {question_text(pool)!r:.60}, that of the "
            f"problems {asked!r:.60}; give the problems that it was sampled for"
        )
    if pool.gold not in (None, given.gold):
        raise EdificeError(
            f"problem {pool.problem!r} has the right answer {pool.gold!r:.60} in the pool, and "
            f"{given.gold!r:.60} among the problems; only one that is missing is filled in"
        )
    return replace(pool, gold=given.gold)


def _asked(problem: Problem) -> str:
    """The question as `question_text` gives it of a pool."""
    if isinstance(problem.prompt, str):
        return question_text(Pool(problem.prompt, ()))
    return question_text(Pool("", (), messages=keep(problem.prompt)))


def write_golds(path: str | os.PathLike[str], golds: Mapping[str, str | None]) -> None:
    """Write right answers into a pool file, by problem; the others stay. The file is replaced."""
    rewrite_pools(
        path, lambda file: (replace(one, gold=golds.get(one.problem, one.gold)) for one in file)
    )
