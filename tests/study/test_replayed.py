"""Replays on pools whose figures a person can work out, or that another way of counting gives."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.contract.errors import PoolWarning, UnknownNameError
from edifice_tt.pools.candidates import Candidate
from edifice_tt.search.votes import Adaptive
from edifice_tt.study import stopping
from edifice_tt.study.finished import Finished, scores_of, steps_of


def make_pool(answers, problem="p", gold="a", tokens=lambda i: 7 + i, **more):
    """A candidate per answer; `-` has none."""
    candidates = tuple(
        Candidate(
            i,
            f"so {one}",
            answer="" if one == "-" else one,
            correct=one == gold,
            num_tokens=tokens(i),
            **{name: values[i] for name, values in more.items()},
        )
        for i, one in enumerate(answers)
    )
    return et.Pool("q", candidates, problem=problem, gold=gold)


POOLS = [make_pool("aaaabaab", "p0"), make_pool("abcabcbb", "p1"), make_pool("ba-a-aba", "p2")]


def test_a_search_that_stops_at_once_saves_the_rest():
    found = et.replay([make_pool("aaaaaaaa", tokens=lambda i: 5)], "adaptive")
    assert (found.spent.samples, found.spent.tokens, found.saved_samples) == (4, 20, 0.5)
    assert (found.all.samples, found.all.tokens, found.all.label) == (8, 40, "all 8")
    assert (found.same.label, found.same.samples) == ("first 4", 4)
    assert (found.spent.low, found.against_all.low) == (None, None)  # of one problem
    assert found.monte_carlo is None


def test_the_rest_of_the_figures_are_those_of_the_exact_means():
    found = et.replay(POOLS, "adaptive", threshold=0.8, bootstrap=50)
    assert [one.problem for one in found.by_problem] == ["p0", "p1", "p2"]
    for one, pool in zip(found.by_problem, POOLS, strict=True):
        right = np.array([c.correct for c in pool], float)
        tokens = np.array([c.num_tokens for c in pool], float)
        search, answers = Adaptive(8, 0.8), [c.answer or None for c in pool]
        means = stopping.mean_over_orders(answers, right, tokens, search.by_counts, search.upto)
        assert (one.counted, one.samples, one.tokens, one.accuracy, one.early) == pytest.approx(
            tuple(means)
        )
        assert one.accuracy_of_all == pytest.approx(et.majority_at_k(answers, right, 8))
    assert found.spent.accuracy == pytest.approx(np.mean([p.accuracy for p in found.by_problem]))
    saved = 1 - sum(p.samples for p in found.by_problem) / 24
    assert found.saved_samples == pytest.approx(saved)


@pytest.mark.parametrize("search", ["adaptive", "first", "window"])
@pytest.mark.parametrize("cut_off", ["abstain", "vote"])
def test_all_candidates_of_a_replay_are_the_majority_of_the_curve(search, cut_off):
    """A cut-off answer votes in both or in neither."""
    ends = ["length", "stop", "length", "stop", "length", "stop", "stop"]
    pools = [make_pool(letters, letters, finish_reason=ends) for letters in ("bababba", "bbbabaa")]
    found = et.replay(pools, search, cut_off=cut_off, orders=2, bootstrap=20)
    curve = et.scaling_curve(pools, ["majority"], [7], cut_off=cut_off, bootstrap=20)
    assert found.all.accuracy == pytest.approx(curve.rules[0].accuracy[-1])
    assert found.all.accuracy == pytest.approx({"abstain": 1, "vote": 0}[cut_off])


def test_what_cut_off_answers_do_in_a_replay_is_checked():
    with pytest.raises(ValueError, match="cut_off='drop' must be one of abstain, vote"):
        et.replay(POOLS, cut_off="drop")


def test_the_first_k_cost_as_many_tokens_as_the_search():
    found = et.replay(POOLS, "adaptive", threshold=0.8)
    assert found.same.tokens == pytest.approx(found.spent.tokens)
    k = found.same.samples
    share, low = k - math.floor(k), math.floor(k)
    ways = [
        [
            et.majority_at_k([c.answer or None for c in p], [c.correct for c in p], size)
            for p in POOLS
        ]
        for size in (low, low + 1)
    ]
    expected = (1 - share) * np.mean(ways[0]) + share * np.mean(ways[1])
    assert found.same.accuracy == pytest.approx(expected)


def test_a_pool_without_counts_of_tokens_is_compared_by_samples():
    found = et.replay([make_pool("abaaabba", tokens=lambda i: 0)], "adaptive", threshold=0.8)
    assert (found.spent.tokens, found.saved_tokens) == (None, None)
    assert found.same.samples == found.spent.samples


@pytest.mark.parametrize("settings", [{"threshold": 0.8}, {"threshold": 0.8, "wave": 3}], ids=str)
def test_drawn_orders_agree_with_the_exact_means(settings, monkeypatch):
    exact = et.replay(POOLS, "adaptive", **settings)
    monkeypatch.setattr(Adaptive, "by_counts", None, raising=False)
    monkeypatch.setattr(
        Adaptive,
        "is_clear",
        lambda self, answers: self._is_likely(
            sorted((answers.count(a) for a in {*answers} - {None}), reverse=True), len(answers)
        ),
    )
    drawn = et.replay(POOLS, "adaptive", orders=400, **settings)
    assert exact.monte_carlo is None
    for name in ("samples", "tokens", "accuracy"):
        error = getattr(drawn.monte_carlo, name)
        assert abs(getattr(drawn.spent, name) - getattr(exact.spent, name)) < 4 * error
    assert drawn.all == exact.all


def test_drawn_orders_depend_on_the_seed_alone():
    one, again = (et.replay(POOLS, "window", window=2, orders=30, seed=3) for _ in "12")
    other = et.replay(POOLS, "window", window=2, orders=30, seed=4)
    assert one == again
    assert one.by_problem != other.by_problem
    backwards = [replace(p, candidates=p.candidates[::-1]) for p in POOLS]
    assert et.replay(backwards, "window", window=2, orders=30, seed=3) == one


def test_a_smaller_budget_is_kept():
    found = et.replay(POOLS, "first", n=3)
    assert (found.spent.samples, found.all.label, found.settings["n"]) == (3, "all 3", 3)
    with pytest.raises(ValueError, match=r"problem 'p0': n=9 is more than its 8 candidates"):
        et.replay(POOLS, "first", n=9)


def test_equal_answers_of_an_extractor_are_one():
    texts = ["It is 4.", "4.0", "8/2", "5"]
    pool = et.Pool("q", tuple(map(Candidate, range(4), texts)), gold="4")
    found = et.replay([et.grade(pool, "number")], "adaptive", answer="number", threshold=0.9)
    assert found.spent.accuracy == 1.0


def test_it_is_json():
    plain = json.loads(json.dumps(et.replay(POOLS[:1], "adaptive", threshold=0.8).to_dict()))
    assert (plain["kind"], plain["schema"], plain["spent"]["low"]) == ("replay", 1, None)
    assert plain["settings"] == {"threshold": 0.8, "least": 1, "wave": 1, "settled": False}


# --- rejection, by scores at the cut

LOGPROBS = [(-1.0, -1.0, -9.0, -9.0), (-2.0,) * 4, (-3.0, -3.0), (-0.5, -4.5, -1.5)]


def test_rejection_by_log_probabilities_of_the_beginnings():
    """After two tokens the means are -1, -2, -3 and -2.5; rows 0 and 1 stay, and 1 ends better."""
    pool = make_pool("babb", tokens=lambda i: len(LOGPROBS[i]), token_logprobs=LOGPROBS)
    pool = replace(
        pool,
        candidates=tuple(
            replace(c, scores={"logprob": sum(x) / len(x)})
            for c, x in zip(pool, LOGPROBS, strict=True)
        ),
    )
    found = et.replay([pool], "rejection", scorer="logprob", cuts=[2], orders=3)
    assert found.spent.tokens == 4 + 4 + 2 + 2
    assert (found.spent.accuracy, found.all.accuracy, found.all.tokens) == (1.0, 1.0, 13)
    assert (found.spent.samples, found.counted) == (4, 2)
    assert found.settings["cuts"] == [2]


STEPS = [(0.1, 0.9), (0.6, 0.2, 0.4), (0.5,)]
TEXTS = ["a. b", "a. b. c", "a"]


def stepped():
    candidates = tuple(
        Candidate(
            i,
            text,
            correct=i == 1,
            num_tokens=9,
            step_scores={"prm": steps},
            scores={"prm": steps[-1]},
        )
        for i, (text, steps) in enumerate(zip(TEXTS, STEPS, strict=True))
    )
    return et.Pool("q", candidates)


def test_rejection_by_scores_of_steps():
    """After a step 0.1, 0.6 and 0.5: rows 1 and 2 stay; at their ends 0.4 and 0.5."""
    settings = {"scorer": "prm", "delimiter": ". ", "cuts": [1], "orders": 3}
    found = et.replay([stepped()], "rejection", **settings)
    assert (found.spent.accuracy, found.counted) == (0.0, 2)
    assert (found.spent.tokens, found.same, found.against_same) == (None, None, None)
    assert found.all.accuracy == 0.0
    more = et.replay([stepped()], "rejection", **{**settings, "keep": 0.3})
    assert (more.spent.accuracy, more.counted) == (1.0, 1)


def test_steps_are_told_apart_by_the_delimiter():
    assert steps_of("a\n\nb\n\n", "\n\n") == ["a\n\n", "b\n\n"]
    rows = Finished(stepped().candidates, [None] * 3, scores_of("prm", ". "))
    ask = et.Ask((1,), et.Until(delimiter=". "))
    told = [rows.advance(ask)[0] for _ in range(4)]
    assert [row.text for row in told] == ["a. ", "a. b. ", "a. b. c", "a. b. c"]
    assert [row.score for row in told] == [0.6, 0.2, 0.4, 0.4]
    assert [row.num_tokens for row in told] == [None, None, 9, 9]
    assert [row.ended for row in told] == [False, False, True, True]


def test_rows_go_on_from_where_they_stand():
    pool = make_pool("ab", token_logprobs=[tuple(-float(i) for i in range(7 + j)) for j in (0, 1)])
    rows = Finished(pool.candidates, ["a", "b"], scores_of("logprob", None))
    asks = [et.Ask((1,), et.Until(tokens=more)) for more in (2, 3, 9, 1)]
    told = [rows.advance(ask)[0] for ask in asks]
    assert [row.num_tokens for row in told] == [2, 5, 8, 8]
    assert [row.score for row in told] == [-0.5, -2.0, -3.5, -3.5]
    assert [row.answer for row in told] == [None, None, "b", "b"]
    steps = Finished(stepped().candidates, [None] * 3)
    whole = steps.advance(et.Ask((1,)))
    assert steps.advance(et.Ask((1,), et.Until(delimiter=". "))) == whole
    assert whole[0].ended


# --- confidence


def test_confidence_stops_the_unsure():
    rows = [("99", "a"), ("99", "a"), ("99", "a"), ("9199", "b")]
    candidates = tuple(
        Candidate(
            i,
            text,
            answer=answer,
            correct=answer == "a",
            num_tokens=len(text),
            token_confidences={"deepconf": tuple(map(float, text))},
        )
        for i, (text, answer) in enumerate(rows)
    )
    pool = et.Pool("q", candidates)
    found = et.replay([pool], "confidence", warmup=2, window=1, keep_percent=100, orders=60)
    assert found.spent.accuracy == 1.0
    # The unsure row is stopped after two of four tokens, in orders in which it is no warm-up row.
    assert found.spent.tokens == pytest.approx(10 - found.early * 2)
    assert 0.3 < found.early < 0.7


# --- what is refused


def test_a_search_that_copies_rows_is_not_replayed():
    with pytest.raises(ValueError, match=r"'beam' goes on with copies.* replay one of adaptive"):
        et.replay(POOLS, "beam")


@pytest.mark.parametrize(
    ("pool", "search", "settings", "words"),
    [
        (POOLS[0], "rejection", {"scorer": "prm"}, "'p0': .*no scores of 'prm'"),
        (stepped(), "rejection", {"scorer": "prm", "cuts": [2]}, "no score of 'prm' after 2 tok"),
        (
            stepped(),
            "rejection",
            {"scorer": "prm", "delimiter": "\n"},
            r"3 step scores of 'prm' and 1 steps|2 step scores of 'prm' and 1 steps",
        ),
        (stepped(), "rejection", {"scorer": "logprob", "cuts": [2]}, "no log-probabilities"),
        (POOLS[0], "confidence", {"warmup": 2}, "0 confidences 'deepconf' for 7 tokens"),
        (
            make_pool("ab", tokens=lambda i: 0, scores=[{"prm": 0.5}] * 2),
            "rejection",
            {"scorer": "prm"},
            "tokens of candidate . are not counted",
        ),
        (
            make_pool("a?", correct=None) if False else et.Pool("q", (Candidate(0, "x"),)),
            "adaptive",
            {},
            "whether candidate 0 is right is not known",
        ),
        (POOLS[0], "adaptive", {"threshold": 3}, "^threshold=3 must be"),
        (POOLS[0], "adaptive", {"orders": 0}, "orders=0"),
        (POOLS[0], "adaptive", {"level": 1}, "level=1"),
    ],
)
def test_what_a_pool_does_not_hold_is_told(pool, search, settings, words):
    with pytest.raises((ValueError, UnknownNameError), match=words):
        et.replay([pool], search, **settings)


def test_unfinished_problems_are_left_out():
    short = replace(POOLS[1], settings={"n": 9})
    with pytest.warns(PoolWarning, match="1 of 3 problems are unfinished and left out"):
        found = et.replay([POOLS[0], short, POOLS[2]], "first")
    assert found.problems == 2
    with pytest.raises(ValueError, match="there is no finished pool"):
        et.replay([short], "first")
