"""The command curve as a person meets it: what it prints, which file it writes, how it refuses."""

import json
import re
import sys
from functools import partial

import pytest
from commands import runner

import edifice_tt as et
from edifice_tt.cli import curve_table

RANGES = {"judge": "probability", "odds": "logit"}


def write(path, marks=("RWR", "WWR", "RRR"), ranges=RANGES, scale=1.0, num_tokens=7):
    """A pool file: a problem for each of `marks`, a right or wrong candidate for each letter."""
    pools = []
    for number, letters in enumerate(marks):
        candidates = tuple(
            et.Candidate(
                index,
                f"it is {letter}",
                answer=None if letter == "-" else letter,
                correct={"R": True, "W": False, "-": False}.get(letter),
                num_tokens=num_tokens,
                scores=dict.fromkeys(ranges, scale * (index + 1) / 4),
            )
            for index, letter in enumerate(letters)
        )
        declared = {name: found for name, found in ranges.items() if found}
        pools.append(et.Pool("q", candidates, {"model": "m"}, f"p{number}", "R", declared))
    et.write_pools(path, pools)
    return path


@pytest.fixture
def run(capsys):
    return partial(runner(capsys), "curve")


def refuses(outcome, *words):
    status, out, err = outcome
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert [word for word in words if word not in err] == []


def test_json_is_the_curve_of_the_same_arguments(run, tmp_path):
    path = write(tmp_path / "a.jsonl")
    given = ["--rules", "majority,oracle", "--rules", "best_of_n", "--ks", "1,3", "--seed", "5"]
    given += ["--level", "0.8", "--bootstrap", "30", "--scorer", "odds", "--answer", "regex:W"]
    status, out, err = run(path, "--json", *given)
    expected = et.scaling_curve(
        et.read_pools(path),
        ["majority", "oracle", "best_of_n"],
        [1, 3],
        scorers=["odds"],
        answer="regex:W",
        level=0.8,
        bootstrap=30,
        seed=5,
        pool="a.jsonl",
    )
    assert (status, err) == (0, "")
    assert json.loads(out) == expected.to_dict()


@pytest.mark.parametrize(
    ("ranges", "scale", "expected"),
    [
        ({}, 1, "oracle majority random"),
        ({"judge": "probability"}, 1, "oracle best_of_n majority weighted random"),
        ({"odds": "logit"}, 1, "oracle best_of_n majority weighted_logit random"),
        ({"odds": "unbounded"}, 1, "oracle best_of_n majority random"),
        ({"some": None}, 1, "oracle best_of_n majority weighted random"),
        ({"some": None}, 2, "oracle best_of_n majority random"),
    ],
)
def test_the_default_rules_are_those_that_the_scores_allow(run, tmp_path, ranges, scale, expected):
    _, out, _ = run(write(tmp_path / "a.jsonl", ranges=ranges, scale=scale), "--json")
    assert [rule["rule"] for rule in json.loads(out)["rules"]] == expected.split()


def test_the_table_says_what_was_measured(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    path = write(tmp_path / "a.jsonl", ["RW-", "WWR", "RRR"], {"judge": "probability"})
    status, out, err = run(path)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "a.jsonl: 9 candidates of 3 problems"
    assert re.fullmatch(r" +k=1 +k=2 +k=3", lines[4])
    # pass@2: 2/3, 2/3 and 1; majority@3: 1/2 (a tie), 0 and 1.
    assert re.fullmatch(r"oracle +0\.556 +0\.778 +1\.000", lines[5])
    assert re.fullmatch(r"majority +0\.556 +0\.\d+ +0\.500", lines[9])
    assert re.search(
        r"^judge +0\.\d+ +0\.500 \(2\) +0\.\d+ +0\.\d+ .*\n +\.\d\d-[\d.]+ +\.\d\d-[\d.]+\n",
        out,
        re.MULTILINE,
    )
    assert "k=3, against majority" in out
    assert "1 of 9 candidates have no answer: they abstain." in out
    assert "here are 3." in out
    assert max(map(len, lines)) <= 80


def test_the_table_tells_what_each_scorer_has_spent_per_candidate(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    path = write(tmp_path / "a.jsonl")
    pools = [pool.with_cost("judge", 33, 0.75) for pool in et.read_pools(path)]
    et.write_pools(path, pools)
    report = tmp_path / "a.html"
    status, out, err = run(path, "--html", report)
    assert (status, err) == (0, "")
    assert re.search(r"\nscoring, per candidate +tokens read +seconds\n", out)
    assert re.search(r"^judge +11\.0 +0\.25$", out, re.MULTILINE)
    assert re.search(r"^odds +- +-$", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 80
    found = {one["scorer"]: one for one in json.loads(run(path, "--json")[1])["scorers"]}
    assert found["judge"]["tokens_per_candidate"] == 11.0
    assert found["judge"]["seconds_per_candidate"] == 0.25
    assert found["odds"]["tokens_per_candidate"] is found["odds"]["seconds_per_candidate"] is None
    rows = dict(
        re.findall(r'<th scope="row">(\w[\w ]*)<small>.*?</th>(.*?)</tr>', report.read_text())
    )
    assert rows["Tokens read"] == "<td>11</td><td>&ndash;</td>"
    assert rows["Seconds"] == "<td>0.25</td><td>&ndash;</td>"


def test_one_problem_has_dashes_for_intervals_in_the_table_and_in_the_report(run, tmp_path):
    path, report = write(tmp_path / "a.jsonl", ["RWW"]), tmp_path / "a.html"
    status, out, err = run(path, "--html", report)
    assert (status, err) == (0, "")
    assert re.search(r"oracle +0\.333 +0\.667 +1\.000\n +- +- +-\n", out)
    assert re.search(r"random +[+-]0\.\d+ +-\n", out)
    for text in (" ".join(out.split()), report.read_text()):
        assert "One problem has no interval: it says nothing of others." in text
        assert "a variance needs two problems, here is one" in text
    page = report.read_text()
    assert "no interval</small>" in page
    assert 'class="whisker"' not in page
    assert 'class="band"' not in page


def test_the_report_and_the_table_say_why_no_number_of_problems_can_be_told(run, tmp_path):
    path, report = write(tmp_path / "a.jsonl", ["WWR"] * 5), tmp_path / "a.html"
    _, out, _ = run(path, "--rules", "best_of_n,majority", "--html", report)
    for text in (" ".join(out.split()), report.read_text()):
        assert "never differ" not in text
        assert "each difference is the same in all problems" in text


def test_a_rule_says_which_scorers_it_leaves_out(run, tmp_path):
    path, report = write(tmp_path / "a.jsonl"), tmp_path / "a.html"
    _, out, _ = run(path, "--html", report)
    said = "weighted leaves out odds (logit): it needs scores that are probabilities in [0, 1]."
    assert said in " ".join(out.split())
    assert said in report.read_text()
    assert {"rule": "weighted", "scorer": "odds"}.items() <= json.loads(run(path, "--json")[1])[
        "left_out"
    ][0].items()


@pytest.fixture
def begun(tmp_path):
    """A file of three problems of four candidates, the last of which has one, not marked."""
    path = write(tmp_path / "a.jsonl", ["RWWR", "WWRW", "?"], {})
    path.write_text(path.read_text().replace('{"model":"m"}', '{"model":"m","n":4}'))
    return path


def test_an_unfinished_problem_is_left_out_and_told_in_every_form(run, begun, tmp_path):
    status, out, err = run(begun, "--ks", "1,4", "--html", tmp_path / "a.html")
    said = "1 of 3 problems is unfinished and left out: problem 'p2' has 1 of 4 candidates"
    assert status == 0
    assert out.startswith("a.jsonl: 8 candidates of 2 problems")
    page = (tmp_path / "a.html").read_text()
    for text in (" ".join(out.split()), err, page.replace("&#x27;", "'")):
        assert said in text
        assert "--resume" in text
    assert '"id":"p1"' in page
    assert '"id":"p2"' not in page
    unfinished = json.loads(run(begun, "--json")[1])["unfinished"]
    about = {"problems": 1, "first": "p2", "candidates": 1, "n": 4, "used": False}
    assert unfinished == {**about, "first_of_each": 1}


def test_an_unfinished_problem_is_measured_when_that_is_asked_for(run, begun, tmp_path):
    refuses(run(begun, "--unfinished", "use"), "candidate 0 of problem 'p2' is not marked")
    begun.write_text(begun.read_text().replace('"correct":null', '"correct":true'))
    status, out, err = run(begun, "--unfinished", "use", "--html", tmp_path / "a.html")
    assert status == 0
    assert out.startswith("a.jsonl: 9 candidates of 3 problems")
    assert "1 of 3 problems is unfinished: problem 'p2'" in err
    assert '"id":"p2"' in (tmp_path / "a.html").read_text()


def test_a_file_of_unfinished_problems_alone_is_refused(run, tmp_path):
    path = write(tmp_path / "a.jsonl", ["RW", "R"])
    path.write_text(path.read_text().replace('{"model":"m"}', '{"model":"m","n":4}'))
    refuses(run(path), "every problem is unfinished: problem 'p0' has 2 of 4", "--resume")


def test_a_scorer_that_was_trained_on_these_problems_is_told_beside_its_figures(run, tmp_path):
    path = write(tmp_path / "a.jsonl", ["RWW", "WWR", "RRR"], {"judge": "probability"})
    pools = [
        pool.with_scores("pupil", [0.5] * 3, range="probability", seen=pool.problem != "p1")
        for pool in et.read_pools(path)
    ]
    et.write_pools(path, pools)
    _, out, _ = run(path, "--rules", "best_of_n,majority")
    assert re.search(r"^best_of_n . pupil .*\n  trained on 2 of 3 ", out, re.MULTILINE)
    assert re.search(r"^pupil .*\n  trained on 2 of 3 ", out, re.MULTILINE)
    assert not re.search(r"^judge .*\n  trained on ", out, re.MULTILINE)
    assert "pupil was trained on 2 of these 3 problems: how it does there" in " ".join(out.split())
    scorers = json.loads(run(path, "--json")[1])["scorers"]
    assert {one["scorer"]: one["trained_on"] for one in scorers} == {"judge": 0, "pupil": 2}


def test_rules_that_have_seen_the_problems_come_last_in_the_table(run, tmp_path):
    path = write(tmp_path / "a.jsonl", ["RWW", "WWR"], {"judge": "probability"})
    pools = [pool.with_scores("able", [0.5] * 3, seen=True) for pool in et.read_pools(path)]
    et.write_pools(path, pools)
    _, out, _ = run(path, "--rules", "best_of_n,majority,random")
    rows = [
        line.split("  ")[0] for line in out.splitlines() if re.match(r"[a-z_]+.*\.\d\d\d", line)
    ]
    assert rows[:4] == ["best_of_n · judge", "majority", "random", "best_of_n · able"]


def test_estimates_by_drawing_are_marked_with_their_error(tmp_path):
    pools = list(et.read_pools(write(tmp_path / "a.jsonl", ["RW" * 15] * 2, scale=0.1)))
    curve = et.scaling_curve(pools, ["weighted", "majority"], [1, 15], bootstrap=10)
    text = curve_table.show_curve(curve)
    marked = next(line for line in text.splitlines() if line.startswith("weighted"))
    assert re.fullmatch(r"weighted . judge +0\.500 +0\.\d{3}~", marked)
    error = max(curve.rules[0].monte_carlo_error)
    assert f"~ +-{error:.4f} " in text
    assert "~ estimated from drawn subsets" in text


def test_many_ks_go_into_blocks_as_wide_as_the_terminal(run, tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", ["RW" * 16] * 2)
    for columns in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = run(path, "--rules", "majority")
        table = out.partition("\n\nscorer")[0].splitlines()[3:]
        assert max(map(len, table)) <= columns
        assert re.findall(r"k=(\d+)", "\n".join(table)) == ["1", "2", "4", "8", "16", "32"]


def test_a_mistake_names_file_and_line(run, tmp_path):
    path = write(tmp_path / "a.jsonl", ["RW", "R?"])
    refuses(run(path), f"{path}, line 13: candidate 1 of problem 'p1'", "grade")
    path = write(tmp_path / "b.jsonl", ["RW", "RWR"])
    refuses(run(path, "--ks", "1,3"), f"{path}, line 2: problem 'p0' has 2 candidates", "--ks")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"index":2,"scorer"' not in line))
    where = f"{path}, line 14: candidate 2 of problem 'p1' has no score of 'judge'"
    refuses(run(path), where, "--scorer")
    refuses(run(tmp_path / "none.jsonl"), "none.jsonl", "No such file")


def test_a_wrong_argument_is_refused_before_anything_is_read(run, tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl")
    monkeypatch.setattr("edifice_tt.study.problems.read_problems", pytest.fail)
    refuses(run(path, "--rules", "majorty"), "did you mean 'majority'")
    refuses(run(path, "--scorer", "jugde"), "did you mean 'judge'", "a.jsonl")
    refuses(run(path, "--answer", "numbr"), "did you mean 'number'")
    refuses(run(path, "--ks", "0,1"), "--ks")
    refuses(run(path, "--ks", "1,,2"), "--ks")
    refuses(run(path, "--level", "95"), "--level", "between 0 and 1")
    refuses(run(path, "--bootstrap", "0"), "--bootstrap")
    refuses(run(path, "--seed", "-1"), "--seed")
    refuses(run(path, "--all"), "--all", "--html")
    refuses(run(path, "--html", tmp_path / "none" / "a.html"), "no such folder")


def test_the_report_is_written_whole_and_replaced_only_by_force(run, tmp_path):
    path, report = write(tmp_path / "a.jsonl"), tmp_path / "a.html"
    status, out, err = run(path, "--html", report, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["kind"] == "curve"
    page = report.read_text()
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    refuses(run(path, "--html", report), "a.html exists", "--force")
    report.write_text("old")
    assert run(path, "--html", report, "--force")[0] == 0
    assert report.read_text() == page
    refuses(run(write(tmp_path / "b.jsonl", ["?"]), "--html", tmp_path / "b.html"), "line 3")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.html", "a.jsonl", "b.jsonl"]


def test_who_watches_sees_how_far_it_is(run, tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _, out, err = run(path, "--html", tmp_path / "a.html", "--rules", "majority,oracle")
    assert out.startswith("a.jsonl: 9 candidates")
    for words in ("checking", "3/3 problems, reading", "measuring majority, oracle", "a.html"):
        assert words in err
