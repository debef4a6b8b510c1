"""Which number a text gives as its final answer."""

import pytest

from edifice_tt.selection.answers import extractor


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 20 \n Sam reads 20 pages in 3 days.", "20"),
        ("So the answer is 150 miles. It took 3 hours.", "150"),
        ("The answer is 150 miles in 3 hours.", "150"),
        ("**Answer:** 42\nThanks, 5 stars", "42"),
        ("The final answer is:\n\n**42**\n\nI checked 3 times.", "42"),
        ("The answer is 3 + 4 = 7.", "7"),
        ("the answer is 3 apples + 4 apples = 7 apples", "7"),
        ("The answer is $1,003.50.", "1003.5"),
        ("The answer is 2 million in 3 years", "2000000"),
        ("The answer is 1 1/2 cups in 3 bowls", "1.5"),
        ("The answer is 3 and 1/2 cups", None),  # as `number` has it
        (r"The answer is \boxed{8}. I took 3 steps.", "8"),
        (r"\boxed{\frac{3}{8}} of 5", "0.375"),
        ("The answer to question 2 is 17 of 19.", "17"),
        ("The answers are 7 so far. No: the answer is 8. In 3 days.", "8"),
        ("answer: -7 degrees at 11", "-7"),
        ("My answer: five. I have 6", "6"),  # no number behind the mark
        (r"\boxed{x} so 9", "9"),
        ("#### 5\nThe answer is unknown", "5"),
        ("first 2, then 3", "3"),  # without a mark
        ("The answering machine has 5 buttons", "5"),
        ("nothing", None),
        ("<think>the answer is 7</think>8", "8"),
    ],
)
def test_the_number_that_is_given_as_the_answer_counts(text, answer):
    assert extractor("final_number")(text) == answer


@pytest.mark.parametrize(
    "part", ["#### ", "answer is ", r"\boxed{", "1 ", "answer is 1 = ", "a=1 + "]
)
def test_a_long_text_takes_no_time(part):
    extractor("final_number")(part * 10_000)
