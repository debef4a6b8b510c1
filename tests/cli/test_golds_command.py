"""Right answers as a person meets them: missing, unreadable, filled in."""

import json
from functools import partial

import pytest
from commands import runner

import edifice_tt as et

CHAT = [{"role": "user", "content": "3 + 4?"}]


def pools(golds=("7", "8"), texts=("so 7", "8")):
    made = tuple(et.Candidate(i, text) for i, text in enumerate(texts))
    settings = {"n": len(texts)}
    first = et.Pool("<|3 + 4?|>", made, settings, "a", golds[0], messages=CHAT)
    return [first, et.Pool("4 + 4?", made, settings, "b", golds[1])]


@pytest.fixture
def run(capsys):
    return partial(runner(capsys))


@pytest.fixture
def path(tmp_path):
    et.write_pools(tmp_path / "pool", pools())
    return tmp_path / "pool"


def problems(folder, *answers, prompts=("3 + 4?", "4 + 4?")):
    path = folder / "problems.jsonl"
    rows = (
        {"question": prompt, "answer": answer, "id": name}
        for prompt, answer, name in zip(prompts, answers, "ab", strict=True)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_gold_answer_of_another_kind_is_told_by_every_command_that_marks(run, tmp_path):
    et.write_pools(tmp_path / "pool", pools(("7", "eight")))
    told = "'number' finds nothing in 1 of 2 gold answers, as in 'eight' of 'b': it counts as it"
    assert told in run("grade", tmp_path / "pool", "--answer", "number")[2]
    source = tmp_path / "source"
    lines = (
        {"gold": gold, "completions": ["7"], "problem": n}
        for gold, n in (("7", "a"), ("eight", "b"))
    )
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert told in run("import-pool", source, "--answer", "number", "-o", tmp_path / "new")[2]


def test_an_extractor_that_finds_little_is_told(run, path):
    _, _, err = run("grade", path, "--answer", "boxed")
    assert "warning: 'boxed' finds no answer in 4 of 4 candidates; look at some with" in err
    assert run("grade", path, "--answer", "number")[2] == ""


def test_select_and_curve_tell_that_marks_are_of_another_extractor(run, path):
    run("grade", path, "--answer", "number")
    told = "marked by 'number', and votes compare answers by 'text'"
    assert told in run("select", path, "--rule", "majority", "--answer", "text")[2]
    for command in (("curve",), ("replay", "adaptive")):
        assert told in run(*command, path, "--answer", "text")[2]
    status, out, err = run("curve", path, "--answer", "number")
    assert (status, err) == (0, "")
    assert "Graded with: number." in out


def test_right_answers_that_a_pool_lacks_are_filled_in_by_grade(run, tmp_path):
    path = tmp_path / "pool"
    et.write_pools(path, pools((None, None)))
    status, _, err = run("grade", path, "--answer", "number")
    assert (status, "--problems FILE, with the options of generate" in err) == (2, True)
    given = problems(tmp_path, "so #### 7", "#### 9")
    how = ("--problems", given, "--format", "gsm8k")
    assert run("grade", path, "--answer", "number", *how)[0] == 0
    assert [(one.gold, [c.correct for c in one]) for one in et.read_pools(path)] == [
        ("7", [True, False]),
        ("9", [False, False]),
    ]


@pytest.mark.parametrize(
    ("answers", "prompts", "told"),
    [
        (
            ("#### 6", "#### 8"),
            ("3 + 4?", "4 + 4?"),
            "has the right answer '7' in the pool, and '6'",
        ),
        (("#### 7", "#### 8"), ("3 + 4?", "4 + 5?"), "problem 'b' of the pool asks '4 + 4?'"),
    ],
)
def test_right_answers_of_other_problems_are_refused(run, path, tmp_path, answers, prompts, told):
    before = path.read_bytes()
    how = ("--problems", problems(tmp_path, *answers, prompts=prompts), "--format", "gsm8k")
    status, _, err = run("grade", path, "--answer", "number", *how)
    assert (status, told in err, path.read_bytes()) == (2, True, before)
    status, _, err = run("grade", path, "--answer", "number", "--format", "gsm8k")
    assert (status, "--format is for --problems" in err) == (2, True)


def test_problems_without_right_answers_are_told_before_anything_is_sampled(run, tmp_path):
    given = problems(tmp_path, "#### 7", "#### 8")
    argv = ("--problems", given, "--prompt-field", "question", "-o", tmp_path / "pool")
    status, _, err = run("generate", *argv, "-m", tmp_path / "missing.gguf")
    assert status == 2
    assert "has a right answer (gold), so grade and curve cannot tell what is right" in err
    assert "--gold-field, or a --format" in err


def test_right_answers_that_are_whole_solutions_name_the_format(tmp_path):
    given = problems(tmp_path, "3 + 4 = 7\n#### 7", "#### 8")
    names = {"prompt_field": "question", "gold_field": "answer", "problem_field": "id"}
    with pytest.warns(et.PoolWarning, match="2 of 2 right answers hold ####.* --format gsm8k"):
        et.read_problems(given, **names)
