"""What would a search have saved on a finished pool? Knows pools and searches; runs no model.

The candidates of a problem are independent draws. So their order says nothing, and every figure is
a mean over all orders, or over drawn ones.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from math import ceil, isnan
from typing import Any

import numpy as np

from edifice_tt.contract.errors import PoolWarning
from edifice_tt.contract.options import check_count
from edifice_tt.contract.registry import Search, load_registry, one_registry
from edifice_tt.machine.progress import Shows, each
from edifice_tt.pools.given import check_pools
from edifice_tt.pools.index import leading
from edifice_tt.pools.pool import Pool
from edifice_tt.search.loop import check_options, make_search
from edifice_tt.search.method import Method
from edifice_tt.selection.answers import Named
from edifice_tt.selection.rules import check_cut_off
from edifice_tt.study.intervals import bootstrap_means, check_level, interval_of_means
from edifice_tt.study.remarks import first_of_each
from edifice_tt.study.replay_records import (
    Difference,
    Dropped,
    MonteCarlo,
    OneProblem,
    Replay,
    Spending,
)
from edifice_tt.study.replay_runs import Reader, Runs
from edifice_tt.study.statistics import Floats

_ROWS = 200_000  # in all orders of all problems, where orders are drawn
_ORDERS = (16, 1_000)  # per problem, at least and at most


def replay(
    pools: Iterable[Pool],
    search: str = "adaptive",
    *,
    answer: Named | None = None,
    scorer: str | None = None,
    confidence: str = "deepconf",
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
    orders: int | None = None,
    cut_off: str = "abstain",
    pool: str = "",
    progress: Shows = False,
    **settings: Any,
) -> Replay:
    """What a search that stops or drops rows would have spent and gained on finished pools.

    `settings` go to the search; without `n` it may spend all candidates of a problem. `answer` is
    an extractor, by its name or as a function, `scorer` whose scores to use, `confidence` a measure
    of the pool. It is compared with all candidates, and with the first candidates of each problem
    at the same cost in tokens. Both take the most common answer, or for a search without answers
    the best score. Answers that were cut off `abstain` in all three or `vote`, as `cut_off` says. A
    search that stops by counts is computed exactly. For others `orders` of the candidates are drawn
    per problem (default: from 16 to 1,000, for 200,000 rows in all). Intervals are a percentile
    bootstrap over problems. Unfinished problems are left out with a `PoolWarning`. `progress=True`
    shows how many problems are replayed, and a function is called with each `Progress`.

    Raises `ValueError` for unmarked candidates, for a pool that lacks what the search reads, and
    for a search that copies rows. Raises `UnknownNameError` for an unknown search or setting.

    >>> from edifice_tt import Candidate
    >>> four = [Candidate(i, "7", answer="7", correct=True, num_tokens=5) for i in range(8)]
    >>> found = replay([Pool("3 + 4 =", tuple(four))], "adaptive", threshold=0.95)
    >>> found.spent.samples, found.saved_tokens, found.against_all.difference
    (4.0, 0.5, 0.0)
    """
    pools = check_pools(pools)
    check_level(level)
    check_cut_off(cut_off)
    with one_registry():
        record = check_options(search, settings)
        if record.gathers:
            others = [name for name, one in load_registry().searches.items() if not one.gathers]
            raise ValueError(
                f"search {search!r} goes on with copies of rows, which no finished pool holds; "
                f"replay one of {', '.join(sorted(others))}"
            )
        finished = _finished(pools)
        make_search(search, **{"n": min(map(len, finished)) or 1, **settings})  # refuses settings
        usual = min(max(_ORDERS[0], ceil(_ROWS / sum(map(len, finished)))), _ORDERS[1])
        drawn = usual if orders is None else _check_orders(orders)
        runs = []
        for at, one in enumerate(each(progress, finished, len(finished), "problems replayed")):
            reader = Reader(record, settings, answer, scorer, confidence, cut_off)
            runs.append(reader.run(one, drawn, (seed, at)))
    settings = _settings_of(make_search(search, **{"n": runs[0].n, **settings}), settings)
    return _record(runs, record, settings, drawn, (pool, level, seed, bootstrap))


def _check_orders(orders: int) -> int:
    if check_count("orders", orders) < 2:
        raise ValueError("orders=1 must be at least 2: one order does not tell its own error")
    return orders


def _finished(pools: Iterable[Pool]) -> list[Pool]:
    every = list(pools)
    done = [one for one in every if not one.num_missing]
    if not done:
        raise ValueError("there is no finished pool; give one per problem, with all its candidates")
    if len(done) < len(every):
        shared = min(leading({candidate.index for candidate in pool}) for pool in every)
        warnings.warn(
            f"{len(every) - len(done)} of {len(every)} problems are unfinished and left out; "
            f"--resume makes the others{first_of_each(shared)}",
            PoolWarning,
            stacklevel=3,
        )
    return done


def _settings_of(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a search as plain values, without `n` where all candidates may be spent."""
    names = [one.name for one in fields(method)] if is_dataclass(method) else [*given]
    values = {name: getattr(method, name, given.get(name)) for name in names}
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    known = (int, float, str, list, type(None))
    return {k: v for k, v in plain.items() if isinstance(v, known) and (k != "n" or k in given)}


def _record(
    runs: Sequence[Runs],
    record: Search,
    settings: Mapping[str, Any],
    orders: int,
    about: tuple[str, float, int, int],
) -> Replay:
    pool, level, seed, bootstrap = about
    means = np.array([one.means for one in runs])
    sizes, tokens = np.array([one.n for one in runs]), np.array([one.tokens for one in runs])
    counted, samples, spent, correct, early = means.T
    spent_of_all = tokens * sizes
    k = _same_cost(samples, spent, tokens)
    every = np.array([one.first(one.n) for one in runs])
    same = every if k is None else np.array([one.first(k) for one in runs])
    spent = np.where(np.isnan(tokens), np.nan, spent)
    table = np.stack([correct, every, same, correct - every, correct - same], axis=1)
    resampled = bootstrap_means(table, bootstrap, seed)
    low, high = interval_of_means(table[:, :3], resampled[:, :3], level)
    below, above = interval_of_means(table[:, 3:], resampled[:, 3:], level, (-1.0, 1.0))

    def spending(at: int, label: str, samples: Floats, tokens: Floats) -> Spending:
        cells = _plain(samples.mean()), _maybe(tokens.mean()), _plain(table[:, at].mean())
        return Spending(label, *cells, _maybe(low[at]), _maybe(high[at]))

    def difference(at: int, label: str) -> Difference:
        mean = _plain(table[:, 3 + at].mean())
        return Difference(label, mean, _maybe(below[at]), _maybe(above[at]))

    n = f"all {sizes[0]}" if len({*sizes.tolist()}) == 1 else "all"
    first = "" if k is None else f"first {k:.3g}"
    ks = sizes if k is None else np.minimum(k, sizes)
    return Replay(
        search=record.name,
        settings=settings,
        rule="majority" if "answers" in record.needs else "best_of_n",
        pool=pool,
        problems=len(runs),
        candidates=int(sizes.sum()),
        level=level,
        seed=seed,
        bootstrap=bootstrap,
        spent=spending(0, record.name, samples, spent),
        all=spending(1, n, sizes, spent_of_all),
        same=None if k is None else spending(2, first, ks, tokens * ks),
        against_all=difference(0, n),
        against_same=None if k is None else difference(1, first),
        counted=_plain(counted.mean()),
        early=_plain(early.mean()),
        saved_samples=_plain(1 - samples.sum() / sizes.sum()),
        saved_tokens=_maybe(1 - spent.sum() / spent_of_all.sum()),
        dropped=_dropped(runs, level, seed, bootstrap),
        monte_carlo=_errors(runs, orders),
        breaks=record.breaks,
        by_problem=tuple(map(_one, runs, every, spent)),
    )


def _one(run: Runs, accuracy_of_all: float, tokens: float) -> OneProblem:
    counted, samples, _, correct, early = map(_plain, run.means)
    right = correct, _plain(accuracy_of_all)
    dropped = () if run.dropped is None else map(_plain, run.dropped)
    return OneProblem(run.name, samples, counted, _maybe(tokens), *right, early, *dropped)


def _dropped(runs: Sequence[Runs], level: float, seed: int, bootstrap: int) -> Dropped | None:
    shares = np.array([one.dropped for one in runs if one.dropped is not None])
    if not shares.any():
        return None
    table = np.stack([shares[:, 0], shares[:, 0] - shares[:, 1]], axis=1)
    resampled = bootstrap_means(table, bootstrap, seed)
    # A problem whose winner is always kept, or always dropped, differs this much from chance.
    limits = -float(shares[:, 1].max()), 1 - float(shares[:, 1].min())
    low, high = interval_of_means(table[:, :1], resampled[:, :1], level)
    below, above = interval_of_means(table[:, 1:], resampled[:, 1:], level, limits)
    share, difference = map(_plain, table.mean(axis=0))
    return Dropped(
        len(shares),
        share,
        _maybe(low[0]),
        _maybe(high[0]),
        _plain(shares[:, 1].mean()),
        Difference("at random", difference, _maybe(below[0]), _maybe(above[0])),
    )


def _same_cost(samples: Floats, spent: Floats, tokens: Floats) -> float | None:
    """How many candidates per problem cost as much; None where that is not known."""
    if np.isnan(spent).any():
        return None
    cost = samples.mean() if np.isnan(tokens).any() else spent.sum() / tokens.sum()
    return max(1.0, float(cost))


def _errors(runs: Sequence[Runs], orders: int) -> MonteCarlo | None:
    variances = [one.variance for one in runs if one.variance is not None]
    if not variances:
        return None
    error = np.sqrt(np.sum(variances, axis=0)) / len(runs)
    return MonteCarlo(orders, _plain(error[1]), _maybe(error[2]), _plain(error[3]))


def _plain(value: float) -> float:
    """Rounded, so that what is equal does not differ by rounding errors."""
    return round(float(value), 12) + 0.0


def _maybe(value: float) -> float | None:
    return None if isnan(value) else _plain(value)
