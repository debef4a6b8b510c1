"""What is registered makes a thing; who registers the thing itself is told so at once."""

from functools import partial

import pytest
from fake_plugins import HEAD, Site, open_site

import edifice_tt as et
from edifice_tt.contract.records import Architecture, Extractor, Scorer, Search, Selector, Task
from edifice_tt.testing import BrokenPromise, check_scorer, small_pool

site = pytest.fixture(open_site, name="site")


def direct(prompt, completions):
    return [0.0 for _ in completions]


class Direct:
    def __call__(self, prompt, texts, gold=None):
        return [0.0 for _ in texts]


class Head:
    def __call__(self, hidden):
        return hidden


def annotated(prompt: str, texts: list[str]) -> list[float]:
    return [0.0 for _ in texts]


class Model:
    architecture, config = "model", None

    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("factory", "reads"),
    [
        (direct, "text"),
        (Direct(), "text"),
        (annotated, "text"),
        (lambda question, answers: [], "text"),
        (lambda token_logprobs: [], "logprobs"),
        (lambda messages, completion: 0.0, "text"),
        (Head(), "hidden"),
        (lambda x: x, "hidden"),
    ],
)
def test_a_scorer_in_place_of_its_factory_is_refused_when_it_is_registered(factory, reads):
    with pytest.raises(et.PluginError, match="it is the scorer itself; register a function that r"):
        Scorer("mine", factory, reads)


def with_options(url, votes):
    return direct


def with_a_prompt(prompt: str, url: str):
    return direct


@pytest.mark.parametrize(
    "factory",
    [Direct, lambda: direct, lambda prompt="": direct, with_options, with_a_prompt, list],
)
def test_a_factory_with_options_is_none(factory):
    assert Scorer("mine", factory, "text").factory is factory


def test_who_cannot_be_told_from_a_factory_is_asked_whether_it_is_one(site: Site):
    site.install(
        "unsure",
        HEAD + "def register_scorers(register): register('unsure', unsure, reads='text')\n"
        "def unsure(asked, said): return [0.0 for _ in said]\n",
    )
    words = "needs the option asked.*If this is the scorer itself, register a function that returns"
    with pytest.raises(ValueError, match=words):
        et.score(None, small_pool(), "unsure")
    with pytest.raises(BrokenPromise, match=words):
        check_scorer("unsure")


def test_a_factory_that_gives_no_scorer_is_told_what_it_gave(site: Site):
    site.install(
        "listed",
        HEAD + "def register_scorers(register):\n"
        "    register('listed', lambda part='all': [0.5], reads='text')\n",
    )
    for name in ("listed", "listed:part=some"):
        words = (
            r"its factory returned \[0\.5\], expected a function, called as scorer\(prompt, comp"
        )
        with pytest.raises(et.PluginError, match=rf"'{name}'.*{words}"):
            et.score(None, small_pool(), name)
    with pytest.raises(BrokenPromise, match=words):
        check_scorer("listed")


def returned():
    return direct


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            partial(Selector, function=returned),
            r"function is called with \(candidates\), but takes",
        ),
        (
            partial(Extractor, function=returned),
            r"function is called with \(text\), but takes \(\)",
        ),
        (
            partial(Extractor, function=str, equal=lambda one: True),
            r"equal is called with \(answer, other\), but takes \(one\)",
        ),
        (partial(Task, make=returned), r"make is called with \(rng\), but takes \(\)"),
        (partial(Search, make=7), "make=7 is not callable; give a function that makes it"),
        (
            partial(Architecture, build=Model(), output_size=int, recommended_defaults=dict),
            "is the model itself; give a function",
        ),
        (partial(Scorer, factory=lambda path: path, reads="states"), "given nothing, but needs pa"),
    ],
)
def test_every_hook_tells_a_thing_from_what_makes_it(make, words):
    with pytest.raises(et.PluginError, match=words):
        make("mine")


@pytest.mark.parametrize(
    ("hook", "call", "words"),
    [
        ("scorers", "'a', list, reads='text', rnage='logit'", "'rnage'; did you mean 'range'?"),
        ("scorers", "'a', list", r"'a': of the arguments of register, reads is missing; they are "),
        ("answers", "'a', str, eqaul=None", "'eqaul'; did you mean 'equal'?"),
        ("tasks", "'a'", "task 'a': of the arguments of register, make is missing"),
        ("selectors", "'a', len, None, '', None, 3", "too many are given; they are name, function"),
        ("selectors", "'a', len, function=len", "too many are given"),
        ("scorers", "'a:b', list, reads='text'", "scorer 'a:b': a name must have no ':'"),
        ("answers", "'a=b', str", "extractor 'a=b': a name must have no '='"),
        ("tasks", "'a b', str", "task 'a b': a name must have no ' '"),
        ("selectors", "'a,b', len", "selector 'a,b': a name must have no ','"),
        ("searches", "'-a', dict", "search '-a': a name must have no '-'"),
        ("architectures", "'a\\n', dict, int, dict", r"architecture 'a\\n': a name must have no"),
    ],
)
@pytest.mark.first(3)
def test_what_is_wrong_in_a_call_of_register_is_told_with_what_is_right(site, hook, call, words):
    site.install("mine", HEAD + f"def register_{hook}(register): register({call})\n")
    with pytest.warns(et.PluginWarning, match=f"^plugin 'mine'.*register_{hook}: .*{words}"):
        et.list_scorers()


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (
            lambda: check_scorer("deepconf", wnidow=3),
            "option of scorer deepconf 'wnidow'; did you ",
        ),
        (
            lambda: et.testing.check_selector("majority", anser="text"),
            "option of rule majority 'ans",
        ),
        (lambda: et.testing.check_tasks("largest", summery=""), "option of task largest 'summery'"),
        (lambda: et.testing.check_search("adaptive", treshold=1), "of search adaptive 'treshold'"),
    ],
)
def test_the_kit_tells_the_nearest_option(check, words):
    with pytest.raises(et.UnknownNameError, match=words):
        check()
