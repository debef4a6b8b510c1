"""Where in a text its answer was read."""

import pytest

import edifice_tt as et
from edifice_tt.selection.answers import extractor
from edifice_tt.selection.places import place_of, reader_of


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("number", "20 pages a day, in 3 days: <20> pages."),
        ("number", "13 or 3, and <3>."),
        ("number", "It costs $<1,007.50>."),
        ("final_number", "#### <20> \n Sam reads 20 pages in 3 days."),
        ("boxed", r"x + 1? \boxed{<x + 1>} for x + 1"),
        ("number", r"It is $<\frac{3}{8}>$ or so"),
        (r"regex:answer is (\w+)", "Paris? The answer is <Paris>, for Paris"),
    ],
)
def test_the_place_is_where_the_answer_was_read(answer, text):
    begin, end = text.index("<"), text.index(">") - 1
    plain, extract = text.replace("<", "").replace(">", ""), extractor(answer)
    assert place_of(plain, extract(plain), extract) == (begin, end)


def test_a_whole_text_and_an_answer_that_was_worked_out_have_no_place():
    assert place_of("Paris", "Paris", extractor("text")) is None
    assert place_of("the half of it: 2 dozen", "24", extractor("number")) is None


def test_the_place_is_counted_from_the_text_where_thinking_began_in_the_prompt():
    made = et.Candidate(0, "7?</think>so 8")
    pool = et.grade(et.Pool("q<think>", (made,), gold="8"), "number")
    assert reader_of(pool)(pool[0]) == (13, 14)
    assert reader_of(et.Pool("q", (made,)))(pool[0]) is None  # by which extractor is not known
