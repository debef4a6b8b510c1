"""Which estimator a rule gets, and for which scorers."""

from dataclasses import replace

import numpy as np
import pytest
from brute import best, heaviest, over_subsets
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt.contract import registry
from edifice_tt.contract.errors import PluginError, UnknownNameError
from edifice_tt.study.estimates import evaluate_rule
from edifice_tt.study.problems import read_problems

site = pytest.fixture(open_site, name="site")


def made(rng, sizes=(5, 6, 5), **ranges):
    """Pools of a few candidates each, of which `2` is right; a score per name in `ranges`."""
    pools = []
    for at, n in enumerate(sizes):
        answers = [None if a == 0 else str(a) for a in rng.integers(0, 4, n)]
        scores = {
            name: rng.random(n) if kind == "probability" else rng.normal(0, 2, n)
            for name, kind in ranges.items()
        }
        candidates = tuple(
            et.Candidate(
                i,
                f"text {i}",
                answer=answer,
                correct=answer == "2",
                scores={name: float(values[i]) for name, values in scores.items()},
            )
            for i, answer in enumerate(answers)
        )
        pools.append(et.Pool("q", candidates, problem=f"p{at}", ranges=ranges))
    return pools


def evaluated(rule, pools, ks=(1, 2, 4), answer=None, draws=50, seed=0):
    ranges = {name: kind for pool in pools for name, kind in pool.ranges.items()}
    problems = list(read_problems(pools, keep_candidates=True, answer=answer))
    return list(evaluate_rule(rule, problems, ks, ranges, answer, draws, seed))


def brute(pools, ks, value):
    """(problems, ks); `value` makes the worth of a subset from scores, answers and correctness."""
    table = []
    for pool in pools:
        scores = [c.scores.get("s") for c in pool]
        answers, correct = [c.answer for c in pool], [c.correct for c in pool]
        worth = value(scores, answers, correct)
        table.append([over_subsets(len(pool), k, worth) for k in ks])
    return pytest.approx(np.array(table), abs=1e-12)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


RULES = {
    "best_of_n": lambda s, a, c: best(s, c),
    "majority": lambda s, a, c: heaviest(a, c, len),
    "random": lambda s, a, c: best([0] * len(c), c),
    "oracle": lambda s, a, c: best(c, c),
    "weighted": lambda s, a, c: heaviest(a, c, lambda g: sum(s[i] for i in g)),
    "weighted_logit": lambda s, a, c: heaviest(a, c, lambda g: sum(sigmoid(s[i]) for i in g)),
    "pessimistic": lambda s, a, c: heaviest(
        a, c, lambda g: np.mean([s[i] for i in g]) - (np.log(10) / 2 / len(g)) ** 0.5
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_the_mean_over_all_subsets(rule, rng):
    pools = made(rng, s="logit" if rule == "weighted_logit" else "probability")
    (found,) = evaluated(rule, pools)
    assert found.accuracy == brute(pools, (1, 2, 4), RULES[rule])
    assert found.variance is None  # subsets are few, so each was taken
    assert 0 < found.accuracy.mean() < 1
    scored = rule not in ("majority", "random", "oracle")
    assert found.scorer == ("s" if scored else None)
    assert found.label == (f"{rule} · s" if scored else rule)


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule in et.list_selectors() and rule != "random"]
)
def test_of_all_candidates_it_is_what_select_chooses(rule, rng):
    pools = made(rng, sizes=(7,) * 40, s="logit" if rule == "weighted_logit" else "probability")
    (found,) = evaluated(rule, pools, ks=(7,))
    sure = [at for at, value in enumerate(found.accuracy[:, 0]) if value in (0, 1)]  # no ties
    assert len(sure) > 20
    for at in sure:
        assert et.select(pools[at], rule).candidate.correct == found.accuracy[at, 0]


def test_where_subsets_are_many_they_are_drawn_and_the_variance_says_so(rng):
    pools = made(rng, sizes=(14,) * 30, s="probability")
    (found,) = evaluated("weighted", pools, ks=(1, 7, 14), draws=40)
    assert found.variance.any(axis=0).tolist() == [False, True, False]
    (all_of_them,) = evaluated("weighted", pools, ks=(1, 7, 14), draws=3_432)
    assert all_of_them.variance is None
    error = found.variance.sum(axis=0)[1] ** 0.5 / 30
    miss = found.accuracy.mean(axis=0)[1] - all_of_them.accuracy.mean(axis=0)[1]
    assert 0 < abs(miss) < 3 * error


def test_problems_that_are_alike_draw_different_subsets(rng):
    """Else the errors of all problems would add up instead of cancelling."""
    (pool,) = made(rng, sizes=(16,), s="probability")
    (found,) = evaluated("weighted", [pool] * 20, ks=(8,), draws=40)
    assert len(set(found.accuracy[:, 0])) > 5


def test_a_rule_appears_once_for_each_scorer_that_it_can_use(rng):
    pools = made(rng, p="probability", z="logit", u="unbounded")
    scorers = {
        rule: [one.scorer for one in evaluated(rule, pools)]
        for rule in ("best_of_n", "weighted", "weighted_logit", "pessimistic", "majority")
    }
    assert scorers == {
        "best_of_n": ["p", "u", "z"],
        "weighted": ["p"],
        "weighted_logit": ["z"],
        "pessimistic": ["p"],
        "majority": [None],
    }


def test_scores_of_unknown_range_are_probabilities_when_they_look_like_it(rng):
    pools = [et.Pool("q", pool.candidates) for pool in made(rng, p="probability", u="unbounded")]
    assert [one.scorer for one in evaluated("weighted", pools)] == ["p"]


def test_logits_are_no_probabilities_even_when_they_look_like_it(rng):
    pools = made(rng, p="probability")
    pools = [et.Pool("q", pool.candidates, ranges={"p": "logit"}) for pool in pools]
    with pytest.raises(ValueError, match=r"rule 'weighted' needs .* given: p \(logit\)"):
        evaluated("weighted", pools)
    assert [one.scorer for one in evaluated("weighted_logit", pools)] == ["p"]


@pytest.mark.parametrize(
    ("rule", "ranges", "message"),
    [
        ("weighted", {"z": "logit"}, r"needs scores that are probabilities in \[0, 1\], given: z"),
        ("weighted_logit", {"p": "probability"}, r"declared as logits, given: p \(probability\)"),
        ("best_of_n", {}, "needs scores that are there, given: none; score the pools"),
    ],
)
def test_a_rule_that_can_use_no_scorer_is_an_error(rule, ranges, message, rng):
    with pytest.raises(ValueError, match=message):
        evaluated(rule, made(rng, **ranges))


# --- rules of plugins


@pytest.fixture
def foreign(monkeypatch):
    """Registers a function as a rule for one test."""
    known = registry.load_registry()

    def register(function, needs=None):
        record = replace(
            known.selectors["majority"], name="foreign", function=function, needs=needs
        )
        found = replace(known, selectors={**known.selectors, "foreign": record})
        monkeypatch.setattr(registry, "load_registry", lambda: found)

    return register


def test_a_foreign_rule_chooses_from_every_subset(foreign, rng):
    foreign(lambda candidates: et.Choice(max(candidates, key=lambda c: c.index), "foreign", {}))
    pools = made(rng)
    (found,) = evaluated("foreign", pools)
    last = brute(pools, (1, 2, 4), lambda s, a, c: best(range(len(c)), c))
    assert found.accuracy == last
    assert (found.scorer, found.label) == (None, "foreign")


def test_a_foreign_rule_is_asked_for_each_scorer_and_told_the_extractor(foreign, rng):
    asked = set()

    def rule(candidates, scorer=None, answer=None):
        asked.add((scorer, answer))
        return et.Choice(candidates[0], "foreign", {})

    foreign(rule)
    pools = made(rng, p="probability", z="logit")
    assert [one.label for one in evaluated("foreign", pools)] == ["foreign · p", "foreign · z"]
    assert [one.label for one in evaluated("foreign", made(rng))] == ["foreign"]
    evaluated("foreign", pools, answer="number")
    assert asked == {("p", None), ("z", None), (None, None), ("p", "number"), ("z", "number")}


def test_a_foreign_rule_is_told_what_answers_do_that_were_cut_off(foreign, rng):
    """If it has an option for that; one that takes any option gets none that it does not know."""
    asked = set()

    def rule(candidates, cut_off="abstain"):
        asked.add(cut_off)
        return et.Choice(candidates[0], "foreign", {})

    foreign(rule)
    for cut_off in ("abstain", "vote"):
        et.scaling_curve(made(rng), ["foreign"], (1,), bootstrap=3, cut_off=cut_off)
        assert asked.pop() == cut_off

    def loose(candidates, **options):
        assert "cut_off" not in options
        return et.Choice(candidates[0], "foreign", {})

    foreign(loose)
    et.scaling_curve(made(rng), ["foreign"], (1,), bootstrap=3, cut_off="vote")


def test_a_foreign_rule_that_draws_has_a_seed_of_each_problem_as_in_select(foreign, rng):
    seeds = []

    def rule(candidates, seed=3):
        seeds.append(seed)
        return et.Choice(candidates[0], "foreign", {})

    foreign(rule)
    candidates = made(rng)[0].candidates
    evaluated("foreign", [et.Pool("q", candidates, problem=name) for name in ("0", "1")])
    assert list(dict.fromkeys(seeds)) == [3, 5118781747784767378]


@pytest.mark.parametrize("needs", ["probability", "logit"])
def test_a_foreign_rule_is_evaluated_with_the_scorers_that_it_can_use(foreign, rng, needs):
    foreign(lambda candidates, scorer: et.Choice(candidates[0], "foreign", {}), needs)
    pools = made(rng, probability="probability", logit="logit", u="unbounded")
    assert [one.scorer for one in evaluated("foreign", pools)] == [needs]
    built_in = {"probability": "weighted", "logit": "weighted_logit"}[needs]
    assert [one.scorer for one in evaluated(built_in, pools)] == [needs]


def test_a_foreign_rule_that_can_use_no_scorer_is_an_error_as_in_select(foreign, rng):
    foreign(lambda candidates, scorer: et.Choice(candidates[0], "foreign", {}), "probability")
    for ranges, given in (({"z": "logit"}, r"z \(logit\)"), ({}, "none")):
        pools = made(rng, **ranges)
        with pytest.raises(ValueError, match=rf"needs scores that are prob.*, given: {given}"):
            evaluated("foreign", pools)
        with pytest.raises(ValueError, match=r"needs probabilities|have no scores"):
            et.select(pools[0], "foreign")


def test_what_an_installed_scorer_declares_counts_where_the_pool_does_not_say(rng):
    """As in `select`: these numbers look like probabilities, and are none."""
    pools = [
        et.Pool("q", pool.candidates, problem=pool.problem)
        for pool in made(rng, logprob="probability")
    ]
    with pytest.raises(ValueError, match=r"given: logprob \(unbounded\)"):
        evaluated("weighted", pools)
    with pytest.raises(ValueError, match="declares range='unbounded'"):
        et.select(pools[0], "weighted")


def test_a_subset_from_which_a_foreign_rule_cannot_choose_is_wrong(foreign, rng):
    foreign(lambda candidates: et.select(candidates, "majority", answer="number"))
    candidates = (et.Candidate(0, "none", correct=True), et.Candidate(1, "7", correct=True))
    (found,) = evaluated("foreign", [et.Pool("q", candidates)], ks=(1, 2))
    assert found.accuracy.tolist() == [[0.5, 1.0]]


def test_a_foreign_rule_that_can_never_choose_is_an_error(foreign, rng):
    def rule(candidates):
        raise ValueError("this rule needs an oven")

    foreign(rule)
    with pytest.raises(ValueError, match="this rule needs an oven"):
        evaluated("foreign", made(rng))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "1 / 0",
            "rule 'odd' of odd-rules 1.0 failed on problem 'p0': ZeroDivisionError",
        ),
        (
            "edifice_tt.Choice(edifice_tt.Candidate(9, ''), 'odd', {})",
            "rule 'odd' of odd-rules 1.0 chose candidate 9, which it was not given",
        ),
        ("candidates[0]", r"rule 'odd' of odd-rules 1.0 gave <Candidate.*, expected a Choice"),
    ],
)
def test_a_broken_rule_of_a_plugin_is_an_error_that_names_its_owner(site, body, message, rng):
    code = f"""
import edifice_tt

@edifice_tt.hookimpl
def register_selectors(register):
    register("odd", lambda candidates: {body})
"""
    site.install("odd-rules", code)
    with pytest.raises(PluginError, match=message):
        evaluated("odd", made(rng))


def test_a_rule_is_looked_up_once_and_not_for_every_subset(foreign, rng, monkeypatch):
    foreign(lambda candidates: et.Choice(candidates[0], "foreign", {}))
    looked, load = [], registry.load_registry
    monkeypatch.setattr(registry, "load_registry", lambda: looked.append(1) or load())
    assert evaluated("foreign", made(rng))[0].accuracy.shape == (3, 3)
    assert len(looked) == 1


def test_an_unknown_rule_is_an_error_with_the_nearest(rng):
    with pytest.raises(UnknownNameError, match=r"'best_of_m'.*did you mean 'best_of_n'"):
        evaluated("best_of_m", made(rng, s="probability"))
