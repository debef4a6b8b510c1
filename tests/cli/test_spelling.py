"""Errors at the command line spell options as they are typed there."""

import pytest

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.cli.spelling import as_typed

GENERATE = ["generate", "q"]


def spell(message, argv=GENERATE):
    return as_typed(message, cli.make_parser().parse_args(argv))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "use batch_size=16, max_tokens=64 or dtype=float16",
            "use --batch-size 16, --max-tokens 64 or --dtype float16",
        ),
        ("n=0 must be at least 1", "-n 0 must be at least 1"),
        ("with n=4 all; use n=1.", "with -n 4 all; use -n 1."),
        (
            "activations='int8' reads, so dtype='float16'",
            "--activations int8 reads, so --dtype float16",
        ),
        ("devices=['CPU', 'CPU'] name one twice", "--devices CPU,CPU name one twice"),
        ("resume=True completes it", "--resume completes it"),
    ],
)
@pytest.mark.first(3)
def test_options_are_spelled_as_they_are_typed(message, expected):
    assert spell(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        "vocab_size=5 is no option of this command",
        "problem '0' has gold=None, given '7'",
        "name what to compare, such as answer='number' (--answer number)",
        "search(lm, n=4) is a call, and beam:n=4 an option of something else",
        "answer=None",
        "resume=False",
        "lists in scorer_options={'n': 4}",
    ],
)
def test_all_else_stays_as_it_is(message):
    argv = [*GENERATE, "--answer", "number"]
    assert spell(message, argv) == message


def test_a_name_that_was_typed_with_its_equals_sign_stays():
    """It is an option of the rule, which has the same name."""
    argv = ["best-of", "q", "--rule", "random", "--option", "seed=-1"]
    assert spell("seed=-1 must be a whole number", argv) == "seed=-1 must be a whole number"


def test_an_error_is_spelled_for_the_command_line_there_and_for_python_in_python(
    monkeypatch, capsys
):
    def load(*_, **__):
        raise et.EdificeError("sampling needs more memory; use batch_size=16")

    monkeypatch.setattr(et, "load_pretrained", load, raising=False)
    assert cli.main(GENERATE) == 2
    assert capsys.readouterr().err.endswith("needs more memory; use --batch-size 16\n")
    with pytest.raises(et.EdificeError, match="use batch_size=16"):
        et.load_pretrained("x")
