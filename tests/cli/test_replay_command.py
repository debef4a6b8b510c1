"""The command replay as a person meets it: what it prints, and how it refuses."""

import json
import re
from dataclasses import replace
from functools import partial

import pytest
from commands import runner

import edifice_tt as et


def write(path, answers=("aabaabab", "abcabcab", "bbbbbbbb"), num_tokens=7, correct=True):
    pools = []
    for number, letters in enumerate(answers):
        candidates = tuple(
            et.Candidate(
                i,
                f"so {letter}",
                answer=letter,
                correct=letter == "a" if correct else None,
                num_tokens=num_tokens,
                scores={"judge": 0.5},
            )
            for i, letter in enumerate(letters)
        )
        pools.append(et.Pool("q", candidates, {"model": "m"}, f"p{number}", "a"))
    et.write_pools(path, pools)
    return path


@pytest.fixture
def run(capsys):
    return partial(runner(capsys), "replay")


def test_json_is_the_replay_of_the_same_arguments(run, tmp_path):
    path = write(tmp_path / "a.jsonl")
    given = ["--option", "threshold=0.8", "--option", "wave=3", "--level", "0.8", "-n", "7"]
    given += ["--bootstrap", "30", "--seed", "5", "--answer", "regex:[ab]$"]
    status, out, err = run("adaptive", path, "--json", *given)
    expected = et.replay(
        et.read_pools(path),
        "adaptive",
        n=7,
        threshold=0.8,
        wave=3,
        level=0.8,
        bootstrap=30,
        seed=5,
        answer="regex:[ab]$",
        pool="a.jsonl",
    )
    assert (status, err) == (0, "")
    assert json.loads(out) == expected.to_dict()


def test_the_table_has_what_was_spent_and_what_was_gained(run, tmp_path):
    path = write(tmp_path / "a.jsonl", ["aaaaaaaa", "bbbbbbbb"])
    status, out, err = run("adaptive", path)
    assert (status, err) == (0, "")
    assert "a.jsonl: 16 candidates of 2 problems" in out
    assert re.search(r"^adaptive +4\.00 +28 +0\.5000 ", out, re.M)
    assert re.search(r"^all 8 +8\.00 +56 +0\.5000 ", out, re.M)
    assert re.search(r"^first 4 +4\.00 +28 +0\.5000 ", out, re.M)
    assert re.search(r"^all 8 +\+0\.0000 ", out, re.M)
    text = " ".join(out.split())
    assert "It saves 50.0% of the samples and 50.0% of the tokens" in text
    assert "Exact means over all orders" in text
    assert "What it breaks: problems end with different numbers of candidates" in text
    assert max(map(len, out.splitlines())) <= 80


def test_drawn_orders_and_waste_are_told(run, tmp_path):
    path = write(tmp_path / "a.jsonl")
    _, out, _ = run("window", path, "--option", "window=2", "--orders", "20")
    assert "Means over 20 drawn orders" in out
    assert "standard errors:" in out
    _, out, _ = run("adaptive", path, "--option", "wave=8")
    assert re.search(r"It keeps \S+ of 8.00 samples per problem", out)
    _, out, _ = run("first", write(tmp_path / "b.jsonl", ["abab"], num_tokens=0))
    assert re.search(r"^all 4 +4\.00 +- +0\.5000 +-$", out, re.M)
    assert "One problem has no interval" in out


def steps(cuts, ends, problem):
    """A candidate per score at the cut and at the end."""
    rows = [
        et.Candidate(i, "a. b", correct=True, num_tokens=5, step_scores={"prm": (cut, end)})
        for i, (cut, end) in enumerate(zip(cuts, ends, strict=True))
    ]
    rows = [replace(row, scores={"prm": row.step_scores["prm"][-1]}) for row in rows]
    return et.Pool("q", tuple(rows), problem=problem)


STEPS = ["--scorer", "prm", "--option", "delimiter=. ", "--option", "cuts=1", "--orders", "2"]


def test_the_table_has_how_often_the_winner_was_dropped(run, tmp_path):
    """The worst at the cut would have won in one problem of two; one row of three is dropped."""
    ends = {"p0": (0.9, 0.5, 0.5), "p1": (0.1, 0.5, 0.9)}
    path = tmp_path / "a.jsonl"
    et.write_pools(path, [steps((0.1, 0.2, 0.3), one, problem) for problem, one in ends.items()])
    status, out, err = run("rejection", path, *STEPS)
    assert (status, err) == (0, "")
    assert re.search(r"^the winner was dropped +share +95% interval$", out, re.M)
    assert re.search(r"^by rejection +0\.5000 +0\.000 to 1\.000$", out, re.M)
    assert re.search(r"^at random +0\.3333\s*$", out, re.M)
    assert re.search(r"^difference +\+0\.1667 ", out, re.M)
    text = " ".join(out.split())
    assert "It is not shown to drop the winner more or less often than a random choice" in text
    _, out, _ = run("adaptive", write(tmp_path / "b.jsonl"))
    assert "winner" not in out


@pytest.mark.parametrize(
    ("cuts", "word"), [((0.1, 0.2, 0.3), "less"), ((0.3, 0.2, 0.1), "more")], ids=["good", "bad"]
)
def test_it_is_said_whether_the_winner_is_dropped_less_often_than_by_chance(
    run, tmp_path, cuts, word
):
    path = tmp_path / "a.jsonl"
    et.write_pools(path, [steps(cuts, (0.1, 0.2, 0.3), f"p{i}") for i in range(11)])
    _, out, _ = run("rejection", path, *STEPS)
    assert f"It drops the winner {word} often than a random choice would." in out


def test_problems_without_a_winner_are_counted(run, tmp_path):
    pools = [
        et.Pool(
            "q",
            tuple(
                et.Candidate(
                    i,
                    "so",
                    answer=answer,
                    correct=bool(answer),
                    num_tokens=1,
                    token_confidences={"deepconf": (float(i),)},
                )
                for i in range(3)
            ),
            problem=f"p{answer}",
        )
        for answer in ("", "7")
    ]
    path = tmp_path / "a.jsonl"
    et.write_pools(path, pools)
    given = ["warmup=2", "keep_percent=50", "wave=3"]
    _, out, _ = run("confidence", path, *(x for one in given for x in ("--option", one)))
    assert "1 of 2 problems have none, as no row answers." in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["adaptve"], ["unknown search 'adaptve'", "did you mean 'adaptive'"]),
        (["dvts"], ["'dvts' goes on with copies", "replay one of adaptive"]),
        (["adaptive", "--option", "thresold=1"], ["did you mean 'threshold'"]),
        (["adaptive", "--option", "threshold=x"], ["search 'adaptive' expects a number"]),
        (["adaptive", "--option", "threshold=2"], ["threshold=2.0 must be above 0"]),
        (["adaptive", "--option", "n=4"], ["give it as -n 4"]),
        (["rejection", "--option", "scorer=x"], ["give it as --scorer x"]),
        (["rejection", "--option", "cuts=a"], ["expects whole numbers between commas"]),
        (["rejection", "--option", "cuts=2"], ["problem 'p0'", "'judge' after 2 tokens"]),
        (["rejection", "--option", "word=x"], ["word='x' must be a function"]),
        (["adaptive", "-n", "9"], ["problem 'p0'", "-n 9 is more than its 8"]),
        (["adaptive", "--answer", "nmber"], ["did you mean 'number'"]),
        (["confidence", "--option", "warmup=2"], ["confidences 'deepconf'"]),
        (["adaptive", "--orders", "1"], ["--orders", "from 2"]),
    ],
)
@pytest.mark.first(3)
def test_a_mistake_is_one_line(run, tmp_path, argv, words):
    status, out, err = run(argv[0], write(tmp_path / "a.jsonl"), *argv[1:])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert [word for word in words if word not in err] == []


def test_an_unmarked_candidate_is_told_with_its_line(run, tmp_path):
    path = write(tmp_path / "a.jsonl", correct=False)
    status, out, err = run("adaptive", path)
    assert (status, out) == (2, "")
    assert f"{path}, line " in err
    assert "edifice-tt grade" in err
