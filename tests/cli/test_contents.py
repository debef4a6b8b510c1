"""What a pool file holds, on a terminal of 80 columns and in other files; problems of any shape."""

import json
import re

import pytest
from commands import runner

import edifice_tt as et

FEW = ["--model", "tiny", "-n", "2", "--max-tokens", "4"]


@pytest.fixture
def run(capsys, monkeypatch, tiny_lm):
    """The model called `tiny` is there."""
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return runner(capsys)


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 3 + 4?"}]


@pytest.fixture
def pool(tmp_path):
    """Two problems: a chat with a long answer, and a text whose id and question are long."""
    long = "\n".join(f"line {i} " + "word " * 40 for i in range(7))
    scores = {name * 9: 0.25 for name in "abcde"}
    first = (
        et.Candidate(0, long, (1, 2), (-1.0, -1.0), "length", "7", True, scores=scores),
        et.Candidate(1, "eight\x1b[2J", (1,), (-1.0,), "eos", "", False, scores=scores),
    )
    second = tuple(et.Candidate(i, "?", finish_reason="unknown") for i in range(3))
    et.write_pools(
        tmp_path / "pool.jsonl",
        [
            et.Pool("<|im_start|>system", first, {}, "sum", "7", messages=CHAT),
            et.Pool("question " * 30, second, {}, "id" * 30, "gold " * 9),
        ],
    )
    return tmp_path / "pool.jsonl"


def check_mistake(found, *words):
    status, out, err = found
    assert (status, out, err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in err


# --- show


def test_show_tells_where_an_answer_was_read(run, tmp_path):
    texts = (
        "Well, then: It is 30 pages in 3 days, that is all of it. Right?",
        "none",
        "#### 30\n3 days",
    )
    pool = et.Pool("q", tuple(map(et.Candidate, range(3), texts)), gold="30")
    et.grade(pool, "final_number").save(tmp_path / "pool")
    out = " ".join(run("show", tmp_path / "pool")[1].split())
    assert '#0 wrong answer 3 (in "then: It is 30 pages in [3] days, that is all of it")' in out
    assert "#1 wrong no answer" in out
    assert '#2 right answer 30 (in "#### [30] 3 days")' in out


def test_a_list_shows_where_questions_differ_and_no_template(run, tmp_path):
    shown = "".join(f"{i} + {i} = {2 * i}\n" for i in range(9))
    chat = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
    candidates = (et.Candidate(0, "7"),)
    for form, shared in (("{}", shown), (chat, "")):
        prompts = [form.format(f"{shared}3 + {i} =") for i in (4, 5)]
        pools = [et.Pool(text, candidates, {}, f"p{i}") for i, text in enumerate(prompts)]
        et.write_pools(tmp_path / "pool", pools, overwrite=True)
        _, *rows = run("show", tmp_path / "pool")[1].splitlines()
        assert [row.split()[-3:] for row in rows] == [["+", "4", "="], ["+", "5", "="]]
        assert "im_" not in "".join(rows)
        assert "1 + 1" not in "".join(rows)


def test_a_pool_is_listed_with_its_questions_in_80_columns(run, pool):
    status, out, err = run("show", pool)
    assert (status, err) == (0, "")
    head, first, second = out.splitlines()
    assert head.split() == ["problem", "right", "gold", "question"]
    assert first.split() == ["sum", "1", "of", "2", "7", *["What", "is", "3", "+", "4?"]]
    assert re.match(r"(id)+i?\.\.\.  \? of 3  gold gold\.\.\.  question .*\.\.\.$", second)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("more", [[], ["--all"]], ids=["short", "all"])
def test_a_problem_is_shown_with_its_candidates_in_80_columns(run, pool, more):
    status, out, err = run("show", pool, "sum", *more)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("problem sum: 1 of 2 right, gold answer 7\n    What is 3 + 4?\n")
    assert re.search(r"^#0  right  answer 7  aaaaaaaaa 0.2500  ", out, re.M)
    assert re.search(r"2 tokens\s+cut off$", out, re.M)
    assert re.search(r"^#1  wrong  no answer  ", out, re.M)
    assert "eight\\x1b[2J" in out
    assert ("more lines (--all)" in out) == (not more)
    assert all((f"line {i} word" in out) == (i in (0, 6) or bool(more)) for i in (0, 3, 6))


@pytest.mark.parametrize("count", [6, 7, 8])
def test_what_is_left_out_of_a_text_is_more_than_the_line_that_says_so(run, tmp_path, count):
    text = "\n".join(f"line {i}" for i in range(count))
    et.Pool("q", (et.Candidate(0, text),)).save(tmp_path / "pool")
    out = run("show", tmp_path / "pool")[1]
    assert ("... 2 more lines (--all) ..." in out) == (count == 8)
    assert all((f"line {i}\n" in out) == (count < 8 or i not in (3, 4)) for i in range(count))


def test_a_narrow_terminal_is_kept_to(run, pool, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    for argv in (["show", pool], ["show", pool, "sum"], ["show", pool, "id" * 30]):
        assert max(map(len, run(*argv)[1].splitlines())) <= 50


def test_a_pool_of_one_problem_is_shown_at_once(run, tmp_path):
    et.Pool("hello", (et.Candidate(0, "hi"),)).save(tmp_path / "pool")
    assert run("show", tmp_path / "pool")[1].startswith("problem 0: not marked\n    hello\n\n#0")


def test_colours_come_where_they_are_wanted(run, pool, monkeypatch):
    plain = run("show", pool, "sum")[1]
    assert "\x1b" not in plain
    coloured = run("show", pool, "sum", "--color", "always")[1]
    assert "\x1b[32m#0  right" in coloured
    assert "\x1b[31m#1  wrong" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run("show", pool, "sum")[1] == coloured
    assert run("show", pool, "sum", "--color", "never")[1] == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert run("show", pool, "sum")[1] == plain


def test_a_pool_as_json_has_all_of_it(run, pool):
    listed = json.loads(run("show", pool, "--json")[1])
    assert [one["right"] for one in listed] == [1, 0]
    assert [one["marked"] for one in listed] == [2, 0]
    assert listed[0]["question"] == "What is 3 + 4?"
    shown = json.loads(run("show", pool, "sum", "--json")[1])
    assert shown == json.loads(json.dumps(next(et.read_pools(pool)).to_dict()))


def test_an_unknown_problem_names_the_nearest(run, pool):
    check_mistake(run("show", pool, "sun"), "no problem 'sun'; did you mean 'sum'?", "lists them")


def test_a_search_is_shown_as_the_tree_that_it_was(run, tmp_path):
    rows = (
        et.Candidate(0, "first", finish_reason="dropped", num_tokens=3, scores={"prm": 0.25}),
        et.Candidate(1, "second", finish_reason="eos", num_tokens=5, scores={"prm": 0.5}),
        et.Candidate(2, "third", (1,) * 7, (), "eos", scores={"prm": 0.75}, parent=0, begun=2),
    )
    books = {"method": "beam", "scorer": "prm", "row": 2, "kept": [1, 2], "tally": {}}
    costs = ("spent", "kept_tokens", "computed", "padding", "again", "judge_tokens")
    books |= {"early": False, "judge_seconds": 0.0, "seconds": 1.0, **dict.fromkeys(costs, 13)}
    books["scored"] = {"0": [[3, 0.25]], "1": [[2, 0.625], [5, 0.5]], "2": [[7, 0.75]]}
    et.Pool("q", rows, {"search": {}}, search=books).save(tmp_path / "pool")
    status, out, _ = run("show", tmp_path / "pool")
    assert status == 0
    assert out.split("\n\n", 1)[1].splitlines() == [
        "search beam by prm: 13 tokens spent, 13 of them kept; it chose #2",
        "",
        "#0  prm 0.2500  3 tokens  dropped",
        "    first",
        "",
        "  #2  prm 0.7500  7 tokens  copy of #0 after 2 tokens  chosen",
        "      third",
        "",
        "#1  prm 0.5000  5 tokens  0.6250 after 2 tokens  kept",
        "    second",
    ]


# --- split and export


def test_split_writes_two_files_beside_the_pool(run, pool):
    status, out, err = run("split", pool, "--train", "0.5", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert {half: about["problems"] for half, about in found.items()} == {"train": 1, "test": 1}
    paths = [pool.with_name(f"pool.{half}.jsonl") for half in ("train", "test")]
    assert [about["pool"] for about in found.values()] == [str(path) for path in paths]
    halves = [next(et.read_pools(path)) for path in paths]
    assert sorted(halves, key=len) == list(et.read_pools(pool))
    before = [path.read_bytes() for path in paths]
    check_mistake(run("split", pool), "pool.train.jsonl exists; use --force")
    assert run("split", pool, "--train", "0.5", "--force")[0] == 0
    assert [path.read_bytes() for path in paths] == before
    text = run("split", pool, "-o", pool.with_name("x"))[1]
    assert text == f"1 problem in {pool.with_name('x.train.jsonl')}; 1 problem in " + (
        f"{pool.with_name('x.test.jsonl')}\n"
    )
    check_mistake(run("split", pool, "--train", "80", "--force"), "--train 80.0 must be between")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export_writes_a_table(run, pool, tmp_path, kind):
    path = tmp_path / "table"
    status, out, err = run("export", pool, f"--{kind}", path, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"table": str(path), "problems": 2, "candidates": 5}
    assert path.read_bytes().startswith(b"problem,prompt,gold" if kind == "csv" else b"PAR1")
    check_mistake(run("export", pool, f"--{kind}", path), f"{path} exists; use --force")
    again = run("export", pool, f"--{kind}", path, "--force")
    assert again == (0, f"5 candidates of 2 problems in {path}\n", "")


def test_export_wants_one_kind(run, pool, tmp_path):
    check_mistake(run("export", pool), "--csv --parquet is required")
    check_mistake(run("export", pool, "--csv", "a", "--parquet", "b"), "not allowed with")
    check_mistake(run("export", pool, "--csv", tmp_path / "no" / "x"), "no such folder")


# --- problems of any shape


def test_generate_reads_a_common_format(run, tmp_path):
    source, path = tmp_path / "gsm.jsonl", tmp_path / "pool"
    source.write_text('{"question": "3 + 4?", "answer": "so\\n#### 7"}\n')
    given = ("generate", "--problems", source, *FEW, "-o", path)
    check_mistake(run(*given), "line 1", "--format gsm8k reads such a file")
    assert run(*given, "--format", "gsm8k")[0] == 0
    (pool,) = et.read_pools(path)
    assert (pool.messages[0].content, pool.gold) == ("3 + 4?", "7")


def test_generate_reads_fields_by_their_names(run, tmp_path):
    source, path = tmp_path / "x.csv", tmp_path / "pool"
    source.write_text("name,question,answer\none,3 + 4?,7\n")
    fields = ("--prompt-field", "question", "--gold-field", "answer", "--problem-field", "name")
    found = run("generate", "--problems", source, *FEW, *fields, "--raw", "-o", path)
    assert (found[0], found[2]) == (0, "")
    (pool,) = et.read_pools(path)
    assert (pool.prompt, pool.gold, pool.problem) == ("3 + 4?", "7", "one")


def test_generate_takes_the_messages_of_a_problem(run, tmp_path, tiny_lm):
    source, path = tmp_path / "chats.jsonl", tmp_path / "pool"
    chats = [{"messages": CHAT, "gold": "7"}, {"prompt": "5?"}]
    source.write_text("".join(json.dumps(one) + "\n" for one in chats))
    given = ("generate", "--problems", source, *FEW, "-o", path)
    assert run(*given)[0] == 0
    chat, text = et.read_pools(path)
    assert [*chat.messages] == CHAT
    assert [*text.messages] == [{"role": "user", "content": "5?"}]
    check_mistake(run(*given, "--force", "--raw"), "--raw continues a text, and a problem has mess")
    check_mistake(run(*given, "--force", "--system", "x"), "a system message of its own")
    source.write_text(json.dumps({"messages": CHAT[1:]}))
    assert run(*given, "--force", "--system", "Be kind.")[0] == 0
    (chat,) = et.read_pools(path)
    assert [one["content"] for one in chat.messages] == ["Be kind.", "What is 3 + 4?"]


@pytest.mark.parametrize("option", ["format", "prompt-field", "gold-field", "problem-field"])
def test_how_to_read_a_file_is_for_a_file(run, option):
    check_mistake(run("generate", "q", f"--{option}", "x"), f"--{option} is for --problems")


def test_resuming_with_a_larger_n_makes_those_that_are_missing(run, tmp_path):
    path, whole = tmp_path / "pool", tmp_path / "whole"
    given = ["generate", "q", "--model", "tiny", "--max-tokens", "4"]
    run(*given, "-n", "5", "-o", whole)
    run(*given, "-n", "2", "-o", path)
    two = et.Pool.load(path)
    made = run(*given, "-n", "5", "-o", path, "--resume", "--json")
    assert json.loads(made[1])["made"] == 3
    assert et.Pool.load(path) == et.Pool.load(whole)
    assert et.Pool.load(path).candidates[:2] == two.candidates
    back = run(*given, "-n", "4", "-o", path, "--resume")
    check_mistake(back, "made with -n 5, given -n 4; no candidate is taken away")
    check_mistake(back, "resume it with -n 5")


def test_resuming_without_n_completes_what_was_asked_for(run, tmp_path, monkeypatch):
    """Neither the usual number nor that of a settings file replaces the pool's own."""
    path = tmp_path / "pool"
    given = ["generate", "q", "--model", "tiny", "--max-tokens", "4"]
    run(*given, "-n", "3", "-o", path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    home = tmp_path / "home" / "edifice-tt" / "config.toml"
    home.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.parents[1]))
    home.write_text("n = 2\ntemperature = 0.5\n")
    status, _, err = run(*given, "-o", path, "--resume")
    told = f"--temperature 0.8, given --temperature 0.5; .* \\(temperature is from {home}\\)"
    assert (status, bool(re.search(told, err))) == (2, True)
    home.write_text("n = 2\n")
    assert run(*given, "-o", path, "--resume")[0] == 0
    assert len(et.Pool.load(path)) == 3
    home.unlink()
    assert run(*given, "-o", path, "--resume")[0] == 0
    assert len(et.Pool.load(path)) == 3
    assert run(*given, "-o", path, "--resume", "-n", "5")[0] == 0
    assert len(et.Pool.load(path)) == 5


def test_a_file_that_is_half_extended_says_so(run, tmp_path):
    marked = tuple(et.Candidate(i, "7", answer="7", correct=True) for i in range(2))
    first = et.Pool("q", (*marked, et.Candidate(2, "8"), et.Candidate(3, "9")), {"n": 4}, "a", "7")
    second = et.Pool("q", marked, {"n": 4}, "b", "7")
    et.write_pools(tmp_path / "pool", [first, second])
    status, _, err = run("curve", tmp_path / "pool")
    assert status == 2
    assert "candidate 2 of problem 'a' is not marked" in err
    assert "the file has 6 of 8 candidates (n=4), as after an interruption: `edifice-tt gen" in err
    out = run("show", tmp_path / "pool")[1]
    assert "2 of 2, 2 not marked" in out
    assert "2 of 2, 2 missing" in out
    out = run("show", tmp_path / "pool", "a")[1]
    assert "problem a: 2 of 2 right, 2 not marked, gold answer 7" in out
