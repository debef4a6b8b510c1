"""What foreign code raises is contained where it is raised, and told in one line with its owner.

Not only errors: what ends a process or a task, and errors that fail even to say what they are.
"""

import importlib
import sys

import pytest
from fake_plugins import Site, open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract.errors import PluginError, PluginWarning

site = pytest.fixture(open_site, name="site")

RAISED = [
    "asyncio.CancelledError()",
    "SystemExit(3)",
    "GeneratorExit()",
    "BaseException('odd')",
    "Mute()",
    "Leaving()",
    "Cancelled()",
]
EVIL = """
import asyncio, edifice_tt

class Mute(Exception):
    def __str__(self): raise RuntimeError("no words")
    __repr__ = __str__

class Leaving(Exception):
    def __str__(self): raise SystemExit(5)
    __repr__ = __str__

class Cancelled(Exception):
    def __str__(self): raise asyncio.CancelledError
    __repr__ = __str__

def evil(*arguments, **options):
    raise {raised}
"""
REGISTER = """
@edifice_tt.hookimpl
def register_scorers(register):
    register("evil", lambda: evil, reads="text")

@edifice_tt.hookimpl
def register_selectors(register):
    register("evil", evil)

@edifice_tt.hookimpl
def load_pretrained(path):
    evil()

@edifice_tt.hookimpl
def register_commands(subparsers):
    subparsers.add_parser("evil").set_defaults(run=evil)
"""
POOL = et.Pool("q", (et.Candidate(0, "a"), et.Candidate(1, "b")))


def install(site, raised, rest=REGISTER):
    site.install("evil", EVIL.format(raised=raised) + rest)


def run(capsys, *argv):
    capsys.readouterr()
    status = cli.main(list(map(str, argv)))
    return status, *capsys.readouterr()


@pytest.mark.parametrize("raised", RAISED)
def test_what_a_scorer_raises_is_a_plugin_error(site: Site, raised):
    install(site, raised)
    with pytest.raises(PluginError, match=r"scorer 'evil' of evil 1\.0 failed"):
        et.score(None, POOL, "evil")


@pytest.mark.parametrize("raised", RAISED)
def test_what_a_rule_raises_is_a_plugin_error(site: Site, raised):
    install(site, raised)
    with pytest.raises(PluginError, match=r"rule 'evil' of evil 1\.0 failed"):
        et.select(POOL, "evil")


@pytest.mark.parametrize("raised", RAISED)
def test_what_a_reader_of_files_raises_is_a_plugin_error(site: Site, tmp_path, raised):
    install(site, raised)
    (tmp_path / "model.odd").write_bytes(b"12345")
    with pytest.raises(PluginError, match=r"model\.odd: a plugin failed to load it"):
        et.load_pretrained(tmp_path / "model.odd")


@pytest.mark.parametrize("raised", [one for one in RAISED if one != "SystemExit(3)"])
def test_what_a_command_raises_is_one_line(site: Site, capsys, raised):
    install(site, raised)
    status, out, err = run(capsys, "evil")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "command 'evil' of evil 1.0 failed" in err


def test_a_command_may_end_with_a_status_of_its_own(site: Site):
    install(site, "SystemExit(3)")
    with pytest.raises(SystemExit) as caught:
        cli.main(["evil"])
    assert caught.value.code == 3


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize(
    "rest",
    [
        "evil()",
        "@edifice_tt.hookimpl\ndef register_scorers(register): evil()",
    ],
    ids=["import", "hook"],
)
def test_what_a_plugin_raises_while_it_is_loaded_leaves_it_out(site: Site, raised, rest):
    install(site, raised, rest)
    with pytest.warns(PluginWarning, match=r"plugin 'evil' of evil 1\.0 was left out"):
        assert "logprob" in et.list_scorers()


@pytest.mark.parametrize("value", ["[Mute()]", "Leaving()", "[1.0, Cancelled()]", "iter_evil()"])
def test_what_a_scorer_gives_may_be_unable_to_show_itself(site: Site, value):
    code = (
        f"\ndef iter_evil():\n    yield 1.0\n    raise SystemExit(3)\n"
        f"def give(prompt, completions): return {value}\n"
        "@edifice_tt.hookimpl\ndef register_scorers(register):\n"
        "    register('evil', lambda: give, reads='text')\n"
    )
    install(site, "Mute()", code)
    with pytest.raises(PluginError, match=r"scorer 'evil' of evil 1\.0 gave"):
        et.score(None, POOL, "evil")


def test_what_a_rule_gives_may_be_unable_to_show_itself(site: Site):
    code = (
        "\n@edifice_tt.hookimpl\ndef register_selectors(register):\n"
        "    register('evil', lambda candidates: Leaving())\n"
    )
    install(site, "Mute()", code)
    with pytest.raises(PluginError, match="expected a Choice"):
        et.select(POOL, "evil")


def test_an_error_of_ours_that_cannot_say_what_it_is_is_one_line(site: Site, capsys, tmp_path):
    """A rule may raise `ValueError`: that is its own word, which the command only repeats."""
    code = (
        "\nclass Value(Leaving, ValueError): pass\n"
        "def rule(candidates): raise Value()\n"
        "@edifice_tt.hookimpl\ndef register_selectors(register): register('evil', rule)\n"
    )
    install(site, "Mute()", code)
    POOL.save(tmp_path / "pool")
    assert run(capsys, "select", tmp_path / "pool", "--rule", "evil") == (
        2,
        "",
        "edifice-tt: error: rule 'evil' of evil 1.0 on problem '0': \n",
    )


# --- the command line


def test_a_command_with_an_option_called_command_is_known_by_its_owner(site: Site, capsys):
    code = (
        "\n@edifice_tt.hookimpl\ndef register_commands(subparsers):\n"
        "    mine = subparsers.add_parser('evil')\n"
        "    mine.add_argument('command')\n    mine.set_defaults(run=evil)\n"
    )
    install(site, "RuntimeError('odd')", code)
    status, out, err = run(capsys, "evil", "list")
    assert (status, out) == (1, "")
    assert "command 'evil' of evil 1.0 failed: RuntimeError: odd" in err


@pytest.mark.parametrize(
    "harm",
    [
        "subparsers.choices.clear()",
        "del subparsers.choices['list']",
        "subparsers._name_parser_map.clear()",
        "subparsers.container.add_argument('--needed', required=True)",
        "subparsers.begin('me'); subparsers.keep()",
        "subparsers.owners.clear()",
        "subparsers.required = 'x'",
        "subparsers.add_parser('mine', parents=[1])",
    ],
)
def test_a_plugin_cannot_take_the_commands_of_others_away(site: Site, capsys, harm):
    site.install(
        "evil",
        "import edifice_tt\n\n@edifice_tt.hookimpl\ndef register_commands(subparsers):\n"
        f"    {harm}\n    subparsers.add_parser('last').set_defaults(run=lambda a: print('ran'))\n",
    )
    status, out, _ = run(capsys, "list")
    assert (status, "logprob" in out) == (0, True)


@pytest.mark.parametrize(
    "content",
    [b"[edifice_tt]\nno equals sign\n", b"[edifice_tt]\na = \xff\xfe\n", b"\xff[edifice_tt]"],
)
@pytest.mark.first(1)
def test_damaged_entry_points_of_one_distribution_leave_it_out(site: Site, capsys, content):
    site.install_scorer("sound", "sound")
    site.install_scorer("broken", "broken")
    (site.folder / "broken-1.0.dist-info" / "entry_points.txt").write_bytes(content)
    importlib.invalidate_caches()
    with pytest.warns(PluginWarning, match=r"'broken' of broken 1\.0 .* entry_points\.txt"):
        assert {"sound", "logprob"} <= set(et.list_scorers())
    status, out, err = run(capsys, "plugins")
    assert (status, err) == (0, "")
    assert "sound 1.0" in out
    assert out.count("FAILED plugin 'broken' of broken 1.0") == 1


def test_damaged_metadata_of_one_distribution_leave_the_others(site: Site):
    site.install_scorer("sound", "sound")
    site.install_scorer("broken", "broken")
    (site.folder / "broken-1.0.dist-info" / "METADATA").write_bytes(b"Name: \xff\xfe\n")
    importlib.invalidate_caches()
    assert {"sound", "broken", "logprob"} <= set(et.list_scorers())
    assert "evil" not in sys.modules
