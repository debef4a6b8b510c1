"""What is loaded, in which order, and what happens to a plugin that cannot be."""

import importlib
import re
import sys

import pytest
from fake_plugins import Site, open_site

import edifice_tt
from edifice_tt.contract.errors import PluginError, PluginWarning, UnknownNameError
from edifice_tt.contract.plugins import BUILT_INS, Failure, load_plugins
from edifice_tt.contract.registry import load_registry, scorer

site = pytest.fixture(open_site, name="site")

HOOKS = (
    "register_architectures, register_scorers, register_selectors, register_answers, "
    "register_tasks, register_searches, register_executors, load_pretrained, "
    "register_commands"
)
HEAD = """
import edifice_tt

@edifice_tt.hookimpl
"""


# --- what loads, and in which order


def test_built_ins_come_first_whatever_an_entry_point_is_called(site: Site):
    site.install_scorer("aaa", "early")  # before "edifice_tt..." in the alphabet
    names = [name for name, _ in load_plugins().manager.list_name_plugin()]
    assert tuple(names[: len(BUILT_INS)]) == BUILT_INS
    assert "aaa" in names[len(BUILT_INS) :]


def test_entry_points_are_called_in_the_order_of_their_names(site: Site):
    for name in ("delta", "alpha", "charlie"):
        site.install_scorer(name, f"by_{name}")
    installed = list(load_registry().scorers)  # in the order of registration
    assert [name for name in installed if name.startswith("by_")] == [
        "by_alpha",
        "by_charlie",
        "by_delta",
    ]


def test_each_call_makes_a_fresh_manager():
    first, second = load_plugins(), load_plugins()
    assert first.manager is not second.manager
    first.manager.unregister(name="edifice_tt.nn")
    assert second.manager.has_plugin("edifice_tt.nn")


def test_the_owner_is_the_distribution_and_its_version(site: Site):
    site.install_scorer("some-plugin", "mine", version="2.5.1", entry_point="short")
    assert load_plugins().owners["short"] == "some-plugin 2.5.1"
    assert scorer("mine").owner == "some-plugin 2.5.1"


def test_built_ins_are_owned_by_the_library():
    owners = load_plugins().owners
    assert {owners[name] for name in BUILT_INS} == {"edifice-tt"}
    assert scorer("linear").owner == "edifice-tt"


def test_an_entry_point_may_be_an_object(site: Site):
    code = """
import edifice_tt

class Plugin:
    @edifice_tt.hookimpl
    def register_scorers(self, register):
        register("from_an_object", list, reads="text")

plugin = Plugin()
"""
    site.install("objects", code, attribute="plugin")
    assert "from_an_object" in edifice_tt.list_scorers()


def test_one_distribution_may_bring_several_kinds(site: Site):
    code = """
import edifice_tt

@edifice_tt.hookimpl
def register_architectures(register):
    register("net", build=dict, output_size=lambda **options: 3, recommended_defaults=dict)

@edifice_tt.hookimpl
def register_scorers(register):
    register("judge", list, "text", "probability", summary="a judge")

@edifice_tt.hookimpl
def register_selectors(register):
    register("first", lambda candidates: candidates[0])
"""
    site.install("triple", code)
    found = load_registry()
    assert found.architectures["net"].output_size() == 3
    assert (found.scorers["judge"].range, found.scorers["judge"].summary) == (
        "probability",
        "a judge",
    )
    assert found.selectors["first"].function("xyz") == "x"
    owners = {found.architectures["net"].owner, found.scorers["judge"].owner}
    assert owners | {found.selectors["first"].owner} == {"triple 1.0"}


def test_a_hook_that_returns_none_does_not_hide_the_next_one(site: Site):
    """`load_pretrained` stops at the first result; the others must call every plugin."""
    foreign = HEAD + "def load_pretrained(path):\n    return None\n"
    ours = HEAD + "def load_pretrained(path):\n    return f'model from {path}'\n"
    site.install("foreign", foreign)
    site.install("ours", ours)
    hook = load_plugins().manager.subset_hook_caller(
        "load_pretrained", [sys.modules[name] for name in BUILT_INS]
    )
    assert hook(path="there") == "model from there"


# --- installing and removing, within one process


def test_a_plugin_is_found_once_installed_and_unknown_once_removed(site: Site):
    with pytest.raises(UnknownNameError):
        scorer("passing_by")
    site.install_scorer("passerby", "passing_by")
    assert scorer("passing_by").owner == "passerby 1.0"
    assert "passing_by" in edifice_tt.list_scorers()
    site.remove("passerby")
    assert "passing_by" not in edifice_tt.list_scorers()
    with pytest.raises(UnknownNameError, match=r"^unknown scorer 'passing_by'.*linear"):
        scorer("passing_by")


def test_a_new_version_takes_the_place_of_the_old_one(site: Site):
    site.install_scorer("growing", "old_name", version="1.0")
    assert scorer("old_name").owner == "growing 1.0"
    site.remove("growing")
    site.install_scorer("growing", "new_name", version="1.1")
    assert scorer("new_name").owner == "growing 1.1"
    assert "old_name" not in edifice_tt.list_scorers()


# --- EDIFICE_TT_PLUGINS


def test_the_environment_limits_which_entry_points_load(site: Site, monkeypatch):
    for name in ("ann", "bob", "cat"):
        site.install_scorer(name, f"by_{name}")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "cat, ann,")
    assert set(load_plugins().owners) == {*BUILT_INS, "ann", "cat"}
    names = edifice_tt.list_scorers()
    assert "by_ann" in names
    assert "by_bob" not in names
    assert "by_cat" in names
    assert "linear" in names


def test_a_limited_plugin_is_not_even_imported(site: Site, monkeypatch):
    site.install("broken", "raise RuntimeError('imported')")
    site.install_scorer("sound", "by_sound")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "sound")
    assert load_registry().failures == []


@pytest.mark.parametrize("empty", ["", " ", ","])
def test_an_empty_limit_means_built_ins_only(site: Site, monkeypatch, empty):
    site.install_scorer("ann", "by_ann")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", empty)
    assert tuple(load_plugins().owners) == BUILT_INS
    assert "linear" in edifice_tt.list_scorers()
    assert "by_ann" not in edifice_tt.list_scorers()


def test_a_limit_that_names_what_is_not_installed_is_an_error(site: Site, monkeypatch):
    site.install_scorer("ann", "by_ann")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "ann,nobody")
    with pytest.raises(PluginError) as raised:
        edifice_tt.list_scorers()
    message = str(raised.value)
    assert message.startswith(
        "EDIFICE_TT_PLUGINS=ann,nobody names nobody, which is not installed; installed: "
    )
    assert "ann" in message.partition("installed: ")[2].split(", ")


def test_the_environment_is_read_at_each_call(site: Site, monkeypatch):
    site.install_scorer("ann", "by_ann")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    assert "by_ann" not in edifice_tt.list_scorers()
    monkeypatch.delenv("EDIFICE_TT_PLUGINS")
    assert "by_ann" in edifice_tt.list_scorers()


# --- plugins that fail: each alone, with its exact words

BROKEN = {
    "missing import": (
        "import no_such_library_at_all",
        "ModuleNotFoundError: No module named 'no_such_library_at_all'",
    ),
    "import error": (
        "from math import no_such_function",
        "ImportError: cannot import name 'no_such_function' from 'math'",
    ),
    "syntax error": ("x = = 1", "SyntaxError: invalid syntax (broken.py, line 1)"),
    "runtime error": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "several lines": ("raise RuntimeError('one\\n  two')", "RuntimeError: one two"),
    "no words": ("raise RuntimeError", "RuntimeError"),
    "an error that cannot say what it is": (
        "class Mute(Exception):\n    def __str__(self): raise OSError\nraise Mute",
        "Mute",
    ),
    "exit on import": ("raise SystemExit(3)", "SystemExit: 3"),
    "no hook at all": (
        "def register_scorers(register): ...",
        f"it has no hook; mark one with @edifice_tt.hookimpl: {HOOKS}",
    ),
    "misspelt hook": (
        HEAD + "def register_scorer(register): ...",
        f"unknown hook 'register_scorer'; did you mean 'register_scorers'? Hooks: {HOOKS}",
    ),
    "misspelt hook beside a sound one": (
        HEAD
        + "def register_scorers(register):\n    register('half', list, reads='text')\n"
        + "@edifice_tt.hookimpl\ndef register_architecture(register): ...\n",
        "unknown hook 'register_architecture'; did you mean 'register_architectures'? "
        f"Hooks: {HOOKS}",
    ),
    "misspelt specname": (
        "import edifice_tt\n@edifice_tt.hookimpl(specname='register_selector')\n"
        "def rules(register): ...",
        f"unknown hook 'register_selector'; did you mean 'register_selectors'? Hooks: {HOOKS}",
    ),
    "wrong signature": (
        HEAD + "def register_scorers(registry, table): ...",
        "hook register_scorers is declared with (registry, table), expected (register); "
        "rename its parameters",
    ),
    "raises in the hook": (
        HEAD + "def register_scorers(register): raise KeyError('weights')",
        "register_scorers: KeyError: 'weights'",
    ),
    "exits in the hook": (
        HEAD + "def register_scorers(register): raise SystemExit('bye')",
        "register_scorers: SystemExit: bye",
    ),
    "raises half-way": (
        HEAD
        + "def register_scorers(register):\n    register('half', list, reads='text')\n    1 / 0",
        "register_scorers: ZeroDivisionError: division by zero",
    ),
    "raises in the second of two hooks": (
        HEAD
        + "def register_scorers(register):\n    register('half', list, reads='text')\n"
        + "@edifice_tt.hookimpl\ndef register_selectors(register):\n    1 / 0",
        "register_selectors: ZeroDivisionError: division by zero",
    ),
    "raises in two hooks": (
        HEAD
        + "def register_scorers(register): raise OSError('first')\n"
        + "@edifice_tt.hookimpl\ndef register_selectors(register): raise OSError('second')",
        "register_scorers: OSError: first",
    ),
    "taken name": (
        HEAD + "def register_scorers(register): register('linear', list, reads='text')",
        "register_scorers: scorer 'linear' is registered by edifice-tt and claimed again by "
        "broken 0.3; rename one of them",
    ),
    "a name of its own twice": (
        HEAD
        + "def register_scorers(register):\n    register('half', list, reads='text')\n"
        + "    register('half', list, reads='text')\n",
        "register_scorers: scorer 'half' is registered by broken 0.3 and claimed again by "
        "broken 0.3; rename one of them",
    ),
    "register with an unknown argument": (
        HEAD + "def register_selectors(register): register('half', len, range='logit')",
        "register_selectors: unknown argument of register 'range'; known: function, name, needs, "
        "summary",
    ),
    "not callable": (
        HEAD + "def register_scorers(register): register('half', 7, reads='text')",
        "register_scorers: scorer 'half': factory=7 is not callable; give a function that makes it",
    ),
    "architecture without a function": (
        HEAD
        + "def register_architectures(register):\n"
        + "    register('half', build=dict, output_size=None, recommended_defaults=dict)",
        "register_architectures: architecture 'half': output_size=None is not callable",
    ),
    "selector that is no function": (
        HEAD + "def register_selectors(register): register('half', 'majority')",
        "register_selectors: selector 'half': function='majority' is not callable",
    ),
    "empty name": (
        HEAD + "def register_scorers(register): register('', list, reads='text')",
        "register_scorers: the name of a scorer must be a non-empty str, given ''",
    ),
    "name that is no string": (
        HEAD + "def register_selectors(register): register(7, list)",
        "register_selectors: the name of a selector must be a non-empty str, given 7",
    ),
    "bad reads": (
        HEAD + "def register_scorers(register): register('half', list, reads='tokens')",
        "register_scorers: scorer 'half': reads='tokens' is none of ('hidden', 'text', 'logprobs', "
        "'states', 'judge', 'entropy', 'self_certainty', 'deepconf')",
    ),
    "bad range": (
        HEAD
        + "def register_scorers(register): register('half', list, reads='text', range='percent')",
        "register_scorers: scorer 'half': range='percent' is none of "
        "('probability', 'logit', 'unbounded')",
    ),
}


def load_with_one_warning():
    """The registry, once it is sure that exactly one warning was given; with its text."""
    with pytest.warns(PluginWarning) as warned:
        registry = load_registry()
    assert len(warned) == 1
    return registry, str(warned[0].message)


@pytest.mark.parametrize(("code", "reason"), BROKEN.values(), ids=BROKEN)
@pytest.mark.first(3)
def test_a_broken_plugin_is_left_out_with_one_warning(site: Site, code, reason):
    """Neighbours on both sides in the alphabet, so neither being first nor last can save them."""
    site.install_scorer("a-sound-one", "before")
    site.install("broken", code, version="0.3")
    site.install_scorer("the-last-one", "after")
    registry, message = load_with_one_warning()
    place = re.search(r" \(broken\.py, line \d+\)$", message)
    if place and "SyntaxError" not in reason and "cannot import name" not in reason:
        reason += place[0]
    expected = f"plugin 'broken' of broken 0.3 was left out: {reason}"
    if "cannot import name" in reason:  # Python adds where it looked
        assert message.startswith(expected)
        expected, reason = message, message.partition("left out: ")[2]
    assert message == expected
    assert registry.failures == [Failure("broken", "broken 0.3", reason)]
    assert "broken" not in registry.plugins.owners
    assert not registry.plugins.manager.has_plugin("broken")
    assert {"before", "after", "linear", "mlp"} <= set(registry.scorers)
    everything = {**registry.architectures, **registry.scorers, **registry.selectors}
    assert "half" not in everything
    assert "test_time_compute" in everything


@pytest.mark.parametrize("code", [BROKEN["runtime error"][0], BROKEN["raises half-way"][0]])
def test_asking_for_what_a_broken_plugin_could_provide_says_so(site: Site, code):
    site.install("broken", code)
    with (
        pytest.warns(PluginWarning, match=r"^plugin 'broken' of broken 1\.0 was left out"),
        pytest.raises(UnknownNameError) as raised,
    ):
        scorer("half")
    assert str(raised.value).startswith("unknown scorer 'half'")
    assert str(raised.value).endswith("; it may be of a plugin that was left out: 'broken'")
    assert "\n" not in str(raised.value)


def test_a_sound_registry_points_at_no_plugin(site: Site):
    site.install_scorer("sound", "by_sound")
    with pytest.raises(UnknownNameError) as raised:
        scorer("half")
    assert "left out" not in str(raised.value)


def test_the_warning_names_the_line_that_asked(site: Site):
    site.install("broken", "raise RuntimeError")
    with pytest.warns(PluginWarning) as warned:
        edifice_tt.list_scorers()
    assert warned[0].filename == __file__


def test_each_broken_plugin_has_its_own_warning(site: Site):
    site.install("broken-one", "raise RuntimeError('one')")
    site.install("broken-two", "raise RuntimeError('two')")
    with pytest.warns(PluginWarning) as warned:
        registry = load_registry()
    assert [str(warning.message) for warning in warned] == [
        f"plugin 'broken-{one}' of broken-{one} 1.0 was left out: RuntimeError: {one} "
        f"(broken_{one}.py, line 1)"
        for one in ("one", "two")
    ]
    assert [failure.plugin for failure in registry.failures] == ["broken-one", "broken-two"]


def test_a_mended_plugin_works_at_the_next_call(site: Site):
    site.install("patient", "raise RuntimeError('ill')")
    load_with_one_warning()
    site.remove("patient")
    site.install_scorer("patient", "healthy")
    assert scorer("healthy").owner == "patient 1.0"


def test_an_interrupt_is_not_taken_for_a_broken_plugin(site: Site):
    site.install("stopped", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_plugins()


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        ("missing", "AttributeError: module 'broken' has no attribute 'missing'"),
        ("table", "TypeError: unhashable type: 'list'"),
        ("nothing", f"it has no hook; mark one with @edifice_tt.hookimpl: {HOOKS}"),
    ],
)
def test_an_entry_point_that_is_no_plugin_is_left_out(site: Site, attribute, reason):
    site.install("broken", "table = []\nnothing = None\n", attribute=attribute)
    registry, message = load_with_one_warning()
    assert message == f"plugin 'broken' of broken 1.0 was left out: {reason}"
    assert "linear" in registry.scorers


def test_a_plugin_whose_attributes_raise_is_left_out(site: Site):
    """Older pluggy reads every attribute, newer none: either way its neighbours work."""
    code = """
import edifice_tt

class Plugin:
    @edifice_tt.hookimpl
    def register_scorers(self, register): raise RuntimeError("hook")

    @property
    def trap(self): raise RuntimeError("trap")

plugin = Plugin()
"""
    site.install("broken", code, attribute="plugin")
    registry, message = load_with_one_warning()
    assert message.startswith("plugin 'broken' of broken 1.0 was left out: ")
    assert "linear" in registry.scorers


# --- two plugins of one name


def test_two_plugins_of_one_name_are_named_with_both_owners(site: Site):
    site.install_scorer("one", "by_one", entry_point="same")
    site.install_scorer("two", "by_two", entry_point="same")
    registry, message = load_with_one_warning()
    assert message == (
        "plugin 'same' of two 1.0 was left out: plugin name 'same' is registered by one 1.0 and "
        "claimed again by two 1.0; rename one of them"
    )
    assert "by_one" in registry.scorers
    assert "by_two" not in registry.scorers
    assert registry.plugins.owners["same"] == "one 1.0"


def test_an_entry_point_cannot_take_the_name_of_a_built_in(site: Site):
    site.install_scorer("usurper", "by_usurper", entry_point="edifice_tt.nn")
    registry, message = load_with_one_warning()
    assert "is registered by edifice-tt and claimed again by usurper 1.0" in message
    assert "linear" in registry.scorers
    assert "by_usurper" not in registry.scorers


# --- built-ins are not isolated: one that fails is our own defect


def test_a_broken_built_in_is_raised(monkeypatch):
    def broken(register):
        raise RuntimeError("our own mistake")

    room = importlib.import_module("edifice_tt.nn")
    broken.edifice_tt_impl = room.register_scorers.edifice_tt_impl
    monkeypatch.setattr(room, "register_scorers", broken)
    with pytest.raises(RuntimeError, match="our own mistake"):
        load_registry()


def test_every_hook_is_documented():
    specs = vars(importlib.import_module("edifice_tt.contract.hookspecs"))
    hooks = [name for name, value in specs.items() if hasattr(value, "edifice_tt_spec")]
    assert ", ".join(hooks) == HOOKS
    assert all(specs[name].__doc__ for name in hooks)
