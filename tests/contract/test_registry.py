"""Names: who owns one, who may not take it, and what is said about one that is not there."""

import importlib
import os
import sys
import warnings
from itertools import count

import pytest
from fake_plugins import Site, open_site

import edifice_tt
from edifice_tt.contract import plugins, registry
from edifice_tt.contract.errors import NameTakenError, PluginError, PluginWarning, UnknownNameError
from edifice_tt.contract.registry import (
    Architecture,
    Scorer,
    Selector,
    load_registry,
    scorer,
    selector,
)

site = pytest.fixture(open_site, name="site")

ECHO = """
import edifice_tt

@edifice_tt.hookimpl
def register_architectures(register):
    register(
        "echo",
        build=lambda **options: options,
        output_size=lambda **options: options["embed_dim"],
        recommended_defaults=lambda: {"embed_dim": 5},
        summary="gives back its options",
        source="this test",
    )
"""


@pytest.fixture
def echo(site: Site):
    """An architecture that hands back the options that reached it."""
    site.install("echo-plugin", ECHO, version="0.7")


# --- records


def test_built_in_names_are_there():
    assert {"test_time_compute", "causal_lm"} <= set(edifice_tt.list_architectures())
    assert {"linear", "mlp", "logprob"} <= set(edifice_tt.list_scorers())
    rules = {"best_of_n", "majority", "weighted", "weighted_logit", "pessimistic", "random"}
    assert rules | {"oracle"} <= set(edifice_tt.list_selectors())
    needs = {name: selector(name).needs for name in rules}
    assert {name: need for name, need in needs.items() if need} == {
        "weighted": "probability",
        "weighted_logit": "logit",
        "pessimistic": "probability",
    }


def test_lists_are_sorted(site: Site):
    site.install_scorer("plugin-a", "zz_last")
    site.install_scorer("plugin-b", "aa_first")
    names = edifice_tt.list_scorers()
    assert names == sorted(names)
    assert (names[0], names[-1]) == ("aa_first", "zz_last")


def test_an_architecture_record_says_what_was_registered(echo):
    record = edifice_tt.architecture("echo")
    assert isinstance(record, Architecture)
    assert record.name == "echo"
    assert record.summary == "gives back its options"
    assert record.source == "this test"
    assert record.owner == "echo-plugin 0.7"
    assert edifice_tt.recommended_defaults("echo") == {"embed_dim": 5}


@pytest.mark.parametrize("record", [Architecture("a", dict, len, dict), Selector("a", max)])
def test_records_are_frozen(record):
    with pytest.raises(AttributeError):
        record.name = "b"


def test_a_scorer_is_unbounded_unless_it_says_otherwise():
    assert Scorer("judge", list, reads="text").range == "unbounded"


def test_a_scorer_scores_answers_and_a_rule_needs_nothing_unless_they_say_otherwise():
    assert Scorer("judge", list, reads="text").level == "answer"
    assert Selector("first", min).needs is None


def test_a_rule_tells_its_options():
    record = Selector("r", lambda candidates, scorer=None, *, k=1, **more: None)
    assert list(record.options) == ["scorer", "k"]
    assert record.takes("k")
    assert record.takes("anything")
    record = Selector("r", lambda candidates, k: None)
    assert list(record.options) == ["k"]
    assert (record.takes("k"), record.takes("anything")) == (True, False)
    # A function in C does not tell, so it is not refused anything.
    assert (Selector("r", iter).options, Selector("r", iter).takes("k")) == ({}, True)


@pytest.mark.parametrize(
    ("function", "needs", "message"),
    [
        (
            lambda candidates, scorer: None,
            "percent",
            "selector 'r': needs='percent' is none of (None, 'probability', 'logit')",
        ),
        (
            lambda candidates, judge: None,
            "logit",
            "selector 'r': needs='logit' is about scores, so its function must take an option "
            "scorer",
        ),
    ],
)
def test_a_rule_record_checks_what_it_declares(function, needs, message):
    with pytest.raises(PluginError) as raised:
        Selector("r", function, needs=needs)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"reads": "tokens"},
            "scorer 'judge': reads='tokens' is none of ('hidden', 'text', 'logprobs', 'states', "
            "'judge', 'entropy', 'self_certainty', 'deepconf')",
        ),
        (
            {"reads": "text", "range": "percent"},
            "scorer 'judge': range='percent' is none of ('probability', 'logit', 'unbounded')",
        ),
        (
            {"reads": "text", "level": "token"},
            "scorer 'judge': level='token' is none of ('answer', 'step')",
        ),
        (
            {"reads": "hidden", "level": "step"},
            "scorer 'judge': level='step' needs reads='text' or 'judge', given reads='hidden'; "
            "register it with level='answer'",
        ),
    ],
)
def test_a_scorer_record_checks_what_it_declares(options, message):
    with pytest.raises(PluginError) as raised:
        Scorer("judge", list, **options)
    assert str(raised.value) == message


# --- names that are taken


def test_nobody_is_given_a_name_that_two_plugins_claim(site: Site):
    """The second is left out whole: what it had registered before the clash is gone too."""
    site.install_scorer("first", "contested")
    code = """
import edifice_tt

@edifice_tt.hookimpl
def register_architectures(register):
    register("its_own_net", build=dict, output_size=int, recommended_defaults=dict)

@edifice_tt.hookimpl
def register_scorers(register):
    register("its_own", list, reads="text")
    register("contested", list, reads="text")
"""
    site.install("second", code, version="2.0")
    site.install_scorer("third", "uncontested")
    with pytest.warns(PluginWarning) as warned:
        registry = load_registry()
    assert [str(warning.message) for warning in warned] == [
        "plugin 'second' of second 2.0 was left out: register_scorers: scorer 'contested' is "
        "registered by first 1.0 and claimed again by second 2.0; rename one of them"
    ]
    for name in ("contested", "contested:part=all"):
        with pytest.raises(
            NameTakenError, match=r"'contested' is registered by first 1\.0 and by se"
        ):
            registry.find("scorer", name)
    assert registry.scorers["uncontested"].owner == "third 1.0"
    assert "its_own" not in registry.scorers
    assert "its_own_net" not in registry.architectures


def test_no_plugin_takes_the_name_of_a_built_in(site: Site):
    site.install_scorer("aaa-rival", "linear")
    with pytest.warns(
        PluginWarning,
        match=r"scorer 'linear' is registered by edifice-tt and claimed again by aaa-rival 1\.0;",
    ):
        record = scorer("linear")
    assert (record.owner, record.reads) == ("edifice-tt", "hidden")


def test_a_plugin_that_claims_a_name_twice_is_left_out(site: Site):
    code = """
import edifice_tt

@edifice_tt.hookimpl
def register_selectors(register):
    register("twice", min)
    register("twice", max)
"""
    site.install("stutter", code)
    with pytest.warns(PluginWarning) as warned:
        names = edifice_tt.list_selectors()
    assert str(warned[0].message) == (
        "plugin 'stutter' of stutter 1.0 was left out: register_selectors: selector 'twice' is "
        "registered by stutter 1.0 and claimed again by stutter 1.0; rename one of them"
    )
    assert "twice" not in names


def test_a_plugin_that_fails_late_takes_no_name_from_the_next_one(site: Site):
    """The name it claimed before it failed goes to the next claimant, which is sound."""
    code = """
import edifice_tt

@edifice_tt.hookimpl
def register_scorers(register):
    register("wanted", list, reads="text")

@edifice_tt.hookimpl
def register_selectors(register):
    raise OSError("late")
"""
    site.install("a-late-failure", code)
    site.install_scorer("b-sound", "wanted")
    with pytest.warns(PluginWarning) as warned:
        registry = load_registry()
    assert len(warned) == 1
    assert registry.scorers["wanted"].owner == "b-sound 1.0"


def test_kinds_do_not_share_names(site: Site):
    """A scorer may be called like an architecture: they are looked up apart."""
    site.install_scorer("namesake", "test_time_compute")
    assert scorer("test_time_compute").owner == "namesake 1.0"
    assert edifice_tt.architecture("test_time_compute").owner == "edifice-tt"


# --- names that are not there


def test_an_unknown_architecture_names_the_nearest_and_then_all(echo):
    with pytest.raises(UnknownNameError) as raised:
        edifice_tt.build("test_time_compote", embed_dim=4)
    message = str(raised.value)
    assert message.startswith(
        "unknown architecture 'test_time_compote'; did you mean 'test_time_compute'? Known: "
    )
    known = message.partition("Known: ")[2].split(", ")
    assert known == edifice_tt.list_architectures()


def test_an_unknown_scorer_names_the_nearest_and_then_all():
    with pytest.raises(UnknownNameError) as raised:
        scorer("lineer")
    message = str(raised.value)
    assert message.startswith("unknown scorer 'lineer'; did you mean 'linear'")
    assert message.partition("Known: ")[2].split(", ") == edifice_tt.list_scorers()


@pytest.mark.parametrize(
    "ask",
    [
        edifice_tt.architecture,
        edifice_tt.build,
        edifice_tt.output_size,
        edifice_tt.recommended_defaults,
        scorer,
        selector,
    ],
)
def test_every_way_to_ask_refuses_an_unknown_name(ask):
    with pytest.raises(UnknownNameError, match=r"^unknown \w+ 'qqqqq'; known: \w+"):
        ask("qqqqq")


# --- options under several names


@pytest.mark.parametrize("alias", ["embed_dim", "input_size", "input_dim", "obs_size"])
def test_embed_dim_has_the_aliases_of_the_original(echo, alias):
    assert edifice_tt.build("echo", **{alias: 13}, seed=2) == {"embed_dim": 13, "seed": 2}
    assert edifice_tt.output_size("echo", **{alias: 13}) == 13


@pytest.mark.parametrize("call", [edifice_tt.build, edifice_tt.output_size])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("embed_dim", "obs_size"), "embed_dim and obs_size mean the same; give one of them"),
        (("input_dim", "input_size"), "input_size and input_dim mean the same; give one of them"),
    ],
)
def test_two_names_for_one_option_are_an_error_even_when_they_agree(echo, call, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call("echo", **dict.fromkeys(options, 3))


def test_options_that_are_no_alias_pass_through_unchanged(echo):
    assert edifice_tt.build("echo", hidden_size=7) == {"hidden_size": 7}


# --- the price of asking


def test_listing_names_needs_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edifice_tt.list_architectures()
        edifice_tt.list_scorers()
        edifice_tt.list_selectors()


COUNTING = """
import edifice_tt
asked = []

@edifice_tt.hookimpl
def register_selectors(register):
    asked.append(1)
    register("counting", min)
"""


@pytest.fixture
def settled(site: Site, monkeypatch):
    """A site with a plugin that counts how often it is asked; its folder's time is what is set."""
    monkeypatch.setattr(plugins, "_SETTLED", -(10**18))
    monkeypatch.setattr(registry, "_cache", None)
    times = count(10**9)
    site.settle = lambda: os.utime(site.folder, (0, next(times)))
    site.install("counter", COUNTING)
    site.settle()
    yield site
    registry._cache = None  # what was found here is nobody else's


def asked():
    return len(sys.modules["counter"].asked)


def test_many_choices_ask_the_plugins_once(settled):
    pool = edifice_tt.Pool("q", (edifice_tt.Candidate(0, "7"),))
    for rule in ("majority", "random") * 4:
        edifice_tt.select(pool, rule)
        assert edifice_tt.list_selectors().count("counting") == 1
    assert asked() == 1


@pytest.mark.parametrize("change", ["install", "remove", "limit", "reload", "path"])
def test_the_plugins_are_asked_again_after(settled, monkeypatch, change, tmp_path):
    settled.install_scorer("second", "by_second")
    settled.settle()
    assert "by_second" in edifice_tt.list_scorers()
    expected = {"counting", "by_second"}
    if change == "install":
        settled.install_scorer("third", "by_third")
        settled.settle()
        expected |= {"by_third"}
    elif change == "remove":
        settled.remove("second")
        settled.settle()
        expected -= {"by_second"}
    elif change == "limit":
        monkeypatch.setenv("EDIFICE_TT_PLUGINS", "second")
        expected -= {"counting"}
    elif change == "reload":
        text = (settled.folder / "counter.py").read_text()
        (settled.folder / "counter.py").write_text(text.replace('"counting"', '"renamed"'))
        settled.settle()
        assert "counting" in edifice_tt.list_selectors()
        importlib.reload(sys.modules["counter"])
        expected = expected - {"counting"} | {"renamed"}
    else:
        monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(tmp_path)])
        expected = set()
    names = {*edifice_tt.list_scorers(), *edifice_tt.list_selectors()}
    assert names & {"counting", "renamed", "by_second", "by_third"} == expected


def test_while_a_plugin_is_broken_each_call_asks_and_warns(settled):
    settled.install("broken", "raise RuntimeError")
    settled.settle()
    for _ in range(3):
        with pytest.warns(PluginWarning, match="'broken' of broken 1.0 was left out"):
            edifice_tt.list_selectors()
    assert asked() == 3


def test_nothing_is_kept_of_a_folder_that_has_just_changed(settled, monkeypatch):
    """Another change at once would not show in its time."""
    monkeypatch.setattr(plugins, "_SETTLED", 10**18 * 5)
    edifice_tt.list_selectors()
    edifice_tt.list_selectors()
    assert asked() == 2


def test_what_is_traced_is_asked_at_each_call(settled, monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_TRACE_PLUGINS", "1")
    edifice_tt.list_selectors()
    edifice_tt.list_selectors()
    assert asked() == 2
