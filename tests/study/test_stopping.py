"""Exact means of searches that stop by counts, against every order in turn."""

from itertools import permutations

import numpy as np
import pytest

from edifice_tt.search.loop import run_search
from edifice_tt.search.method import Row
from edifice_tt.search.votes import Adaptive, Doubling, First
from edifice_tt.study import stopping
from edifice_tt.study.stopping import mean_over_orders

RIGHT = {"a": 1.0, "b": 0.0, "c": 0.0, None: 0.0}
TOKENS = np.array([3.0, 11.0, 5.0, 2.0, 7.0, 13.0, 17.0])


def in_turn(search, answers):
    """Means over all orders of the rows, each run; a tie is shared as its mean."""
    means = []
    for order in permutations(range(len(answers))):

        def advance(ask, order=order):
            return [
                Row(i, num_tokens=int(TOKENS[order[i]]), ended=True, answer=answers[order[i]])
                for i in ask.rows
            ]

        found = run_search(search, advance)
        tally = found.outcome.tally
        leaders = [one for one in tally if tally[one] == max(tally.values())]
        right = float(np.mean([RIGHT[one] for one in leaders])) if leaders else 0.0
        kept = len(found.outcome.kept)
        means.append((kept, found.books.rows, found.books.tokens, right, found.outcome.early))
    return np.mean(np.array(means, float), axis=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "answers",
    [
        "aabbca",
        ["a", None, "b", "a", None, "a"],
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("ababab", "abcabc")),
    ],
)
@pytest.mark.parametrize(
    "search",
    [
        Adaptive(n=6, threshold=0.8),
        Adaptive(n=6, threshold=0.7, wave=4, least=2),
        Adaptive(n=4, threshold=0.8, wave=3),
        Doubling(n=6, share=0.5),
        First(n=6, k=3),
        First(n=6),
    ],
    ids=str,
)
def test_the_exact_means_are_those_of_every_order_in_turn(search, answers):
    right = np.array([RIGHT[one] for one in answers])
    exact = mean_over_orders(
        answers, right, TOKENS[: len(answers)], search.by_counts, search.upto, search.n
    )
    assert exact == pytest.approx(in_turn(search, answers))


def test_a_tie_is_shared_among_the_leading_answers():
    search = First(n=4)
    right = np.array([1.0, 1.0, 0.0, 0.0])
    exact = mean_over_orders("aabb", right, np.ones(4), search.by_counts, search.upto)
    assert exact.correct == 0.5


def test_an_answer_that_is_marked_both_ways_counts_as_its_mean():
    search = First(n=3)
    right = np.array([1.0, 0.0, 0.0])
    exact = mean_over_orders("aaa", right, np.ones(3), search.by_counts, search.upto)
    assert exact.correct == pytest.approx(1 / 3)


def test_what_a_wave_runs_behind_the_stop_is_paid_for():
    search = Adaptive(n=6, threshold=0.8, wave=6)
    ones = np.ones(6)
    exact = mean_over_orders("aaaaaa", ones, 7 * ones, search.by_counts, search.upto)
    assert exact == pytest.approx((2, 6, 42, 1, 1))


def test_too_many_states_are_not_counted(monkeypatch):
    monkeypatch.setattr(stopping, "MOST_STATES", 3)
    search, ones = First(n=6), np.ones(6)
    assert mean_over_orders("aaabbc", ones, ones, search.by_counts, search.upto) is None
