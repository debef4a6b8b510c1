"""Where a command prints and how it is ended: nothing is lost by it, and no terminal is led astray.

What was made is saved before it is shown; what cannot be shown is escaped.
"""

import ast
import io
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from fake_plugins import open_site

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.cli.terminal import visible

site = pytest.fixture(open_site, name="site")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and streams as POSIX has them")
FEW = ["--model", "tiny", "-n", "3", "--max-tokens", "4"]
# Each of them moves the cursor, names the window, or turns the line around.
HARM = "\x1b]0;title\x07\x1b[2J\r\x9b31mred\u202eder\x00\x08"
SHOWN = "\\x1b]0;title\\x07\\x1b[2J\\r\\x9b31mred\\u202eder\\x00\\x08"


@pytest.fixture
def lm(monkeypatch, tiny_lm):
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)


@pytest.fixture
def pool(tmp_path):
    """A pool file whose every text would act on a terminal; two problems with right answers."""
    pools = [
        et.Pool(
            "q" + HARM,
            tuple(et.Candidate(i, f"{i}{HARM}", token_logprobs=(-1.0,)) for i in range(3)),
            problem=name + HARM,
            gold="1" + HARM,
        )
        for name in ("one", "two")
    ]
    et.write_pools(tmp_path / "pool", pools)
    return tmp_path / "pool"


def run(capsys, *argv):
    capsys.readouterr()
    try:
        status = cli.main(list(map(str, argv)))
    except SystemExit as error:
        status = error.code
    return status, *capsys.readouterr()


def harmless(text):
    return text.isascii() and set(text) <= {"\n", *map(chr, range(32, 127))}


# --- what acts on a terminal


def test_all_that_could_act_on_a_terminal_is_escaped_and_nothing_else():
    odd = [chr(i) for i in range(0x110000) if visible(chr(i)) != chr(i)]
    controls = [chr(i) for i in (*range(32), *range(0x7F, 0xA0)) if chr(i) not in "\n\t"]
    lines = [*map(chr, range(0x2028, 0x202F)), *map(chr, range(0x2066, 0x206A))]
    assert odd == [*controls, *lines, *map(chr, range(0xD800, 0xE000))]
    kept = "a\tb\n\u00e9 \u05d0\u200d \u4f60\u597d \U0001f600"
    assert visible(kept) == kept
    assert visible(HARM) == SHOWN


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(
    "command",
    [["select", "--rule", "majority"], ["score"], ["grade", "--answer", "text"]],
    ids=lambda command: command[0],
)
def test_what_a_pool_holds_does_nothing_to_a_terminal(capsys, pool, command, width):
    if width == 1:
        et.write_pools(pool, list(et.read_pools(pool))[:1])
    status, out, err = run(capsys, *command[:1], pool, *command[1:])
    assert status == 0
    assert harmless(out + err)
    alone = command[0] == "select" and width == 1
    assert err.startswith("edifice-tt: votes: 0" if alone else "")
    assert err.count("\n") == alone
    if command[0] == "select":
        assert SHOWN[:20] in out


def test_json_is_not_escaped(capsys, pool):
    status, out, _ = run(capsys, "select", pool, "--rule", "majority", "--json")
    assert status == 0
    assert [one["choice"]["text"] for one in json.loads(out)] == [f"0{HARM}"] * 2


@posix
def test_errors_and_warnings_do_nothing_to_a_terminal(capsys, pool, tmp_path):
    strange = tmp_path / ("x" + HARM.replace("\x00", ""))
    for argv in (
        ["select", strange],
        ["select", pool, "--rule", HARM],
        ["select", pool, "--scorer", HARM],
        ["score", pool, "--scorer", HARM],
        ["import-pool", pool, "-o", strange / "no"],
        ["list", HARM],
        [HARM],
    ):
        status, out, err = run(capsys, *argv)
        assert (status, out) == (2, "")
        assert harmless(err), argv
        assert err.count("\n") == 1
    with pool.open("ab") as file:
        file.write(b'{"kind')  # cut off
    pool.rename(strange)
    status, _, err = run(capsys, "grade", strange, "--answer", "text")
    assert (status, harmless(err), "cut off" in err) == (0, True, True)


def test_a_sampled_answer_does_nothing_to_a_terminal(capsys, monkeypatch, lm):
    harmful = et.Pool("q", (et.Candidate(0, HARM, (1,), (-1.0,), "eos"),))
    monkeypatch.setattr(et, "generate", lambda *_, **__: harmful, raising=False)
    for command in ("best-of", "generate"):
        status, out, _ = run(capsys, command, "q", *FEW)
        assert (status, harmless(out), "\\x1b]0;title" in out) == (0, True, True)


def test_commands_print_through_the_terminal_alone():
    """It escapes, and knows where results go while others may print."""
    rooms = sorted(Path(cli.__file__).parent.glob("*.py"))
    # What is closed cannot be told by the terminal, which knows no closed streams.
    for room in rooms:
        if room.name in ("__init__.py", "terminal.py"):
            continue
        names = [
            node.func.id
            for node in ast.walk(ast.parse(room.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        assert "print" not in names, room
    assert len(rooms) > 5


# --- saved first, then shown


class Gone(io.RawIOBase):
    """A standard output that nobody reads, or a full disk."""

    def __init__(self, error):
        self.error = error

    def writable(self):
        return True

    def write(self, _):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(BrokenPipeError(32, "gone"), 0), (OSError(28, "No space left"), 2)]
)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_pool_is_saved_whatever_becomes_of_standard_output(
    monkeypatch, capsys, tmp_path, lm, error, status, more
):
    path = tmp_path / "pool"
    with monkeypatch.context() as patch:
        stream = io.TextIOWrapper(Gone(error), write_through=True)
        patch.setattr(sys, "stdout", stream)
        assert cli.main(["best-of", "q", *FEW, *more, "-o", str(path)]) == status
    assert len(et.Pool.load(path)) == 3
    assert ("No space left" in capsys.readouterr().err) == (status == 2)


def test_what_was_sampled_is_shown_when_it_cannot_be_saved(monkeypatch, capsys, tmp_path, lm):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "pool")

    monkeypatch.setattr(et, "write_pools", full, raising=False)
    status, out, err = run(capsys, "best-of", "q", *FEW, "--json", "-o", tmp_path / "pool")
    assert (status, err) == (2, "edifice-tt: error: pool: No space left on device\n")
    assert len(json.loads(out)["pool"]["candidates"]) == 3


def test_a_pool_that_appeared_while_sampling_is_kept(monkeypatch, capsys, tmp_path, lm):
    path, generate = tmp_path / "pool", et.generate

    def late(*given, **options):
        path.write_bytes(b"theirs")
        return generate(*given, **options)

    monkeypatch.setattr(et, "generate", late, raising=False)
    status, out, err = run(capsys, "best-of", "q", *FEW, "--json", "-o", path)
    assert (status, path.read_bytes(), "File exists" in err) == (2, b"theirs", True)
    assert len(json.loads(out)["pool"]["candidates"]) == 3


# --- other encodings


@pytest.fixture
def stdout(monkeypatch):
    """Standard output in an encoding; the bytes that came."""

    def open_as(encoding):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, errors="strict"))
        return raw

    return open_as


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "koi8-r"])
def test_what_an_encoding_lacks_is_escaped(tmp_path, stdout, encoding):
    et.Pool("q", (et.Candidate(0, "\u2603 \U0001f600"),)).save(tmp_path / "pool")
    raw = stdout(encoding)
    assert cli.main(["select", str(tmp_path / "pool"), "--rule", "majority"]) == 0
    assert raw.getvalue().decode(encoding) == "\\u2603 \\U0001f600\n"
    raw = stdout(encoding)
    assert cli.main(["select", str(tmp_path / "pool"), "--rule", "majority", "--json"]) == 0
    assert json.loads(raw.getvalue().decode("ascii"))[0]["choice"]["text"] == "\u2603 \U0001f600"


@posix
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_path_that_is_no_utf_8_is_shown_escaped(pool, stdout, more):
    path = os.fsdecode(os.fsencode(pool) + b"\xff")
    pool.rename(path)
    raw = stdout("utf-8")
    assert cli.main(["grade", path, "--answer", "text", *more]) == 0
    assert b"pool\\udcff" in raw.getvalue()
    if more:
        assert json.loads(raw.getvalue())["pool"] == path


@pytest.mark.parametrize("given", ["argument", "stdin"])
def test_a_prompt_that_is_no_utf_8_is_one_line(monkeypatch, capsys, lm, given):
    bad = b"caf\xe9"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bad), "utf-8"))
    prompt = "-" if given == "stdin" else os.fsdecode(bad)
    status, out, err = run(capsys, "generate", prompt, *FEW)
    assert (status, out) == (2, "")
    assert err == "edifice-tt: error: the prompt is no UTF-8 text; convert it\n"


# --- ended from outside


@pytest.fixture
def others(tmp_path, pool):
    """What commands read beside the pool."""
    lines = [{"problem": "a", "completions": ["1"]}, {"problem": "b", "completions": ["2"]}]
    (tmp_path / "lines").write_text("".join(json.dumps(line) + "\n" for line in lines))


@posix
@pytest.mark.parametrize(
    ("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)], ids=str
)
@pytest.mark.parametrize(
    "argv",
    [
        ["grade", "pool", "--answer", "text"],
        ["import-pool", "lines", "-o", "pool", "--force"],
        ["import-pool", "lines", "-o", "new"],
        ["merge", "pool", "-o", "pool", "--force"],
    ],
    ids=lambda argv: "-".join(argv[::3]),
)
def test_a_command_that_is_told_to_end_leaves_things_as_they_were(
    monkeypatch, capsys, tmp_path, others, argv, name, status
):
    from edifice_tt.pools import writer as pool_file

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    lines, count = pool_file.candidate_line, []

    def signalled(*given):
        count.append(given)
        if len(count) == 2:
            signal.raise_signal(getattr(signal, name))
        return lines(*given)

    monkeypatch.setattr(pool_file, "candidate_line", signalled)
    monkeypatch.chdir(tmp_path)
    before_us = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = run(capsys, *argv)
    finally:
        signal.signal(signal.SIGINT, before_us)
    assert found == (status, "", "edifice-tt: interrupted\n")
    assert len(count) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@posix
@pytest.mark.slow
def test_sampling_that_is_told_to_end_keeps_what_is_finished(monkeypatch, capsys, tmp_path, lm):
    generate = et.generate

    def told(*given, **options):
        def on_token(event):
            if event.finish_reason and event.index == 1:
                signal.raise_signal(signal.SIGTERM)

        return generate(
            *given, **{**options, "on_token": on_token, "batch_size": 1, "devices": ["CPU"]}
        )

    monkeypatch.setattr(et, "generate", told, raising=False)
    status, out, err = run(capsys, "best-of", "q", *FEW, "--json", "-o", tmp_path / "pool")
    assert (status, err) == (143, "edifice-tt: interrupted; 2 candidates are finished\n")
    assert len(json.loads(out)["pool"]["candidates"]) == len(et.Pool.load(tmp_path / "pool")) == 2


@posix
def test_a_signal_that_is_ignored_stays_so(monkeypatch, capsys):
    """As `nohup` does it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        listing = et.list_selectors
        monkeypatch.setattr(
            cli, "_run", lambda _: (signal.raise_signal(signal.SIGHUP), len(listing()) and 0)[1]
        )
        assert run(capsys, "list")[0] == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_a_plugin_prints_is_no_part_of_the_result(site, capsys, tmp_path):
    code = """
import edifice_tt
print("imported")

def noisy():
    print("made")
    def score(prompt, completions):
        print("asked")
        return [0.0 for _ in completions]
    return score

@edifice_tt.hookimpl
def register_scorers(register):
    print("registered")
    register("noisy", noisy, reads="text", concurrency=2)
"""
    site.install("noisy", code)
    et.Pool("q", (et.Candidate(0, "a"),)).save(tmp_path / "pool")
    status, out, err = run(capsys, "score", tmp_path / "pool", "--scorer", "noisy", "--json")
    assert (status, json.loads(out)[0]["prompt"]) == (0, "q")
    assert {"imported", "registered", "made", "asked"} <= set(err.split())
