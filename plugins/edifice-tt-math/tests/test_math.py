import doctest
import importlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from edifice_tt_math import canonical, check, equal, equality, extract, math_majority, math_valid

import edifice_tt
from edifice_tt import Candidate, Pool
from edifice_tt.testing import check_answers, run_command


def candidates(*answers, **fields):
    return tuple(Candidate(i, "", answer=answer, **fields) for i, answer in enumerate(answers))


def texts(*written):
    return tuple(Candidate(i, text) for i, text in enumerate(written))


def run_python(code):
    """Run it in a fresh interpreter, where a warning is an error and no other plugin is loaded."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "EDIFICE_TT_PLUGINS": "math"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


EQUAL = [
    ("0.5", "1/2", r"\frac{1}{2}", r"50\%", "50 %", ".50", r"\dfrac12", "$0.5$", r"\(\frac24\)"),
    (r"(3,\frac{\pi}{2})", r"(3, \pi/2)", r"\left( 3,\, \frac\pi2 \right)", "(3, π/2)"),
    ("x+1", "1+x", "1 + x.", r"\frac{x^2-1}{x-1}"),
    ("1,000", "1000", "1000.0", "1 000", r"1{,}000", r"\$1,000", "10^3", "x = 1000"),
    (r"\sqrt{12}", r"2\sqrt{3}", r"\sqrt 12", "√12"),
    ("6x", "2·3x", "2\N{MULTIPLICATION SIGN}3x", r"2 \times 3x"),
    (r"\frac{3}{x}", r"\frac{3}x", r"\frac3x", r"\dfrac 3 x"),
    (r"x\le 3", "x≤3", r"x \leq 3"),
    (r"\sqrt{8}", r"2\sqrt{2}", r"2 \sqrt 2", "√8", "sqrt(8)", r"\frac{4}{\sqrt{2}}"),
    ("[0,1)", r"\left[0, 1\right)", r"x \in [0,1)", "[0, 2/2)"),
    (r"(-\infty,3)\cup(5,7]", "(-∞, 3) \N{UNION} (5, 7]"),
    (r"\{1,2\}", r"\{2, 1\}", "1,2", "2, 1", r"1 \text{ and } 2"),
    ("5 cm", r"5\text{ cm}", r"5\,\mathrm{cm}", "5", "5 apples", "5.0 square feet"),
    ("3/2", "1 1/2", r"1\frac{1}{2}", "1.5"),
    ("-7", "\N{MINUS SIGN}7", r"-\frac{14}{2}", "- 7"),
    (r"30^\circ", "30°", "30"),
    ("6-5i", "-5i + 6"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    ("Evelyn", r"\text{Evelyn}", "evelyn"),
    ("(A)", r"\text{A}", "A"),
    ("y = 2x + 3", "2x+3", "3 + 2x"),
    (r"\sin^2 x + \cos^2 x", "1"),
    ("2005_9", "2005_{9}"),
    (r"\frac{1}{1997!}", r"\frac{1997}{1997!\cdot 1997}"),
    ("1.5e3", "1500", "1.5E+3", r"1.5 \times 10^3"),
    ("6.02e23", r"6.02\cdot 10^{23}", "602000000000000000000000"),
    ("2e-3", "0.002"),
    ("(x+1)^2-x^2-2x-1", "0"),
    (r"\sin^2(1) + \cos^2(1) - 1", "0"),
    (r"\sqrt{2}\sqrt{3} - \sqrt{6}", "0"),
]
UNEQUAL = [
    ("0.33", r"\frac13"),
    ("50%", "50"),
    (r"\pi", "3.14159265"),
    ("10^{-20}", "0"),
    ("x", "y"),
    ("x+1", "x-1"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", r"\{1,2\}"),
    ("[0,1]", "[0,1)"),
    ("x<1", "x>1"),
    ("x=1,y=2", "x=2,y=1"),
    ("3,14", "314"),
    ("1 1", "2"),
    ("5xyz", "5"),
    ("Monday", "Mondya"),
    ("2005_9", "2005"),
    ("12:30", "0.4"),
    (r"\infty", r"-\infty"),
    ("1/0", "2/0"),
    ("", "0"),
    (r"\frac{1}{1997!}", r"\frac{1}{1999!}"),
    ("2^{-3001}", "2^{-3011}"),
    (r"1+\frac{1}{1997!}", "1"),
    (r"1+10^{-43}\pi", "1"),
    ("10^{43}+\\sqrt{2}", "10^{43}+\\sqrt{3}"),
    (r"\frac{x}{10^{401}}", r"\frac{x}{10^{403}}"),
    ("e^{-1009}", "e^{-1013}"),
    ("e^{-1009}", "0"),
    ("2023-07-05", "2011"),
    ("2023-07-05", "2023-05-07"),
    ("07/05/2023", "7/10115"),
    ("6.02e23", "23"),
    ("1e401", "1e403"),
]


@pytest.mark.parametrize("answers", EQUAL, ids=lambda answers: answers[0])
def test_equal_answers_are_equal_and_make_one_group(answers):
    for other in answers[1:]:
        assert equal(answers[0], other), other
        assert equal(other, answers[0]), other
    assert list(equality.group(answers).values()) == [list(range(len(answers)))]


@pytest.mark.parametrize(("first", "second"), UNEQUAL)
def test_unequal_answers_are_unequal(first, second):
    assert not equal(first, second)
    assert not equal(second, first)


def test_a_pool_of_different_expressions_is_compared_quickly():
    """190 pairs: with simplifying alone it took over ten times as long."""
    kinds = (r"\sin(x)+{}", r"x^2+{}x+1", r"\frac{{x+{}}}{{x-9}}", r"\sqrt{{x+{}}}+\pi")
    answers = [kind.format(n) for kind in kinds for n in range(2, 7)]
    assert equal("x+1", "1+x")  # the process has started
    start = time.monotonic()
    assert len(equality.group(answers)) == 20
    assert time.monotonic() - start < 10


def test_a_number_has_one_spelling():
    spelled = {"1/8": "0.125", "2/6": "1/3", "-0": "0", "-.50": "-0.5", "07": "7", "10^2": "100"}
    assert {answer: canonical(answer) for answer in spelled} == spelled
    assert canonical("1" * 200) == "1" * 200


FRAGMENTS = [
    *"01x+-*/^{}()[]=,.;:%$_!<>|&'~i \n\0",
    *("\\", r"\\", r"\frac", r"\sqrt", r"\pi", r"\left", r"\text{", r"\{", r"\cup", r"\infty"),
    *(r"\begin{pmatrix}", r"\end{pmatrix}", r"\sin", r"\log", r"\pm", r"\in", r"\le", r"\%"),
    *(
        "23",
        ".5",
        "or",
        "and",
        "ten",
        "√",
        "π",
        "²",
        "\N{FULLWIDTH DIGIT ONE}",
        "°",
        "\N{MINUS SIGN}",
        "\ud800",
        "😀",
    ),
]


@pytest.mark.parametrize("seed", range(4))
def test_any_string_has_a_canonical_form_and_equality_is_reflexive_and_symmetric(seed):
    rng = random.Random(seed)
    other = "1"
    for _ in range(100):
        answer = "".join(rng.choices(FRAGMENTS, k=rng.randrange(10)))
        form = canonical(answer)
        assert canonical(form) == form, answer
        assert equal(answer, answer), answer
        assert equal(answer, form), answer
        assert equal(answer, other) == equal(other, answer), (answer, other)
        assert extract(answer) is None or extract(answer)
        assert 0 <= math_valid("", [answer])[0] <= 1
        other = answer


HOSTILE = ["1" + "o" * 250 + "!", r"\boxed{1" + "o" * 250 + "!}", "1 " + "ooo " * 60 + "!"]
HOSTILE += ["9^9^9^9", "9^{9^{9^9}}", "100000000!", r"\prod_{k=1}^{1000000} k", "(" * 140 + "1"]


@pytest.mark.parametrize("in_thread", [False, True])
def test_hostile_answers_neither_hang_nor_spoil_the_others(monkeypatch, in_thread):
    monkeypatch.setattr(equality, "TIMEOUT_S", 2.0)
    hostile, found = HOSTILE[4:6], []
    answers = ["x+1", *hostile, "1+x", r"\sqrt{8}", *hostile, r"2\sqrt{2}"]

    def group():
        found.append(equality.group(answers))

    start = time.monotonic()
    if in_thread:
        thread = threading.Thread(target=group)
        thread.start()
        thread.join()
    else:
        group()
    assert time.monotonic() - start < 60
    assert list(found[0].values()) == [[0, 3], [1, 5], [2, 6], [4, 7]]


def test_a_pool_of_hostile_answers_is_given_up_and_the_next_is_not(monkeypatch):
    monkeypatch.setattr(equality, "TIMEOUT_S", 0.5)
    stops = []
    stop = equality._Worker.stop
    monkeypatch.setattr(equality._Worker, "stop", lambda self: (stops.append(1), stop(self)))
    groups = equality.group([f"{n}^{{9^{{9^9}}}}" for n in range(3, 12)])
    assert len(groups) == 9
    assert len(stops) == equality.PATIENCE
    monkeypatch.undo()
    assert equal("x+1", "1+x")


@pytest.mark.parametrize("hostile", [*HOSTILE, "1" * 10**6, r"\boxed{" * 10**5, "$" * 10**5])
def test_extraction_and_scoring_of_hostile_texts_are_quick(monkeypatch, hostile):
    monkeypatch.setattr(equality, "TIMEOUT_S", 1.0)
    start = time.monotonic()
    extract(hostile)
    math_valid("", [hostile, hostile + " = 3", "2 + " + hostile + " = 3"])
    assert time.monotonic() - start < 20


def test_a_worker_that_cannot_start_says_so(monkeypatch, tmp_path):
    """And does not quietly compare everything as text."""
    monkeypatch.setattr(equality, "__file__", str(tmp_path / "equality.py"))
    monkeypatch.setattr(equality, "_worker", equality._Worker())
    with pytest.raises(edifice_tt.EdificeError, match=r"math-verify does not start; run `.*worker"):
        equal("x+1", "1+x")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"First \boxed{3}, no: \boxed{\frac{1}{2}}. That took 7 steps.", "0.5"),
        ("The answer is 1,000.", "1000"),
        ("The answer is 18 because 3 * 6 = 18; I used 2 steps.", "18"),
        (r"**Answer:** $x = \frac{3}{4}$ in 2 steps", "0.75"),
        ("The final answer is (3, π/2).", r"(3,\pi/2)"),
        ("So she pays $5 and then $6 more, 11 dollars.", "11"),
        (r"Thus $2x = 6$ and $x = 3$.", "3"),
        (r"Thus \(x = 3 + 4 = 7\).", "7"),
        ("It is 12 - 5 = 7.0", "7"),
        ("a 1/2 chance, or 50%", "0.5"),
        ("#### -72", "-72"),
        (r"so $a \le 3$", r"a\le 3"),
        ("The answer is Paris.", None),
        ("", None),
        ("x+1", "x+1"),
        ("y = 2x+3", "2x+3"),
        ("?!", None),
        ("no idea", None),
        ("It was on 2023-07-05", "2023-07-05"),
        ("at 12:35", "12:35"),
        ("about 3.1e4", "31000"),
        (r"in all 3 \times 10^{4}", "30000"),
        (r"<think>\boxed{7}</think> so it is 8", "8"),
        (r"<think>\boxed{7}", None),
        (r"\boxed{}", None),
    ],
)
def test_the_final_answer_is_found(text, answer):
    assert extract(text) == answer


def test_it_is_found_by_name():
    assert "math_majority" in edifice_tt.list_selectors()
    assert "math_valid" in edifice_tt.list_scorers()
    record = edifice_tt.scorer("math_valid")
    assert (record.reads, record.range) == ("text", "probability")
    assert record.owner.startswith("edifice-tt-math ")


def test_the_majority_is_mathematical():
    pool = candidates("7", "0.5", r"\frac12", "8", "50%", "7.0")
    choice = edifice_tt.select(pool, "math_majority")
    assert (choice.index, choice.rule) == (1, "math_majority")
    assert choice.tally == {"7": 2.0, "0.5": 3.0, "8": 1.0}
    assert edifice_tt.select(pool, "majority").index == 0


def test_the_majority_of_texts_extracts_their_answers():
    pool = texts("It is 3.", r"\boxed{1+x}", "dunno", r"so $x + 1$", "The answer is x+1.")
    choice = edifice_tt.select(pool, "math_majority")
    assert choice.index == 1
    assert choice.tally == {"3": 1.0, "1+x": 3.0}
    assert choice.abstained == 1


def test_an_answer_that_was_cut_off_votes_only_if_it_is_told_to():
    ends = ("length", "eos", "length")
    pool = tuple(
        replace(c, finish_reason=end)
        for c, end in zip(candidates("8", "7", "8.0"), ends, strict=True)
    )
    assert math_majority(pool).tally == {"7": 1.0}
    assert math_majority(pool).abstained == 2
    assert math_majority(pool, cut_off="vote").tally == {"8": 2.0, "7": 1.0}


def test_a_named_extractor_is_used():
    pool = texts(r"\boxed{0.5} 9", r"\boxed{8} 9", r"\boxed{\frac12} 7")
    assert math_majority(pool, answer="boxed").tally == {"0.5": 2.0, "8": 1.0}
    assert math_majority(pool, answer="number").tally == {"9": 2.0, "7": 1.0}
    with pytest.raises(edifice_tt.UnknownNameError, match="answer extractor"):
        edifice_tt.select(pool, "math_majority", answer="boxd")


def test_the_lowest_index_wins_ties_in_any_order():
    pool = candidates("4", "x+1", "", "8/2", "1+x", "9")
    rng = random.Random(5)
    for _ in range(20):
        shuffled = rng.sample(pool, len(pool))
        choice = math_majority(shuffled)
        assert choice.index == 0
        assert list(choice.tally.items()) == [("4", 2.0), ("x+1", 2.0), ("9", 1.0)]
    assert math_majority(pool[1:]).index == 1


def test_one_candidate_is_chosen():
    assert math_majority(candidates("x+1")).index == 0


@pytest.mark.parametrize(
    ("pool", "options", "kind"),
    [
        (texts("dunno", ""), {}, " of the kind 'math'"),
        (candidates(" ", ""), {}, ""),
        (texts("no box"), {"answer": "boxed"}, " of the kind 'boxed'"),
    ],
)
def test_when_all_abstain_it_says_so(pool, options, kind):
    with pytest.raises(ValueError, match=f"no candidate has an answer{kind}; use"):
        edifice_tt.select(pool, "math_majority", **options)


@pytest.mark.parametrize(
    ("gold", "text", "right"),
    [
        ("x+1", r"so \boxed{1+x}", True),
        ("x+1", r"so \boxed{1}", False),
        (r"\frac{\pi}{2}", "The answer is $\\pi/2$.", True),
        (r"1 \text{ and } 2", r"\boxed{2, 1}", True),
        (r"\text{Paris}", r"\boxed{paris}", True),
        ("Paris", r"\boxed{\text{Paris}}", True),
        ("50%", "It is 1/2.", True),
        ("3 + 4 = 7", "7", True),
        ("so it is 5, as 2 + 3 = 5", "5", True),
        ("7", r"<think>\boxed{7}</think> 8", False),
        ("(B)", "The answer is (B).", True),
    ],
)
def test_grading_compares_as_mathematics_and_reads_bare_right_answers(gold, text, right):
    (found,) = edifice_tt.grade(Pool("?", texts(text), gold=gold), "math")
    assert found.correct is right


def test_every_rule_and_curve_takes_the_extractor():
    written = [r"\boxed{x+1}", "It is 7.", r"\boxed{1+x}", "dunno"]
    pool = edifice_tt.grade(Pool("?", texts(*written), gold="x + 1"), "math")
    scored = pool.with_scores("judge", [0.5, 0.75, 0.5, 1.0], range="probability")
    assert edifice_tt.select(scored, "majority", answer="math").tally == {"x+1": 2.0, "7": 1.0}
    choice = edifice_tt.select(scored, "weighted", answer="math")
    assert (choice.index, choice.tally, choice.abstained) == (0, {"x+1": 1.0, "7": 0.75}, 1)
    curve = edifice_tt.scaling_curve([scored], ["majority"], [4], answer="math")
    assert curve.rules[0].accuracy == (1.0,)
    by_text = edifice_tt.scaling_curve([scored], ["majority"], [4], answer="boxed")
    assert by_text.rules[0].accuracy == (1.0,)
    assert edifice_tt.select(scored, "majority", answer="boxed").tally == {"x+1": 1.0, "1+x": 1.0}


def test_the_extractor_keeps_the_contract():
    check_answers("math")
    check_answers("math", texts=[r"\boxed{x+1}", r"\boxed{1+x}", "50%", "1/2", "Paris", "(1,2)"])


def test_a_text_that_runs_out_of_time_is_not_asked_about_again(monkeypatch):
    asked = []

    def ask(*question):
        asked.append(question)
        raise TimeoutError

    monkeypatch.setattr(equality._worker, "ask", ask)
    monkeypatch.setattr(equality, "_patient", equality._Patient())
    assert not equal("3^{9^{9}}", "5^{9^{9}}")
    assert len(asked) == 2
    assert not equal("3^{9^{9}}", "x+1")
    assert [question[1] for question in asked] == ["3^{9^9}", "5^{9^9}", "x+1"]


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("3 + 4 = 7, and 7 * 2 = 15.", [True, False]),
        ("2 + 3 = 5 = 10 / 2 = 6", [True, True, False]),
        (r"\frac{1}{2} + \frac{1}{3} = \frac{5}{6}", [True]),
        (r"$5 + $3 = $8; 1,000 \times 2 = 2,000", [True, True]),
        (r"\(2^{10} = 1024\), 2(3 + 4) = \boxed{15}", [True, False]),
        ("10 / 3 = 3.33 but not 10 / 3 = 3", [True, False]),
        ("0.1 + 0.2 = 0.3; 0.1 + 0.2 = 0.4", [True, False]),
        ("1. 3 + 4 = 7\n2) 5 \N{MINUS SIGN} 5 = 1", [True, False]),
        ("<<48/2=24>>24", [True]),
        ("-4 + 3 = -1", [True]),
        ("3 + 4 = 7 apples", [True]),
    ],
)
def test_arithmetic_statements_are_checked(text, statements):
    assert check(text) == statements
    assert math_valid("", [text]) == [sum(statements) / len(statements)]


@pytest.mark.parametrize(
    "text",
    [
        *("", "7", "x + 3 = 7", "2x + 3 = 7", "x^2 + 5x + 6 = 0", "x - 4 + 3 = 7", "f(3) + 4 = 7"),
        *("3 + 4 = 7x", "3 + 4 = 7 x", r"3 + 4 = 7 \pi", "3 + 4 = 9!", "12_5 + 13_5 = 30_5"),
        *(r"7 + 8 = 3 \pmod{12}", "7 + 8 = 3 mod 12", "log 10 + 1 = 2", r"\sqrt{16} + 1 = 6"),
        *(
            "20% of 50 = 11",
            "half of 20 + 5 = 15",
            "n = 5",
            "1/0 = 3 + 4",
            "3 + = 4",
            "9^9^9^9 = 3",
        ),
        *("2^(1/2) = 3", "3 + 4 = ", "= 3 + 4", "((((3 + 4 = 7", "3 + 4 != 8", "12:30 - 1 = 7"),
        "(" * 150 + "1" + ")" * 150 + "+1 = 3",
    ],
)
def test_what_may_be_more_than_arithmetic_is_not_checked(text):
    assert check(text) == []
    assert math_valid("", [text]) == [0.5]


def test_a_score_depends_on_its_completion_alone():
    completions = ["2 + 2 = 4", "2 + 2 = 5", "", "1 + 1 = 2 = 3"]
    together = math_valid("?", completions)
    assert together == [1.0, 0.0, 0.5, 0.5]
    assert math_valid("!", completions[::-1]) == together[::-1]
    assert [math_valid("?", [one])[0] for one in completions] == together
    assert math_valid("?", []) == []


def test_the_scorer_scores_a_pool():
    pool = edifice_tt.score(None, Pool("?", texts("2 + 2 = 5", "2 + 2 = 4")), scorer="math_valid")
    assert edifice_tt.select(pool, "best_of_n").index == 1


def test_the_command_line_knows_rule_and_scorer(tmp_path, capsys):
    path = tmp_path / "pool.jsonl"
    Pool("?", texts("It is 3.", r"\boxed{0.5}", r"\boxed{\frac12}")).save(path)
    assert run_command("select", str(path), "--rule", "math_majority", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["choice"]["tally"] == {"3": 1.0, "0.5": 2.0}
    assert run_command("score", str(path), "--scorer", "math_valid") == 0
    capsys.readouterr()
    Pool("?", texts("dunno")).save(path)
    assert run_command("select", str(path), "--rule", "math_majority") == 2
    assert "no candidate has an answer" in capsys.readouterr().err


def test_being_installed_costs_nothing():
    """Neither listing what is installed nor a majority of numbers imports sympy or starts one."""
    code = """
import sys, edifice_tt, edifice_tt_math
assert "math_majority" in edifice_tt.list_selectors()
assert not [name for name in sys.modules if name.startswith("edifice_tt_math.")]
edifice_tt_math.math_majority([edifice_tt.Candidate(0, "1/2"), edifice_tt.Candidate(1, "50%")])
assert edifice_tt_math.equality._worker.process is None
assert edifice_tt_math.equal("x+1", "1+x")
assert not {"sympy", "math_verify"} & set(sys.modules)
"""
    run_python(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_and_threads_get_their_own_answers():
    code = """
import os
from concurrent.futures import ThreadPoolExecutor
from edifice_tt_math import equal
pairs = [("x+1", "1+x"), ("x+1", "x+2")] * 20
expected = [True, False] * 20
assert equal(*pairs[0])
child = os.fork()
with ThreadPoolExecutor(4) as threads:
    right = list(threads.map(equal, *zip(*pairs))) == expected
if child == 0:
    os._exit(0 if right else 1)
assert right and os.waitpid(child, 0)[1] == 0
"""
    run_python(code)


@pytest.mark.parametrize("room", ["answers", "arithmetic", "equality"])
def test_the_examples_of_the_documentation_hold(room):
    result = doctest.testmod(importlib.import_module(f"edifice_tt_math.{room}"))
    assert result.attempted
    assert not result.failed


def test_a_pool_of_which_only_some_were_looked_at_holds_no_vote():
    pool = (
        Candidate(0, "4", answer="4"),
        Candidate(1, "no", answer=""),
        Candidate(2, "5"),
    )
    with pytest.raises(ValueError, match="candidate 2 has not been looked at"):
        math_majority(pool)
    assert math_majority(pool[:2]).abstained == 1
