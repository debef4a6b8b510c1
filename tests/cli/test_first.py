"""The first candidates of each problem, as after a larger -n was begun and interrupted."""

import json

import pytest
from commands import runner

import edifice_tt as et

FIRST, ASKED = 3, 7


def pool(problem, indices, right=0):
    """Candidates that are right at one index; those of a later run are not marked yet."""
    made = (
        et.Candidate(
            *(i, f"it is {i}"), finish_reason="eos", correct=i == right if i < FIRST else None
        )
        for i in indices
    )
    return et.Pool("q", tuple(made), {"n": ASKED}, problem, "0")


@pytest.fixture
def half(tmp_path):
    """Of seven candidates one problem has all, one has the first three and one a later one too."""
    path = tmp_path / "half"
    et.write_pools(path, [pool("a", range(ASKED)), pool("b", range(3), 1), pool("c", (0, 1, 2, 5))])
    return path


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setenv("COLUMNS", "200")
    return runner(capsys)


WORDS = (f"every problem has its first {FIRST} candidates", f"--first {FIRST}")


def test_a_half_extended_file_is_measured_by_the_candidates_that_all_have(run, half, tmp_path):
    status, _, err = run("curve", half)
    assert status == 2
    assert all(word in err for word in WORDS)  # those of the larger run are not marked
    alone = tmp_path / "half.alone"
    et.write_pools(alone, [pool("a", range(3)), pool("b", range(3), 1), pool("c", range(3))])
    measured = []
    for path, more in ((half, ("--first", FIRST)), (alone, ("--unfinished", "use"))):
        status, out, _ = run("curve", path, "--json", *more)
        assert status == 0
        curve = json.loads(out)
        measured.append({name: curve[name] for name in ("problems", "candidates", "ks", "rules")})
    assert measured[0] == measured[1]
    assert measured[0]["candidates"] == 9
    assert run("curve", half, "--first", FIRST)[2] == ""


def test_a_report_of_the_first_shows_these_alone(run, half, tmp_path):
    status, _, err = run("curve", half, "--first", FIRST, "--html", tmp_path / "page")
    assert (status, err) == (0, "")
    page = (tmp_path / "page").read_text()
    assert '"id":"b"' in page
    assert "it is 2" in page
    assert "it is 5" not in page


def test_select_chooses_among_the_first_and_says_that_it_can(run, half):
    given = ("select", half, "--rule", "random", "--json", "--option")
    _, out, err = run(*given, "seed=1")
    assert all(word in err for word in WORDS)
    for seed in range(5):
        status, out, err = run(*given, f"seed={seed}", "--first", 1)
        assert (status, err) == (0, "")
        assert [one["choice"]["index"] for one in json.loads(out)] == [0, 0, 0]


def test_replay_takes_the_first_and_says_that_it_can(run, half, tmp_path):
    marked = [et.grade(one, "number") for one in et.read_pools(half)]
    et.write_pools(tmp_path / "marked", marked)
    _, _, err = run("replay", "first", tmp_path / "marked")
    assert all(word in err for word in WORDS)
    status, out, err = run("replay", "first", tmp_path / "marked", "--first", FIRST, "--json")
    assert (status, err) == (0, "")
    assert (json.loads(out)["problems"], json.loads(out)["candidates"]) == (3, 9)


def test_what_some_problem_lacks_is_not_offered(run, half):
    pools = [pool("a", range(ASKED)), pool("b", (1, 2), 1)]
    et.write_pools(half, pools)
    assert "--first" not in run("select", half, "--rule", "random")[2]
    assert "1 of 2 problems is unfinished" in run("select", half, "--rule", "random")[2]


def test_more_than_were_asked_for_is_refused(run, half):
    status, _, err = run("select", half, "--rule", "random", "--first", ASKED + 1)
    assert (status, f"n={ASKED} candidates were asked for; take at most {ASKED}" in err) == (
        2,
        True,
    )
