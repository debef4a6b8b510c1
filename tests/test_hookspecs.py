"""Each of the five hooks does what its documentation says, for a plugin that has only that one."""

import pytest
from fake_plugins import Site, open_site

import edifice_tt
from edifice_tt import cli
from edifice_tt.plugins import load_plugins

site = pytest.fixture(open_site, name="site")

HEAD = "import edifice_tt\n\n@edifice_tt.hookimpl\n"


def install(site: Site, monkeypatch, code):
    """The only plugin that is loaded."""
    site.install("ours", HEAD + code)
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "ours")


def test_register_architectures_adds_what_build_finds(site: Site, monkeypatch):
    install(
        site,
        monkeypatch,
        "def register_architectures(register):\n"
        "    register('net', build=lambda **options: options,\n"
        "             output_size=lambda **options: 7, recommended_defaults=lambda: {'width': 7},\n"
        "             summary='a net', source='nowhere')\n",
    )
    assert "net" in edifice_tt.list_architectures()
    assert edifice_tt.build("net", width=5) == {"width": 5}
    assert edifice_tt.build("net", obs_size=3) == {"embed_dim": 3}
    assert edifice_tt.output_size("net") == 7
    assert edifice_tt.recommended_defaults("net") == {"width": 7}
    record = edifice_tt.architecture("net")
    assert (record.summary, record.source, record.owner) == ("a net", "nowhere", "ours 1.0")


def test_register_scorers_adds_what_score_uses(site: Site, monkeypatch, edifice_pool):
    install(
        site,
        monkeypatch,
        "def register_scorers(register):\n"
        "    make = lambda: lambda prompt, texts: [float(len(prompt) + len(t)) for t in texts]\n"
        "    register('length', make, reads='text')\n",
    )
    pool = edifice_tt.score(None, edifice_pool, scorer="length")
    question = len(edifice_pool.prompt)
    assert [c.scores["length"] - question for c in pool] == [len(c.text) for c in pool]


def test_register_selectors_adds_what_select_uses(site: Site, monkeypatch, edifice_pool):
    install(
        site,
        monkeypatch,
        "def register_selectors(register):\n"
        "    def last(candidates, back=1):\n"
        "        chosen = sorted(candidates, key=lambda c: c.index)[-back]\n"
        "        return edifice_tt.Choice(chosen, 'last', {})\n"
        "    register('last', last)\n",
    )
    assert edifice_tt.select(edifice_pool, rule="last").index == 5
    assert edifice_tt.select(edifice_pool, rule="last", back=3).index == 3


def test_load_pretrained_asks_until_one_answers(site: Site, monkeypatch, tmp_path):
    code = "def load_pretrained(path):\n    ASKED.append('{name}')\n    return {result}\n"
    site.install("bbb", HEAD + code.format(name="bbb", result="None") + "ASKED = []\n")
    site.install(
        "aaa",
        HEAD.replace("edifice_tt\n", "edifice_tt\nfrom bbb import ASKED\n", 1)
        + code.format(name="aaa", result="'a model'"),
    )
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "aaa,bbb")
    found = load_plugins().manager.hook.load_pretrained(path=tmp_path / "model.ours")
    from bbb import ASKED

    assert (found, ASKED) == ("a model", ["bbb", "aaa"])


def test_register_commands_adds_a_command(site: Site, monkeypatch, capsys):
    install(
        site,
        monkeypatch,
        "def register_commands(subparsers):\n"
        "    command = subparsers.add_parser('speak', help='say a word')\n"
        "    command.add_argument('word')\n"
        "    command.set_defaults(run=lambda arguments: print(arguments.word) or 5)\n",
    )
    assert cli.main(["speak", "hello"]) == 5
    assert capsys.readouterr().out == "hello\n"
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "say a word" in capsys.readouterr().out
    edifice_tt.list_scorers()  # outside the command line nobody asks for commands
