"""The command search, and generate where it stops early: what they print, keep and refuse."""

import json
from functools import partial

import pytest
from commands import runner

import edifice_tt as et
from edifice_tt.machine import meter

SMALL = ["--model", "tiny", "--raw", "--max-tokens", 9, "--temperature", 3, "--seed", 5]
LIKE = {"max_tokens": 9, "temperature": 3.0, "seed": 5}


@pytest.fixture
def run(capsys, monkeypatch, tiny_lm):
    monkeypatch.setattr(et, "load_pretrained", lambda *_, **__: tiny_lm, raising=False)
    return runner(capsys)


@pytest.fixture
def search(run):
    return partial(run, "search")


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    asked = [{"prompt": f"ask {i}", "problem": f"p{i}", "gold": "k"} for i in range(3)]
    path.write_text("".join(json.dumps(one) + "\n" for one in asked))
    return path


def timeless(pools):
    left_out = ("seconds", "judge_seconds", "computed", "again")
    return [
        (pool.candidates, {k: v for k, v in pool.search.items() if k not in left_out})
        for pool in pools
    ]


def test_json_is_the_search_of_the_same_arguments(search, tiny_lm):
    given = ["rejection", "thequick", "--scorer", "logprob", "-n", 5, "--option", "cuts=2,4"]
    status, out, err = search(*given, "--budget", 31, *SMALL, "--json")
    settings = {"n": 5, "cuts": (2, 4)}
    pool = et.search(
        tiny_lm, "thequick", "rejection", "logprob", settings=settings, budget=31, **LIKE
    )
    assert (status, err) == (0, "")
    printed = json.loads(out)
    assert printed["search"]["tally"] == pool.search["tally"]
    assert [one["token_ids"] for one in printed["candidates"]] == [[*c.token_ids] for c in pool]
    assert printed["settings"] == json.loads(json.dumps(pool.settings))


def test_the_answer_comes_first_then_the_rows_and_their_cost(search, tiny_lm):
    status, out, _ = search("rejection", "thequick", "--scorer", "logprob", "-n", 4, *SMALL)
    settings = {"n": 4}
    pool = et.search(tiny_lm, "thequick", "rejection", "logprob", settings=settings, **LIKE)
    assert status == 0
    assert f"{pool.search['spent']} tokens in 4 rows" in out
    assert f">  {pool.search['row']}" in out


def test_many_problems_are_in_one_file_as_if_each_were_asked_alone(
    search, tmp_path, problems, tiny_lm
):
    path = tmp_path / "pool.jsonl"
    given = ["rebase", "--problems", problems, "--scorer", "logprob", "--answer", "text"]
    given += ["--option", "step_tokens=4", "-n", 4, *SMALL, "-o", path]
    status, out, err = search(*given)
    assert (status, err) == (0, "")
    assert out.startswith(f"3 problems in {path}; this run: 3 problems")
    how = {"settings": {"n": 4, "step_tokens": 4}, "answer": "text", "gold": "k", **LIKE}
    expected = [
        et.search(tiny_lm, f"ask {i}", "rebase", "logprob", problem=f"p{i}", **how)
        for i in range(3)
    ]
    found = [*et.read_pools(path)]
    assert timeless(found) == timeless(expected)
    assert [dict(one.settings) for one in found] == [dict(one.settings) for one in expected]
    assert search(*given)[0] == 2  # it is there
    assert json.loads(search(*given, "--resume", "--json")[1])["made"] == 0


@pytest.mark.parametrize("at", [1, 40, 80])
@pytest.mark.parametrize("method", ["rebase", "adaptive"])
@pytest.mark.first(1)
def test_what_was_drawn_before_ctrl_c_is_kept(search, tmp_path, problems, monkeypatch, at, method):
    given = [method, "--problems", problems, "-n", 4, *SMALL]
    if method == "rebase":
        given += ["--scorer", "logprob", "--option", "step_tokens=4"]
    assert search(*given, "-o", tmp_path / "whole")[0] == 0
    path, count, on_token = tmp_path / "pool", 0, meter.SearchMeter.on_token

    def stop(self, event):
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        on_token(self, event)

    with monkeypatch.context() as patch:
        patch.setattr(meter.SearchMeter, "on_token", stop)
        status, _, err = search(*given, "-o", path)
    assert (status, "--resume goes on" in err) == (130, True)
    assert search(*given, "-o", path, "--resume")[0] == 0
    assert timeless(et.read_pools(path)) == timeless(et.read_pools(tmp_path / "whole"))
    assert [one.problem for one in et.read_pools(path)] == ["p0", "p1", "p2"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: {**one, "gold": "other"}, "problem 'p0' has gold='k', given 'other'"),
        (lambda one: {**one, "prompt": "another?"}, "problem 'p0' has prompt="),
        (lambda one: {**one, "problem": "q" + one["problem"]}, "holds problem 'p0', which is not"),
    ],
    ids=["gold", "prompt", "id"],
)
def test_a_search_is_resumed_with_its_own_problems_alone(search, tmp_path, problems, change, told):
    path, given = tmp_path / "pool", ["adaptive", "-n", 4, *SMALL]
    assert search(*given, "--problems", problems, "-o", path)[0] == 0
    before, others = path.read_bytes(), tmp_path / "others.jsonl"
    changed = [change(json.loads(line)) for line in problems.read_text().splitlines()]
    others.write_text("".join(json.dumps(one) + "\n" for one in changed))
    status, _, err = search(*given, "--problems", others, "-o", path, "--resume")
    assert status == 2
    assert told in err
    assert path.read_bytes() == before


def test_generate_stops_when_the_vote_is_clear(run, tmp_path, problems, tiny_lm):
    path = tmp_path / "pool.jsonl"
    given = [
        "generate",
        "--problems",
        problems,
        "-n",
        8,
        "--answer",
        "regex:^.",
        *SMALL,
        "-o",
        path,
    ]
    assert run(*given, "--stop-when", "adaptive:0.7")[0] == 0
    plain = [
        et.generate(tiny_lm, f"ask {i}", n=8, problem=f"p{i}", gold="k", answer="regex:^.", **LIKE)
        for i in range(3)
    ]
    pools = [*et.read_pools(path)]
    for pool, whole in zip(pools, plain, strict=True):
        assert pool.candidates == whole.candidates[: len(pool)]
        assert pool.settings["search"] == {
            "search": "adaptive",
            "n": 8,
            "threshold": 0.7,
            "wave": 4,
        }
    assert {len(pool) for pool in pools} <= {4, 8}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["adaptive", "q", "--scorer", "logprob"], "reads no scores"),
        (["rejection", "q"], "name a scorer"),
        (["adaptive"], "give either a prompt or --problems"),
        (["adaptive", "q", "--budget", "0"], "--budget"),
        (["adaptive", "q", "--option", "n=3"], "give it as -n 3"),
        (["adaptive", "q", "--option", "threshold=2"], "threshold=2"),
        (["adaptive", "q", "--task", "add"], "give either a prompt or"),
        (["adaptive", "q", "--resume"], "name it with -o POOL"),
        (["beem", "q"], "beem"),
    ],
)
def test_a_mistake_is_told_in_one_line(search, given, told):
    status, out, err = search(*given, *SMALL)
    assert (status, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("stop", ["rejection:1", "beam", "adaptive:x", "nothing"])
def test_what_generate_cannot_stop_by_is_refused(run, stop):
    status, out, err = run("generate", "q", *SMALL, "--stop-when", stop)
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_a_search_s_pool_has_no_curve(run, search, tmp_path, problems):
    path = tmp_path / "pool.jsonl"
    given = ["adaptive", "--problems", problems, "-n", 4, "--answer", "text", *SMALL, "-o", path]
    assert search(*given)[0] == 0
    for command in (["curve", path], ["replay", "adaptive", path]):
        status, _, err = run(*command)
        assert status == 2
        assert "no fair sample" in err


def test_the_line_shows_what_is_spent_of_the_budget_and_what_leads(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(meter, "clock", lambda: now[0])
    line = meter.SearchMeter(problems=3, budget=4096)
    standing = type("Standing", (), {"spent": 70, "rows": 8, "leading": "42", "weight": 3.0})
    now[0] = 2.0
    for _ in range(70):
        line.on_token(None)
    line.on_step(standing)
    expected = "problem 1/3, 70/4096 tokens, 8 rows, leading: 42 (3), 35.0 tokens per second"
    assert line.line() == expected


def test_a_curve_shows_a_search_beside_it(run, tmp_path, problems):
    given = ["--problems", problems, "-n", 4, "--answer", "regex:^.", *SMALL, "-o"]
    plain, searched = tmp_path / "plain.jsonl", tmp_path / "searched.jsonl"
    assert run("generate", *given, plain)[0] == 0
    assert run("search", "adaptive", *given, searched)[0] == 0
    pools = [*et.read_pools(searched)]
    status, out, _ = run("curve", plain, "--search", searched, "--json")
    (beside,) = json.loads(out)["searches"]
    assert (status, beside["problems"], beside["rule"]) == (0, 3, "majority")
    assert beside["spent"]["tokens"] == sum(pool.search["spent"] for pool in pools) / 3
    status, out, _ = run("curve", plain, "--search", searched)
    assert status == 0
    assert "searched.jsonl: adaptive on 3 problems" in out


def test_show_tells_who_was_copied_kept_and_dropped(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "pool.jsonl"
    given = ["--scorer", "logprob", "-n", 4, "--option", "step_tokens=4", *SMALL, "-o", path]
    assert run("search", "rebase", "ask", *given)[0] == 0
    pool = et.Pool.load(path)
    shown = run("show", path, "0")[1]
    assert f"search rebase by logprob: {pool.search['spent']} tokens spent" in shown
    rows = [line.strip() for line in shown.splitlines() if line.strip()[:1] == "#"]
    lines = {int(row[1:].split()[0]): row for row in rows}
    for one in pool:
        line = lines[one.index]
        assert (f"copy of #{one.parent} after {one.begun} tokens" in line) == (
            one.parent is not None
        )
        assert line.endswith("chosen") == (one.index == pool.search["row"])
        assert ("dropped" in line) == (one.finish_reason == "dropped")
