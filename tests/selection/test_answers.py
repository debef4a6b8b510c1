"""What counts as an answer, case by case."""

import pytest

from edifice_tt.contract.errors import UnknownNameError
from edifice_tt.selection.answers import extractor, without_thinking


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("The answer is 42.", "42"),
        ("first 1, then 2", "2"),
        ("1,234.50", "1234.5"),
        ("12,345,678", "12345678"),
        ("$1,000,000.00 in all", "1000000"),
        ("1,23", None),  # no thousands, and perhaps 1.23
        ("1,2345", None),
        ("1, 2, 3", "3"),
        ("5-3", None),  # a sum
        ("5 - 3", None),
        ("(5)-3", None),
        ("x-3", None),
        ("-7", "-7"),
        ("x = -7", "-7"),
        ("(-7)", "-7"),
        ("-1,234.5", "-1234.5"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("0.50", "0.5"),
        ("7.0", "7"),
        ("7.", "7"),
        ("007", "7"),
        ("100", "100"),
        ("1500.00", "1500"),
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("1/2", "0.5"),
        ("50%", "50"),
        ("3 apples and 4 pears\n", "4"),
        ("", None),
        ("none at all", None),
        ("-", None),
        (".", None),
    ],
)
def test_number_is_the_last_one_in_its_shortest_form(text, answer):
    assert extractor("number")(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2^100 = 1,267,650,600,228,229,401,496,703,205,376", "1267650600228229401496703205376"),
        ("1" + "0" * 60, "1" + "0" * 60),
        ("3.14159265358979323846264338327950288419716939937510", None),
        ("0." + "0" * 40 + "1", "0." + "0" * 40 + "1"),
    ],
)
def test_a_long_number_keeps_all_its_digits(text, answer):
    assert extractor("number")(text) == (answer or text.rstrip("0"))


def test_equal_numbers_compare_equal_however_they_are_written():
    forms = ["1234.5", "1,234.5", "1,234.50", "01234.5", "is 1234.500."]
    assert {extractor("number")(form) for form in forms} == {"1234.5"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{7}", "7"),
        (r"so \boxed{ x + 1 }.", "x + 1"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{{{a}b}c} tail }", "{{a}b}c"),
        (r"$\boxed{\text{Paris}}$", r"\text{Paris}"),
        ("\\boxed{a\nb}", "a\nb"),
        (r"\boxed{}", None),
        (r"\boxed{  }", None),
        (r"\boxed{1", None),
        (r"\boxed{\frac{1}{2}", None),
        (r"boxed{1}", None),
        (r"\boxed 1", "1"),
        (r"$\boxed {42}$", "42"),
        ("\\boxed\n{17}", "17"),
        (r"\fbox{19}", "19"),
        (r"so $\boxed 3.5$.", "3.5"),
        (r"it is \boxed -23.", "-23"),
        (r"\boxed\frac{2}{3} of it", r"\frac{2}{3}"),
        (r"\boxed{\text{A}}", r"\text{A}"),
        (r"\boxed{\left\{1\right.} }", r"\left\{1\right."),  # `\{` is no brace
        (r"\boxed{2}\\ \\boxed{3}", "3"),  # a line's end is no brace either
        (r"\boxed{5}, as \boxed asks", "5"),  # a word of prose is in no box
        (r"\boxedx{1}", None),
        ("", None),
    ],
)
def test_boxed_is_what_stands_between_balanced_braces(text, answer):
    assert extractor("boxed")(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"), [("  Yes.\n", "Yes."), ("a b", "a b"), (" \n\t", None), ("", None)]
)
def test_text_is_all_of_it_without_the_space_around(text, answer):
    assert extractor("text")(text) == answer


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        (r"\d+", "1 and 22", "22"),  # no group: the whole match; the last one counts
        (r"answer: (\w+)", "answer: a, answer: b", "b"),
        (r"(\w+)=(\d+)", "x=1 y=2", "y"),  # the first of two groups
        (r"(?:x|y)=(\d+)", "x=1 y=2", "2"),
        (r"is(?: (\w+))?", "it is", None),  # a group that took no part
        (r"(?i)ANSWER (.*)", "answer  spaced  ", "spaced"),
        (r"nothing", "here", None),
        (r"x*", "yyy", None),
        (r"a:b (.)", "a:b c", "c"),  # a colon in the pattern is the pattern's
    ],
)
def test_regex_takes_the_first_group_of_the_last_match(pattern, text, answer):
    assert extractor(f"regex:{pattern}")(text) == answer


@pytest.mark.parametrize("pattern", ["(", "[a", "*", r"(?P<a>x)(?P<a>y)"])
def test_a_pattern_that_does_not_compile_is_a_value_error(pattern):
    with pytest.raises(ValueError, match="is not a regular expression") as caught:
        extractor(f"regex:{pattern}")
    assert f"regex:{pattern}" in str(caught.value)


def test_an_unknown_extractor_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'number'") as caught:
        extractor("numbr")
    assert "boxed" in str(caught.value)
    assert "regex:PATTERN" in str(caught.value)


def test_a_typographic_minus_is_a_minus():
    assert extractor("number")("x = \N{MINUS SIGN}7") == "-7"


@pytest.mark.parametrize("depth", [100_000])
def test_a_text_of_many_open_boxes_is_read_in_one_pass(depth):
    """Read anew from each of them this would take hours."""
    assert extractor("boxed")(r"\boxed{" * depth) is None
    assert extractor("boxed")(r"\boxed{" * depth + "7}") == "7"
    assert extractor("boxed")("}" * depth + r"\boxed{7}") == "7"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1 \boxed{2} 3}", "2"),  # the box that begins last, not the one that ends last
        (r"{ \boxed{1}", "1"),
        (r"} \boxed{1} }", "1"),
        (r"\boxed{1} \boxed{}", None),
        (r"\fbox{\boxed{3} 4}", "3"),
        (r"\boxed \boxed{3}", "3"),
        (r"\boxed 2\boxed{3}", "3"),
        (r"\boxed{3 \boxed 4 5}", "4"),
    ],
)
def test_of_boxes_within_boxes_the_one_that_begins_last_counts(text, answer):
    assert extractor("boxed")(text) == answer


def test_an_unclosed_box_does_not_hide_a_closed_one():
    assert extractor("boxed")(r"\boxed{1} and \boxed{2") == "1"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("It is 7.", "It is 7."),
        ("<think>5 or 6</think>It is 7.", "It is 7."),
        ("It is 7. <think>or 8?", ""),
        ("<think>It is 7", ""),
        ("5, no\n</think>\n\n7", "\n\n7"),  # the prompt began it
        ("<think>2</think>3<think>4</think>5", "3\n5"),
        ("<think>2</think>3<think>4", ""),
        ("<think><think>2</think>3", "3"),
        ("<think>a </think> then</think>3", "3"),
        ("2<think>a</think>4</think>3", "3"),
        ("<thinking>a <think> b</thinking>3", "3"),
        ("<thought>2</thought>3", "3"),
        ("<seed:think>2</seed:think>3", "3"),
        ("<|begin_of_thought|>2<|end_of_thought|>3", "3"),
        ("<|begin_of_thought|>2", ""),
        ("[THINK]2[/THINK]3", "3"),
        ("<reasoning>2</reasoning>3", "3"),
        ("<reasoning>2", ""),
        ("\u25c1think\u25b72\u25c1/think\u25b73", "3"),
        ("<think>2</think>", ""),
        ("a <b>think</b> [think]", "a <b>think</b> [think]"),
    ],
)
def test_what_a_model_only_thought_is_left_out(text, rest):
    assert without_thinking(text) == rest


@pytest.mark.parametrize(
    ("name", "answer"), [("text", "It is 9."), ("number", "9"), ("regex:[0-9]", "9")]
)
def test_no_extractor_reads_thinking(name, answer):
    assert extractor(name)("<think>Could be 7, or 8</think> It is 9.") == answer
    assert extractor(name)("<think>Could be 7, or 8") is None
    assert extractor("boxed")(r"<think>\boxed{7}") is None


@pytest.mark.parametrize(
    "text", ["<think>", "</think>", "\\", r"\boxed ", r"\boxed a{", r"\boxed {{"]
)
@pytest.mark.first(3)
def test_hostile_texts_are_read_once_through(text):
    """Read anew from each place these would take hours."""
    assert extractor("boxed")(text * 100_000) is None or "a" in text
