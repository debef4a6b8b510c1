"""A conversation on the command line: turns, commands, and what Ctrl-C does to it."""

import io
import json
import os
import re
import signal
import sys
from types import SimpleNamespace

import pytest
from commands import runner

import edifice_tt as et
from edifice_tt.cli import leader, terminal
from edifice_tt.machine import meter
from edifice_tt.sampling.generate import Event

FEW = ("chat", "-m", "tiny", "-n", "3", "--max-tokens", "5")


@pytest.fixture
def talk(capsys, monkeypatch, tiny_lm):
    """Say these lines; the model called `tiny` knows chats."""
    monkeypatch.setenv("EDIFICE_TT_PLUGINS", "")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    run = runner(capsys)

    def talk(*lines, argv=FEW):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return run(*argv)

    return talk


@pytest.fixture
def asked(monkeypatch):
    """What was asked in each turn; answers are `a0`, `a1`, `b0`, ...; the second is likeliest."""
    prompts = []

    def generate(lm, messages, *, n, problem, on_token, on_finish, **_):
        prompts.append([(one["role"], one["content"]) for one in messages])
        made = []
        for i in range(n):
            text = f"{'abcde'[len(prompts) - 1]}{i}"
            on_token(Event(i, 7, text, None))
            made.append(et.Candidate(i, text, (7,), (-0.5 if i == 1 else -1.0,), "eos"))
            on_finish(made[-1])
        chat = [dict(one) for one in messages]
        return et.Pool("q", tuple(made), {"n": n}, problem, messages=chat)

    monkeypatch.setattr(et, "generate", generate, raising=False)
    return prompts


def test_lines_are_turns_and_each_turn_sees_those_before(talk, asked):
    status, out, err = talk("Hi", "", "And?", argv=(*FEW, "--system", "Be brief."))
    assert (status, out, err) == (0, "a1\nb1\n", "")
    first = [("system", "Be brief."), ("user", "Hi")]
    assert asked == [first, [*first, ("assistant", "a1"), ("user", "And?")]]


def test_show_lists_all_candidates_and_pick_goes_on_with_another(talk, asked):
    status, out, _ = talk("Hi", "/show", "/pick 2", "/show", "And?")
    assert status == 0
    assert re.findall(r"^> +(\d) ", out, re.M) == ["1", "2"]
    assert re.search(r"^>  1  -0\.5000 .* a1$", out, re.M)
    assert re.search(r"^   2  -1\.0000 .* a2$", out, re.M)
    assert out.endswith("\nb1\n")
    assert asked[1] == [("user", "Hi"), ("assistant", "a2"), ("user", "And?")]


def test_reset_forgets_and_quit_ends(talk, asked):
    status, out, _ = talk("Hi", "/reset", "New", "/quit", "Never")
    assert (status, out) == (0, "a1\nb1\n")
    assert asked == [[("user", "Hi")], [("user", "New")]]
    assert "/pick K" in talk("/help")[1]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["/shwo"], ["unknown command '/shwo'", "did you mean '/show'"]),
        (["/show"], ["there is no answer yet"]),
        (["Hi", "/reset", "/pick 1"], ["there is no answer yet"]),
        (["Hi", "/pick 3"], ["unknown candidate '3'", "known: 0, 1, 2; /show lists them"]),
        (["Hi", "/pick"], ["unknown candidate ''"]),
    ],
    ids=str,
)
def test_a_mistake_ends_what_no_person_types(talk, asked, lines, words):
    status, _, err = talk(*lines, "Never")
    assert (status, err.count("\n")) == (2, 1)
    for one in words:
        assert one in err
    assert [("user", "Never")] not in [prompt[-1:] for prompt in asked]


def test_a_mistake_of_a_person_is_told_and_the_talk_goes_on(talk, asked, monkeypatch):
    monkeypatch.setattr(terminal, "asks", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt="": sys.stdin.readline()[:-1] or end())
    status, out, err = talk("/shwo", "Hi")
    assert (status, out) == (0, "a1\n")
    assert "did you mean '/show'" in err


def end():
    raise EOFError


def test_every_turn_is_kept_in_the_file_under_a_number_of_its_own(talk, tmp_path, tiny_lm):
    path = tmp_path / "talk.jsonl"
    assert talk("Hi", "/reset", "Hi", argv=(*FEW, "--temperature", "9", "-o", path))[0] == 0
    first, second = et.read_pools(path)
    assert (first.problem, second.problem) == ("1", "2")
    assert [dict(one) for one in first.messages] == [{"role": "user", "content": "Hi"}]
    assert (len(first), first.scorers) == (3, ["logprob"])
    assert [c.text for c in first] != [c.text for c in second]  # a turn has draws of its own
    status, _, err = talk("Hi", argv=(*FEW, "-o", path))
    assert (status, "exists; use --force" in err) == (2, True)


def test_a_kept_talk_shows_the_answer_of_each_turn(talk, tmp_path, asked):
    path = tmp_path / "talk"
    talk("Hi", "/pick 2", "And?", "/reset", "Hi", "/pick 0", argv=(*FEW, "-o", path))
    assert [pool.picked for pool in et.read_pools(path)] == [2, 1, 0]
    assert [pool.chosen.text for pool in et.read_pools(path)] == ["a2", "b1", "c0"]
    marked = []
    for turn in ("1", "2", "3"):
        lines = talk(argv=("show", path, turn))[1].splitlines()
        marked.append([line.split()[0] for line in lines if "the answer of this turn" in line])
    assert marked == [["#2"], ["#1"], ["#0"]]


def test_the_prompt_of_a_turn_begins_with_that_of_the_turn_before(talk, tmp_path):
    """So the engine need not read it again."""
    talk("Hi", "And?", argv=(*FEW, "-o", tmp_path / "talk"))
    first, second = et.read_pools(tmp_path / "talk")
    assert str(second.prompt).startswith(str(first.prompt))


def test_as_json_each_turn_is_one_value(talk, asked):
    _, out, _ = talk("Hi", "And?", argv=(*FEW, "--json"))
    decoder, found = json.JSONDecoder(), []
    while out.strip():
        value, stop = decoder.raw_decode(out)
        found.append(value["choice"]["text"])
        out = out[stop:].lstrip()
    assert found == ["a1", "b1"]


def interrupting(monkeypatch, number, finished=0, turn=1):
    """That signal comes while the turn is sampled, with so many candidates finished."""
    generate, turns = et.generate, []

    def interrupted(lm, messages, **options):
        turns.append(messages)
        if len(turns) != turn:
            return generate(lm, messages, **options)
        pool = generate(lm, messages, **options)
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        except KeyboardInterrupt:
            if not finished:
                raise
        kept = pool.candidates[:finished]
        return et.Pool("q", kept, {"n": 3}, pool.problem, messages=messages, interrupted=True)

    monkeypatch.setattr(et, "generate", interrupted, raising=False)


def test_ctrl_c_before_an_answer_leaves_the_turn_out(talk, asked, monkeypatch):
    interrupting(monkeypatch, signal.SIGINT, turn=2)
    status, out, err = talk("Hi", "Lost", "And?")
    assert (status, out) == (0, "a1\nc1\n")
    assert err == "edifice-tt: interrupted before an answer; the turn is left out\n"
    assert asked[2] == [("user", "Hi"), ("assistant", "a1"), ("user", "And?")]


def test_ctrl_c_behind_some_answers_chooses_among_these(talk, asked, monkeypatch):
    interrupting(monkeypatch, signal.SIGINT, finished=1)
    status, out, err = talk("Hi", "And?")
    assert (status, out) == (0, "a0\nb1\n")
    assert "interrupted; 1 candidates are finished" in err


@pytest.mark.parametrize("finished", [0, 1])
def test_sigterm_ends_it_all_the_same(talk, asked, monkeypatch, finished):
    interrupting(monkeypatch, signal.SIGTERM, finished)
    status, out, _ = talk("Hi", "Never")
    assert (status, out) == (143, "a0\n" * finished)
    assert len(asked) == 1


def test_where_the_rule_chooses_none_the_turn_can_be_picked(talk, asked, monkeypatch):
    monkeypatch.setattr(terminal, "asks", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt="": sys.stdin.readline()[:-1] or end())
    argv = (*FEW, "--rule", "majority", "--answer", "boxed")
    status, out, err = talk("Hi", "/show", "/pick 2", "And?", "Or?", argv=argv)
    assert (status, err.count("no candidate has an answer")) == (0, 3)
    assert out.endswith("\na2\n")
    assert asked[1] == [*asked[2][:-1], ("user", "And?")]  # not picked, so it was left out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((*FEW, "--raw"), "--raw is for a text that goes on"),
        ((*FEW, "--rule", "oracle"), "which chat is not told"),
        ((*FEW, "--rule", "majorty"), "did you mean 'majority'"),
    ],
)
def test_what_no_chat_can_be_is_told_before_a_model_is_loaded(talk, monkeypatch, argv, words):
    monkeypatch.setattr(et, "load_pretrained", None, raising=False)
    status, out, err = talk("Hi", argv=argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


# --- the leader


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 20 columns and 5 rows, on which drawing takes no time."""
    out = io.StringIO()
    out.isatty = lambda: True
    for room in (leader, terminal, meter):  # pytest gives each test a stream of its own
        monkeypatch.setattr(room, "sys", SimpleNamespace(stderr=out))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "5")
    monkeypatch.setattr(leader, "_EACH", 0)
    return out


def drawn(screen):
    """What stands on the screen: what was printed since it was cleared last."""
    last = re.split(r"\x1b\[\d+A\r\x1b\[J", screen.getvalue())[-1]
    return re.sub(r"\x1b\[\d*m", "", last).splitlines()


def test_the_leaders_text_is_drawn_and_cleared(screen):
    with leader.Leader(2) as one:
        one(Event(1, 7, "the first to", None))
        before = screen.getvalue()
        one(Event(0, 7, "another", None))
        assert screen.getvalue() == before
        assert drawn(screen) == ["the first to"]
        one(Event(1, 7, " begin, in lines of 19", None))
        assert drawn(screen) == ["the first to begin,", "in lines of 19"]
        one(Event(1, 7, "\n3\n4\n5 \x1b[2J", None))
        assert drawn(screen) == ["3", "4", r"5 \x1b[2J"]  # as much as fits
        one.finished(et.Candidate(0, "another", (7,), (-2.0,)))
        one(Event(0, 7, " one", "eos"))
        assert drawn(screen) == ["another one"]
        one.finished(et.Candidate(1, "", (7, 7), (-1.0, -2.0)))
        one(Event(1, 7, "\nlast", "eos"))
        assert drawn(screen) == ["4", r"5 \x1b[2J", "last"]
    assert drawn(screen) == []


@pytest.mark.parametrize("where", ["dumb", "file"])
def test_where_nothing_can_be_drawn_again_no_text_is_written(screen, monkeypatch, where):
    if where == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    else:
        screen.isatty = lambda: False
    with leader.Leader(1) as one:
        one(Event(0, 7, "secret", "eos"))
    assert "secret" not in screen.getvalue()
    assert "\x1b[J" not in screen.getvalue()
