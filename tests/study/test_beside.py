"""A search beside plain sampling at the same tokens, on pools that a pencil can follow."""

import pytest

import edifice_tt as et
from edifice_tt.study.beside import compare_search

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
