"""Where newcomers stumble: mistakes that hide others, remarks out of place, lines that break."""

import io
import json
import sys
from dataclasses import replace

import pytest
from commands import runner

import edifice_tt as et

FEW = ("-m", "tiny", "-n", "3", "--max-tokens", "4")


@pytest.fixture
def run(capsys, monkeypatch, tiny_lm):
    """The model called `tiny` is there."""
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return runner(capsys)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["generate", "--problems", "missing"], "No such file"),
        (["generate", "--problems", "problems", "--gold-field", "right"], "no field 'right'"),
        (["generate", "q", "--temperature", "-1"], "temperature"),
        (["search", "adaptive", "--problems", "missing", "--answer", "number"], "No such file"),
        (["best-of", "q", "--temperature", "-1"], "temperature"),
        (["best-of", " "], "the prompt is empty"),
    ],
)
@pytest.mark.first(3)
def test_a_file_that_exists_hides_no_other_mistake(run, tmp_path, monkeypatch, argv, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "problems").write_text('{"prompt": "3 + 4?", "gold": "7"}\n')
    (tmp_path / "pool").write_text("precious")
    status, _, err = run(*argv, "-o", "pool")
    assert (status, told in err, "exists" in err) == (2, True, False)


def test_a_question_from_a_pipe_is_that_of_the_argument(run, monkeypatch):
    given = ("generate", *FEW, "--raw", "--json")
    (_, expected, _) = run(*given, "3 + 4?")
    for typed in ("3 + 4?\n", "3 + 4?\r\n", "3 + 4?"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed, newline=""))
        (_, out, _) = run(*given, "-")
        texts = [[c["text"] for c in json.loads(one)["candidates"]] for one in (out, expected)]
        assert texts[0] == texts[1]


def test_votes_are_spoken_of_where_there_are_votes(run):
    _, out, _ = run("generate", "q", *FEW, "--max-tokens", "1")
    assert "were cut off at 1 tokens; --max-tokens allows longer ones." in out
    assert "vote" not in out
    assert "vote" not in run("best-of", "q", *FEW, "--max-tokens", "1")[1]


def test_a_chosen_answer_that_was_cut_off_is_told(run):
    _, out, _ = run("best-of", "q", *FEW, "--max-tokens", "1")
    assert out.endswith("allows longer ones. The chosen one is among them.\n")


def test_show_does_not_break_a_line_within_what_belongs_together(run, tmp_path):
    scores = {name * 8: 0.25 for name in "ab"}
    made = et.Candidate(0, "x", num_tokens=128, finish_reason="length", scores=scores)
    for name in ("", "c", "cc", "ccc", "cccc", "ccccc"):
        scored = replace(made, scores={**scores, f"score{name}": 0.5})
        et.Pool("q", (scored,), {}).save(tmp_path / "pool")
        _, out, _ = run("show", tmp_path / "pool")
        lines = [line.strip() for line in out.splitlines()]
        assert not {"off", "tokens", "tokens  cut off"} & {*lines}
        assert "128 tokens" in out
        assert "cut off" in out


def test_scorers_that_choose_alike_are_told(run, tmp_path):
    texts = ("a", "b", "c")
    made = tuple(
        et.Candidate(i, text, answer=text, correct=i == 2, scores={"s": i, "t": i * 2.0, "u": -i})
        for i, text in enumerate(texts)
    )
    et.Pool("q", made, {}).save(tmp_path / "pool")
    out = " ".join(run("curve", tmp_path / "pool")[1].split())
    assert "best_of_n is as often right with s as with t: one line hides another." in out
    assert "Here is 1 right candidate: too few to tell how good a scorer is." in out
    assert "AUROC: how often a right candidate scores above a wrong one" in out


def test_rule_and_rules_are_one_option(run, tmp_path):
    made = (et.Candidate(0, "a", correct=True), et.Candidate(1, "a", correct=True))
    et.Pool("q", made, {}).save(tmp_path / "pool")
    path = tmp_path / "pool"
    assert run("select", path, "--rules", "majority") == run("select", path, "--rule", "majority")
    assert run("curve", path, "--rule", "majority") == run("curve", path, "--rules", "majority")


def test_show_reads_a_pool_from_a_pipe(run, tmp_path, monkeypatch):
    path = tmp_path / "pool"
    et.Pool("q", (et.Candidate(0, "a", correct=True),), {}).save(path)
    expected = run("show", path)
    assert expected[0] == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert run("show", "-") == expected


def test_resuming_with_the_right_answers_fills_them_in(run, tmp_path):
    source, path = tmp_path / "problems.jsonl", tmp_path / "pool"
    rows = ({"question": f"{i} + 4?", "answer": f"so\n#### {i + 4}"} for i in range(3))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("generate", "--problems", source, *FEW, "-o", path)
    status, _, err = run(*given, "--prompt-field", "question")
    assert (status, "has a right answer (gold)" in err) == (0, True)
    before = [(pool.prompt, pool.candidates) for pool in et.read_pools(path)]
    assert run(*given, "--format", "gsm8k", "--resume")[::2] == (0, "")
    assert [pool.gold for pool in et.read_pools(path)] == ["4", "5", "6"]
    assert [(pool.prompt, pool.candidates) for pool in et.read_pools(path)] == before
    source.write_text(source.read_text().replace("#### 5", "#### 7"))
    status, _, err = run(*given, "--format", "gsm8k", "--resume")
    assert (status, "problem '1' has gold='5', given '7'" in err) == (2, True)
