"""Scoring a pool file: what is scored stays, `--resume` goes on, and no file mixes two scorers."""

import json
import signal
import sys
from dataclasses import replace
from threading import Barrier

import pytest
from commands import runner
from fake_plugins import Site, open_site

import edifice_tt as et

run = pytest.fixture(runner, name="run")
site = pytest.fixture(open_site, name="site")

PLUGIN = """
import edifice_tt

asked, fails = [], {{}}

def length(prompt, completions):
    asked.append(prompt)
    if prompt in fails:
        raise fails[prompt]
    return [{score} for text in completions]

@edifice_tt.hookimpl
def register_scorers(register):
    register("length", lambda: length, reads="text", level={level!r}, concurrency={concurrency})
"""
COUNT = 11


pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def pool(tmp_path):
    pools = [et.Pool(f"q{i}", (et.Candidate(0, "a" * i),), problem=f"p{i}") for i in range(COUNT)]
    et.write_pools(tmp_path / "pool", pools)
    return tmp_path / "pool"


def install(site: Site, version="1.0", score="float(len(text))", level="answer", concurrency=1):
    code = PLUGIN.format(score=score, level=level, concurrency=concurrency)
    site.install("lengths", code, version=version)
    et.scorer("length")
    import lengths

    return lengths


def scores(path, name="length"):
    return [pool.candidates[0].scores.get(name) for pool in et.read_pools(path)]


@pytest.mark.parametrize("error", [ConnectionError("status 500"), KeyboardInterrupt()], ids=repr)
def test_a_scorer_that_ends_early_keeps_its_scores_and_goes_on(run, site: Site, pool, error):
    plugin = install(site)
    plugin.fails["q7"] = error
    status, out, err = run("score", pool, "--scorer", "length")
    failed = not isinstance(error, KeyboardInterrupt)
    assert (status, out, err.count("\n")) == (2 if failed else 130, "", 1)
    assert f"7 of 11 problems in {pool} have a score; the same command with --resume" in err
    if failed:
        assert "problem 'p7': scorer 'length' of lengths 1.0 failed: ConnectionError: status" in err
    assert scores(pool) == [*map(float, range(7)), *[None] * 4]
    plugin.fails.clear()
    assert run("score", pool, "--scorer", "length", "--resume")[0] == 0
    assert plugin.asked == [f"q{i}" for i in [*range(8), *range(7, 11)]]
    assert scores(pool) == list(map(float, range(COUNT)))
    assert run("score", pool, "--scorer", "length", "--resume")[0] == 0
    assert len(plugin.asked) == 12


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_command_that_is_told_to_end_keeps_its_scores(run, site: Site, pool, name, status):
    plugin = install(site)
    length = plugin.length

    def told(prompt, completions):
        if prompt == "q4":
            signal.raise_signal(getattr(signal, name))
        return length(prompt, completions)

    plugin.length = told
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = run("score", pool, "--scorer", "length")
    finally:
        signal.signal(signal.SIGINT, before)
    assert found[0] == status
    assert found[2].startswith(f"edifice-tt: interrupted; 4 of 11 problems in {pool} have a score")
    assert scores(pool)[3:6] == [3.0, None, None]


def test_scores_that_were_whole_stay_whole_when_new_ones_fail(run, site: Site, pool):
    install(site)
    run("score", pool, "--scorer", "length")
    before = pool.read_bytes()
    site.remove("lengths")
    install(site, score="-1.0").fails["q3"] = RuntimeError("no key")
    status, _, err = run("score", pool, "--scorer", "length")
    assert status == 2
    assert (
        "no key (lengths.py, line 9); the scores by length that were there before stay as they were"
        in err
    )
    assert pool.read_bytes() == before


@pytest.mark.parametrize("more", [{"version": "1.1"}, {"level": "step", "score": "[1.0]"}], ids=str)
def test_another_scorer_does_not_complete_scores_that_are_not_its_own(run, site, pool, more):
    install(site).fails["q3"] = RuntimeError("no key")
    run("score", pool, "--scorer", "length")
    site.remove("lengths")
    install(site, **more)
    status, _, err = run("score", pool, "--scorer", "length", "--resume")
    assert status == 2
    assert "it has scores by length of another scorer or reduction of steps (lengths 1.0," in err
    assert run("score", pool, "--scorer", "length")[0] == 0
    assert None not in scores(pool)


def test_a_reduction_of_steps_is_completed_by_the_same(run, site: Site, pool):
    install(site, level="step", score="[1.0, 3.0]").fails["q3"] = RuntimeError("no key")
    how = "score", pool, "--scorer", "length", "--reduce"
    run(*how, "min")
    site.remove("lengths")
    install(site, level="step", score="[1.0, 3.0]")
    assert run(*how, "max", "--resume")[0] == 2
    assert run(*how, "min", "--resume")[0] == 0
    assert scores(pool) == [1.0] * COUNT


def test_a_pool_without_what_the_scorer_reads_is_found_before_any_is_scored(run, pool):
    read = [*et.read_pools(pool)]
    first = et.Pool("q", (et.Candidate(0, "a", (1,), (-1.0,)),), problem="first")
    et.write_pools(pool, [first, *read])
    before = pool.read_bytes()
    status, _, err = run("score", pool)
    assert status == 2
    assert "problem 'p0': scorer 'logprob' reads token log-probabilities, which this pool" in err
    assert "have a score" not in err
    assert pool.read_bytes() == before


@pytest.mark.parametrize(("declared", "given"), [(3, ()), (1, ("--concurrency", 3))])
def test_problems_are_scored_at_once_and_what_was_paid_for_is_kept(
    run, site: Site, pool, declared, given
):
    plugin = install(site, concurrency=declared)
    plugin.together = Barrier(3, timeout=30)
    plugin.fails["q7"] = ConnectionError("status 500")
    length = plugin.length

    def together(prompt, completions):
        if prompt in ("q0", "q1", "q2"):  # three of them come back only together
            plugin.together.wait()
        return length(prompt, completions)

    plugin.length = together
    status, _, err = run("score", pool, "--scorer", "length", *given)
    assert (status, err.count("\n")) == (2, 1)
    kept = [value for value in scores(pool) if value is not None]
    assert len(kept) == len(plugin.asked) - 1
    plugin.fails.clear()
    assert run("score", pool, "--scorer", "length", "--resume", *given)[0] == 0
    assert len(plugin.asked) == COUNT + 1
    assert scores(pool) == list(map(float, range(COUNT)))


@pytest.mark.parametrize("number", ["0", "many", "-1"])
def test_a_number_of_calls_that_cannot_be_is_refused(run, pool, number):
    assert "expected a whole number from 1" in run("score", pool, f"--concurrency={number}")[2]


def test_what_does_not_wait_for_answers_is_not_called_at_once(run, pool):
    status, _, err = run("score", pool, "--concurrency", 2)
    assert (status, err.count("\n")) == (2, 1)
    assert "--concurrency is for a scorer that reads text" in err


EACH = """
import edifice_tt

asked, fails = [], {}

def begin(): ...

def judge(prompt, completions):
    (text,) = completions
    asked.append(text)
    begin()
    if text in fails:
        raise fails[text]
    return [float(len(text))]

@edifice_tt.hookimpl
def register_scorers(register):
    register("length", lambda: judge, reads="text", concurrency=3, per="answer")
"""


@pytest.fixture
def answers(tmp_path):
    candidates = tuple(et.Candidate(i, "a" * (i + 1)) for i in range(COUNT))
    et.write_pools(tmp_path / "answers", [et.Pool("q", candidates, problem="p")])
    return tmp_path / "answers"


def install_each(site: Site):
    site.install("lengths", EACH)
    et.scorer("length")
    import lengths

    return lengths


@pytest.mark.parametrize("given", [(), ("--concurrency", 1)])
def test_a_scorer_per_answer_keeps_every_answer_that_was_paid_for(run, site: Site, answers, given):
    plugin = install_each(site)
    plugin.fails["a" * 8] = ConnectionError("status 500")
    command = ("score", answers, "--scorer", "length", *given)
    status, _, err = run(*command)
    assert (status, err.count("\n")) == (2, 1)
    assert "'length' of lengths 1.0 failed on candidate 7: ConnectionError: status 500" in err
    (pool,) = et.read_pools(answers)
    kept = [one.index for one in pool if "length" in one.scores]
    assert len(kept) == len(plugin.asked) - 1 > 0
    assert f"{len(kept)} of 11 answers in {answers} have a score; the same command with" in err
    plugin.fails.clear()
    status, out, _ = run(*command, "--resume", "--json")
    assert (status, len(plugin.asked), len({*plugin.asked})) == (0, COUNT + 1, COUNT)
    (pool,) = et.read_pools(answers)
    assert [one.scores["length"] for one in pool] == [float(i + 1) for i in range(COUNT)]
    assert json.loads(out) == json.loads(json.dumps([pool.to_dict()]))


def test_the_answers_of_one_problem_are_scored_at_once(run, site: Site, answers):
    plugin = install_each(site)
    plugin.begin = Barrier(3, timeout=30).wait  # a call goes on only when three are there
    (pool,) = et.read_pools(answers)
    nine = replace(pool, candidates=pool.candidates[:9])
    for scored in (et.score(None, nine, "length"), *et.score_pools(None, [nine], "length")):
        assert [one.scores["length"] for one in scored] == [float(i + 1) for i in range(9)]
    et.write_pools(answers, [nine])
    assert run("score", answers, "--scorer", "length")[0] == 0


def test_when_nothing_is_left_to_score_it_says_so(run, site: Site, answers):
    plugin = install_each(site)
    assert run("score", answers, "--scorer", "length")[0] == 0
    told = f"11 candidates of 1 problem in {answers} have a score by length already\n"
    assert run("score", answers, "--scorer", "length", "--resume")[1] == told
    assert len(plugin.asked) == COUNT
