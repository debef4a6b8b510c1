"""From pools to arrays, and which pools a study refuses."""

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.contract.errors import UnknownNameError
from edifice_tt.study.problems import read_problems, spent_per_candidate


def pool(*candidates, problem="p7"):
    return et.Pool("q", candidates, problem=problem)


def read(*candidates, **options):
    (problem,) = read_problems([pool(*candidates)], **options)
    return problem


def test_arrays_follow_the_order_of_the_candidates():
    found = read(
        et.Candidate(3, "a", correct=True, num_tokens=5, seconds=0.5, scores={"s": 0.25}),
        et.Candidate(0, "b", correct=False, num_tokens=7, scores={"s": -1.0}),
    )
    assert (found.name, len(found)) == ("p7", 2)
    assert found.correct.tolist() == [1.0, 0.0]
    assert found.num_tokens.tolist() == [5.0, 7.0]
    assert found.seconds[0] == 0.5
    assert np.isnan(found.seconds[1])
    assert found.scores["s"].tolist() == [0.25, -1.0]
    assert found.candidates == ()


def test_candidates_are_kept_on_request_only():
    one = et.Candidate(0, "a", correct=True)
    assert read(one, keep_candidates=True).candidates == (one,)


def test_answers_are_numbered_and_none_abstains():
    texts = ["it is 4", "none", "4.0", "5"]
    answers = ["x", None, "y", "x "]
    both = zip(texts, answers, strict=True)
    given = [et.Candidate(i, t, answer=a, correct=True) for i, (t, a) in enumerate(both)]
    assert read(*given).answers.tolist() == [0, -1, 1, 0]
    assert read(*given, answer="number").answers.tolist() == [0, -1, 0, 1]
    bare = [et.Candidate(i, text, correct=True) for i, text in enumerate(["b", " b ", "", "c"])]
    assert read(*bare).answers.tolist() == [0, 0, -1, 1]


def test_only_the_named_scorers_are_read():
    one = et.Candidate(0, "a", correct=True, scores={"s": 1.0, "t": 2.0})
    assert set(read(one).scores) == {"s", "t"}
    assert set(read(one, scorers=["t"]).scores) == {"t"}
    with pytest.raises(UnknownNameError, match=r"scorer in problem 'p7' 'u'.* s, t"):
        read(one, scorers=["u"])


def test_pools_are_read_one_at_a_time():
    def endless():
        while True:
            yield pool(et.Candidate(0, "a", correct=True))

    assert next(read_problems(endless())).name == "p7"


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([], "problem 'p7' has no candidates"),
        (
            [et.Candidate(0, "a", correct=True), et.Candidate(4, "a")],
            "problem 'p7': whether candidate 4 is right is not known; give gold answers and an",
        ),
        (
            [
                et.Candidate(0, "a", correct=True, scores={"s": 1.0}),
                et.Candidate(1, "a", correct=True),
            ],
            "problem 'p7': the score of 's' for candidate 1 is None, and must be a finite number",
        ),
        (
            [et.Candidate(0, "a", correct=True, scores={"s": float("nan")})],
            "problem 'p7': the score of 's' for candidate 0 is nan",
        ),
    ],
)
def test_what_cannot_be_studied_is_an_error_that_names_the_problem(candidates, message):
    with pytest.raises(ValueError, match=message):
        read(*candidates)


def test_the_cost_of_scoring_is_a_mean_over_candidates_or_not_known():
    """Seven candidates for 35 tokens and 3.5 seconds, two and five of them in the two problems."""
    sizes = ((2, 5, 1.0), (5, 30, 2.5))
    scored = [
        pool(
            *(et.Candidate(i, "a", correct=True, scores={"s": 0.5}) for i in range(count))
        ).with_cost("s", tokens, seconds)
        for count, tokens, seconds in sizes
    ]

    def spent(*pools):
        books = [problem.scoring for problem in read_problems(pools)]
        return [spent_per_candidate(books, "s", of) for of in ("tokens", "seconds")]

    assert spent(*scored) == [5.0, 0.5]
    assert spent(scored[0], scored[1].with_cost("s", None, 2.5)) == [None, 0.5]
    assert spent(scored[0], pool(*scored[1])) == [None, None]
