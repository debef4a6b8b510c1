"""Rejection at cuts, on rows whose scores and lengths stand in a table."""

import pytest

from edifice_tt.search.loop import run_search
from edifice_tt.search.method import Row
from edifice_tt.search.rejection import Rejection


class Table:
    """Rows of given lengths; the score of a row at its j-th ask, the last one from there on."""

    def __init__(self, lengths, scores):
        self.lengths, self.scores = lengths, scores
        self.at = [0] * len(lengths)
        self.asks = []

    def advance(self, ask):
        self.asks.append(ask)
        return [self.row(i, ask.until) for i in ask.rows]

    def row(self, i, until):
        more = self.lengths[i] if until.tokens is None else until.tokens
        self.at[i] = min(self.lengths[i], self.at[i] + more)
        score = self.scores[i][min(len(self.asks), len(self.scores[i])) - 1]
        return Row(i, num_tokens=self.at[i], ended=self.at[i] == self.lengths[i], score=score)


def run(lengths, scores, **settings):
    table = Table(lengths, scores)
    found = run_search(Rejection(n=len(lengths), **settings), table.advance)
    return found, [ask.rows for ask in table.asks[1:]]


def test_a_share_stays_at_each_cut():
    scores = [[0.1, 0.9], [0.5, 0.2], [0.7, 0.6], [0.4, 0.9], [0.6, 0.1]]
    found, alive = run([20] * 5, scores, cuts=(4, 10), keep=0.5)
    assert alive == [(1, 2, 4), (1, 2)]  # ceil(2.5), ceil(1.5)
    assert (found.outcome.row, found.outcome.kept) == (2, (1, 2))
    assert found.books.tokens == 5 * 4 + 3 * 6 + 2 * 10
    assert found.kept_tokens == 40
    assert found.outcome.tally == {"1": 0.2, "2": 0.6}


def test_of_equal_scores_the_lower_row_stays():
    found, alive = run([9] * 4, [[0.5]] * 4, cuts=(3,), keep=0.25)
    assert (alive, found.outcome.row) == ([(0,)], 0)


def test_a_share_that_is_whole_is_not_rounded_up():
    """0.07 * 100 is 7.000000000000001 in floating point."""
    _, alive = run([9] * 100, [[0.5]] * 100, cuts=(3,), keep=0.07)
    assert len(alive[0]) == 7


def test_a_row_that_has_ended_competes():
    scores = [[0.3], [0.9], [0.6], [0.1]]
    found, alive = run([2, 30, 30, 30], scores, cuts=(5, 9), keep=0.75)
    assert alive == [(0, 1, 2), (0, 1, 2)]
    assert found.books.tokens == 2 + 30 + 30 + 5
    assert found.outcome.row == 1


def test_the_last_score_decides():
    found, _ = run([9, 9, 9], [[0.9, 0.1], [0.8, 0.7], [0.1, 1.0]], cuts=(3,), keep=0.6)
    assert found.outcome.row == 1


def test_cuts_count_steps_where_a_step_is_told():
    search = Rejection(n=2, cuts=(1, 3), delimiter="\n")
    state = search.start()
    for step in (1, 2, 3):
        ask = search.ask(state)
        assert ask.until.delimiter == "\n"
        assert ask.rows == ((0, 1) if step == 1 else (1,))
        state = search.tell(state, [Row(i, score=float(i)) for i in ask.rows])
    assert search.ask(state).until.delimiter is None
    word = Rejection(n=2, cuts=(2,), word=lambda row: True)
    assert word.ask(word.start()).until.word is word.word


@pytest.mark.parametrize("score", [None, float("nan")])
def test_a_row_without_a_score_is_refused(score):
    with pytest.raises(ValueError, match=r"row 1 was told with score=(None|nan)"):
        run([9, 9], [[0.5], [score]])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cuts": ()}, r"cuts=\(\)"),
        ({"cuts": (4, 4)}, "rising"),
        ({"cuts": (0, 4)}, "cuts=0"),
        ({"keep": 0}, "keep=0"),
        ({"keep": 1.01}, "keep=1.01"),
        ({"delimiter": ""}, "delimiter=''"),
        ({"word": "x"}, "word='x'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Rejection(**settings)
