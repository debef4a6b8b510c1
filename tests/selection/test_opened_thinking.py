"""Thinking that the prompt began is no part of an answer: for grades, rules and curves."""

import pytest

import edifice_tt as et
from edifice_tt.selection.answers import opened_thinking
from edifice_tt.study.problems import read_problems

PROMPT = "<|im_start|>user\nWhat is 6 times 7?<|im_end|>\n<|im_start|>assistant\n<think>\n"
TEXTS = ("I try 41", "41? No.</think>42", "Could it be 41", "So it is 40.</think>\n42", "41")


def pool(prompt=PROMPT, texts=TEXTS):
    candidates = tuple(et.Candidate(i, text) for i, text in enumerate(texts))
    return et.Pool(prompt, candidates, gold="42")


@pytest.mark.parametrize(
    ("prompt", "sign"),
    [
        (PROMPT, "<think>"),
        ("assistant: [THINK]", "[THINK]"),
        ("<reasoning>\n", "<reasoning>"),
        ("<|begin_of_thought|>\n\n", "<|begin_of_thought|>"),
        ("\u25c1think\u25b7", "\u25c1think\u25b7"),
        ("<seed:think> ", "<seed:think>"),
        ("<think>\n\n</think>\n\n", ""),
        ("<|begin_of_thought|> <|end_of_thought|>", ""),
        ("What does <think> mean?", ""),
        ("<think> first", ""),
        ("", ""),
    ],
)
def test_a_prompt_opens_the_thinking_with_which_it_ends(prompt, sign):
    assert opened_thinking(prompt) == sign


def test_a_candidate_cut_off_in_thinking_of_the_prompt_has_no_answer():
    graded = et.grade(pool(), "number")
    assert [c.answer for c in graded] == ["", "42", "", "42", ""]
    assert [c.correct for c in graded] == [False, True, False, True, False]
    assert et.grade(pool("6 times 7?"), "number").candidates[0].answer == "41"


@pytest.mark.parametrize("answer", ["number", "text", None])
def test_rules_compare_what_was_said_after_thinking_of_the_prompt(answer):
    options = {} if answer is None else {"answer": answer}
    choice = et.select(pool(), "majority", **options)
    assert (choice.index, dict(choice.tally), choice.abstained) == (1, {"42": 2.0}, 3)
    assert choice.text == TEXTS[1]  # as it was sampled


def test_without_an_extractor_a_rule_compares_texts_without_thinking():
    texts = ("<think>a</think>7", "<think>b</think> 7", "8", "<think>8")
    choice = et.select(pool("1?", texts), "majority")
    assert (choice.index, dict(choice.tally), choice.abstained) == (0, {"7": 2.0, "8": 1.0}, 1)


def test_a_curve_votes_about_what_was_said_after_thinking_of_the_prompt(tmp_path):
    et.write_pools(tmp_path / "pool.jsonl", [et.grade(pool(), "text")])
    (problem,) = read_problems(et.read_pools(tmp_path / "pool.jsonl"), answer="number")
    assert list(problem.answers) == [-1, 0, -1, 0, -1]
