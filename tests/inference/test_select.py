"""Rules on hand-made pools: no model, every choice evident."""

from itertools import permutations

import pytest

import edifice_tt as et
from edifice_tt import registry
from edifice_tt.errors import PluginError, UnknownNameError

NAN = float("nan")


def scored(*values, scorer="s"):
    """Candidates 0, 1, ... with these scores; None for a candidate without one."""
    return tuple(
        et.Candidate(i, f"text {i}", scores={} if value is None else {scorer: value})
        for i, value in enumerate(values)
    )


def said(*texts):
    return tuple(et.Candidate(i, text) for i, text in enumerate(texts))


def answered(*answers):
    return tuple(et.Candidate(i, f"text {i}", answer=answer) for i, answer in enumerate(answers))


# --- best_of_n


def test_best_of_n_takes_the_highest_score():
    choice = et.select(scored(-3.0, -1.0, -2.0), "best_of_n", scorer="s")
    assert (choice.index, choice.text, choice.rule) == (1, "text 1", "best_of_n")
    assert choice.candidate.scores == {"s": -1.0}
    assert choice.tally == {"0": -3.0, "1": -1.0, "2": -2.0}


def test_best_of_n_is_the_rule_unless_told_otherwise():
    assert et.select(scored(1.0, 2.0)).rule == "best_of_n"


def test_a_pool_and_its_candidates_give_the_same_choice():
    pool = et.Pool("q", scored(1.0, 5.0, 2.0))
    assert et.select(pool) == et.select(pool.candidates) == et.select(list(pool))


def test_of_equal_scores_the_lowest_index_wins_in_any_order():
    for order in permutations(scored(1.0, 4.0, 4.0, 0.0)):
        choice = et.select(order)
        assert choice.index == 1
        assert choice.tally == {"0": 1.0, "1": 4.0, "2": 4.0, "3": 0.0}


def test_plus_and_minus_zero_are_equal_scores():
    assert et.select(scored(-0.0, 0.0)).index == 0


def test_nan_never_wins_whatever_its_place():
    for order in permutations(scored(NAN, -5.0, -6.0)):
        assert et.select(order).index == 1
    assert et.select(scored(float("-inf"), NAN)).index == 0


def test_scores_that_are_all_nan_are_an_error():
    with pytest.raises(ValueError, match="no candidate has a score of 's' that is a number"):
        et.select(scored(NAN, NAN))


def test_a_candidate_without_a_score_does_not_take_part():
    choice = et.select(scored(None, -1.0, None, -2.0))
    assert choice.index == 1
    assert choice.tally == {"1": -1.0, "3": -2.0}


def test_the_named_scorer_counts():
    candidates = (
        et.Candidate(0, "a", scores={"x": 1.0, "y": 0.0}),
        et.Candidate(1, "b", scores={"x": 0.0, "y": 1.0}),
    )
    assert et.select(candidates, scorer="x").index == 0
    assert et.select(candidates, scorer="y").index == 1
    with pytest.raises(ValueError, match=r"say which scorer=.*x, y"):
        et.select(candidates)


def test_a_scorer_that_nobody_ran_is_an_error_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'logprop'.*did you mean 'logprob'"):
        et.select(scored(1.0, scorer="logprob"), scorer="logprop")
    with pytest.raises(ValueError, match=r"none; run edifice_tt.score first"):
        et.select(said("a", "b"))


# --- majority


def test_majority_counts_votes():
    choice = et.select(said("a", "b", " b\n", "c"), "majority")
    assert (choice.index, choice.text, choice.rule) == (1, "b", "majority")
    assert choice.tally == {"a": 1.0, "b": 2.0, "c": 1.0}


def test_of_equal_votes_the_answer_of_the_lowest_index_wins_in_any_order():
    for order in permutations(said("b", "a", "a", "b")):
        choice = et.select(order, "majority")
        assert choice.index == 0
        assert choice.tally == {"b": 2.0, "a": 2.0}


def test_the_choice_is_the_first_candidate_that_gave_the_answer():
    candidates = said("it is 3", "it is 4", "so 4.0", "4")
    assert et.select(candidates[::-1], "majority", answer="number").text == "it is 4"


@pytest.mark.parametrize(
    ("answer", "index", "tally"),
    [
        ("text", 0, {r"1 \boxed{9}": 1.0, r"\boxed{8} 5": 1.0, r"\boxed{8}, 5.0": 1.0}),
        ("number", 1, {"9": 1.0, "5": 2.0}),
        ("boxed", 1, {"9": 1.0, "8": 2.0}),
        (r"regex:^\d", 0, {"1": 1.0}),
    ],
)
def test_majority_compares_what_the_extractor_finds(answer, index, tally):
    candidates = said(r"1 \boxed{9}", r"\boxed{8} 5", r"\boxed{8}, 5.0")
    choice = et.select(candidates, "majority", answer=answer)
    assert choice.index == index
    assert choice.tally == tally


def test_candidates_without_an_answer_abstain():
    choice = et.select(said("no idea", "no idea", "7"), "majority", answer="number")
    assert choice.index == 2
    assert choice.tally == {"7": 1.0}


def test_when_all_abstain_it_is_an_error_that_says_what_was_looked_for():
    with pytest.raises(ValueError, match="no candidate has an answer of the kind 'boxed'"):
        et.select(said("1", "2"), "majority", answer="boxed")
    with pytest.raises(ValueError, match="no candidate has an answer"):
        et.select(said("", " "), "majority")


def test_an_answer_that_is_already_there_counts():
    choice = et.select(answered("A", "B", "B"), "majority")
    assert choice.index == 1
    assert choice.tally == {"A": 1.0, "B": 2.0}


def test_where_some_have_an_answer_the_others_abstain():
    choice = et.select(answered(None, None, None, "B"), "majority")
    assert choice.index == 3
    assert choice.tally == {"B": 1.0}


def test_a_named_extractor_goes_before_answers_that_are_there():
    candidates = (et.Candidate(0, "1", answer="A"), et.Candidate(1, "2", answer="A"))
    assert et.select(candidates, "majority", answer="number").tally == {"1": 1.0, "2": 1.0}


def test_majority_needs_no_scores_and_ignores_them():
    candidates = [et.Candidate(i, t, scores={"s": -i}) for i, t in enumerate("abb")]
    assert et.select(candidates, "majority").text == "b"


# --- what goes wrong


def test_an_unknown_rule_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'majority'"):
        et.select(said("a"), "majorty")


def test_an_empty_pool_is_an_error():
    for empty in (et.Pool("q", ()), (), []):
        with pytest.raises(ValueError, match="nothing to choose from"):
            et.select(empty)


@pytest.mark.parametrize(
    ("rule", "option"), [("majority", "scorer"), ("best_of_n", "answer"), ("majority", "k")]
)
def test_an_option_that_the_rule_does_not_take_is_an_error_that_says_so(rule, option):
    with pytest.raises((ValueError, UnknownNameError), match=option) as caught:
        et.select(scored(1.0, 2.0), rule, **{option: "x"})
    assert rule in str(caught.value)


def test_a_choice_as_a_dict_is_plain():
    assert et.select(scored(1.0, 2.0)).to_dict() == {
        "index": 1,
        "text": "text 1",
        "rule": "best_of_n",
        "tally": {"0": 1.0, "1": 2.0},
    }


def test_a_rule_that_gives_no_choice_names_its_owner(monkeypatch):
    record = registry.Selector("odd", lambda candidates: candidates[0], owner="some-plugin")
    monkeypatch.setattr(registry, "selector", lambda name: record)
    with pytest.raises(PluginError, match="rule 'odd' of some-plugin gave Candidate"):
        et.select([et.Candidate(0, "x")], "odd")
