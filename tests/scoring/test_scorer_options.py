"""Options reach a scorer's factory, and its scores are recorded under a name that holds them."""

import json

import pytest
from fake_plugins import Site, open_site
from hypothesis import given
from hypothesis import strategies as st

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract.errors import PluginError, UnknownNameError
from edifice_tt.contract.records import Scorer
from edifice_tt.contract.scorer_options import name_with, with_options
from edifice_tt.testing import check_scorer

site = pytest.fixture(open_site, name="site")

PLUGIN = """
from __future__ import annotations
import edifice_tt

given = []

def service(url, model: str | None = None, votes: int = 1, cold: bool = False, top: float = None):
    given.append((url, model, votes, cold, top))
    return lambda prompt, completions: [float(votes) for _ in completions]

@edifice_tt.hookimpl
def register_scorers(register):
    register("service", service, reads="text")
    register("broken", lambda votes=1: 1 / 0, reads="text")
"""
POOL = et.Pool("q", (et.Candidate(0, "a"), et.Candidate(1, "b")))
URL = "http://localhost:8000/v1?key=a:b"


@pytest.fixture
def plugin(site: Site):
    site.install("services", PLUGIN)
    et.list_scorers()
    import services

    return services


@pytest.mark.slow
def test_options_reach_the_factory_and_stand_in_the_name_of_the_scores(plugin):
    options = {"url": URL, "model": "m:7b", "votes": 3, "cold": True, "top": 0.5}
    scored = et.score(None, POOL, "service", scorer_options=options)
    name = f"service:url={URL}:model=m:7b:votes=3:cold=true:top=0.5"
    assert scored.scorers == [name]
    assert et.score(None, POOL, name).scorers == [name]
    assert plugin.given == [(URL, "m:7b", 3, True, 0.5)]
    assert et.select(scored, scorer=name).index == 0
    check_scorer(name)


def test_the_command_line_takes_options(plugin, tmp_path, capsys, tiny_lm, monkeypatch):
    path = tmp_path / "pool"
    POOL.save(path)
    options = ["--scorer", "service", "--scorer-option", f"url={URL}", "--scorer-option", "votes=2"]
    assert cli.main(["score", str(path), *options]) == 0
    assert et.Pool.load(path).scorers == [f"service:url={URL}:votes=2"]
    capsys.readouterr()
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    assert cli.main(["best-of", "hi", "-n", "2", "--max-tokens", "3", "--json", *options]) == 0
    (first, _) = json.loads(capsys.readouterr().out)["pool"]["candidates"]
    assert first["scores"] == {f"service:url={URL}:votes=2": 2.0}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "'service' needs the option url; give --scorer-option url=..."),
        ({"votes": 2}, ValueError, "'service:votes=2' needs the option url"),
        ({"url": "a", "vote": 2}, UnknownNameError, "option of scorer service 'vote'; did you"),
        ({"url": "a", "votes": 2.5}, ValueError, "votes=2.5 must be a whole number"),
        ({"url": "a", "cold": "no"}, ValueError, "cold=no must be true or false"),
        ({"url": "a:top=2"}, ValueError, "one line of text without another :OPTION= in it"),
        ({"url": "a\nb"}, ValueError, "expected true, false, a number or one line of text"),
        ({"url": ["a"]}, ValueError, "expected true, false, a number or one line of text"),
        ({"u r l": "a"}, ValueError, "option u r l='a' of scorer 'service': expected"),
    ],
    ids=str,
)
def test_what_cannot_be_an_option_is_one_clear_error(plugin, options, error, message):
    with pytest.raises(error, match=message) as caught:
        et.score(None, POOL, "service", scorer_options=options)
    assert "\n" not in str(caught.value)
    assert plugin.given == []


def test_options_need_a_scorer_that_has_them(plugin, tmp_path, capsys):
    with pytest.raises(PluginError, match=r"scorer 'broken:votes=2' of services 1.0 failed: Zero"):
        et.score(None, POOL, "broken", scorer_options={"votes": 2})
    with pytest.raises(ValueError, match="scorer_options are for a registered scorer"):
        et.score(None, POOL, lambda prompt, texts: [1.0, 1.0], scorer_options={"votes": 2})
    with pytest.raises(UnknownNameError, match="unknown option of scorer logprob 'votes'"):
        et.score(None, POOL, "logprob", scorer_options={"votes": 2})
    POOL.save(tmp_path / "pool")
    assert cli.main(["score", str(tmp_path / "pool"), "--scorer-option", "votes=2"]) == 2
    assert "--scorer-option is for the scorer of --scorer" in capsys.readouterr().err


def made(url: str = "", votes: int = 1, cold: bool = False, top: float = 1.0):
    return lambda: (url, votes, cold, top)


@given(url=st.text(), votes=st.integers(), cold=st.booleans(), top=st.floats(allow_nan=False))
def test_what_a_name_takes_it_gives_back(url, votes, cold, top):
    options = {"url": url, "votes": votes, "cold": cold, "top": top}
    try:
        name = name_with("made", options)
    except ValueError:
        return
    assert with_options(Scorer("made", made, "text"), name).factory()() == tuple(options.values())


def test_the_same_options_are_the_same_scores_however_they_are_spelled(site: Site):
    code = """
import edifice_tt

def asker(seconds=1.0, votes=3, kind="a"):
    return lambda prompt, completions: [seconds for _ in completions]

@edifice_tt.hookimpl
def register_scorers(register):
    register("asker", asker, reads="text")
"""
    site.install("askers", code)
    full = "asker:seconds=2.0:votes=5"
    spelled = ["asker:seconds=2:votes=5", "asker:votes=05:seconds=2.0", "asker:votes=5:seconds=2e0"]
    for name in (full, *spelled):
        scored = et.score(None, POOL, name)
        assert list(scored.candidates[0].scores) == [full]
        assert et.select(scored, scorer=name).tally == et.select(scored).tally
    assert list(et.score(None, POOL, "asker", scorer_options={"seconds": 2})[0].scores) == [
        "asker:seconds=2.0"
    ]
