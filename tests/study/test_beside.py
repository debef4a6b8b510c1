"""A search beside plain sampling at the same tokens, on pools that a pencil can follow."""

from dataclasses import replace

import pytest

import edifice_tt as et
from edifice_tt.study.beside import compare_search
from edifice_tt.study.remarks import judged as remark

MODEL = {"fingerprint": "f"}


def plain(name, letters):
    """Candidates of two tokens each; `a` is right."""
    made = tuple(
        et.Candidate(i, one, answer=one, correct=one == "a", num_tokens=2, finish_reason="eos")
        for i, one in enumerate(letters)
    )
    return et.Pool("q", made, MODEL, name, "a")


def searched(name, letters, row, spent):
    books = {"method": "adaptive", "scorer": None, "row": row, "kept": [row], "spent": spent}
    pool = plain(name, letters)
    return et.Pool("q", pool.candidates, {**MODEL, "search": {}}, name, "a", search=books)


def test_both_spend_the_same_tokens():
    pools = [plain("p", "aabb"), plain("q", "bbbb"), plain("r", "aaaa")]
    found = compare_search(
        pools, [searched("p", "aab", 0, 5), searched("r", "ba", 0, 1)], pool="s.jsonl"
    )
    # 5 + 1 tokens on two problems of 2 a candidate: 1.5 candidates each.
    assert (found.problems, found.rule, found.pool) == (2, "majority", "s.jsonl")
    assert (found.spent.tokens, found.same.tokens, found.same.samples) == (3.0, 3.0, 1.5)
    assert (found.spent.accuracy, found.spent.samples) == (0.5, 2.5)
    # Of p, a vote of one or of two of a, a, b, b is right half of the time; of r always.
    assert found.same.accuracy == pytest.approx(0.75)
    assert found.difference.difference == pytest.approx(-0.25)


@pytest.mark.parametrize(("cut_off", "right"), [("abstain", 1.0), ("vote", 0.0)])
def test_answers_that_were_cut_off_do_in_plain_sampling_what_the_curve_says(cut_off, right):
    cut = [
        replace(c, finish_reason="length" if c.text == "b" else "eos") for c in plain("p", "bba")
    ]
    pools = [replace(plain("p", "bba"), candidates=tuple(cut))]
    found = compare_search(pools, [searched("p", "a", 0, 6)], cut_off=cut_off)
    assert found.same.accuracy == right


def test_a_search_that_chose_none_is_wrong():
    found = compare_search([plain("p", "aa")], [searched("p", "ab", None, 4)])
    assert (found.spent.accuracy, found.same.accuracy) == (0.0, 1.0)
    assert found.difference.low is None


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (plain("p", "ab"), searched("q", "ab", 0, 4), "no problem in common"),
        (plain("p", "ab"), plain("p", "ab"), "not of a search"),
        (searched("p", "ab", 0, 4), searched("p", "ab", 0, 4), "no fair sample"),
        (et.Pool("q", plain("p", "a").candidates, {}, "p"), searched("p", "a", 0, 2), "two models"),
    ],
)
def test_what_cannot_be_compared_is_told(one, other, told):
    with pytest.raises(ValueError, match=told):
        compare_search([one], [other])


def judged(pool, tokens=None):
    """The pool with scores that agree with the marks; `tokens` were read for all of them."""
    scored = pool.with_scores("prm", [float(one.correct) for one in pool])
    return scored if tokens is None else scored.with_cost("prm", tokens, 1.0)


def by_judge(name, letters, row, spent, read):
    pool = searched(name, letters, row, spent)
    return replace(pool, search={**pool.search, "scorer": "prm", "judge_tokens": read})


def test_what_a_judge_reads_is_spent_on_both_sides():
    """Two tokens a candidate and three for its judge make five; the search spent 6 + 4 of them."""
    plain_pool = judged(plain("p", "bbab"), 4 * 3)
    found = compare_search([plain_pool], [by_judge("p", "ab", 0, 6, 4)])
    assert (found.rule, found.scorer, found.judge, found.judge_each) == (
        "best_of_n",
        "prm",
        4.0,
        3.0,
    )
    assert (found.spent.tokens, found.same.samples, found.same.tokens) == (10.0, 2.0, 10.0)


def test_a_judge_whose_reading_is_not_told_is_left_out_on_both_sides():
    found = compare_search([judged(plain("p", "bbab"))], [by_judge("p", "ab", 0, 6, 4)])
    assert (found.judge, found.judge_each) == (None, None)
    assert (found.spent.tokens, found.same.samples) == (6.0, 3.0)
    assert "without those of the judge" in remark(found)


def test_a_vote_beside_a_search_by_a_judge_costs_its_own_tokens_alone():
    found = compare_search([plain("p", "bbabbb")], [by_judge("p", "ab", 0, 6, 4)])
    assert (found.rule, found.judge, found.judge_each) == ("majority", 4.0, 0.0)
    assert (found.spent.tokens, found.same.samples) == (10.0, 5.0)


def test_a_pool_that_counts_no_tokens_is_refused():
    pool = plain("p", "ab")
    bare = replace(pool, candidates=tuple(replace(one, num_tokens=0) for one in pool))
    with pytest.raises(ValueError, match="does not count its tokens"):
        compare_search([bare], [searched("p", "ab", 0, 4)])
