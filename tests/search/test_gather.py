"""Searches that gather rows: their choosers by hand and by property, their loop on tables."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edifice_tt.search import choosers
from edifice_tt.search.gather import Beam, Dvts, Particles, Rebase
from edifice_tt.search.loop import run_search
from edifice_tt.search.method import Row

shares = st.lists(st.floats(0.001, 1), min_size=1, max_size=9)
scores = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 700.0]), min_size=1, max_size=9)


# --- choosers


def test_weights_are_odds_to_the_power_of_one_by_the_temperature():
    weights = choosers.odds_weights([0.8, 0.5, 0.2], temperature=2)
    odds = [2.0, 1.0, 0.5]  # the roots of 4, 1 and 1/4
    assert weights == pytest.approx([one / 3.5 for one in odds])
    assert choosers.effective_size([0.5, 0.5, 0, 0]) == 2


def test_probabilities_of_zero_and_one_have_weights():
    weights = choosers.odds_weights([1.0, 0.0, 1.0])
    assert weights == pytest.approx([0.5, 0, 0.5])
    assert sum(weights) == pytest.approx(1)


@given(shares, st.integers(1, 20), st.floats(0, 1, exclude_max=True))
def test_systematic_draws_differ_from_their_shares_by_less_than_one(weights, n, u):
    counts = Counter(choosers.systematic(weights, n, u))
    assert counts.total() == n
    for place, weight in enumerate(weights):
        assert abs(counts[place] - n * weight / sum(weights)) < 1 + 1e-6


def test_equal_weights_give_each_one_child_whatever_the_rounding():
    for n in range(1, 60):
        assert choosers.systematic([1 / n] * n, n, 0.0) == list(range(n))


@given(scores, st.integers(0, 40))
def test_children_are_never_more_than_there_are_places(values, n):
    children = choosers.balanced(values, n, 0.2)
    assert sum(children) == n
    ranked = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert [children[i] for i in ranked] == sorted(children, reverse=True)


@pytest.mark.parametrize(("rows", "n"), [(6, 12), (7, 14), (3, 7), (9, 4)])
def test_ties_share_the_places(rows, n):
    """In float32 six equal scores and 12 places give 13 children."""
    children = choosers.balanced([0.3] * rows, n, 0.2)
    assert sum(children) == n
    assert max(children) - min(children) <= 1


@pytest.mark.parametrize(("rows", "each"), [(3, 2), (7, 5), (75, 7)])
def test_places_that_divide_evenly_are_divided_evenly(rows, each):
    """525 places times a share of 1/75 are a little more than 7 in float64."""
    assert choosers.balanced([0.3] * rows, rows * each, 0.2) == [each] * rows


def test_children_follow_the_softmax_of_scores():
    """e^(0.2 / 0.2) = 2.718: shares 0.731 and 0.269 of 10 are 7.31 and the rest."""
    assert choosers.balanced([0.4, 0.6], 10, 0.2) == [2, 8]


# --- the loop: every row is one token longer per step


class Levels:
    """Scores per level, in the order of the rows asked for; a negative one ends its row."""

    def __init__(self, *levels):
        self.levels, self.asks, self.lengths = list(levels), [], {}

    def advance(self, ask):
        told, level = [], self.levels[len(self.asks)]
        self.asks.append(ask)
        parents = ask.parents or (None,) * len(ask.rows)
        for row, parent, score in zip(ask.rows, parents, level, strict=True):
            self.lengths[row] = self.lengths.get(parent, 0) + 1
            told.append(Row(row, "", self.lengths[row], score < 0, score=abs(score)))
        return told[::-1]


def test_a_beam_goes_on_with_copies_of_the_best():
    levels = Levels([0.2, 0.9, 0.5, 0.4], [0.1, 0.3, 0.8, 0.7])
    found = run_search(Beam(n=4, expand=2, max_steps=2), levels.advance)
    assert levels.asks[0].parents == (None,) * 4
    assert (levels.asks[1].rows, levels.asks[1].parents) == ((4, 5, 6, 7), (1, 1, 2, 2))
    assert found.outcome.row == 6
    assert found.books.parents == (None,) * 4 + (1, 1, 2, 2)
    assert found.books.tokens == 8
    assert found.books.kept_tokens([6]) == 2
    assert found.books.kept_tokens([4, 5]) == 3  # the token of row 1 is counted once


def test_trees_do_not_compete():
    levels = Levels([0.2, 0.1, 0.9, 0.8], [0.3, 0.4, 0.6, 0.5])
    run_search(Dvts(n=4, expand=2, max_steps=2), levels.advance)
    assert levels.asks[1].parents == (0, 0, 2, 2)
    beam = Levels([0.2, 0.1, 0.9, 0.8], [0.3, 0.4, 0.6, 0.5])
    run_search(Beam(n=4, expand=2, max_steps=2), beam.advance)
    assert beam.asks[1].parents == (2, 2, 3, 3)


def test_a_beam_holds_what_has_ended_and_answers_from_it():
    levels = Levels([0.2, -0.9, 0.5, 0.4], [0.1, -0.3], [-0.95, -0.1])
    found = run_search(Beam(n=4, expand=2), levels.advance)
    assert levels.asks[1].parents == (2, 2)  # row 1 has a place, and needs no step
    assert levels.asks[2].parents == (4, 4)  # row 5 is ended, and takes the first place
    assert (found.outcome.row, found.outcome.kept) == (6, (1, 5, 6, 7))


def test_ended_rows_reduce_the_width_of_rebase():
    levels = Levels([0.5, -0.9, 0.5, -0.1], [0.5, -0.6], [-0.2])
    found = run_search(Rebase(n=4), levels.advance)
    assert [ask.parents for ask in levels.asks] == [(None,) * 4, (0, 2), (4,)]
    assert (found.outcome.row, found.outcome.kept) == (1, (1, 3, 5, 6))


def test_copies_of_an_ended_particle_cost_nothing():
    levels = Levels([-0.999, 0.001, 0.001, 0.001])
    found = run_search(Particles(n=4), levels.advance)
    assert (found.books.tokens, found.books.calls, found.outcome.row) == (4, 1, 0)
    assert found.outcome.kept == (0,)


def test_a_row_that_never_ends_is_chosen_after_the_last_step():
    levels = Levels([0.5, 0.5], [0.4, 0.4])
    found = run_search(Particles(n=2, max_steps=2), levels.advance)
    assert (found.outcome.kept, found.outcome.early) == ((2, 3), False)


def draws(**settings):
    """The parents of the second step, of eight rows that are all alike but for two."""
    search = Particles(n=8, **{k: v for k, v in settings.items() if k != "problem"})
    state = search.start(settings.get("problem", "0"))
    rows = [Row(i, score=0.9 if i % 3 else 0.7) for i in range(8)]
    return search.ask(search.tell(state, rows)).parents


def test_draws_depend_on_seed_problem_and_step_alone():
    assert draws() == draws()
    others = {draws(seed=seed, problem=str(p)) for seed in range(5) for p in range(5)}
    assert len(others) > 3
    assert {len(one) for one in others} == {8}


def test_a_step_ends_where_it_is_told():
    word = math.isfinite
    until = Rebase(n=2, delimiter="|", step_tokens=7, word=word)
    until = until.ask(until.start()).until
    assert (until.delimiter, until.tokens, until.word) == ("|", 7, word)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Beam(n=10, expand=4), "n=10 must be a multiple of expand=4; use n=8"),
        (lambda: Beam(n=2, expand=4), "expand=4 is too many; give at most 2"),
        (lambda: Particles(temperature=0), "temperature=0"),
        (lambda: Particles(seed=-1), "seed=-1"),
        (lambda: Rebase(temperature=float("inf")), "temperature=inf"),
        (lambda: Rebase(max_steps=0), "max_steps=0"),
        (lambda: Rebase(step_tokens=0), "step_tokens=0"),
        (lambda: Rebase(delimiter=""), "delimiter=''"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_particles_refuse_what_is_no_probability():
    levels = Levels([0.5, 2.0], [])
    with pytest.raises(ValueError, match=r"score 2\.0 is no probability"):
        run_search(Particles(n=2), levels.advance)
