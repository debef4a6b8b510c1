"""The records: pools count, take scores, and become JSON."""

import json
import pickle

import pytest

import edifice_tt as et

POOL = et.Pool(
    "What is 2 + 2?",
    (
        et.Candidate(0, "4", (55, 2), (-0.1, -0.3), "eos"),
        et.Candidate(1, "four", (105, 114), (-1.5, -2.5), "length", answer="4", correct=True),
        et.Candidate(2, "", (2,), (-7.0,), "stop", seconds=1.5),
    ),
    {"model": "tiny", "seed": 3, "temperature": 0.8, "stop": ["\n"]},
    gold="4",
)


def test_a_pool_counts_and_gives_its_candidates():
    assert len(POOL) == 3
    assert list(POOL) == list(POOL.candidates)


def test_scores_are_added_to_a_new_pool_and_the_old_one_stays():
    once = POOL.with_scores("a", [1.0, 2.0, 3.0])
    twice = once.with_scores("b", [4.0, 5.0, 6.0])
    assert [dict(c.scores) for c in POOL] == [{}, {}, {}]
    assert [dict(c.scores) for c in once] == [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}]
    assert dict(twice.candidates[1].scores) == {"a": 2.0, "b": 5.0}
    assert (POOL.scorers, once.scorers, twice.scorers) == ([], ["a"], ["a", "b"])


def test_scorers_are_those_that_scored_every_candidate():
    partly = et.Pool("q", (et.Candidate(0, "a", scores={"x": 1.0}), et.Candidate(1, "b")))
    assert partly.scorers == []


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], [1.0] * 4])
def test_scores_must_be_one_a_candidate(scores):
    with pytest.raises(ValueError, match="argument"):
        POOL.with_scores("a", scores)


def test_a_pool_as_a_dict_is_what_json_holds():
    scored = POOL.with_scores("a", [1.0, 2.0, 3.0])
    read = json.loads(json.dumps(scored.to_dict()))
    assert read["prompt"] == POOL.prompt
    assert read["settings"]["seed"] == 3
    assert read["candidates"][1] == {
        "index": 1,
        "text": "four",
        "token_ids": [105, 114],
        "token_logprobs": [-1.5, -2.5],
        "finish_reason": "length",
        "answer": "4",
        "correct": True,
        "num_tokens": 2,
        "seconds": None,
        "scores": {"a": 2.0},
        "step_scores": {},
        "token_confidences": {},
    }
    assert (read["problem"], read["gold"], read["ranges"]) == ("0", "4", {})


def test_scores_come_with_their_range_and_their_steps():
    steps = [[0.5, 0.25], [1.0], []]
    scored = POOL.with_scores("prm", [0.25, 1.0, 0.0], range="probability", steps=steps)
    assert scored.ranges == {"prm": "probability"}
    assert [c.step_scores["prm"] for c in scored] == [(0.5, 0.25), (1.0,), ()]
    again = scored.with_scores("prm", [0.0, 0.0, 0.0], range="logit")
    assert again.ranges == {"prm": "logit"}
    assert [dict(c.step_scores) for c in again] == [{}, {}, {}]  # those of the old scores are gone


def test_tokens_are_counted_where_they_are_kept():
    assert [c.num_tokens for c in POOL] == [2, 2, 1]
    assert et.Candidate(0, "a", num_tokens=17).num_tokens == 17


def test_how_long_a_candidate_took_makes_it_no_other():
    assert et.Candidate(0, "a", seconds=1.0) == et.Candidate(0, "a", seconds=2.0)
    assert et.Candidate(0, "a", correct=True) != et.Candidate(0, "a", correct=False)


def test_a_pool_can_go_to_another_process():
    assert pickle.loads(pickle.dumps(POOL)) == POOL
