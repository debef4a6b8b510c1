"""A scorer of text may ask for messages, the problem's id and the gold answer beside the prompt."""

import pytest
from fake_plugins import Site, open_site

import edifice_tt as et
from edifice_tt.contract.errors import EdificeError
from edifice_tt.testing import check_scorer

site = pytest.fixture(open_site, name="site")

CHAT = ({"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 3?"})
POOL = et.Pool("<|user|>2 + 3?", (et.Candidate(0, "5"),), {"template": "chat"}, "p7", "5")


def scored_with(pool, make):
    given = []
    et.score(None, pool, make(given))
    return given


def test_what_a_scorer_names_as_a_parameter_it_is_given():
    def make(given):
        def scorer(prompt, completions, *, messages, problem, gold):
            given.extend([prompt, messages, problem, gold])
            return [0.0]

        return scorer

    pool = et.Pool(**{**vars(POOL), "messages": CHAT})
    assert scored_with(pool, make) == [POOL.prompt, list(CHAT), "p7", "5"]
    plain = et.Pool("2 + 3?", POOL.candidates)
    asked = [{"role": "user", "content": "2 + 3?"}]
    assert scored_with(plain, make) == ["2 + 3?", asked, "0", None]


def test_a_default_of_its_own_is_left_alone():
    def make(given):
        def scorer(prompt, completions, gold="mine", problem=None, **messages):
            given.extend([gold, problem, messages])
            return [0.0]

        return scorer

    assert scored_with(POOL, make) == ["mine", "p7", {}]


def test_a_pool_without_its_messages_is_refused_where_they_are_asked_for():
    with pytest.raises(
        EdificeError, match=r"^problem 'p7' holds the text of a chat in its model's"
    ):
        et.score(None, POOL, lambda prompt, completions, messages: [0.0])


PLUGIN = """
import edifice_tt

class Exact:
    def __call__(self, prompt, completions, gold=None, messages=None):
        assert messages[0]["role"] == "user"
        return [float(text.strip() == gold) for text in completions]

@edifice_tt.hookimpl
def register_scorers(register):
    register("exact", Exact, reads="text", range="probability")
"""


def test_the_kit_gives_what_a_scorer_asks_for(site: Site):
    site.install("exact", PLUGIN)
    check_scorer("exact")
    pool = et.Pool("2 + 3?", (et.Candidate(0, " 5"), et.Candidate(1, "6")), gold="5")
    found = et.score(None, pool, "exact")
    assert [candidate.scores["exact"] for candidate in found] == [1.0, 0.0]
