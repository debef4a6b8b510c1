"""What is typed wrong, or not at all: guesses, help and its examples, tables of 80 columns."""

import shlex

import pytest
from commands import runner

from edifice_tt import cli
from edifice_tt.cli import terminal
from edifice_tt.cli.examples import EXAMPLES
from edifice_tt.contract.plugins import OWN_NAME


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setenv("COLUMNS", "80")
    return runner(capsys)


def commands():
    (found,) = (one for one in cli.make_parser()._actions if one.metavar == "COMMAND")
    return found


OWN = [name for name, owner in commands().owners.items() if owner == OWN_NAME]


def test_without_a_command_the_help_is_shown(run):
    assert run() == run("--help")
    status, out, err = run()
    assert (status, err) == (0, "")
    assert "sample, score, select" in out


@pytest.mark.parametrize(
    ("argv", "guess"),
    [
        (["lst"], "unknown command 'lst'; did you mean 'list'"),
        (["zzz"], "unknown command 'zzz'; known: agreement, best-of, "),
        (["best-of", "q", "--modle", "x"], "unknown option --modle; did you mean --model?"),
        (["best-of", "q", "--modle=x"], "unknown option --modle; did you mean --model?"),
        (["generate", "q", "--zzz"], "unknown option --zzz; see"),
        (["generate", "q", "--samples", "4"], "unknown option --samples; did you mean -n?"),
        (["generate", "--problem", "p"], "unknown option --problem; did you mean --problems?"),
        (["generate", "q", "--max_tokens", "4"], "--max_tokens; did you mean --max-tokens?"),
        (
            ["score", "p", "--rule", "majority"],
            "--rule; it is an option of best-of, chat, select, c",
        ),
        (
            ["score", "p", "--answer", "number"],
            "--answer; it is an option of best-of, generate, search, ",
        ),
        (["train", "p", "--outptu", "f"], "unknown option --outptu; did you mean --output?"),
        (["curve", "p", "--cut-off", "vot"], "unknown value 'vot'; did you mean 'vote'?"),
        (["select", "p", "--rule", "majorty"], "did you mean 'majority'"),
        (["generate", "--task", "add", "--split", "tset", "-o", "p"], "did you mean 'test'"),
        (["generate", "--task", "larges", "-o", "new"], "did you mean 'largest'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.first(3)
def test_what_is_misspelt_is_told_with_the_nearest_name(run, tmp_path, monkeypatch, argv, guess):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert guess in err


def test_an_argument_that_is_missing_is_told_where_no_option_is_misspelt(run):
    _, _, err = run("train", "p")
    assert "the following arguments are required: -o/--output" in err
    _, _, err = run("train", "p", "--", "--outptu")
    assert "are required: -o/--output" in err


@pytest.mark.parametrize("name", OWN)
@pytest.mark.first(3)
def test_every_help_ends_with_examples_and_every_example_parses(run, name):
    status, out, err = run(name, "--help")
    assert (status, err) == (0, "")
    *_, examples = out.partition("\nexamples:\n")
    assert [line.strip() for line in examples.splitlines()] == list(EXAMPLES[name])
    assert examples
    for example in EXAMPLES[name]:
        program, *argv = shlex.split(example)
        assert (program, argv[0]) == ("edifice-tt", name)
        assert len(example) <= 78
        assert cli.make_parser().parse_args(argv).command == name


def test_no_example_is_of_a_command_that_is_not_there():
    assert EXAMPLES.keys() == set(OWN)


@pytest.mark.parametrize("name", ["best-of", "generate", "train", "layers", "score", "doctor"])
def test_m_is_short_for_model_and_n_may_be_written_long(name):
    (model,) = (one for one in commands().choices[name]._actions if one.dest == "model")
    assert model.option_strings == ["-m", "--model"]
    parsed = cli.make_parser().parse_args(["generate", "q", "-m", "qwen3:0.6b", "--n", "3"])
    assert (parsed.model, parsed.n) == ("qwen3:0.6b", 3)


@pytest.mark.parametrize("columns", [80, 70])
@pytest.mark.parametrize("name", ["list", "plugins", "models", "tasks"])
@pytest.mark.first(3)
def test_a_table_is_as_wide_as_the_terminal(run, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, _ = run(name)
    assert status == 0
    assert max(map(len, out.splitlines())) <= columns


def test_a_table_wraps_words_breaks_none_and_leaves_the_first_column(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name, path = "a-name-of-20-letters", "/a/path/without/any/space/in/it"
    rows = [(name, "one two three four five six seven"), ("b", path)]
    assert terminal.table(("", ""), rows).splitlines() == [
        f"{name}  one two three four",
        " " * 22 + "five six seven",
        f"{'b':20}  {path}",
    ]
    monkeypatch.setenv("COLUMNS", "80")
    assert len(terminal.table(("", ""), rows).splitlines()) == 2
