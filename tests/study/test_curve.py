"""The whole curve: what stands in its record, and that it is the same for the same pools."""

import json
from dataclasses import replace

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.contract.errors import PoolWarning, UnknownNameError
from edifice_tt.selection.rules import CUT_OFF
from edifice_tt.study.intervals import bootstrap_means
from edifice_tt.study.records import Unfinished
from edifice_tt.study.statistics import kl_best_of_n
from edifice_tt.study.subsets import Estimate


def made(num_problems=30, n=8, seed=1):
    """Pools with answers `0`..`4`, one of them right, and a scorer that is somewhat good."""
    rng = np.random.default_rng(seed)
    pools = []
    for at in range(num_problems):
        skill = rng.beta(1, 1)
        candidates = []
        for i in range(n):
            right = bool(rng.random() < skill)
            answer = "0" if right else rng.choice(["1", "2", "3", None])
            score = float(1 / (1 + np.exp(-rng.normal(right, 1))))
            tokens = int(rng.integers(5, 50))
            candidates.append(
                et.Candidate(
                    i,
                    f"text {i}",
                    answer=None if answer is None else str(answer),
                    correct=right,
                    num_tokens=tokens,
                    seconds=tokens / 10,
                    scores={"prm": score},
                )
            )
        settings = {"model": "made", "n": n, "stop": ("a", "b")}
        ranges = {"prm": "probability"}
        pools.append(et.Pool("q", tuple(candidates), settings, f"p{at}", "0", ranges))
    return pools


POOLS = made()
ALL = ("best_of_n", "majority", "weighted", "pessimistic", "random", "oracle")


@pytest.fixture(scope="module")
def curve():
    return et.scaling_curve(iter(POOLS), ALL, (4, 1, 2, 8, 4), bootstrap=200, pool="pool.jsonl")


def rule(curve, name):
    (found,) = (one for one in curve.rules if one.rule == name)
    return found


def test_accuracies_are_means_of_the_estimators_over_problems(curve):
    assert curve.ks == (1, 2, 4, 8)
    for at, k in enumerate(curve.ks):
        correct = [[c.correct for c in pool] for pool in POOLS]
        scores = [[c.scores["prm"] for c in pool] for pool in POOLS]
        answers = [[c.answer for c in pool] for pool in POOLS]
        best = np.mean([et.best_of_k(*pair, k) for pair in zip(scores, correct, strict=True)])
        vote = np.mean([et.majority_at_k(*pair, k) for pair in zip(answers, correct, strict=True)])
        cover = np.mean([et.pass_at_k(8, sum(marks), k) for marks in correct])
        assert rule(curve, "best_of_n").accuracy[at] == pytest.approx(best, abs=1e-11)
        assert rule(curve, "majority").accuracy[at] == pytest.approx(vote, abs=1e-11)
        assert rule(curve, "oracle").accuracy[at] == pytest.approx(cover, abs=1e-11)
        assert rule(curve, "random").accuracy[at] == pytest.approx(np.mean(correct), abs=1e-11)


def test_every_accuracy_lies_in_its_interval_and_below_the_oracle(curve):
    for one in curve.rules:
        bounds = zip(one.low, one.accuracy, one.high, strict=True)
        assert all(0 <= low < accuracy < high <= 1 for low, accuracy, high in bounds)
        pairs = zip(one.accuracy, rule(curve, "oracle").accuracy, strict=True)
        assert all(accuracy <= oracle + 1e-12 for accuracy, oracle in pairs)


def test_the_order_of_candidates_and_of_problems_does_not_change_an_exact_number(curve):
    turned = [replace(pool, candidates=pool.candidates[::-1]) for pool in POOLS[::-1]]
    again = et.scaling_curve(turned, ALL, curve.ks, bootstrap=200)
    for one, other in zip(curve.rules, again.rules, strict=True):
        assert other.accuracy == pytest.approx(one.accuracy, abs=1e-11)


def test_same_seed_gives_the_same_curve_and_another_seed_other_intervals(curve):
    again = et.scaling_curve(POOLS, ALL, curve.ks, bootstrap=200, pool="pool.jsonl")
    assert again == curve
    other = et.scaling_curve(POOLS, ALL, curve.ks, bootstrap=200, seed=1)
    assert rule(other, "majority").accuracy == rule(curve, "majority").accuracy
    assert rule(other, "majority").low != rule(curve, "majority").low


def test_a_higher_level_is_a_wider_interval(curve):
    wide = et.scaling_curve(POOLS, ALL, curve.ks, bootstrap=200, level=0.99)
    assert wide.level == 0.99
    assert rule(wide, "majority").low[2] < rule(curve, "majority").low[2]
    assert rule(wide, "majority").high[2] > rule(curve, "majority").high[2]


def test_rules_are_compared_with_majority_at_each_k(curve):
    pairs = [(one.label, one.against, one.k) for one in curve.comparisons]
    rivals = ["best_of_n · prm", "weighted · prm", "pessimistic · prm", "random"]
    assert pairs == [(label, "majority", k) for label in rivals for k in (1, 2, 4, 8)]
    for one in curve.comparisons:
        (own,) = (r for r in curve.rules if r.label == one.label)
        at = curve.ks.index(one.k)
        difference = own.accuracy[at] - rule(curve, "majority").accuracy[at]
        assert one.difference == pytest.approx(difference, abs=1e-11)
        assert one.low <= one.difference <= one.high


def test_without_majority_the_first_rule_is_the_one_to_beat():
    found = et.scaling_curve(POOLS, ("oracle", "random", "best_of_n"), (2,), bootstrap=9)
    assert [(one.label, one.against) for one in found.comparisons] == [
        ("best_of_n · prm", "random")
    ]
    assert et.scaling_curve(POOLS, ("oracle",), (2,), bootstrap=9).comparisons == ()


def test_rules_that_are_equal_differ_by_exactly_nothing():
    """At k = 1 each takes the one candidate; nobody who abstains is right. No rounding shows."""
    for seed in range(5):
        pools = made(31, 7, seed)
        found = et.scaling_curve(pools, ("majority", "best_of_n", "weighted"), (1,), bootstrap=50)
        assert [one.difference for one in found.comparisons] == [0.0, 0.0]
        # Of 31 problems without a difference: 1.96^2 / (31 + 1.96^2) of others may have any.
        bounds = [bound for one in found.comparisons for bound in (-one.low, one.high)]
        assert bounds == pytest.approx([3.8415 / 34.8415] * 4, abs=1e-5)
        assert found.advice.problems is None
        assert "do not differ in any of these problems" in found.advice.reason


def test_drawn_rules_state_their_error_and_exact_ones_have_none():
    pools = made(40, 24)
    found = et.scaling_curve(pools, ("majority", "weighted"), (1, 4, 24), bootstrap=20)
    assert (rule(found, "majority").exact, rule(found, "majority").monte_carlo_error) == (
        True,
        None,
    )
    drawn = rule(found, "weighted")
    assert not drawn.exact
    assert drawn.monte_carlo_error[0] == drawn.monte_carlo_error[2] == 0  # every subset was taken
    assert 0 < drawn.monte_carlo_error[1] < 0.0025


def test_the_record_counts_what_was_there(curve):
    assert (curve.pool, curve.problems, curve.candidates) == ("pool.jsonl", 30, 240)
    assert curve.settings == {"model": "made", "n": 8, "stop": ("a", "b")}
    assert (curve.level, curve.seed, curve.bootstrap) == (0.95, 0, 200)
    assert curve.abstentions == sum(c.answer is None for pool in POOLS for c in pool) > 0
    tokens = np.mean([c.num_tokens for pool in POOLS for c in pool])
    assert curve.cost.tokens_per_candidate == pytest.approx(tokens)
    assert curve.cost.seconds_per_candidate == pytest.approx(tokens / 10)
    assert curve.kl == tuple(kl_best_of_n(k) for k in curve.ks)
    assert curve.forecast.ks == (16, 32, 64, 128)
    coverage = (rule(curve, "oracle").accuracy[-1], *curve.forecast.coverage)
    assert list(coverage) == sorted(coverage)
    (scorer,) = curve.scorers
    assert (scorer.scorer, scorer.range) == ("prm", "probability")
    assert 0.6 < scorer.auroc_within < 0.9
    assert scorer.peak_accuracy >= max(rule(curve, "best_of_n").accuracy) - 1e-11
    assert curve.advice.difference == 0.02
    assert curve.advice.problems > 30


def test_the_dict_is_the_json(curve):
    plain = curve.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert (plain["kind"], plain["schema"]) == ("curve", 1)
    scorer = plain["scorers"][0]
    fields = {
        "kind schema pool settings problems candidates level seed bootstrap ks rules": plain,
        "label rule scorer exact accuracy low high monte_carlo_error": plain["rules"][0],
        "label against k difference low high": plain["comparisons"][0],
        "tokens_per_candidate seconds_per_candidate": plain["cost"],
        "ks coverage alpha beta": plain["forecast"],
        "difference problems reason": plain["advice"],
        "scorer range auroc_pooled auroc_within mixed_problems ece brier": scorer,
        "low high count mean_score accuracy": scorer["reliability"][0],
        "edges right wrong": scorer["histogram"],
    }
    rest = {
        "kind": " comparisons cost forecast kl advice scorers abstentions left_out unfinished "
        "cut_off",
        "scorer": " reliability histogram length_correlation best_k peak_accuracy trained_on "
        "tokens_per_candidate seconds_per_candidate auroc_low auroc_high pooled_low pooled_high",
    }
    for names, record in fields.items():
        assert " ".join(record) == names + rest.get(next(iter(record)), "")


def test_one_problem_that_is_all_right_leaves_unknown_what_cannot_be_known():
    candidates = tuple(et.Candidate(i, "7", correct=True, scores={"z": i - 1.0}) for i in range(3))
    found = et.scaling_curve([et.Pool("q", candidates)], ("best_of_n", "majority"))
    assert found.ks == (1, 2, 3)
    assert found.rules[0].accuracy == (1.0, 1.0, 1.0)
    assert found.rules[0].low == found.rules[0].high == (None, None, None)
    assert {(one.low, one.high) for one in found.comparisons} == {(None, None)}
    assert found.forecast is None
    assert found.advice.problems is None
    assert found.advice.reason == "a variance needs two problems, here is one"
    assert (found.cost.tokens_per_candidate, found.cost.seconds_per_candidate) == (None, None)
    assert found.scorers[0].auroc_pooled is None
    assert found.scorers[0].range is None
    json.dumps(found.to_dict(), allow_nan=False)


def alike(number):
    """Problems in which the scorer finds the one right answer of three, and no majority does."""
    marks = [("r", True, 0.9), ("w", False, 0.2), ("w", False, 0.3)]
    candidates = tuple(
        et.Candidate(i, a, answer=a, correct=c, scores={"s": s})
        for i, (a, c, s) in enumerate(marks)
    )
    return [et.Pool("q", candidates, problem=str(i)) for i in range(number)]


def test_problems_that_are_all_alike_leave_room_for_others():
    """Of 0 and 1 it is Wilson's interval: 3 of 3 are right, and 0 of 3."""
    found = et.scaling_curve(alike(3), ["best_of_n", "majority"], [1, 3])
    one, other = found.rules
    assert (one.accuracy[1], one.high[1], other.accuracy[1], other.low[1]) == (1, 1, 0, 0)
    assert (one.low[1], other.high[1]) == pytest.approx((0.4385, 0.5615), abs=1e-4)
    assert (one.low[0], one.high[0]) == pytest.approx((0.4385 / 3, 1 - 0.4385 * 2 / 3), abs=1e-4)
    last = found.comparisons[-1]
    assert (last.difference, last.high) == (1.0, 1.0)
    assert last.low == pytest.approx(1 - 2 * 0.5615, abs=1e-4)


def test_a_difference_that_is_the_same_in_all_problems_is_not_taken_for_none():
    found = et.scaling_curve(alike(20), ["best_of_n", "majority"], [1, 3])
    assert found.comparisons[-1].difference == 1.0
    assert found.comparisons[-1].low > 0.6
    assert found.advice.problems is None
    assert "same in all problems" in found.advice.reason
    alone = et.scaling_curve(alike(20), ["majority"])
    assert "no two rules" in alone.advice.reason


def part(pools, **kept):
    """These pools, of some the first few candidates alone, by the problem's id."""
    return [
        replace(pool, candidates=pool.candidates[: kept.get(pool.problem, len(pool))])
        for pool in pools
    ]


def test_unfinished_problems_are_left_out_and_named():
    pools = part(POOLS, p3=1, p7=5, p8=0)
    with pytest.warns(
        PoolWarning, match="3 of 30 problems are unfinished and left out: problem 'p"
    ) as told:
        found = et.scaling_curve(pools, ("majority", "oracle"), bootstrap=20)
    assert told[0].filename == __file__
    assert found.unfinished == Unfinished(3, "p3", 1, 8, used=False)
    rest = [pool for pool in pools if len(pool) == 8]
    alone = et.scaling_curve(rest, ("majority", "oracle"), bootstrap=20)
    assert replace(found, unfinished=None) == alone
    assert alone.unfinished is None
    assert found.to_dict()["unfinished"]["problems"] == 3


def test_unfinished_problems_are_used_when_that_is_asked_for():
    pools = part(POOLS, p3=2)
    with pytest.warns(PoolWarning, match="1 of 30 problems is unfinished: problem 'p3' has 2 of 8"):
        found = et.scaling_curve(pools, ("majority",), bootstrap=5, unfinished="use")
    assert (found.ks, found.problems, found.unfinished.used) == ((1, 2), 30, True)
    with pytest.raises(ValueError, match="unfinished='keep' must be one of leave_out, use"):
        et.scaling_curve(pools, ("majority",), unfinished="keep")


def test_a_curve_of_unfinished_problems_alone_is_an_error_that_says_how_to_complete_them():
    pools = part(POOLS[:2], p0=3, p1=4)
    with pytest.raises(ValueError, match=r"problem 'p0' has 3 of 8 candidates; complete.*--resume"):
        et.scaling_curve(pools, ("majority",))


def test_the_subsets_that_are_drawn_are_forty_thousand_over_all_problems(monkeypatch):
    drawn = []

    def over_subsets(value, n, ks, draws, seed):
        drawn.append(draws)
        return Estimate(np.full(len(ks), 0.5), np.zeros(len(ks)))

    monkeypatch.setattr("edifice_tt.study.estimates.over_subsets", over_subsets)
    pools = made(1, 2) * 701
    for some, draws in ((pools[:3], 13_334), (pools[:7], 5715), (pools, 64)):
        drawn.clear()
        et.scaling_curve(some, ("weighted",), (1,), bootstrap=1)
        assert set(drawn) == {draws}


def test_intervals_are_by_default_95_percent_of_1000_resamples():
    found = et.scaling_curve(POOLS, ("majority",), (4,))
    assert (found.level, found.bootstrap) == (0.95, 1000)
    values = [[et.majority_at_k([c.answer for c in p], [c.correct for c in p], 4)] for p in POOLS]
    means = np.sort(bootstrap_means(values, 1000, 0)[:, 0])
    assert found.rules[0].low[0] == pytest.approx(np.quantile(means, 0.025), abs=1e-11)
    assert found.rules[0].high[0] == pytest.approx(np.quantile(means, 0.975), abs=1e-11)


def test_the_interval_of_a_comparison_is_what_it_would_be_alone(curve):
    alone = et.scaling_curve(POOLS, ("best_of_n", "majority"), (1, 2, 4, 8), bootstrap=200)
    assert alone.comparisons == tuple(c for c in curve.comparisons if c.label == "best_of_n · prm")


def test_ks_are_by_default_what_the_smallest_pool_allows():
    for sizes, ks in {(8, 8): (1, 2, 4, 8), (13, 6): (1, 2, 4, 6), (1, 9): (1,)}.items():
        pools = [made(1, n, seed=n)[0] for n in sizes]
        assert et.scaling_curve(pools, ("majority",), bootstrap=5).ks == ks


def test_answers_are_extracted_when_asked():
    texts = ["it is 7", "7.0", "8"]
    candidates = tuple(et.Candidate(i, t, correct=i < 2) for i, t in enumerate(texts))
    pools = [et.Pool("q", candidates)]
    assert et.scaling_curve(pools, ("majority",), (3,), answer="number").rules[0].accuracy == (1.0,)
    assert et.scaling_curve(pools, ("majority",), (3,)).rules[0].accuracy == (pytest.approx(2 / 3),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": (1, 9)}, "k=9 must be between 1 and 8, the number of candidates of problem 'p0'"),
        ({"ks": (0,)}, "k=0 must be between 1 and 8"),
        ({"ks": ()}, "ks must hold at least one"),
        ({"rules": ()}, "rules must name at least one rule"),
        ({"pools": ()}, "there are no pools"),
        ({"level": 95}, "level=95 must be between 0 and 1"),
        ({"bootstrap": 0}, "resamples=0 must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_errors(change, message):
    with pytest.raises(ValueError, match=message):
        et.scaling_curve(**{"pools": POOLS, "rules": ("majority",), **change})


def test_an_unknown_rule_is_an_error_before_a_pool_is_read():
    def never():
        raise AssertionError("a pool was read")
        yield

    with pytest.raises(UnknownNameError, match=r"'majorty'.*did you mean 'majority'"):
        et.scaling_curve(never(), ("majorty",))


def test_a_scorer_that_scored_only_some_problems_is_an_error_that_names_one():
    bare = replace(POOLS[1], candidates=tuple(replace(c, scores={}) for c in POOLS[1]))
    with pytest.raises(ValueError, match="problem 'p1' has no scores of prm, which other problems"):
        et.scaling_curve([POOLS[0], bare])
    assert et.scaling_curve([POOLS[0], bare], ("majority",), scorers=()).scorers == ()


# --- answers that were cut off


def cut(pools, every=3):
    """The same pools, in which each third candidate was cut off."""
    return [
        replace(
            pool,
            candidates=tuple(
                replace(c, finish_reason="length" if c.index % every == 0 else "eos") for c in pool
            ),
        )
        for pool in pools
    ]


def voiceless(pools):
    """Those that were cut off have no answer instead."""
    return [
        replace(pool, candidates=tuple(replace(c, answer="") if c.is_cut_off else c for c in pool))
        for pool in pools
    ]


def test_an_answer_that_was_cut_off_counts_as_none_in_votes():
    given = {"rules": ALL, "ks": (1, 4), "bootstrap": 9}
    found = et.scaling_curve(cut(POOLS), **given)
    assert found.rules == et.scaling_curve(voiceless(cut(POOLS)), **given).rules
    assert found.rules != et.scaling_curve(POOLS, **given).rules
    assert found.cut_off.votes == "abstain"


def test_a_curve_holds_both_ways_to_count_what_was_cut_off():
    """The intervals too: both are from the same resamples."""
    given = {"rules": ALL, "ks": (1, 4), "bootstrap": 9}
    abstain, vote = (et.scaling_curve(cut(POOLS), **given, cut_off=how) for how in CUT_OFF)
    votes = {"majority", "weighted", "pessimistic"}
    assert {one.rule for one in abstain.cut_off.others} == votes
    assert abstain.cut_off.others == tuple(one for one in vote.rules if one.rule in votes)
    assert vote.cut_off.others == tuple(one for one in abstain.rules if one.rule in votes)
    assert vote.rules == et.scaling_curve(POOLS, **given).rules
    assert et.scaling_curve(POOLS, **given).cut_off is None


def test_a_curve_counts_what_was_cut_off_and_how_much_of_it_is_right():
    pools = cut(POOLS)
    found = et.scaling_curve(pools, ["majority"], (1,), bootstrap=9).cut_off
    marks = [(c.is_cut_off, c.correct) for pool in pools for c in pool]
    assert (found.candidates, found.right) == (
        sum(is_cut for is_cut, _ in marks),
        sum(is_cut and right for is_cut, right in marks),
    )
    assert found.candidates + found.finished == len(marks)
    assert found.right + found.finished_right == sum(right for _, right in marks)
    assert 0 < found.right < found.candidates


def test_a_cut_answer_in_a_curve_does_one_of_two_things():
    with pytest.raises(ValueError, match="cut_off='maybe' must be one of abstain, vote"):
        et.scaling_curve(POOLS, cut_off="maybe")


def test_a_rule_whose_scorer_has_seen_these_problems_is_not_the_one_to_beat():
    seen = [pool.with_scores("v", [0.5] * len(pool), seen=True) for pool in POOLS]
    scorers = ["v", "prm"]
    found = et.scaling_curve(seen, ["best_of_n"], (2,), scorers=scorers, bootstrap=9)
    assert [(one.label, one.against) for one in found.comparisons] == [
        ("best_of_n · v", "best_of_n · prm")
    ]
    assert [one.scorer for one in found.rules] == scorers
    assert [one.scorer for one in found.by_trust()] == scorers[::-1]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, ["oracle", "majority", "random"]),
        ({"s": -3.0}, ["oracle", "best_of_n", "majority", "random"]),
        ({"s": 0.5}, ["oracle", "best_of_n", "majority", "weighted", "random"]),
    ],
)
def test_the_default_rules_are_those_that_the_scores_allow(scores, expected):
    candidates = (et.Candidate(i, str(i), correct=i == 0, scores=scores) for i in range(3))
    found = et.scaling_curve([et.Pool("q", tuple(candidates))], bootstrap=2)
    assert [one.rule for one in found.rules] == expected
