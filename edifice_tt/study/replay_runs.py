"""Runs a search on the finished pool of one problem, over all orders of its candidates.

Knows one pool and one search; compares nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edifice_tt.contract.errors import EdificeError
from edifice_tt.contract.registry import Search
from edifice_tt.contract.tracing import blamed
from edifice_tt.pools.pool import Pool
from edifice_tt.search.loop import make_search, run_search
from edifice_tt.search.method import Method
from edifice_tt.search.votes import votes
from edifice_tt.selection.answers import Named
from edifice_tt.selection.rules import answers_of
from edifice_tt.selection.select import behind
from edifice_tt.selection.usable import scorer_of
from edifice_tt.study.finished import (
    Finished,
    Place,
    Score,
    confidences_of,
    reads_logprobs,
    scores_of,
)
from edifice_tt.study.problems import check_fair, check_marked
from edifice_tt.study.statistics import Floats, best_of_k, between
from edifice_tt.study.stopping import mean_over_orders
from edifice_tt.study.voting import majority_at_k

CORRECT = 3  # the place of the correctness among the means


class Runs(NamedTuple):
    """A search on one problem: means over orders, their variance, None where nothing was drawn."""

    name: str
    means: Floats  # candidates counted, rows run, tokens, correctness, whether it was early
    variance: Floats | None
    n: int
    tokens: float  # per candidate, NaN where unknown
    of_first: Callable[[int], float]  # the accuracy of the first k
    dropped: Floats | None  # the share of winners dropped, and that of all rows run

    def first(self, k: float) -> float:
        """The accuracy of the first k candidates."""
        return between(self.of_first, k, self.n)


class Reader(NamedTuple):
    """Reads what a search needs from a pool, and runs it there."""

    record: Search
    settings: Mapping[str, Any]
    answer: Named | None
    scorer: str | None
    confidence: str
    cut_off: str = "abstain"

    def run(self, pool: Pool, orders: int, seed: tuple[int, int]) -> Runs:
        """The search on one problem. Raises `ValueError` where the pool lacks something."""
        check_marked(pool)
        check_fair(pool)
        try:
            return self._run(pool, orders, seed)
        except ValueError as error:
            raise ValueError(f"problem {pool.problem!r}: {error}") from error

    def _run(self, pool: Pool, orders: int, seed: tuple[int, int]) -> Runs:
        n = self.settings.get("n", len(pool))
        if isinstance(n, int) and n > len(pool):
            raise ValueError(
                f"n={n} is more than its {len(pool)} candidates; lower it, or leave it out"
            )
        method = make_search(self.record.name, **{**self.settings, "n": n})
        rows = self._rows(pool)
        right = np.array([candidate.correct for candidate in rows.candidates], np.float64)
        tokens = np.array([candidate.num_tokens for candidate in rows.candidates], np.float64)
        of_first = self._of_first(rows, right)
        means = variance = dropped = None
        if (by_counts := getattr(method, "by_counts", None)) is not None:
            upto = getattr(method, "upto", lambda told: told + 1)
            who = f"search {self.record.name!r} of {self.record.owner} failed"
            with blamed(who, own=(EdificeError, ValueError)):
                means = mean_over_orders(rows.answers, right, tokens, by_counts, upto, n)
        if means is None:
            drawn, shares = _draw(method, rows, right, pool.problem, orders, seed)
            if {*self.record.needs} - {"answers"} and len(shares):
                dropped = shares.mean(axis=0)
            drawn[:, CORRECT] += of_first(n)
            means, variance = drawn.mean(axis=0), drawn.var(axis=0, ddof=1) / orders
            means[CORRECT] = means[CORRECT].clip(0, 1)
        return Runs(
            pool.problem,
            np.array(means),
            variance,
            n,
            float(tokens.mean()) if tokens.all() else float("nan"),
            of_first,
            dropped,
        )

    def _rows(self, pool: Pool) -> Finished:
        candidates = sorted(behind(pool.prompt, pool), key=lambda one: one.index)
        votes = "answers" in self.record.needs
        score: Score | None = None
        if {"scores", "probabilities"} & {*self.record.needs}:
            delimiter = self.settings.get("delimiter")
            known = self.scorer is not None and reads_logprobs(self.scorer)
            name = self.scorer if known else scorer_of(candidates, self.scorer)
            score = scores_of(str(name), delimiter)
        measure = self.confidence if "confidences" in self.record.needs else None
        if measure is not None:
            for candidate in candidates:
                confidences_of(candidate, measure)  # the first that lacks them is told
        answers = answers_of(candidates, self.answer) if votes else [None] * len(candidates)
        if self.cut_off == "abstain":
            whole = zip(answers, candidates, strict=True)
            answers = [form if candidate.is_whole else None for form, candidate in whole]
        return Finished(candidates, answers, score, measure)

    def _of_first(self, rows: Finished, right: Floats) -> Callable[[int], float]:
        if rows.score is None:
            return lambda k: majority_at_k(rows.answers, right, k)
        scores = _final_scores(rows)
        return lambda k: best_of_k(scores, right, k)


def _final_scores(rows: Finished) -> list[float]:
    assert rows.score is not None
    return [rows.score(one, Place(one.num_tokens, None, True)) for one in rows.candidates]


def _draw(
    method: Method, rows: Finished, right: Floats, problem: str, orders: int, seed: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Candidates counted, rows, tokens, correctness and whether it was early (orders, 5).

    The correctness is less that of all `n` in the same order: the two differ less than either does
    from order to order. Beside it the shares of winners and of rows that were dropped, of the
    orders that have a winner (orders, 2).
    """
    rng, found, shares = np.random.default_rng(seed), [], []
    scores = _final_scores(rows) if rows.score is not None else None
    for _ in range(orders):
        order = rng.permutation(len(right)).tolist()
        candidates = [rows.candidates[i] for i in order]
        answers = [rows.answers[i] for i in order]
        one = Finished(candidates, answers, rows.score, rows.measure)
        end = run_search(method, one.advance, problem=problem)
        chosen, spent = end.outcome.row, end.books.tokens
        finals = None if scores is None else [scores[i] for i in order]
        winners = _winners(answers, finals, range(method.n))
        right_of_all = right[order[winners[0]]] if winners else 0.0
        found.append(
            (
                len(end.outcome.kept),
                end.books.rows,
                float("nan") if spent is None else spent,
                (0.0 if chosen is None else right[order[chosen]]) - right_of_all,
                end.outcome.early,
            )
        )
        run = [row.row for row in end.rows]
        if winners := _winners(answers, finals, run):
            lost = {*run} - {*end.outcome.kept}
            shares.append((len(lost & {*winners}) / len(winners), len(lost) / len(run)))
    return np.array(found, np.float64), np.array(shares, np.float64)


def _winners(
    answers: Sequence[str | None], scores: Sequence[float] | None, rows: Sequence[int]
) -> list[int]:
    """Who wins when these rows are run: those with the best score, or the most common answer."""
    weights: dict[int, float] = {}
    if scores is None:
        told = {row: answer for row in rows if (answer := answers[row]) is not None}
        tally = votes([*told.values()])
        weights = {row: tally[answer] for row, answer in told.items()}
    else:
        weights = {row: scores[row] for row in rows}
    most = max(weights.values(), default=0)
    return [row for row, weight in weights.items() if weight == most]
