import pytest
from edifice_tt_my_scorer import my_scorer

import edifice_tt
from edifice_tt.testing import check_scorer

PROMPT = "Why is the sky blue?"


def words(count):
    return " ".join(["word"] * count)


def test_it_keeps_the_contract_of_a_scorer():
    check_scorer("my_scorer", reads="text", range="probability")


def test_an_answer_of_the_target_length_scores_best():
    scores = my_scorer(target_words=7)(PROMPT, [words(count) for count in (1, 6, 7, 9, 30)])
    assert scores.index(max(scores)) == 2
    assert scores[2] == 1.0


def test_half_the_length_scores_by_hand():
    """exp(-|20 - 40| / 40) = 0.6065306597..."""
    assert my_scorer()(PROMPT, [words(20)]) == [pytest.approx(0.6065306597, abs=1e-9)]


def test_scores_keep_the_range_that_was_declared():
    scores = my_scorer()(PROMPT, ["", "one", words(40), words(10_000)])
    assert edifice_tt.scorer("my_scorer").range == "probability"
    assert all(0.0 <= score <= 1.0 for score in scores)


def test_a_score_depends_on_that_answer_alone():
    answers = [words(3), words(41), words(80)]
    together = my_scorer()(PROMPT, answers)
    assert together == [my_scorer()(PROMPT, [answer])[0] for answer in answers]
    assert together[::-1] == my_scorer()(PROMPT, answers[::-1])


def test_no_answers_give_no_scores():
    assert my_scorer()(PROMPT, []) == []


def test_it_is_found_by_name():
    assert "my_scorer" in edifice_tt.list_scorers()
    record = edifice_tt.scorer("my_scorer")
    assert record.owner.startswith("edifice-tt-my-scorer ")
    assert record.factory()(PROMPT, [words(40)]) == [1.0]


def test_it_chooses_from_a_pool(edifice_pool):
    """The fixture comes with edifice_tt: six answers to one question."""
    pool = edifice_tt.score(None, edifice_pool, scorer="my_scorer")
    chosen = edifice_tt.select(pool, scorer="my_scorer").candidate
    assert chosen.scores["my_scorer"] == max(c.scores["my_scorer"] for c in pool)
