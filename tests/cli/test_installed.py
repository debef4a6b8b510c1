"""`edifice-tt plugins`: who provides what, and what failed, each once."""

import json

import pytest
from fake_plugins import Site, open_site

import edifice_tt
from edifice_tt import cli

site = pytest.fixture(open_site, name="site")

EVERYTHING = """
import edifice_tt

@edifice_tt.hookimpl
def register_architectures(register):
    register("net", build=dict, output_size=dict, recommended_defaults=dict)

@edifice_tt.hookimpl
def register_scorers(register):
    register("judge", list, reads="text")

@edifice_tt.hookimpl
def register_selectors(register):
    register("first", lambda candidates: candidates[0])

@edifice_tt.hookimpl
def register_answers(register):
    register("last-line", lambda text: text)

@edifice_tt.hookimpl
def register_tasks(register):
    register("double", lambda rng: ("2 * 3 =", "6"))

@edifice_tt.hookimpl
def register_searches(register):
    register("half", lambda n: None)

@edifice_tt.hookimpl
def register_executors(register):
    register("far", lambda workers=2: None)

@edifice_tt.hookimpl
def load_pretrained(path):
    return None

@edifice_tt.hookimpl
def register_commands(subparsers):
    subparsers.add_parser("speak", aliases=["say"])
"""
ONE_COMMAND = """
import edifice_tt

@edifice_tt.hookimpl
def register_commands(subparsers):
    subparsers.add_parser("{name}").set_defaults(run=lambda arguments: None)
"""


def show(capsys, *options):
    """What `edifice-tt plugins` prints; nothing on stderr, whatever failed."""
    capsys.readouterr()
    assert cli.main(["plugins", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def distribution(capsys, name):
    records = json.loads(show(capsys, "--json"))["distributions"]
    (record,) = (record for record in records if record["name"] == name)
    return record


def test_a_distribution_is_shown_with_all_that_it_registered(site: Site, capsys):
    site.install("all-nine", EVERYTHING, version="3.1")
    assert distribution(capsys, "all-nine") == {
        "name": "all-nine",
        "version": "3.1",
        "architectures": ["net"],
        "scorers": ["judge"],
        "selectors": ["first"],
        "extractors": ["last-line"],
        "tasks": ["double"],
        "searches": ["half"],
        "executors": ["far"],
        "formats": ["all-nine"],
        "commands": ["speak", "say"],
    }
    lines = [line.split() for line in show(capsys).splitlines()]
    start = lines.index(["all-nine", "3.1", "architectures", "net"])
    assert lines[start + 1 : start + 9] == [
        ["scorers", "judge"],
        ["selectors", "first"],
        ["extractors", "last-line"],
        ["tasks", "double"],
        ["searches", "half"],
        ["executors", "far"],
        ["formats", "all-nine"],
        ["commands", "speak,", "say"],
    ]


def test_a_plugin_with_a_command_alone_provides_something(site: Site, capsys):
    site.install("speaker", ONE_COMMAND.format(name="speak"))
    assert distribution(capsys, "speaker")["commands"] == ["speak"]
    assert "nothing" not in show(capsys)


def test_a_plugin_that_registers_nothing_is_shown_with_nothing(site: Site, capsys):
    site.install(
        "idle", "import edifice_tt\n@edifice_tt.hookimpl\ndef register_scorers(register): ...\n"
    )
    assert ["idle", "1.0", "nothing"] in [line.split() for line in show(capsys).splitlines()]


def test_the_library_itself_is_shown_with_its_version(monkeypatch, capsys):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    own = distribution(capsys, "edifice-tt")
    assert own["version"] == edifice_tt.__version__
    assert own["architectures"] == ["test_time_compute", "causal_lm"]
    assert {"mlp", "linear", "logprob"} <= set(own["scorers"])
    assert {"list", "plugins", "best-of"} <= set(own["commands"])
    assert own["formats"] == ["edifice_tt.weights"]
    assert f"edifice-tt {edifice_tt.__version__} " in show(capsys)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no good')", "RuntimeError: no good"),
        (
            "import edifice_tt\n@edifice_tt.hookimpl\ndef register_scorers(register): 1 / 0",
            "register_scorers: ZeroDivisionError: division by zero",
        ),
        (
            "import edifice_tt\n@edifice_tt.hookimpl\ndef register_commands(subparsers): 1 / 0",
            "register_commands: ZeroDivisionError: division by zero",
        ),
    ],
)
@pytest.mark.first(1)
def test_a_broken_plugin_is_reported_once_with_its_reason(site: Site, capsys, code, reason):
    site.install("broken", code)
    site.install_scorer("sound", "resounding")
    reason += f" (broken.py, line {code.count(chr(10)) + 1})"
    line = f"FAILED plugin 'broken' of broken 1.0 was left out: {reason}"
    shown = show(capsys).splitlines()
    assert [one for one in shown if "broken" in one and "FAILED" in one] == [line]
    assert json.loads(show(capsys, "--json"))["failures"] == [
        {"plugin": "broken", "owner": "broken 1.0", "reason": reason}
    ]
    assert distribution(capsys, "sound")["scorers"] == ["resounding"]


def test_what_the_environment_keeps_out_is_named(site: Site, monkeypatch, capsys):
    site.install_scorer("ann", "by_ann")
    site.install_scorer("bob", "by_bob")
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "bob")
    assert "ann" in json.loads(show(capsys, "--json"))["unloaded"]
    _, mark, last = " ".join(show(capsys).split()).partition("NOT LOADED")
    assert (mark + last).startswith("NOT LOADED, for EDIFICE_TT_PLUGINS is set: ann")
    assert "bob" not in last


# --- commands that collide or are half made


def test_a_command_that_is_taken_is_named_with_both_owners(site: Site, capsys):
    site.install("one", ONE_COMMAND.format(name="speak"))
    site.install("two", ONE_COMMAND.format(name="speak"))
    site.install("usurper", ONE_COMMAND.format(name="list"))
    assert [f["reason"] for f in json.loads(show(capsys, "--json"))["failures"]] == [
        "register_commands: command 'speak' is registered by one 1.0 and claimed again by two 1.0; "
        "rename one of them",
        "register_commands: command 'list' is registered by edifice-tt and claimed again by "
        "usurper 1.0; rename one of them",
    ]
    assert cli.main(["speak"]) == 2
    told = "error: command 'speak' is registered by one 1.0 and by two 1.0; uninstall one of them"
    assert told in capsys.readouterr().err
    assert cli.main(["list"]) == 0


def test_a_plugin_that_fails_half_way_leaves_no_command_behind(site: Site, capsys):
    """Neither for the user nor for the next plugin, which may take the name."""
    half = ONE_COMMAND.format(name="speak") + "    subparsers.add_parser('list')\n"
    site.install("broken", half)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["speak"])
    assert "unknown command 'speak'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    assert "speak" not in capsys.readouterr().out
    site.install("sound", ONE_COMMAND.format(name="speak"))
    assert distribution(capsys, "sound")["commands"] == ["speak"]
    assert cli.main(["speak"]) == 0


def test_a_help_text_that_would_end_the_help_of_all_is_refused(site: Site, capsys):
    site.install(
        "percent",
        "import edifice_tt\n@edifice_tt.hookimpl\ndef register_commands(subparsers):\n"
        "    subparsers.add_parser('sale', help='50% off')\n",
    )
    (failure,) = json.loads(show(capsys, "--json"))["failures"]
    assert failure["reason"] == (
        "register_commands: command 'sale': help='50% off' holds a bare %; write %%"
    )
