"""A text's last number: exactly, or not at all; never the last digits of something else."""

import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edifice_tt.selection.numerals import last_number

READ = [
    ("minus 7", "-7"),
    ("negative 7", "-7"),
    (r"\nicefrac{3}{8}", "0.375"),
    (r"\textcolor{red}{7}", "7"),
    (r"7\,\blacksquare", "7"),
    (r"\boxed{17\text{ cm}^2}", "17"),
    (r"\boxed{17\,\mathrm{cm}^{2}}", "17"),
    (r"\frac{2}{3}m", "2/3"),
    (r"the 17^{th}", "17"),
    ("the 17\u1d57\u02b0", "17"),
    (r"17^\text{th}", "17"),
    (r"\sum_{k=2}^{5} k = 14", "14"),
    ("3 and 5", "5"),
    (r"1 \boxed{9}", "9"),
    (r"\boxed{8} 5", "5"),
    (r"= \boxed{-\frac{7}{2}}", "-3.5"),
    (r"so it is -\boxed{7}", "-7"),
    ("4\u2028.0", "0"),
    ("2 113/114", "341/114"),
    ("1 000 1/2", "1000.5"),
    ("3/8", "0.375"),
    ("It is 7/8.", "0.875"),
    (r"\frac{3}{8}", "0.375"),
    (r"\dfrac{3}{8}", "0.375"),
    (r"\tfrac38", "0.375"),
    (r"$\frac 3 8$", "0.375"),
    (r"\frac{3}8", "0.375"),
    (r"\frac3{8}", "0.375"),
    (r"-\frac{1}{3}", "-1/3"),
    (r"\frac{-1}{3}", "-1/3"),
    ("1/3", "1/3"),
    ("\xbd", "0.5"),
    ("2\xbd", "2.5"),
    ("-2\xbd", "-2.5"),
    ("\u2153", "1/3"),
    ("1 1/2", "1.5"),
    (r"1\frac{1}{2}", "1.5"),
    (r"1 \frac12", "1.5"),
    ("11/2", "5.5"),
    ("1,000", "1000"),
    ("1 000", "1000"),
    ("1{,}000", "1000"),
    (r"1\,000", "1000"),
    (r"1\ 000", "1000"),
    (r"1\;000", "1000"),
    (r"1\,000\,000.5", "1000000.5"),
    ("1 000", "1000"),
    ("1 000", "1000"),
    ("1_000", "1000"),
    ("1'000", "1000"),
    ("1\u2019000", "1000"),
    (r"1,\!000", "1000"),
    ("12,34,567", "1234567"),
    ("\u22125", "-5"),
    ("\u20135", "-5"),
    ("\ufe635", "-5"),
    ("-5", "-5"),
    (r"\text{-}5", "-5"),
    ("-5", "-5"),
    ("+5", "5"),
    ("x = - 5", "-5"),
    ("- 5", "-5"),
    ("- 3 apples", "3"),
    ("10^5", "100000"),
    ("10^{5}", "100000"),
    ("10^{-2}", "0.01"),
    ("10**5", "100000"),
    ("6.02e23", "602000000000000000000000"),
    ("6.02E+23", "602000000000000000000000"),
    (r"6.02 \times 10^{23}", "602000000000000000000000"),
    ("6.02\xd710\xb2\xb3", "602000000000000000000000"),
    ("6.02 x 10^23", "602000000000000000000000"),
    ("6.02*10^23", "602000000000000000000000"),
    ("10\u207b\xb3", "0.001"),
    ("2^10", "1024"),
    ("2^{10}", "1024"),
    ("(-2)^3", "-8"),
    ("-2^2", "-4"),
    ("1e-5", "0.00001"),
    ("Step 1: 42", "42"),
    ("1, 2 and 3", "3"),
    ("3rd", "3"),
    ("50%", "50"),
    (r"50\%", "50"),
    (r"50 \%", "50"),
    ("5 km", "5"),
    ("5km", "5"),
    ("$5", "5"),
    ("-$5", "-5"),
    ("$-5$", "-5"),
    ("\u20ac5", "5"),
    ("5 \u20ac", "5"),
    ("US$5", "5"),
    ("USD500", "500"),
    ("5\xb0", "5"),
    (r"30^\circ", "30"),
    (r"30^{\circ}", "30"),
    (r"\$1,000.00", "1000"),
    (".5", "0.5"),
    ("5.", "5"),
    ("-.5", "-0.5"),
    (r"0.\overline{3}", "1/3"),
    (r"0.1\overline{6}", "1/6"),
    (r"0.\bar{3}", "1/3"),
    ("I think 42...", "42"),
    ("3.5 million", "3500000"),
    (r"$3.5\text{ million}$", "3500000"),
    ("2 thousand", "2000"),
    ("42", "42"),
    ("\u0967\u0968", "12"),
    ("**42**", "42"),
    ("**Answer: 42** apples", "42"),
    ("*42*", "42"),
    ("1. 42", "42"),
    ("2) 42", "42"),
    ("x^2 = 9", "9"),
    ("5 cm^2", "5"),
    ("5 m/s^2", "5"),
    ("25cm^2", "25"),
    ("42 kg of CO2", "42"),
    ("The answer is 42!", "42"),
    ("3!=6", "6"),
    ("a 5-year plan", "5"),
    ("the answer - 5", "5"),
    ("The answer\u20145", "5"),
    ("#### 42", "42"),
    ("7*2=<<7*2=14>>14", "14"),
    ("\u7b54\u6848\u662f42\u3002", "42"),
    ("\u51715\u4e2a", "5"),
    ("(5)", "5"),
    ("((5))", "5"),
    ("{5}", "5"),
    ("(-7)", "-7"),
    ("-(7)", "-7"),
    ("7 (5 red)", "5"),
    ("12 / 4", "3"),
    ("6 \xf7 2", "3"),
    ("12 345", "12345"),
    ("$5 / hour", "5"),
    ("|5| ", "5"),
    ("1/2 km", "0.5"),
    ("1\u20442", "0.5"),
    ("20/30", "2/3"),
    (r"\frac{1,000}{3}", "1000/3"),
    (r"\frac{0.5}{2}", "0.25"),
    (r"\begin{aligned} x &= 5 \end{aligned}", "5"),
    ("Fig.3", "3"),
    ("2nd", "2"),
    (r"\left(5\right)", "5"),
    (r"\displaystyle 5", "5"),
    (r"\mathbf{5}", "5"),
    (r"5\text{ km}", "5"),
    (r"5 \mathrm{km}", "5"),
    (r"\frac{1}{2}\text{ km}", "0.5"),
    ("1'234'567.5", "1234567.5"),
    ("100,000,000", "100000000"),
    ("-0", "0"),
    ("7,-", "7"),
    ("5, -3", "-3"),
    ("= 5.", "5"),
    ("x=5,y=6", "6"),
    (r"3.0 \times 10^{-4}", "0.0003"),
    (r"3 \times 10^5 m", "300000"),
    ("1.5e3", "1500"),
    ("5 ft 3 in", "3"),
]
UNREAD = [
    r"7 \times",
    "3 over 8",
    "3 out of 8",
    "17 minus 5",
    r"\frac{2}{3}x",
    "(3)x",
    r"\boxed{x^2+17}",
    "x^2 - 17",
    "x_1 + 17",
    "2 and 1/2",
    r"2 and \frac12",
    "2 and a half",
    r"\int_0^1 x",
    r"\sum_{k=2}^{5} k",
    r"\frac{3 of 4}{8}",
    r"\frac{\frac12}{3}",
    "1 100/3",
    "1/0",
    "0/0",
    "1/2/3",
    "1,5",
    "1,23",
    "0,5",
    "1.000,5",
    "1.000.000",
    "1.2.3",
    "v1.2.3",
    "5-3",
    "5 - 3",
    "(5)-3",
    "x-3",
    "x - 3",
    "2024-05-01",
    "05/01/2024",
    "12:30",
    "3:2",
    "3 : 2",
    "(1, 2)",
    "[0, 1)",
    "(1,2)",
    r"\{1, 2\}",
    r"\boxed{3, 4}",
    "0.(3)",
    "3.14(15)",
    "0.333...",
    "0.333\u2026",
    r"\sqrt{2}",
    "\u221a2",
    "sqrt(2)",
    r"2\sqrt{3}",
    r"2\pi",
    "2\u03c0",
    "x \u2192 3 then \\infty",
    "\u221e",
    "so 3, infinity",
    "0x1F",
    "2x",
    "2x + 3",
    "5k",
    "3+4i",
    "5i",
    "5 * 3",
    r"2 \cdot 5",
    r"2^3 \cdot 5",
    "x^2",
    "x_1",
    "CO2",
    "f(3)",
    "C(5,2)",
    r"\binom{5}{2}",
    r"\log_2 8",
    "5!",
    r"5 \pmod{7}",
    "5 mod 7",
    "2005_9",
    "2005_{9}",
    "log\u20828",
    "2005\u2089",
    "3\u20135",
    "pages 3-5",
    "3-4 days",
    "\xb1 5",
    "5 \xb1 0.1",
    "3\u4e07",
    "x = 5 (mod 7)",
    r"\frac{3}{8",
    "10^{23",
    r"\frac{3 apples}{8}",
    "1 2 3",
    "5 + ",
    "5 / ",
    "|-5",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    "9^9^9",
    "9^{9999999999}",
    "5 x 3",
    "2x3",
    r"\text{seven}",
    "5-",
    "+1 555 123 4567",
    "5 -3",
    "1e",
    "12h30",
]


@pytest.mark.parametrize(("text", "number"), READ, ids=ascii)
def test_a_number_is_read_in_each_of_its_spellings(text, number):
    assert last_number(text) == number
    assert last_number(f"First 1, then:\n\n{text} \n") == number or text == "- 5"
    assert last_number(number) == number


@pytest.mark.parametrize("text", UNREAD, ids=ascii)
def test_what_is_not_one_number_is_no_answer(text):
    assert last_number(text) is None


@given(st.fractions(max_denominator=997))
def test_a_fraction_is_equal_to_itself_in_every_spelling(value):
    top, bottom = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    spellings = [
        f"{sign}{top}/{bottom}",
        rf"so ${sign}\dfrac{{{top}}}{{{bottom}}}$.",
        rf"{sign}\frac{{{2 * top}}}{{{2 * bottom}}}",
    ]
    if top > bottom and top % bottom:
        spellings.append(f"{sign}{top // bottom} {top % bottom}/{bottom}")
    (found,) = {last_number(spelling) for spelling in spellings}
    assert Fraction(found) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=7))
def test_a_decimal_number_is_that_number(value):
    found = last_number(f"It is {value:f}.")
    assert "/" not in found
    assert Fraction(found) == Fraction(value)
    assert last_number(f"It is {value:,f}.") == found


@given(
    st.text(
        alphabet="0123456789.,/^-+*(){}[]$%\\frac:e \n\N{VULGAR FRACTION ONE HALF}", max_size=30
    )
)
def test_any_text_is_read_and_its_number_reads_as_itself(text):
    found = last_number(text)
    assert found is None or last_number(found) == found


def test_the_last_number_counts_across_sentences_and_lines():
    assert last_number("{the choice is e\n-2") == "-2"
    assert last_number("- 3.") == "-3"
    assert last_number("It is 7. Or so. I am sure of CO2.") == "7"
    assert last_number("7\n\n\\frac{3}{\n8}") != "8"
    assert last_number(r"(I ate $5\text{ km}$ away)") == "5"
    assert last_number(r"\text{a. 5 and b} = 6") == "6"


def test_a_number_of_many_digits_is_read_and_one_too_large_to_be_worked_out_is_not():
    long = "7" * 100_000
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)  # the lowest that Python allows
    try:
        assert last_number(long) == long
        assert last_number(f"-{long}.50") == f"-{long}.5"
        assert last_number("10^600") == "1" + "0" * 600
        assert last_number(f"1/{3**600}") == f"1/{3**600}"
        for large in (f"{long}/3", f"{long}e1", "2^2500", f"2^{long}", "1e-999999999", "2^{-2000}"):
            assert last_number(large) is None
        assert last_number(rf"0.\overline{{{long}}}") is None
        assert last_number(f"{long} million") is None
    finally:
        sys.set_int_max_str_digits(limit)


HOSTILE = [
    "1,",
    "100 ",
    "(",
    "{",
    "1o",
    "-",
    "^",
    "x^{",
    "x^{a ",
    r"\frac{",
    "1.",
    "1..",
    "-$",
    "a/",
]
HOSTILE += [
    "5 ",
    "5^2",
    r".1\overline{1}",
    "1e",
    "5!",
    "5:",
    "a'",
    "(1, ",
    "^ { ",
    "5 -",
    "1/",
    "US",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.first(3)
def test_a_hostile_text_is_read_in_a_time_that_grows_with_its_length(text):
    """Read anew from each place, or by trying every way, these would take hours."""
    assert last_number(text * 30_000) in (None, "1", "5", text.strip() * 30_000)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5 meters squared", "5"),
        ("the square root of 9 is 3", "3"),
        ("3 times", "3"),
        ("3 hundred", "300"),
        ("2.5 bn", "2500000000"),
        ("3 mn", "3000000"),
        ("12 dozen", "144"),
        ("2 dozen eggs", "24"),
        ("5 lakh", "500000"),
        ("2 thirds", "2/3"),
        ("3 halves", "1.5"),
        ("3 tenths", "0.3"),
        ("3 fifth graders", "3"),
        ("0.1\u0305", "1/9"),
        ("0.1\u03056\u0305", "16/99"),
        ("0.3\u0307", "1/3"),
        ("0.1\u030723\u0307", "41/333"),
        ("5\ufe0f\u20e3", "5"),
        ("1.e5", "100000"),
        ("3.e-2", "0.03"),
        ("1e5.", "100000"),
        ("1e5, 6", "6"),
        ("5% of 10 is 0.5", "0.5"),
        ("2 hours and 30 minutes, or 150 minutes", "150"),
        ("I waited 2 hours, then 30 minutes", "30"),
        ("cafe\u0301 5", "5"),
        ("5 e\u0301t\xe9", "5"),
        ("x\u0304 = 5", "5"),
        ("1,000.", "1000"),
    ],
)
def test_scales_parts_and_repeated_digits_of_people_are_exact(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "5 squared",
        "It is 5 cubed.",
        "10 to the power of 5",
        "10 to the 5th",
        "square root of 9",
        "5 factorial",
        "5 plus 3",
        "5 minus 3",
        "5 times 3",
        "5 divided by 3",
        "5 choose 2",
        "3 and 2 thirds",
        "5\u0336",
        "1e5.5",
        "1e1,000",
        "\u221b8",
        "\u230a5.5\u230b",
        "\u23085.2\u2309",
        "\u22135",
        "\u2211 5",
        "5 percent of 10",
        "5% of 10",
        "\\frac{3}{4}\\text{ of }8",
        "1/2 of 8",
        "2 of 3",
        "half of 8",
        "twice 4",
    ],
)
def test_a_number_to_which_words_or_signs_still_do_something_is_none(text):
    assert last_number(text) is None
