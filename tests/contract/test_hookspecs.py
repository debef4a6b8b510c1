"""Each of the nine hooks does what its documentation says, for a plugin that has only that one."""

import pytest
from fake_plugins import Site, open_site

import edifice_tt
from edifice_tt import cli
from edifice_tt.contract.plugins import load_plugins

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


def test_register_answers_adds_what_grade_and_select_use(site: Site, monkeypatch):
    install(
        site,
        monkeypatch,
        "def register_answers(register):\n"
        "    register('word', lambda text: text.split()[-1] if text else None,\n"
        "             equal=lambda answer, other: answer.lower() == other.lower(), summary='w')\n",
    )
    assert "word" in edifice_tt.list_extractors()
    assert edifice_tt.extractor("word")("It is Paris") == "Paris"
    texts = ("", "it is Paris", "or Rome", "paris")
    pool = edifice_tt.Pool("q", tuple(map(edifice_tt.Candidate, range(4), texts)), gold="PARIS")
    marked = edifice_tt.grade(pool, "word")
    assert [c.correct for c in marked] == [False, True, False, True]
    choice = edifice_tt.select(pool, "majority", answer="word")
    assert (choice.index, choice.tally, choice.abstained) == (1, {"Paris": 2.0, "Rome": 1.0}, 1)


def test_register_tasks_adds_what_make_problems_draws(site: Site, monkeypatch, capsys):
    install(
        site,
        monkeypatch,
        "def register_tasks(register):\n"
        "    def make(rng):\n"
        "        number = rng.randrange(1000)\n"
        "        return f'after {number}:', str(number + 1)\n"
        "    register('next', make, summary='the next number')\n",
    )
    for problem in edifice_tt.make_problems("next", 5):
        last = problem.prompt.splitlines()[-1]
        assert last == f"after {int(problem.gold) - 1}:"
    assert cli.main(["tasks", "next"]) == 0
    assert capsys.readouterr().out.count("after ") == 6


def test_register_executors_adds_what_the_command_line_names(site: Site, monkeypatch, capsys):
    install(
        site,
        monkeypatch,
        "def register_executors(register):\n"
        "    def make(address='', workers=2):\n"
        "        raise edifice_tt.EdificeError(f'{workers} at {address}: nobody is there')\n"
        "    register('far', make, summary='far away')\n",
    )
    assert edifice_tt.list_executors() == ["far", "processes"]
    assert cli.main(["list"]) == 0
    assert "far away" in capsys.readouterr().out


def test_an_executor_needs_defaults(site: Site, monkeypatch):
    code = "def register_executors(register):\n    register('far', lambda address: None)\n"
    install(site, monkeypatch, code)
    with pytest.warns(edifice_tt.PluginWarning, match="make's option address has no default"):
        assert edifice_tt.list_executors() == ["processes"]


def test_register_searches_adds_what_make_search_and_replay_use(site: Site, monkeypatch, capsys):
    install(
        site,
        monkeypatch,
        "class Two(dict):\n"
        "    def __init__(self, n=16, k=2):\n"
        "        self.n, self.k = n, k\n"
        "    def start(self, problem='0'):\n"
        "        return {}\n"
        "    def ask(self, state):\n"
        "        return edifice_tt.Ask(tuple(range(self.k)))\n"
        "    def tell(self, state, rows):\n"
        "        return {'told': [row.answer for row in rows]}\n"
        "    def done(self, state):\n"
        "        kept = tuple(range(self.k))\n"
        "        return edifice_tt.Outcome(0, kept, {}, True) if state else None\n"
        "@edifice_tt.hookimpl\n"
        "def register_searches(register):\n"
        "    register('two', Two, summary='two rows', needs=['answers'], breaks='the rest')\n",
    )
    assert "two" in edifice_tt.list_searches()
    assert edifice_tt.make_search("two", k=3).ask({}).rows == (0, 1, 2)
    candidates = tuple(
        edifice_tt.Candidate(i, "7", answer="7", correct=True, num_tokens=5) for i in range(4)
    )
    found = edifice_tt.replay([edifice_tt.Pool("q", candidates)], "two", k=3)
    assert (found.spent.samples, found.spent.tokens, found.breaks) == (3, 15, "the rest")
    assert cli.main(["list"]) == 0
    assert "two rows" in capsys.readouterr().out


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
