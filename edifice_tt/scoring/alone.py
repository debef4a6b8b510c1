"""A pool <-> its candidates one by one, for scorers that are asked about each. Knows no scorer."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.at_once import call_at_once


def each_alone(pool: Pool) -> list[Pool]:
    """A pool per candidate."""
    return [replace(pool, candidates=(one,)) for one in pool]


def joined(pool: Pool, parts: Iterable[Pool]) -> Pool:
    """The pool with what its parts have become, in its own order."""
    parts = list(parts)
    if not parts:
        return pool
    new = {candidate.index: candidate for part in parts for candidate in part}
    return replace(parts[0], candidates=tuple(new[one.index] for one in pool))


def score_alone(score: Callable[[Pool], Pool], pools: Iterable[Pool], count: int) -> Iterator[Pool]:
    """Each pool when its last candidate is scored, with `count` candidates at a time."""
    begun: dict[int, tuple[Pool, list[Pool]]] = {}

    def parts() -> Iterator[tuple[int, Pool]]:
        for at, pool in enumerate(pools):
            begun[at] = pool, []
            # Without candidates it still gets the declared range.
            yield from ((at, part) for part in each_alone(pool) or [pool])

    for at, part in call_at_once(lambda item: (item[0], score(item[1])), parts(), count):
        pool, done = begun[at]
        done.append(part)
        if len(done) == max(1, len(pool)):
            yield joined(*begun.pop(at))
