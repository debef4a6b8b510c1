"""An error of foreign code names its owner, its file and its line, whoever called it."""

import json

import pytest
from fake_plugins import HEAD, Site, open_site

import edifice_tt as et
from edifice_tt.contract.places import place_of

site = pytest.fixture(open_site, name="site")
POOL = et.Pool("q", (et.Candidate(0, "a"), et.Candidate(1, "b")), problem="p3", gold="a")
CODE = """
def rule(candidates, least=1):
    if least > 1:
        raise ValueError("nobody answered")
    return {}["best"]

@edifice_tt.hookimpl
def register_selectors(register):
    register("rule", rule)

def asker(words=3):
    if words < 1:
        raise ValueError(f"words is {words}, expected at least 1")
    import json
    return lambda prompt, completions: json.loads("{")
"""


def install(site):
    hook = HEAD + "def register_scorers(register): register('asker', asker, reads='text')\n"
    site.install("odd", hook + CODE)
    et.list_scorers()


def test_the_last_line_of_the_plugin_is_the_place_not_that_of_what_it_called(site: Site):
    install(site)
    words = r"scorer 'asker' of odd 1\.0 failed: JSONDecodeError: .* \(odd\.py, line 18\)$"
    with pytest.raises(et.PluginError, match=words):
        et.score(None, POOL, "asker")
    words = r"rule 'rule' of odd 1\.0 failed on problem 'p3': KeyError: 'best' \(odd\.py, line 8\)$"
    with pytest.raises(et.PluginError, match=words):
        et.select(POOL, "rule")


def test_what_a_plugin_refuses_in_its_own_words_names_it_and_the_problem(site: Site):
    install(site)
    with pytest.raises(ValueError, match=r"^rule 'rule' of odd 1\.0 on problem 'p3': nobody answ"):
        et.select(POOL, "rule", least=2)
    words = r"^scorer 'asker:words=0' of odd 1\.0: words is 0, expected at least 1$"
    with pytest.raises(ValueError, match=words):
        et.score(None, POOL, "asker", scorer_options={"words": 0})
    with pytest.raises(ValueError, match=r"^part='all' must be one of"):  # the library's own
        et.score(None, POOL, "deepconf:part=all")


def test_without_foreign_code_there_is_no_place():
    with pytest.raises(ValueError, match="Expecting") as raised:
        json.loads("")
    raised.value.__traceback__ = raised.value.__traceback__.tb_next
    assert place_of(raised.value) == ""
