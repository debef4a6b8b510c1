"""What select and grade end with: right, of how many, with an interval; abstained; cut off."""

import json
from dataclasses import replace

import pytest

import edifice_tt as et
from edifice_tt import cli


def candidate(index, text, end="eos"):
    return et.Candidate(index, text, finish_reason=end)


@pytest.fixture
def path(tmp_path):
    """Three problems; cut answers would win two votes and be wrong, and one has nothing else."""
    pools = [
        et.Pool("a", (candidate(0, "7"), candidate(1, "8", "length")), {"max_tokens": 5}, "a", "7"),
        et.Pool(
            "b",
            (candidate(0, "7"), *(candidate(i, "8", "length") for i in (1, 2))),
            {"max_tokens": 5},
            "b",
            "7",
        ),
        et.Pool("c", (candidate(0, "7", "length"),), {"max_tokens": 5}, "c", "7"),
    ]
    et.write_pools(tmp_path / "pool", pools)
    return tmp_path / "pool"


@pytest.fixture
def run(capsys):
    def run(*argv):
        capsys.readouterr()
        assert cli.main([str(argument) for argument in argv]) == 0
        return capsys.readouterr()

    return run


def test_grade_ends_with_what_is_right_and_what_was_cut_off(run, path):
    out, err = run("grade", path, "--answer", "number")
    assert out.splitlines() == [
        f"3 of 6 candidates of 3 problems in {path} are right",
        "mean over problems 0.611 (95% interval over problems 0.268 to 1.000)",
        "4 of 6 answers (67%) were cut off at 5 tokens; --max-tokens allows longer ones. Of these "
        "1 are right.",
    ]
    assert err == ""
    found = json.loads(run("grade", path, "--answer", "number", "--json").out)
    assert (found["cut_off"], found["cut_off_right"], found["right"]) == (4, 1, 3)
    assert found["accuracy"] == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)


def test_select_ends_with_what_is_right_and_who_abstained(run, path):
    run("grade", path, "--answer", "number")
    given = ("select", path, "--rule", "majority")
    out, err = run(*given)
    assert [line.split() for line in out.splitlines()[:5]] == [
        ["problem", "#", "votes", "answer"],
        ["a", "0", "right", "1", "of", "1", "7"],
        ["b", "0", "right", "1", "of", "1", "7"],
        ["c", "-"],
        [],
    ]
    assert out.splitlines()[-3:] == [
        "right: 2 of 3 problems, 0.667 (95% interval over problems 0.000 to 1.000)",
        "no choice: 1 problem (as wrong)",
        "abstained: 3 candidates (3 cut off, 0 without an answer)",
    ]
    assert "no choice for 1 of 3 problems; of the first: no candidate that reached its end" in err
    out, err = run(*given, "--cut-off", "vote")
    assert out.splitlines()[-1] == (
        "right: 2 of 3 problems, 0.667 (95% interval over problems 0.000 to 1.000)"
    )
    assert err == "edifice-tt: warning: cut off before their end: 2 of 3 chosen answers\n"
    items = json.loads(run(*given, "--json").out)
    assert [one["right"] for one in items] == [True, True, None]


def test_select_as_json_gives_its_totals_with_the_last_problem(run, path):
    """The list keeps one item per problem."""
    run("grade", path, "--answer", "number")
    given = ("select", path, "--rule", "majority", "--json")
    items = json.loads(run(*given).out)
    assert [one["problem"] for one in items] == ["a", "b", "c"]
    assert [one for one in items if "totals" in one] == items[-1:]
    assert items[-1]["totals"] == {
        "problems": 3,
        "marked": 3,
        "right": 2,
        "accuracy": 2 / 3,
        "low": 0.0,
        "high": 1.0,
        "without_choice": 1,
        "abstained": 3,
        "cut_off": 3,
    }
    et.write_pools(path, list(et.read_pools(path))[:1])
    (alone,) = json.loads(run(*given).out)
    assert alone["totals"]["low"] is None
    best = ("select", path, "--rule", "random", "--json")
    assert json.loads(run(*best).out)[0]["totals"]["cut_off"] is None  # it asks nobody to vote


def test_select_counts_what_nobody_has_marked(run, path):
    pools = list(et.read_pools(path))
    et.write_pools(path, [et.grade(pools[0], "number"), *pools[1:]])
    out, _ = run("select", path, "--rule", "majority", "--answer", "number")
    assert out.splitlines()[-4:] == [
        "right: 1 of 1 problem, 1.000",
        "not marked: 2 problems (edifice-tt grade marks what is right)",
        "no choice: 1 problem (as wrong)",
        "abstained: 3 candidates (3 cut off, 0 without an answer)",
    ]


def test_a_curve_shows_both_ways_to_count_what_was_cut_off(run, path):
    run("grade", path, "--answer", "number")
    out, _ = run("curve", path, "--rules", "majority", "--ks", "1")
    text = " ".join(out.split())
    assert (
        "4 of 6 answers (67%) were cut off at 5 tokens; --max-tokens allows longer ones. Right "
        "are 1 of these, and 2 of the other 2." in text
    )
    assert (
        "In votes they abstain. Accuracy with 1 candidate, and in brackets if they could vote: "
        "majority 0.278 (0.611)." in text
    )
    out, _ = run("curve", path, "--rules", "majority", "--ks", "1", "--cut-off", "vote")
    text = " ".join(out.split())
    assert "In votes they vote" in text
    assert "majority 0.611 (0.278)." in text


def test_what_a_command_has_made_and_where_is_its_last_line(run, path, tmp_path):
    out, _ = run("merge", path, "-o", tmp_path / "merged")
    assert out == f"6 candidates of 3 problems in {tmp_path / 'merged'}\n"


def test_abstentions_add_up_in_every_command(run, path):
    """In all 6 candidates, 4 cut off; one of those, and one that ended, has no answer."""
    pools = list(et.read_pools(path))
    texts = {("b", 1): "none", ("b", 0): "7", ("a", 0): "none", ("a", 1): "8"}
    changed = [
        replace(
            one,
            candidates=tuple(
                replace(c, text=texts.get((one.problem, c.index), c.text)) for c in one
            ),
        )
        for one in pools
    ]
    extra = (candidate(2, "7"),)
    changed[0] = replace(changed[0], candidates=changed[0].candidates + extra)
    et.write_pools(path, changed)
    out = run("grade", path, "--answer", "number").out
    assert "of 3 problems in" in out
    assert "are right, 2 have no answer (1 of them cut off)" in out
    out = run("select", path, "--rule", "majority").out
    assert "abstained: 4 candidates (3 cut off, 1 without an answer)" in out  # of two problems
    out = " ".join(run("curve", path, "--rules", "majority", "--ks", "1").out.split())
    assert "5 of 7 candidates abstain in votes: 4 cut off, 1 without an answer." in out
    out = " ".join(run("curve", path, "--ks", "1", "--cut-off", "vote").out.split())
    assert "2 of 7 candidates have no answer: they abstain." in out


def test_votes_of_whole_texts_that_all_differ_name_the_option(run, path):
    texts = ("so 7", "it is 7", "7!")
    pool = et.Pool("q", tuple(candidate(i, text) for i, text in enumerate(texts)), {}, "p", "7")
    et.write_pools(path, [pool, replace(pool, problem="r")])
    told = "no two are the same; name what an answer is, as with --answer number"
    assert told in run("select", path, "--rule", "majority").out
    assert told not in run("select", path, "--rule", "majority", "--answer", "number").out
    same = replace(pool, candidates=(*pool.candidates, candidate(3, "7!")))
    et.write_pools(path, [pool, replace(same, problem="r")])
    assert told not in run("select", path, "--rule", "majority").out
    et.write_pools(path, [pool])
    assert told in run("select", path, "--rule", "majority").err
