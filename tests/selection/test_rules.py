"""Each rule on hand-made pools: no model, every choice evident."""

import math
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edifice_tt as et
from edifice_tt.contract.registry import load_registry
from edifice_tt.selection.rules import answers_of, group_by_answer

NAN, INF = float("nan"), float("inf")
FUNCTIONS = {
    name: record.function
    for name, record in load_registry().selectors.items()
    if record.owner == "edifice-tt"
}
# The same examples each time, on a machine of any speed.
EXAMPLES = settings(max_examples=100, derandomize=True, database=None)


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


def voted(*pairs):
    """Candidates 0, 1, ... with these (answer, score)."""
    return tuple(
        et.Candidate(i, f"text {i}", answer=answer, scores={"s": score})
        for i, (answer, score) in enumerate(pairs)
    )


def marked(*marks):
    return tuple(et.Candidate(i, f"text {i}", correct=mark) for i, mark in enumerate(marks))


def test_every_rule_of_the_contract_is_registered():
    assert sorted(FUNCTIONS) == [
        "best_of_n",
        "majority",
        "oracle",
        "pessimistic",
        "random",
        "weighted",
        "weighted_logit",
    ]


# --- best_of_n


def test_best_of_n_takes_the_highest_score():
    choice = et.select(scored(-3.0, -1.0, -2.0), "best_of_n", scorer="s")
    assert (choice.index, choice.text, choice.rule) == (1, "text 1", "best_of_n")
    assert choice.candidate.scores == {"s": -1.0}
    assert choice.tally == {"0": -3.0, "1": -1.0, "2": -2.0}
    assert choice.abstained == 0


def test_of_equal_scores_the_lowest_index_wins_in_any_order():
    for order in permutations(scored(1.0, 4.0, 4.0, 0.0)):
        choice = et.select(order)
        assert choice.index == 1
        assert choice.tally == {"0": 1.0, "1": 4.0, "2": 4.0, "3": 0.0}


def test_plus_and_minus_zero_are_equal_scores():
    assert et.select(scored(-0.0, 0.0)).index == 0


def test_nan_never_wins_whatever_its_place():
    for order in permutations(scored(NAN, -5.0, -6.0)):
        choice = et.select(order)
        assert (choice.index, choice.abstained) == (1, 1)
    assert et.select(scored(-INF, NAN)).index == 0


def test_scores_that_are_all_nan_are_an_error():
    with pytest.raises(ValueError, match="no candidate has a score of 's' that is a number"):
        et.select(scored(NAN, NAN))


def test_a_candidate_without_a_score_abstains():
    choice = et.select(scored(None, -1.0, None, -2.0, None))
    assert (choice.index, choice.abstained) == (1, 3)
    assert choice.tally == {"1": -1.0, "3": -2.0}


# --- majority


def test_majority_counts_votes():
    choice = et.select(said("a", "b", " b\n", "c"), "majority")
    assert (choice.index, choice.text, choice.rule) == (1, "b", "majority")
    assert choice.tally == {"a": 1.0, "b": 2.0, "c": 1.0}
    assert choice.abstained == 0


def test_of_equal_votes_the_answer_of_the_lowest_index_wins_in_any_order():
    for order in permutations(said("b", "a", "a", "b")):
        choice = et.select(order, "majority")
        assert choice.index == 0
        assert list(choice.tally.items()) == [("b", 2.0), ("a", 2.0)]


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
    assert choice.abstained == 3 - sum(tally.values())


def test_candidates_without_an_answer_abstain_and_are_counted():
    choice = et.select(said("no idea", "no idea", "7"), "majority", answer="number")
    assert (choice.index, choice.abstained) == (2, 2)
    assert choice.tally == {"7": 1.0}


@pytest.mark.parametrize(
    ("pool", "options", "kind"),
    [
        (said("1", "2"), {"answer": "boxed"}, " of the kind 'boxed'"),
        (said("", " "), {}, ""),
        (answered("", "\n"), {}, ""),
    ],
)
def test_when_all_abstain_it_is_an_error_that_says_what_was_looked_for(pool, options, kind):
    with pytest.raises(ValueError, match="no candidate") as caught:
        et.select(pool, "majority", **options)
    assert str(caught.value) == (
        f"no candidate has an answer{kind}; use another kind (answer=..., --answer), or rule "
        "best_of_n"
    )


def test_an_answer_that_is_already_there_counts():
    choice = et.select(answered("A", "B", " B\n"), "majority")
    assert choice.index == 1
    assert choice.tally == {"A": 1.0, "B": 2.0}


def test_candidates_in_which_no_answer_was_found_abstain():
    choice = et.select(answered("", "", " ", "B"), "majority")
    assert (choice.index, choice.abstained) == (3, 3)
    assert choice.tally == {"B": 1.0}


@pytest.mark.parametrize("rule", ["majority", "weighted", "pessimistic", "weighted_logit"])
def test_a_pool_of_which_only_some_were_looked_at_holds_no_vote(rule):
    pool = voted(("A", 0.5), ("", 0.5), (None, 0.5), ("A", 0.5), (None, 0.5))[::-1]
    with pytest.raises(ValueError, match="candidate 2 has not been looked at for its answer, oth"):
        et.select(pool, rule)
    assert et.select(pool, rule, answer="text").abstained == 0


def test_a_marked_candidate_without_an_answer_was_looked_at_as_in_older_pools():
    pool = (*answered("A"), et.Candidate(1, "B", correct=False), et.Candidate(2, "B", correct=True))
    choice = et.select(pool, "majority")
    assert (choice.index, choice.abstained) == (0, 2)


def test_whole_texts_vote_only_where_nobody_has_looked():
    pool = et.Pool("q", said("no idea", "hmm", "no idea"), gold="4")
    assert et.select(pool, "majority").tally == {"no idea": 2.0, "hmm": 1.0}
    graded = et.grade(pool, "number")
    with pytest.raises(ValueError, match="no candidate has an answer; use another kind"):
        et.select(graded, "majority")
    assert et.scaling_curve([graded], rules=["majority"]).abstentions == 3


def test_a_named_extractor_goes_before_answers_that_are_there():
    candidates = (et.Candidate(0, "1", answer="A"), et.Candidate(1, "2", answer="A"))
    assert et.select(candidates, "majority", answer="number").tally == {"1": 1.0, "2": 1.0}


def test_majority_needs_no_scores_and_ignores_them():
    candidates = [et.Candidate(i, t, scores={"s": -i}) for i, t in enumerate("abb")]
    assert et.select(candidates, "majority").text == "b"


def test_answers_keep_the_order_of_the_candidates_and_groups_that_of_the_indices():
    candidates = said("it is 7", "dunno", "7.0", "8")[::-1]
    assert answers_of(candidates, "number") == ["8", "7", None, "7"]
    groups = group_by_answer(candidates, "number")
    assert {key: [c.index for c in group] for key, group in groups.items()} == {
        "7": [0, 2],
        "8": [3],
    }


# --- weighted


def test_weighted_adds_the_probabilities_of_an_answer():
    """By score A wins, by votes B and C are tied; only the sums of B are the largest."""
    pool = voted(("A", 0.75), ("C", 0.125), ("B", 0.5), ("B", 0.5), ("C", 0.125))
    choice = et.select(pool, "weighted")
    assert (choice.index, choice.rule, choice.abstained) == (2, "weighted", 0)
    assert choice.tally == {"A": 0.75, "C": 0.25, "B": 1.0}


def test_of_equal_sums_the_answer_of_the_lowest_index_wins_in_any_order():
    """Added one by one these five differ by their order: 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1."""
    pool = voted(("A", 0.1), ("B", 0.3), ("A", 0.2), ("B", 0.2), ("A", 0.3), ("B", 0.1))
    for order in list(permutations(pool))[::17]:
        choice = et.select(order, "weighted")
        assert choice.index == 0
        assert choice.tally == {"A": 0.6, "B": 0.6}


def test_scores_of_zero_still_choose():
    choice = et.select(voted(("A", 0.0), ("B", 0.0), ("B", 0.0)), "weighted")
    assert (choice.index, choice.tally) == (0, {"A": 0.0, "B": 0.0})


def test_who_abstains_adds_nothing():
    choice = et.select(voted(("", 1.0), ("A", 0.25), ("", 1.0)), "weighted")
    assert (choice.index, choice.abstained, choice.tally) == (1, 2, {"A": 0.25})


def test_weighted_takes_an_extractor():
    pool = tuple(
        et.Candidate(i, text, scores={"s": score})
        for i, (text, score) in enumerate([("8", 0.75), ("is 7", 0.5), ("7.0", 0.5)])
    )
    assert et.select(pool, "weighted", answer="number").tally == {"8": 0.75, "7": 1.0}
    assert et.select(pool, "weighted").index == 0


# --- weighted_logit


def test_weighted_logit_adds_sigmoids():
    """A sum of logits would choose A (5 against 0), and so would a sum that forgets the sigmoid."""
    pool = voted(("A", 5.0), ("B", 0.0), ("B", 0.0), ("B", 0.0))
    choice = et.select(pool, "weighted_logit")
    assert (choice.index, choice.rule) == (1, "weighted_logit")
    assert choice.tally == {"A": pytest.approx(1 / (1 + math.exp(-5)), abs=1e-16), "B": 1.5}


def test_the_sigmoid_of_a_large_logit_neither_overflows_nor_leaves_its_range():
    choice = et.select(voted(("A", 1000.0), ("B", -1000.0), ("C", math.log(3))), "weighted_logit")
    assert choice.tally == {"A": 1.0, "B": 0.0, "C": 0.75}


def test_logits_and_their_probabilities_choose_alike():
    logits = (-2.0, -0.5, 0.25, 1.5, 3.0)
    answers = ("A", "B", "B", "A", "C")
    by_logit = et.select(voted(*zip(answers, logits, strict=True)), "weighted_logit")
    shares = [1 / (1 + math.exp(-x)) for x in logits]
    by_share = et.select(voted(*zip(answers, shares, strict=True)), "weighted")
    assert by_logit.index == by_share.index == 4
    assert by_logit.tally == pytest.approx(by_share.tally, abs=1e-15)


# --- pessimistic


def test_pessimistic_is_the_mean_less_hoeffdings_margin():
    """delta = e^-2: the margin of n scores is sqrt(2 / (2 n)), that is 1 for one, 1/2 for four."""
    pool = voted(("A", 1.0), ("B", 0.5), ("B", 0.75), ("B", 0.5), ("B", 0.75))
    choice = et.select(pool, "pessimistic", delta=math.exp(-2))
    assert (choice.index, choice.rule) == (1, "pessimistic")
    assert choice.tally == pytest.approx({"A": 0.0, "B": 0.125}, abs=1e-15)


def test_the_default_delta_is_a_tenth():
    pool = voted(("A", 0.75), ("B", 0.5), ("B", 0.75))
    margin = math.sqrt(math.log(10) / 2)
    assert et.select(pool, "pessimistic").tally == pytest.approx(
        {"A": 0.75 - margin, "B": 0.625 - margin / math.sqrt(2)}, abs=1e-15
    )


def test_delta_goes_from_the_highest_mean_to_the_most_votes():
    """The mean of A is higher, B has more candidates; of two with as many the mean decides."""
    pool = voted(("A", 0.75), ("B", 0.5), ("B", 0.5), ("C", 0.5), ("C", 0.625))
    assert et.select(pool, "pessimistic", delta=1).tally == {"A": 0.75, "B": 0.5, "C": 0.5625}
    assert et.select(pool, "pessimistic", delta=1).index == 0
    assert et.select(pool, "pessimistic", delta=1e-9).index == 3


@pytest.mark.parametrize("delta", [0, -0.1, 1.5, NAN])
def test_a_delta_that_is_no_probability_is_an_error(delta):
    with pytest.raises(ValueError, match="delta") as caught:
        et.select(voted(("A", 0.5)), "pessimistic", delta=delta)
    assert str(caught.value) == f"delta={delta} must be above 0 and at most 1; use 0.1"


# --- random


def test_random_draws_by_the_seed_and_not_by_the_order():
    pool = said(*"abcde")
    for seed in range(11):
        drawn = {FUNCTIONS["random"](order, seed).index for order in permutations(pool)}
        assert len(drawn) == 1
    assert et.select(pool, "random") == et.select(pool, "random", seed=0)
    assert et.select(pool, "random").tally == dict.fromkeys("01234", 0.2)


def test_random_draws_anew_for_each_problem_of_one_seed():
    """As `generate` does; 100 problems at one place would be 1 in 100 to the 99th."""
    candidates = scored(*range(100))
    pools = [et.Pool("q", candidates, problem=str(i)) for i in range(100)]
    drawn = [et.select(pool, "random", seed=3).index for pool in pools]
    assert len(set(drawn)) > 50
    assert drawn == [et.select(pool, "random", seed=3).index for pool in pools]
    assert drawn[0] == et.select(candidates, "random", seed=3).index  # problem "0" keeps the seed
    assert drawn[1:] != [et.select(pool, "random").index for pool in pools[1:]]


def test_random_is_uniform_over_the_seeds():
    """Chi-square with 6 degrees of freedom is above 22.5 once in a thousand; the draw is fixed."""
    pool = tuple(et.Candidate(i, "x") for i in (2, 3, 5, 7, 11, 13, 17))
    counts = Counter(FUNCTIONS["random"](pool, seed).index for seed in range(700))
    assert set(counts) == {2, 3, 5, 7, 11, 13, 17}
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 22.5


def test_random_draws_what_it_drew_yesterday():
    """The first numbers of Python's generator, of which it is promised that they stay."""
    pool = tuple(et.Candidate(i, "x") for i in range(100))
    assert [et.select(pool, "random", seed=seed).index for seed in range(3)] == [84, 13, 95]


@pytest.mark.parametrize("seed", [-1, 1.0, "7", None, True])
def test_a_seed_that_is_no_count_is_an_error(seed):
    with pytest.raises(ValueError, match="seed") as caught:
        et.select(said("a"), "random", seed=seed)
    assert str(caught.value) == f"seed={seed!r} must be a whole number from 0 to 2^64 - 1"


# --- oracle


def test_oracle_takes_the_first_that_is_correct():
    for order in permutations(marked(False, False, True, True)):
        choice = et.select(order, "oracle")
        assert (choice.index, choice.rule) == (2, "oracle")
        assert choice.tally == {"0": 0.0, "1": 0.0, "2": 1.0, "3": 1.0}


def test_oracle_takes_the_lowest_index_where_none_is_correct():
    assert et.select(marked(False, False, False)[::-1], "oracle").index == 0


def test_oracle_refuses_candidates_of_which_nobody_knows():
    with pytest.raises(ValueError, match="oracle") as caught:
        et.select(marked(True, None, False, None)[::-1], "oracle")
    assert str(caught.value) == (
        "rule 'oracle' needs to know what is right, but candidate 1 has correct=None; mark them "
        "first: edifice_tt.grade in Python, `edifice-tt grade POOL --answer ...` on the command "
        "line"
    )


@pytest.mark.parametrize(
    ("rule", "score"), [("weighted", 1.5), ("weighted_logit", INF), ("pessimistic", -0.5)]
)
def test_a_rule_that_is_called_without_select_refuses_what_it_cannot_add(rule, score):
    with pytest.raises(
        ValueError, match=rf"^rule '{rule}' needs \w+, but candidate 1 has {score} "
    ):
        FUNCTIONS[rule](voted(("A", 0.5), ("B", score)))
    with pytest.raises(
        ValueError, match=rf"^rule '{rule}' needs \w+, but candidate 1 has no score"
    ):
        FUNCTIONS[rule](scored(0.5, None))


# --- every rule

POOLS = st.lists(
    st.tuples(st.sampled_from("ABC"), st.floats(0, 1), st.booleans()), min_size=1, max_size=7
)


@pytest.mark.parametrize("rule", FUNCTIONS)
@EXAMPLES
@given(rows=POOLS, data=st.data())
@pytest.mark.first(3)
def test_no_rule_depends_on_the_order_of_the_candidates(rule, rows, data):
    indices = data.draw(
        st.lists(st.integers(0, 99), min_size=len(rows), max_size=len(rows), unique=True)
    )
    pool = [
        et.Candidate(i, f"text {i}", answer=answer, correct=correct, scores={"s": score})
        for i, (answer, score, correct) in zip(indices, rows, strict=True)
    ]
    before = [c.to_dict() for c in pool]
    choose = FUNCTIONS[rule]
    choice = choose(pool)
    assert choice.candidate in pool
    assert choice.rule == rule
    assert choose(pool) == choice
    assert choose(data.draw(st.permutations(pool))) == choice
    assert [c.to_dict() for c in pool] == before


@EXAMPLES
@given(rows=POOLS, more=st.integers(1, 5))
def test_a_candidate_without_an_answer_changes_no_vote(rows, more):
    pool = voted(*((answer, score) for answer, score, _ in rows))
    silent = tuple(
        et.Candidate(len(pool) + i, "x", answer="", scores={"s": 1.0}) for i in range(more)
    )
    for rule in ("majority", "weighted", "weighted_logit", "pessimistic"):
        without, among = (FUNCTIONS[rule](each) for each in (pool, (*silent, *pool)))
        assert (among.candidate, among.tally) == (without.candidate, without.tally)
        assert (without.abstained, among.abstained) == (0, more)


@EXAMPLES
@given(rows=POOLS)
def test_equal_scores_make_weighted_and_pessimistic_a_majority(rows):
    pool = voted(*((answer, 0.5) for answer, *_ in rows))
    expected = FUNCTIONS["majority"](pool).index
    assert FUNCTIONS["weighted"](pool).index == expected
    assert FUNCTIONS["pessimistic"](pool).index == expected


# --- answers that were cut off


VOTES = ("majority", "weighted", "weighted_logit", "pessimistic")


@pytest.mark.parametrize("rule", VOTES)
def test_an_answer_that_was_cut_off_votes_only_if_it_is_told_to(rule):
    """Two of three were cut off and agree; the third ended."""
    ends = ("length", "eos", "length")
    pool = [
        et.Candidate(i, "7" if end == "eos" else "8", finish_reason=end, scores={"s": 0.5})
        for i, end in enumerate(ends)
    ]
    choice = et.select(pool, rule)
    assert (choice.index, list(choice.tally), choice.abstained) == (1, ["7"], 2)
    assert et.select(pool, rule, cut_off="abstain") == choice
    choice = et.select(pool, rule, cut_off="vote")
    assert (choice.index, list(choice.tally), choice.abstained) == (0, ["8", "7"], 0)


@pytest.mark.parametrize("end", ["eos", "stop", "unknown"])
def test_only_length_cuts_an_answer_off(end):
    assert et.select([et.Candidate(0, "7", finish_reason=end)], "majority").abstained == 0


def test_a_candidate_of_one_s_own_was_not_cut_off():
    assert not et.Candidate(0, "7").is_cut_off
    assert et.Candidate(0, "7").finish_reason == "unknown"


def test_when_every_answer_was_cut_off_the_error_says_what_to_do():
    pool = [et.Candidate(i, "7", finish_reason="length") for i in range(3)]
    with pytest.raises(ValueError, match=r"reached its end .*3 of 3.*cut off.*--cut-off vote"):
        et.select(pool, "majority")
    with pytest.raises(ValueError, match="no candidate has an answer of the kind 'number'"):
        et.select([et.Candidate(0, "x", finish_reason="length")], "majority", answer="number")


def test_what_a_cut_answer_does_is_one_of_two():
    with pytest.raises(ValueError, match="cut_off='maybe' must be one of abstain, vote"):
        et.select([et.Candidate(0, "7")], "majority", cut_off="maybe")


def test_a_choice_by_score_may_be_an_answer_that_was_cut_off():
    pool = [et.Candidate(i, "7", finish_reason="length", scores={"s": i}) for i in range(2)]
    assert et.select(pool, "best_of_n").index == 1
