"""Searches that stop when the vote is clear: by hand, by brute force, in any order and wave."""

from fractions import Fraction
from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edifice_tt.search.loop import run_search
from edifice_tt.search.method import Row
from edifice_tt.search.votes import Adaptive, Doubling, First, Window, lead_probability

some_answers = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=11)


def run(search, answers):
    """The outcome on these answers; every row has three tokens and is told out of order."""
    search = type(search)(**{**vars(search), "n": len(answers)})

    def advance(ask):
        return [Row(i, num_tokens=3, ended=True, answer=answers[i]) for i in ask.rows[::-1]]

    return run_search(search, advance)


def stopped_after(search, answers):
    return len(run(search, list(answers)).outcome.kept)


def winner_of(answers):
    """The most common answer, of equal counts the first seen."""
    return max((a for a in answers if a), key=lambda a: (answers.count(a), -answers.index(a)))


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize("second", range(5))
def test_the_lead_is_the_integral_of_a_beta_density(first, second):
    """Over 1/2..1 of x^v1 (1 - x)^v2, expanded and integrated term by term in fractions."""

    def integral(low):
        terms = (
            Fraction((-1) ** j * comb(second, j), first + j + 1) * (1 - low ** (first + j + 1))
            for j in range(second + 1)
        )
        return sum(terms)

    expected = integral(Fraction(1, 2)) / integral(Fraction(0))
    assert lead_probability([first, second, 0]) == float(expected)


@pytest.mark.parametrize(
    ("answers", "after"),
    [
        ("aaaaaaa", 4),  # 1 - 1/32 = 0.969
        ("abaaaaaa", 7),  # 6 to 1: 1 - 9/256 = 0.965; 5 to 1 is 1 - 8/128 = 0.938
        ("ababababab", 10),
        (["a", None, "a", "a", None, "a", "a"], 6),
        ([None, None, None], 3),
    ],
)
def test_adaptive_stops_when_the_lead_is_likely(answers, after):
    assert stopped_after(Adaptive(), answers) == after


def test_a_lead_of_exactly_the_threshold_stops():
    assert stopped_after(Adaptive(threshold=0.875), "aaaa") == 2
    assert stopped_after(Adaptive(threshold=0.8750001), "aaaa") == 3
    assert stopped_after(Adaptive(threshold=0.875, least=4), "aaaaa") == 4


def test_the_first_seen_of_equal_answers_wins():
    found = run(First(), ["b", "a", "a", "b", "c"])
    assert (found.outcome.row, found.outcome.tally) == (0, {"b": 2.0, "a": 2.0, "c": 1.0})
    assert list(found.outcome.tally) == ["b", "a", "c"]


def test_without_any_answer_none_is_chosen():
    found = run(Adaptive(), [None, "", None])
    assert (found.outcome.row, found.chosen, found.outcome.tally) == (None, None, {})


@given(some_answers, st.integers(1, 12))
def test_waves_stop_at_the_same_row(answers, wave):
    one = run(Adaptive(threshold=0.8), answers)
    many = run(Adaptive(threshold=0.8, wave=wave), answers)
    assert one.outcome == many.outcome
    counted = len(one.outcome.kept)
    assert one.books.rows == counted
    assert many.books.rows == min(-(-counted // wave) * wave, len(answers))
    assert many.books.tokens == 3 * many.books.rows
    assert many.kept_tokens == 3 * counted


def test_answers_count_in_the_order_of_the_rows():
    """Told out of order, as rows end: the four that agree come first, yet do not vote first."""
    search = Adaptive(n=8, wave=8)
    rows = [Row(i, ended=True, answer="b" if i < 4 else "a") for i in range(8)]
    state = search.tell(search.start(), rows[::-1])
    assert search.done(state).tally == {"b": 4.0}
    assert search.done(state).kept == (0, 1, 2, 3)


@given(some_answers, st.integers(1, 4))
def test_settled_never_changes_the_winner(answers, wave):
    """With a threshold of 1 nothing else stops."""
    if any(answers):
        found = run(Adaptive(threshold=1, settled=True, wave=wave), answers)
        assert found.chosen.answer == winner_of(answers)


@pytest.mark.parametrize("answers", [*product(("a", "b", None), repeat=4)], ids=str)
@pytest.mark.first(3)
def test_settled_stops_as_soon_as_no_end_changes_the_winner(answers):
    """Every way in which the last of six rows may answer, by brute force."""

    def is_settled(told):
        ends = product((*"abz", None), repeat=6 - len(told))
        winners = {winner_of([*told, *end]) for end in ends if any([*told, *end])}
        return len(winners) == 1 and any(told)

    search = Adaptive(n=6, threshold=1, settled=True)
    expected = next((k for k in range(1, 5) if is_settled(answers[:k])), None)
    first = next((k for k in range(1, 5) if search.is_clear(answers[:k])), None)
    assert first == expected


def test_a_window_stops_after_a_whole_block_of_equal_answers():
    assert stopped_after(Window(window=3), "abbbbbbb") == 6  # not bbb at 2..4, which is no block
    assert stopped_after(Window(window=3), ["a", "a", None, "b"]) == 4
    assert stopped_after(Window(window=2), [None, None, "b", "b", "a"]) == 4
    assert stopped_after(Window(window=9), "bbb") == 3


def test_doubling_looks_after_powers_of_two():
    assert stopped_after(Doubling(), "abaaaaaa") == 4  # 3 of 4
    assert stopped_after(Doubling(), "abbaaaaaaa") == 8  # 6 of 8
    assert stopped_after(Doubling(), ["a", None, "a", None, "a", "a"]) == 6
    assert stopped_after(Doubling(), "a") == 1
    assert run(Doubling(), list("abaaaaaa")).books.calls == 2


def test_the_first_k_are_run_at_once():
    found = run(First(k=3), list("abcde"))
    assert (found.books.rows, found.books.calls, found.outcome.early) == (3, 1, True)
    assert not run(First(), list("abc")).outcome.early


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Adaptive(n=0), "n=0"),
        (lambda: Adaptive(threshold=1.5), "threshold=1.5"),
        (lambda: Adaptive(threshold="0.9"), "threshold='0.9'"),
        (lambda: Adaptive(wave=True), "wave=True"),
        (lambda: Adaptive(n=4, least=5), "least=5"),
        (lambda: Window(window=0), "window=0"),
        (lambda: Doubling(share=0), "share=0"),
        (lambda: Doubling(share=float("nan")), "share=nan"),
        (lambda: First(n=4, k=5), "k=5"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
