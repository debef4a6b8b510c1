"""How often a search dropped the row that would have won, on pools that a person can work out."""

import json
from itertools import permutations

import pytest

import edifice_tt as et

AT_CUTS = {"scorer": "prm", "delimiter": ". ", "bootstrap": 50}


def scored(rows, problem="p"):
    """A candidate per row of scores: at each of its steps, the last one final."""
    return et.Pool(
        "q",
        tuple(
            et.Candidate(
                i,
                ". ".join("abcdefg"[: len(steps)]),
                correct=i == 0,
                num_tokens=11,
                step_scores={"prm": tuple(steps)},
                scores={"prm": steps[-1]},
            )
            for i, steps in enumerate(rows)
        ),
        problem=problem,
    )


def rejected(pools, cuts=(1,), orders=2, **more):
    settings = {**AT_CUTS, "cuts": list(cuts), "orders": orders, **more}
    return et.replay(pools, "rejection", **settings)


def test_it_is_told_how_often_the_row_that_would_have_won_was_dropped():
    """Of five rows three stay: the winner of the first problem goes, that of the second stays."""
    lost = scored([(0.9, 0.1), (0.8, 0.2), (0.1, 0.7), (0.2, 0.3), (0.3, 0.4)], "lost")
    kept = scored([(0.9, 0.9), (0.8, 0.2), (0.1, 0.7), (0.2, 0.3), (0.3, 0.4)], "kept")
    found = rejected([lost, kept])
    assert (found.dropped.problems, found.dropped.share, found.dropped.at_random) == (2, 0.5, 0.4)
    assert found.dropped.against_random.difference == 0.1
    assert [(one.dropped, one.at_random) for one in found.by_problem] == [(1, 0.4), (0, 0.4)]
    assert found.dropped.low < 0.5 < found.dropped.high
    assert found.dropped.against_random.low < 0.1 < found.dropped.against_random.high


def test_a_random_choice_is_of_as_many_rows_as_all_cuts_dropped():
    """Of seven rows four stay, then two, then one."""
    pool = scored([(0.1 * i, 0.1 * i, 0.1 * i, 0.1 * i) for i in range(7)])
    for cuts, left in (([1], 4), ([1, 2], 2), ([1, 2, 3], 1)):
        dropped = rejected([pool], cuts).dropped
        assert dropped.at_random == pytest.approx((7 - left) / 7)
        assert (dropped.share, dropped.low, dropped.against_random.low) == (0, None, None)


def test_a_scorer_that_knows_the_end_drops_no_winner_and_a_reversed_one_every_winner():
    ends = [[(i + k) % 7 / 7 for i in range(7)] for k in range(11)]
    perfect = rejected([scored([(x, x) for x in one], str(i)) for i, one in enumerate(ends)])
    reverse = rejected([scored([(1 - x, x) for x in one], str(i)) for i, one in enumerate(ends)])
    assert (perfect.dropped.share, perfect.dropped.low) == (0, 0)
    assert (reverse.dropped.share, reverse.dropped.high) == (1, 1)
    assert perfect.dropped.at_random == reverse.dropped.at_random == pytest.approx(3 / 7)
    assert perfect.dropped.against_random.low == pytest.approx(-3 / 7), "less is impossible"
    assert reverse.dropped.against_random.high == pytest.approx(4 / 7), "more is impossible"
    assert perfect.dropped.against_random.high < 0 < reverse.dropped.against_random.low


@pytest.mark.parametrize("cuts", [[1], [1, 2]], ids=str)
def test_scores_that_know_nothing_drop_the_winner_as_often_as_chance(cuts):
    """All 120 orders of five scores at the cuts: neither better nor worse, and not by luck."""
    pools = [
        scored([(x, x, end) for x, end in zip(cut, (0.1, 0.2, 0.9, 0.3, 0.4), strict=True)], str(i))
        for i, cut in enumerate(permutations((0.1, 0.2, 0.3, 0.4, 0.5)))
    ]
    dropped = rejected(pools, cuts).dropped
    assert (
        dropped.share
        == pytest.approx(dropped.at_random)
        == pytest.approx([0.4, 0.6][len(cuts) - 1])
    )
    assert dropped.against_random.low < 0 < dropped.against_random.high


def test_rows_that_tie_for_the_win_share():
    pool = scored([(0.9, 0.7), (0.1, 0.7), (0.8, 0.2), (0.2, 0.7), (0.7, 0.1)])
    assert rejected([pool]).dropped.share == pytest.approx(2 / 3)


def test_rows_that_tie_at_a_cut_are_dropped_in_every_order():
    pool = scored([(0.5, 0.1 * i) for i in range(5)])
    dropped = rejected([pool], orders=600).dropped
    assert dropped.at_random == pytest.approx(0.4)
    assert abs(dropped.share - 0.4) < 4 * (0.4 * 0.6 / 600) ** 0.5


def sure(rows, problem="p"):
    """A candidate per confidences and answer."""
    return et.Pool(
        "q",
        tuple(
            et.Candidate(
                i,
                confidences,
                answer=answer,
                correct=answer == "a",
                num_tokens=len(confidences),
                token_confidences={"deepconf": tuple(map(float, confidences))},
            )
            for i, (confidences, answer) in enumerate(rows)
        ),
        problem=problem,
    )


def test_of_votes_it_is_a_row_whose_answer_would_have_won():
    """One of the three rows for the winner is unsure, and is dropped where it is no warm-up row."""
    rows = [("99", "a"), ("99", "b"), ("9199", "a"), ("99", "a"), ("99", "b")]
    settings = {"warmup": 2, "window": 1, "keep_percent": 100, "orders": 60}
    found = et.replay([sure(rows)], "confidence", **settings)
    assert 0.4 < found.early < 0.8
    assert found.dropped.share == pytest.approx(found.early / 3)
    assert found.dropped.at_random == pytest.approx(found.early / 5)


def test_rows_that_were_never_run_were_not_dropped():
    """Two of seven rows are run, and one of them is below the threshold."""
    pool = sure([(f"{i}{i}", "a") for i in range(1, 8)])
    settings = {"warmup": 2, "window": 1, "keep_percent": 50, "consensus": 0.5, "orders": 5}
    found = et.replay([pool], "confidence", **settings)
    assert found.spent.samples == 2
    assert (found.dropped.share, found.dropped.at_random) == (0.5, 0.5)


def test_a_problem_without_an_answer_has_no_row_that_would_have_won():
    rows = [("99", "a"), ("99", "b"), ("91", "a"), ("92", "a"), ("93", "b")]
    mute = sure([(confidences, "") for confidences, _ in rows], "mute")
    settings = {"warmup": 2, "window": 1, "keep_percent": 50, "orders": 30}
    found = et.replay([mute, sure(rows)], "confidence", **settings)
    assert (found.dropped.problems, found.problems) == (1, 2)
    assert [one.dropped is None for one in found.by_problem] == [True, False]
    assert found.dropped.share == found.by_problem[1].dropped
    assert et.replay([mute], "confidence", **settings).dropped is None


def test_a_search_that_drops_no_row_says_nothing_of_the_winner():
    """What a wave runs behind the stop is wasted, and was not dropped."""
    pool = sure([("99", "a")] * 7)
    wasteful = et.replay([pool], "adaptive", settled=True, wave=7, orders=3)
    assert wasteful.counted < wasteful.spent.samples
    assert wasteful.dropped is None
    assert et.replay([pool], "adaptive").dropped is None
    assert rejected([scored([(0.1, 0.2)] * 5)], keep=1).dropped is None


def test_the_winner_that_was_dropped_is_json():
    found = rejected([scored([(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)])])
    plain = json.loads(json.dumps(found.to_dict()))["dropped"]
    assert plain == {
        "problems": 1,
        "share": 1,
        "low": None,
        "high": None,
        "at_random": pytest.approx(1 / 3),
        "against_random": {
            "against": "at random",
            "difference": pytest.approx(2 / 3),
            "low": None,
            "high": None,
        },
    }
