"""`calibrate`, `combine` and `agreement`: what is written and told, and mistakes in one line."""

import json

import numpy as np
import pytest
from commands import runner

import edifice_tt as et
from edifice_tt.training import combining

run = pytest.fixture(runner, name="run")


def write(path, rng, marked=True, problems=7):
    pools = []
    for i in range(problems):
        a, b = rng.normal(size=4), rng.random(4)
        right = a + rng.normal(size=4) > 0
        made = tuple(
            et.Candidate(
                j,
                str(j),
                answer=str(j),
                correct=bool(right[j]) if marked else None,
                scores={"a": float(a[j]), "b": float(b[j])},
            )
            for j in range(4)
        )
        ranges = {"a": "unbounded", "b": "probability"}
        pools.append(et.Pool(f"{i}?", made, problem=f"p{i}", ranges=ranges))
    et.write_pools(path, pools)
    return path


@pytest.fixture
def pool(tmp_path, rng):
    return write(tmp_path / "pool", rng)


def column(pools, name):
    return [[one.scores[name] for one in pool] for pool in pools]


def test_calibrated_scores_are_added_to_the_file_and_rules_may_add_them(run, pool):
    expected = et.calibrate_scores(et.read_pools(pool), "a", "isotonic", folds=3, seed=5)
    asked = ("calibrate", pool, "--scorer", "a", "--method", "isotonic", "--folds", 3, "--seed", 5)
    status, out, err = run(*asked)
    assert (status, err) == (0, "")
    assert out == (
        f"28 candidates of 7 problems in {pool} have a score by a-isotonic: probability, "
        "isotonic of a\n"
    )
    assert column(et.read_pools(pool), "a-isotonic") == column(expected, "a-isotonic")
    assert run("select", pool, "--rule", "weighted", "--scorer", "a-isotonic")[0] == 0
    assert run("select", pool, "--rule", "weighted", "--scorer", "a")[0] == 2
    assert run(*asked)[0] == 0  # once more is the same


def test_scorers_are_combined_by_weights_that_are_told(run, pool):
    expected = et.combine_scores(et.read_pools(pool), ["b", "a"], "fitted")
    status, out, _ = run("combine", pool, "--scorer", "b", "--scorer", "a", "--how", "fitted")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["scorer", "b", "a"]
    assert column(et.read_pools(pool), "b+a-fitted") == column(expected, "b+a-fitted")
    run("calibrate", pool, "--scorer", "a", "--name", "p")
    status, out, _ = run("combine", pool, "--scorer", "p", "--scorer", "b", "--json")
    assert json.loads(out)["made"] == "mean of p, b"
    p, b = (np.array(column(et.read_pools(pool), name)) for name in "pb")
    np.testing.assert_allclose(column(et.read_pools(pool), "p+b-mean"), (p + b) / 2, atol=1e-15)


def test_agreement_is_a_table_of_pairs(run, pool):
    (expected,) = et.compare_scorers(et.read_pools(pool))
    status, out, _ = run("agreement", pool)
    assert status == 0
    assert out.startswith("scorer  scorer  rank correlation")
    rank = expected.rank
    assert f"{rank.mean:.2f} ({rank.low:.2f} to {rank.high:.2f})" in out
    status, out, _ = run("agreement", pool, "--json")
    assert json.loads(out)[0]["rank"]["mean"] == rank.mean


def test_a_pool_that_is_not_graded_is_one_line_and_stays_as_it_is(run, tmp_path, rng):
    path = write(tmp_path / "raw", rng, marked=False)
    before = path.read_bytes()
    status, _, err = run("calibrate", path, "--scorer", "a")
    assert status == 2
    assert "candidate 0 of problem 'p0' is not marked right or wrong; mark it with" in err
    assert err.count("\n") == 1
    assert path.read_bytes() == before
    assert run("agreement", path)[0] == 0


def test_half_a_file_has_no_new_scores(run, pool, monkeypatch):
    before, add, asked = pool.read_bytes(), combining.add_to, []

    def interrupted(*given):
        asked.append(given)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return add(*given)

    monkeypatch.setattr(combining, "add_to", interrupted)
    assert run("calibrate", pool, "--scorer", "a")[0] == 130
    assert pool.read_bytes() == before


def test_what_a_scorer_was_trained_on_is_told(run, pool):
    pools = [*et.read_pools(pool)]
    pools[1] = et.Pool(**{**vars(pools[1]), "seen_by": frozenset({"a"})})
    et.write_pools(pool, pools)
    status, _, err = run("calibrate", pool, "--scorer", "a")
    assert status == 0
    assert "a: trained on 1 of these 7 problems" in err
    assert [("a-platt" in one.seen_by) for one in et.read_pools(pool)] == [i == 1 for i in range(7)]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["calibrate", "--scorer", "c"], "unknown scorer in "),
        (["calibrate", "--scorer", "a", "--folds", "9"], "9 folds need as many problems, given 7"),
        (["calibrate", "--scorer", "a", "--folds", "1"], "expected a whole number from 2"),
        (["calibrate", "--scorer", "a", "--name", "b"], "it has scores by b already, which are no"),
        (["calibrate", "--scorer", "a", "--name", "a"], "it has scores by a already"),
        (["calibrate", "--scorer", "a", "--name", " "], "must be a name, in one line"),
        (["calibrate", "--scorer", "a", "--name", ""], "must be a name, in one line"),
        (
            ["calibrate", "--scorer", "a", "--method", "x"],
            "unknown value 'x'; known: isotonic, platt",
        ),
        (["combine", "--scorer", "a"], "--scorer a is one scorer; name two or more"),
        (["combine", "--scorer", "a", "--scorer", "b"], "those of 'a' are unbounded; calibrate th"),
        (["agreement", "--scorer", "a"], "two scorers are needed to compare, given a"),
        (["agreement", "--level", "2"], "--level 2.0 must be between 0 and 1"),
        (["agreement", "--scorer", "a", "--scorer", "d"], "unknown scorer in"),
    ],
)
def test_a_mistake_is_one_line(run, pool, argv, message):
    before = pool.read_bytes()
    status, out, err = run(argv[0], pool, *argv[1:])
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert pool.read_bytes() == before
