"""How far long work is: told every ten seconds where no terminal is, with a clock of our own."""

import sys
from types import SimpleNamespace

import pytest

from edifice_tt.cli import terminal
from edifice_tt.machine import meter


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(meter, "clock", lambda: now.seconds)
    return now


def event(end=None):
    return SimpleNamespace(finish_reason=end)


def waits(clock, times):
    """An event that comes the last of so many times that somebody waits; each moves the clock."""
    asked = []

    def wait(seconds):
        asked.append(seconds)
        clock.seconds += seconds
        return len(asked) == times

    return SimpleNamespace(wait=wait, asked=asked)


def watch(monkeypatch):
    """Let a person watch standard error."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "50")


def test_a_line_comes_every_ten_seconds(clock, capsys):
    for _ in terminal.progress(range(7), 7, "reading"):
        clock.seconds += 4
    assert capsys.readouterr().err == (
        "3/7 problems, reading, about 16 s left\n6/7 problems, reading, about 4 s left\n"
    )


def test_short_work_is_silent(clock, capsys):
    for _ in terminal.progress(range(7), 7, "reading"):
        clock.seconds += 1
    assert capsys.readouterr().err == ""


def test_the_rate_counts_tokens_that_were_made(clock, capsys):
    """Half of the candidates end after one token of eight; nobody makes the others."""
    with terminal.sampling_progress(4) as on_token:
        for end in ("eos", "stop", None, None, None, None, None, None, "length"):
            clock.seconds += 2
            on_token(event(end))
    assert (on_token.tokens, on_token.made, on_token.cut_off, on_token.seconds) == (9, 3, 1, 18)
    assert capsys.readouterr().err == "2/4 finished, 0.5 tokens per second, about 10 s left\n"


def test_what_was_done_before_does_not_count_for_the_pace(clock, capsys):
    with terminal.sampling_progress(3, done=100) as on_token:
        clock.seconds = 50
        on_token(event("eos"))
    assert capsys.readouterr().err == "101/103 finished, 0.0 tokens per second, about 2 min left\n"


def test_nobody_guesses_before_anything_is_finished(clock, capsys):
    with terminal.sampling_progress(3) as on_token:
        clock.seconds = 10
        on_token(event())
    assert capsys.readouterr().err == "0/3 finished, 0.1 tokens per second\n"


def test_on_a_terminal_one_line_moves_and_fits(clock, monkeypatch, capsys):
    watch(monkeypatch)
    for _ in terminal.progress(range(3), 3, "reading " + "long " * 20):
        clock.seconds += 1
    shown = capsys.readouterr().err
    assert shown.endswith("\n")
    assert shown.count("\n") == 1
    states = shown.rstrip("\n").split("\r\x1b[K")[1:]
    assert [state[:3] for state in states] == ["0/3", "1/3", "2/3", "3/3", "3/3"]
    assert max(map(len, states)) == 49


def test_until_a_first_token_a_line_says_that_kernels_are_compiled(clock, monkeypatch, capsys):
    watch(monkeypatch)
    with terminal.sampling_progress(3) as on_token:
        states = [capsys.readouterr().err]
        clock.seconds += 20
        on_token(event())
        states.append(capsys.readouterr().err)
    assert "0/3 finished, compiling kernels" in states[0]
    assert "compiling" not in states[1]


def test_without_a_terminal_that_line_comes_every_ten_seconds(clock, capsys):
    on_token = terminal.sampling_progress(3)
    on_token._ended = waits(clock, 3)
    on_token._watch()
    first = "0/3 finished, compiling kernels, if no earlier run kept them, for"
    assert capsys.readouterr().err == f"{first} 10 s\n{first} 20 s\n"


def test_where_no_token_comes_for_long_a_line_says_for_how_long(clock, monkeypatch, capsys):
    """The second step has another shape than the prompt, so kernels are compiled again."""
    watch(monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    on_token = terminal.sampling_progress(3)
    clock.seconds = 5
    on_token(event())
    capsys.readouterr()
    on_token._ended = waits(clock, 5)
    on_token._watch()
    states = capsys.readouterr().err.split("\r\x1b[K")[1:]
    what = "waiting (compiling kernels?), for"
    assert states == [f"0/3 finished, 0.1 tokens per second, {what} {n} s" for n in (3, 4)]


def test_a_meter_watches_until_its_end(monkeypatch, capsys):
    monkeypatch.setattr(meter, "SECONDS", 0.001)
    with terminal.sampling_progress(3) as on_token:
        while not (said := capsys.readouterr().err):
            pass
    assert said.startswith("0/3 finished, compiling kernels")
    assert not on_token._watching.is_alive()


@pytest.mark.parametrize(
    ("seconds", "words"), [(7.4, "7 s"), (99, "99 s"), (130, "2 min"), (9000, "2 h 30 min")]
)
def test_times_are_told_in_words(seconds, words):
    assert meter._words(seconds) == words


def test_what_is_said_now_and_then_is_said_every_ten_seconds(clock, capsys):
    say = terminal.say_now_and_then()
    for i in range(25):
        clock.seconds = float(i)
        say(f"at {i}")
    assert capsys.readouterr().err == "at 10\nat 20\n"


def test_what_is_said_now_and_then_is_always_said_on_a_terminal(clock, monkeypatch, capsys):
    watch(monkeypatch)
    say = terminal.say_now_and_then()
    say("one")
    say("two")
    assert capsys.readouterr().err == "one\ntwo\n"


def test_work_of_unknown_length_says_every_ten_seconds_that_it_goes_on(clock, capsys):
    working = meter.Working()
    working._ended = waits(clock, 3)
    working._tell("measuring", clock.seconds)
    assert working._ended.asked == [10, 10, 10]
    assert capsys.readouterr().err == "measuring, for 10 s\nmeasuring, for 20 s\n"


def test_work_of_unknown_length_that_ends_soon_is_silent(capsys):
    with meter.Working() as working:
        working.begin("measuring")
    assert capsys.readouterr().err == ""
    assert working._ended.is_set()


def test_warnings_that_repeat_per_problem_are_one_line_with_a_count(capsys):
    warnings = terminal.Warnings()
    for i in range(1200):
        warnings(UserWarning(f"problem 'p{i}' has {i} of 9 candidates"))
    warnings(UserWarning("something else"))
    warnings(UserWarning("something else"))
    warnings(UserWarning("problem 'x' is odd"))
    assert capsys.readouterr().err == "edifice-tt: warning: something else\n"
    warnings.close()
    assert capsys.readouterr().err == (
        "edifice-tt: warning: problem 'p0' has 0 of 9 candidates (and 1,199 more like it)\n"
        "edifice-tt: warning: problem 'x' is odd\n"
    )
    warnings.close()
    assert capsys.readouterr().err == ""
