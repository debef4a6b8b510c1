"""Many pools in one call: the scores are those of `score`, and several calls run at once."""

from threading import Barrier

import pytest
from fake_plugins import Site, open_site

import edifice_tt as et
from edifice_tt.contract.errors import PluginError, UnknownNameError

site = pytest.fixture(open_site, name="site")

POOLS = [
    et.Pool("q", (et.Candidate(0, "a" * i, (1,), (-float(i),)),), problem=str(i)) for i in range(7)
]


def length(prompt, completions):
    return [float(len(text)) for text in completions]


def scores(pools):
    return {pool.problem: pool.candidates[0].scores for pool in pools}


@pytest.mark.parametrize("concurrency", [None, 1, 3, 11])
def test_many_pools_have_the_scores_that_each_has_alone(concurrency):
    found = scores(et.score_pools(None, POOLS, length, concurrency=concurrency))
    assert found == scores(et.score(None, pool, length) for pool in POOLS)
    assert scores(et.score_pools(None, POOLS)) == scores(et.score(None, pool) for pool in POOLS)


@pytest.mark.slow
def test_a_scorer_declares_how_many_run_at_once_unless_it_is_told(site: Site):
    code = """
import edifice_tt

def meet(prompt, completions):
    together.wait()
    return [0.0 for _ in completions]

@edifice_tt.hookimpl
def register_scorers(register):
    register("meet", lambda: meet, reads="text", concurrency=3)
"""
    site.install("meets", code)
    et.list_scorers()
    import meets

    meets.together = Barrier(3, timeout=30)  # a call returns only when three are there
    assert len(scores(et.score_pools(None, POOLS[:6], "meet"))) == 6
    meets.together = Barrier(2, timeout=30)
    assert len(scores(et.score_pools(None, POOLS[:6], "meet", concurrency=2))) == 6


def test_what_cannot_be_is_told_before_any_pool_is_read():
    def none():
        pytest.fail("a pool was read")
        yield

    for scorer in ("logprob", "smollm2-verifier"):
        with pytest.raises(ValueError, match=r"concurrency=2 is for a scorer that reads text, giv"):
            et.score_pools(None, none(), scorer, concurrency=2)
    with pytest.raises(ValueError, match="concurrency=0"):
        et.score_pools(None, none(), length, concurrency=0)
    with pytest.raises(UnknownNameError, match="did you mean 'logprob'"):
        et.score_pools(None, none(), "logprop")


def test_an_error_loses_no_scores():
    def fails(prompt, completions):
        if completions == ["aaaa"]:
            raise ConnectionError("status 500")
        return length(prompt, completions)

    found = []
    with pytest.raises(PluginError, match=r"^problem '4': scorer 'fails' failed: ConnectionError"):
        found.extend(et.score_pools(None, POOLS, fails, range="unbounded"))
    assert len(found) == 4


def test_a_function_may_be_asked_about_one_answer_at_a_time():
    def alone(prompt, completions):
        (text,) = completions
        return [float(len(text))]

    texts = ["a", "", "aaa"]
    several = [
        et.Pool("q", tuple(map(et.Candidate, range(n), texts)), problem=str(n)) for n in (3, 0, 2)
    ]
    expected = {"3": [1.0, 0.0, 3.0], "0": [], "2": [1.0, 0.0]}
    for count in (None, 5):
        found = et.score_pools(None, several, alone, per="answer", concurrency=count)
        assert {p.problem: [one.scores["alone"] for one in p] for p in found} == expected
    scored = et.score(None, several[0], alone, per="answer", range="unbounded")
    assert [one.scores["alone"] for one in scored] == expected["3"]
    with pytest.raises(PluginError, match=r"per='answers' is none of \('problem', 'answer'\)"):
        et.score(None, several[0], alone, per="answers")
