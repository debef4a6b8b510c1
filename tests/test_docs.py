"""The pages of docs/ tell the truth: what they show runs, and what they promise is tested."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
from documents import DOCS, Runner, blocks
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt.cli import make_parser
from edifice_tt.contract import hookspecs
from edifice_tt.weights import catalog

site = pytest.fixture(open_site, name="site")

HOOKS = [name for name, hook in vars(hookspecs).items() if hasattr(hook, "edifice_tt_spec")]
ROOT = DOCS.parent
SITE = sorted(DOCS.rglob("*.md"))
TEXTS = [*SITE, *sorted(ROOT.glob("plugins/*/README.md")), ROOT / "benchmarks" / "README.md"]
PAGES = {path.name: path.read_text() for path in SITE if path.parent == DOCS}
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGES["hooks.md"], re.M | re.S))
TESTED = [*Path(__file__).parent.rglob("test_*.py"), *ROOT.glob("plugins/*/tests/test_*.py")]
TESTS = "".join(path.read_text() for path in sorted(TESTED))


@pytest.fixture
def runner(site, tmp_path, monkeypatch, capsys):
    """Runs blocks in a folder of its own, where no other plugin is loaded."""
    monkeypatch.chdir(tmp_path)
    return lambda page: Runner(page, site, capsys)


@pytest.mark.slow
def test_a_scorer_grows_as_its_page_says(runner, monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    page = runner("write-a-scorer.md")
    install = page.install

    def install_and_load():
        install()
        monkeypatch.setenv("EDIFICE_TT_PLUGINS", "my-scorers")
        return ""

    page.install = install_and_load
    counts = page.run(PAGES["write-a-scorer.md"])
    assert counts == {"toml": 1, "python": 6, "sh": 4, "text": 3, "pycon": 7}


@pytest.mark.parametrize(
    "page", ["models.md", "rules.md", "confidence.md", "search.md", "statistics.md"]
)
def test_python_blocks_run(page, monkeypatch, tiny_lm, tmp_path):
    """With a tiny model in place of the real one."""
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    monkeypatch.chdir(tmp_path)
    python = [text for language, text in blocks(PAGES[page]) if language == "python"]
    assert python
    for block in python:
        exec(compile(block, page, "exec"), {})


def test_sessions_run(runner):
    page = runner("notebooks.md")
    sessions = [text for language, text in blocks(PAGES["notebooks.md"]) if language == "pycon"]
    assert len(sessions) == 7
    for session in sessions:
        page.session(session)


@pytest.mark.slow
def test_a_verifier_is_trained_as_its_page_says(runner, monkeypatch, tiny_lm, tmp_path):
    """With a tiny model in place of the real one, and marks that its hidden states tell."""
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    page = runner("train-a-scorer.md")
    shell, settings = page.shell, {"model": "tiny", "fingerprint": tiny_lm.fingerprint}

    def sample_or_run(line):
        if not line.startswith("edifice-tt generate"):
            return shell(line)
        asked = make_parser().parse_args(shlex.split(line)[1:])
        pools = []
        for i in range(8):
            ids = [(60 + (7 * i + 3 * j) % 40, 60 + (5 * i + j) % 40) for j in range(4)]
            made = (
                et.Candidate(j, "", x, (-1.0, -2.0), correct=x[1] % 2 == 0)
                for j, x in enumerate(ids)
            )
            pools.append(et.Pool(f"{asked.split} {i}", tuple(made), settings, str(i)))
        et.write_pools(asked.output, pools)
        return ""

    page.shell = sample_or_run
    counts = page.run(PAGES["train-a-scorer.md"])
    assert counts == {"sh": 5, "text": 3, "pycon": 1, "toml": 1, "python": 1}


# --- hooks.md


def test_every_hook_has_its_section_and_no_other_has():
    assert list(SECTIONS) == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_shown_and_tested(hook):
    assert inspect.getdoc(getattr(hookspecs, hook))
    plugin, session = blocks(SECTIONS[hook])
    assert plugin[0] == "python"
    assert f"@edifice_tt.hookimpl\ndef {hook}(" in plugin[1]
    assert session[0] == "pycon"
    assert f"\ndef test_{hook}_" in TESTS


@pytest.mark.slow
def test_the_examples_of_the_hooks_run(runner, monkeypatch):
    """In the order of the page, each a plugin of its own."""
    page, names = runner("hooks.md"), []
    for section in SECTIONS.values():
        name = re.search(r"```python\n# (\w+)\.py", section)[1]
        names.append(name)
        page.register(name, "1.0", {name: name})
        monkeypatch.setenv("EDIFICE_TT_PLUGINS", ",".join(names))
        assert page.run(section) == {"python": 1, "pycon": 1}
    assert len(names) == 9


# --- all pages


@pytest.mark.parametrize("page", PAGES)
def test_a_page_links_to_another(page):
    assert re.search(r"\]\((?!http)([^)#]+)\)", PAGES[page])


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
    if DOCS in path.parents:  # the site has these pages and no others
        assert [link for link in links if DOCS not in (path.parent / link).resolve().parents] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page):
    named = re.findall(r"`((?:edifice_tt|tests|examples|benchmarks|plugins)/[^`\s]+)`", PAGES[page])
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", SITE, ids=lambda path: str(path.relative_to(DOCS)))
def test_a_page_says_first_whom_it_is_for(path):
    assert re.match(r"# .+\n\nThis page is for ", path.read_text())


def test_every_public_name_is_on_one_page_of_the_reference():
    pages = "".join(path.read_text() for path in SITE if path.parent.name == "api")
    shown = re.findall(r"^::: edifice_tt\.(\w+)$", pages, re.M)
    assert sorted(shown) == sorted([*et.__all__, "testing"])


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page):
    named = re.findall(r"`(test_(?!time_compute`)\w+)`", PAGES[page])
    assert [name for name in named if f"\ndef {name}(" not in TESTS] == []
    assert named or page != "trust.md"


# --- statistics.md


PROMISES = {"determinism.md", "devices.md", "statistics.md", "trust.md"}  # sentence by sentence


@pytest.mark.parametrize("page", sorted({*PAGES} - PROMISES))
def test_names_of_tests_stand_at_the_end_of_a_section(page):
    """Not in a sentence, where they would stop its reader."""
    assert re.findall(r"\(`test_(?!time_compute`)\w+`[^)]*\)", PAGES[page]) == []


def test_every_sentence_and_every_row_of_the_statistics_names_its_test():
    page = PAGES["statistics.md"]
    items = re.findall(r"^- .*?(?=^- |^$|\Z)", page, re.M | re.S)
    assert len(items) > 25
    assert [item for item in items if not re.search(r"\(`test_\w+`", item)] == []
    rows = re.findall(r"^\| (?!rule \||number \|)(.*) \|$", page, re.M)
    assert len(rows) == 12
    assert [row for row in rows if not re.search(r"\| `test_\w+`", row)] == []


# --- apple-silicon.md and cuda.md

MACHINES = ("apple-silicon.md", "cuda.md")


@pytest.mark.parametrize("page", MACHINES)
def test_five_commands_lead_to_an_answer(page):
    language, commands = blocks(PAGES[page])[0]
    assert language == "sh"
    assert len(commands.splitlines()) == 5
    assert '.venv/bin/edifice-tt best-of "' in commands.splitlines()[-1]


@pytest.mark.parametrize(
    "page",
    [*MACHINES, "command-line.md", "determinism.md", "search.md", "shipped-verifier.md"],
)
@pytest.mark.first(3)
def test_commands_are_real(page):
    shell = [text for language, text in blocks(PAGES[page]) if language == "sh"]
    found = [line for text in shell for line in text.splitlines() if "edifice-tt " in line]
    if page in (*MACHINES, "determinism.md"):
        found += re.findall(r"`(edifice-tt [^`]+)`", PAGES[page])
    assert found
    for line in found:
        make_parser().parse_args(shlex.split(line.partition("edifice-tt ")[2], comments=True))


@pytest.mark.parametrize("page", MACHINES)
def test_what_was_not_run_is_said_in_so_many_words(page):
    assert re.search(r"\*\*Nothing here has been run on an? \w+.*\*\*", PAGES[page])
    assert "doctor" in PAGES[page]
    assert "--json" in PAGES[page]


def test_the_table_of_a_mac_is_computed_from_the_catalog():
    """Weights as in the file, and keys and values of 2048 tokens, or of 8 times 1024."""
    rows = re.findall(r"^\| `([\w.:]+)` \| (\w+) \| (.*) \|$", PAGES["apple-silicon.md"], re.M)
    assert len(rows) == 6
    for name, blocks_of, cells in rows:
        model = catalog.find(name)
        assert blocks_of in model.source
        text = model.memory_bytes - model.size_bytes
        sizes = [model.size_bytes + count * text for count in (0, 1, 4)]
        shares = [100 * sizes[2] / (gib * 2**30) for gib in (8, 16, 24)]
        told = [f"{size / 1e9:.1f} GB" for size in sizes] + [f"{share:.0f} %" for share in shares]
        assert cells.split(" | ") == told, name


def test_options_in_the_pages_are_real():
    """`--name` and `--name VALUE` in running text."""
    for page in MACHINES:
        given = set(re.findall(r"`(--[a-z-]+)", PAGES[page]))
        help_of = make_parser().parse_args  # the parser knows them all, or exits
        for option in given:
            value = {
                "--dtype": "float16",
                "--batch-size": "8",
                "--activations": "int8",
                "--kv-dtype": "float16",
                "--template-option": "enable_thinking=false",
            }.get(option, "CPU")
            help_of(["generate", "q", option, value])


# --- devices.md


def test_the_tests_that_hold_what_is_said_of_devices_are_there():
    rows = re.findall(r"^\| ([A-Z][\w, -]+) \| (.*) \| (.*) \|$", PAGES["devices.md"], re.M)
    assert {"METAL", "CUDA", "WEBGPU", "CL"} < {device for device, _, _ in rows}
    for device, said, held_by in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)`", held_by)
        assert all((DOCS.parent / path).exists() for path in named), device
        assert named or "tests/devices" in held_by or said.startswith("nothing"), device
