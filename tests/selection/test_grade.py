"""Grading: extracted answers against the gold answer, both in their canonical form."""

import pytest

import edifice_tt as et


def graded(gold, answer, *texts):
    candidates = tuple(et.Candidate(index, text) for index, text in enumerate(texts))
    pool = et.grade(et.Pool("q", candidates, gold=gold), answer)
    return [(c.answer, c.correct) for c in pool]


@pytest.mark.filterwarnings("ignore:'number' finds nothing in")
@pytest.mark.parametrize(
    ("gold", "answer", "texts", "expected"),
    [
        (
            "1,007.50",
            "number",
            ["so 1007.5", "7", "none"],
            [("1007.5", True), ("7", False), ("", False)],
        ),
        ("x + 1", "boxed", [r"\boxed{x + 1}", r"\boxed{x}"], [("x + 1", True), ("x", False)]),
        (r"so \boxed{x}", "boxed", [r"\boxed{x}", "x"], [("x", True), ("", False)]),
        (" yes ", "text", ["yes\n", "no"], [("yes", True), ("no", False)]),
        (
            "5/8",
            "number",
            ["It is 3/8.", "8", "0.625"],
            [("0.375", False), ("8", False), ("0.625", True)],
        ),
        ("1.5e3", "number", ["3", "1500"], [("3", False), ("1500", True)]),
        (
            r"7\sqrt{2}",
            "number",
            ["2", "7", r"7\sqrt{2}"],
            [("2", False), ("7", False), ("", False)],
        ),
        ("3, 5", "number", ["5", "3, 5"], [("5", False), ("5", False)]),
        ("x = 3, so 3, 5 in all", "number", ["5"], [("5", True)]),
        ("8", "number", ["<think>7, or 8", "<think>8?</think> 9"], [("", False), ("9", False)]),
        ("B", r"regex:answer is (\w)", ["the answer is B", "B"], [("B", True), ("", False)]),
    ],
)
def test_an_answer_is_right_when_it_equals_the_gold_answer(gold, answer, texts, expected):
    assert graded(gold, answer, *texts) == expected


def test_a_candidate_without_a_text_is_graded_by_the_answer_it_has():
    candidates = (et.Candidate(0, "", answer="3.0"), et.Candidate(1, "", answer="4"))
    pool = et.grade(et.Pool("", candidates, gold="3"), "number")
    assert [(c.answer, c.correct) for c in pool] == [("3", True), ("4", False)]


def test_grading_keeps_everything_else():
    candidate = et.Candidate(4, "It is 3.", (1, 2), (-1.0, -2.0), seconds=2.5, scores={"s": 1.0})
    pool = et.Pool("q", (candidate,), {"n": 1}, "p", "3", {"s": "logit"})
    (marked,) = et.grade(pool, "number")
    assert (marked.answer, marked.correct, marked.seconds) == ("3", True, 2.5)
    assert (marked.token_ids, dict(marked.scores)) == ((1, 2), {"s": 1.0})


def test_what_cannot_be_graded_is_one_line():
    pool = et.Pool("q", (et.Candidate(0, "3"),), problem="p7")
    with pytest.raises(ValueError, match="problem 'p7' has no gold answer"):
        et.grade(pool)
    with pytest.raises(et.UnknownNameError, match="did you mean 'number'"):
        et.grade(et.Pool("q", (), gold="3"), "numbr")
