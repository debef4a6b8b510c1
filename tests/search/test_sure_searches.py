"""DeepConf on rows whose confidences a person can add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edifice_tt.search import confidence
from edifice_tt.search.confidence import PARTS, Confidence, confidence_of, percentile
from edifice_tt.search.loop import run_search
from edifice_tt.search.method import Row


def run(table, answers, **settings):
    """The search on whole rows, each stopped where the word says."""
    stops = {}

    def advance(ask):
        return [row(i, ask.until.word) for i in ask.rows]

    def row(i, word):
        for tokens in range(1, len(table[i]) + 1):
            values = tuple(map(float, table[i][:tokens]))
            one = Row(i, "", tokens, tokens == len(table[i]), answers[i], confidences=values)
            if word is not None and word(one):
                stops[i] = tokens
                break
        return one

    found = run_search(Confidence(n=len(table), **settings), advance)
    return found, stops


def test_groups_are_means_of_full_windows():
    row = [3.0, 5.0, 1.0, 7.0, 9.0]
    assert [confidence_of(row, 2, part) for part in PARTS] == [3.0, 8.0, 3.0, 5.0]
    assert [confidence_of(row, 9, part) for part in PARTS] == [5.0] * 4
    long = [*[8.0] * 30, *[2.0, 4.0, 6.0]]  # 33 groups of one, of which 3 are a tenth
    assert confidence_of(long, 1, "bottom_10_percent") == 4.0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=20), st.floats(0, 100))
def test_the_percentile_is_linear_between_two_values(values, percent):
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent))
    assert percentile([values[0]] * 7, percent) == values[0]  # so that equal rows are not below


def test_later_rows_stop_below_the_threshold_and_do_not_vote():
    """Warm-up: lowest groups 3, 6, 4; the half that is kept sets 4, at which a row stays."""
    table = [[3, 3], [6, 6], [4, 4, 9], [9, 9, 3, 3, 9], [4, 4]]
    found, stops = run(table, "abbca", warmup=3, keep_percent=50, window=2)
    assert stops == {3: 4}
    assert found.outcome.tally == {"b": 10.0, "a": 4.0}
    assert (found.outcome.row, found.outcome.kept) == (1, (1, 2, 4))
    assert found.books.tokens == 2 + 2 + 3 + 4 + 2


def test_a_row_shorter_than_the_window_is_not_stopped():
    found, stops = run([[5, 5, 5], [1, 1]], "ab", warmup=1, window=3)
    assert (stops, found.outcome.tally) == ({}, {"a": 5.0, "b": 1.0})


def test_the_window_is_an_eighth_of_the_median_warm_up_row(monkeypatch):
    assert confidence.WINDOW == 2048
    search = Confidence(n=4, warmup=3)
    rows = [Row(i, confidences=(1.0,) * size) for i, size in enumerate((40, 17, 90))]
    assert search.tell(search.start(), rows)["window"] == 5
    assert (
        search.tell(search.start(), [Row(0, confidences=(1.0,)) for i in range(3)])["window"] == 1
    )
    monkeypatch.setattr(confidence, "WINDOW", 3)
    assert search.tell(search.start(), rows)["window"] == 3
    given = Confidence(n=4, warmup=3, window=7)
    assert given.tell(given.start(), rows)["window"] == 7


def test_a_consensus_stops_it():
    table = [[5, 5]] * 9
    found, _ = run(table, "aaabaaaaa", warmup=3, window=2, consensus=0.9, wave=2)
    assert (len(found.outcome.kept), found.outcome.early) == (3, True)
    found, _ = run(table, "abaaaaaaa", warmup=2, window=2, consensus=0.8, wave=1)
    assert len(found.outcome.kept) == 5  # 4 of 5
    found, _ = run(table, "aaabaaaaa", warmup=3, window=2)
    assert (len(found.outcome.kept), found.outcome.early) == (9, False)


def test_weights_are_the_part_that_is_named():
    found, _ = run([[2, 6], [4, 4]], "ab", warmup=2, keep_percent=100, window=1, part="tail")
    assert found.outcome.tally == {"a": 6.0, "b": 4.0}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n": 8}, "warmup=16 is too many; give at most 8"),
        ({"keep_percent": 0}, "keep_percent=0"),
        ({"keep_percent": 101}, "at most 100"),
        ({"window": 0}, "window=0"),
        ({"part": "head"}, "part='head' must be one of lowest_group"),
        ({"consensus": 2}, "consensus=2"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Confidence(**settings)


def test_a_row_without_confidences_is_refused():
    search = Confidence(n=2, warmup=2)
    with pytest.raises(ValueError, match="row 1 was told without confidences"):
        search.tell(search.start(), [Row(1), Row(0, confidences=(1.0,))])
