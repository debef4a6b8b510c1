import json
import os
import signal
import subprocess
import sys
import threading

import edifice_tt_openai.command
import edifice_tt_openai.server
import httpx2
import pytest
from edifice_tt_openai.sampling import seed_of
from loopback import CUT, MODEL, choice, completion

import edifice_tt as et
from edifice_tt.testing import run_command

PROBLEMS = [
    {"prompt": "What is 2 + 2?", "problem": "p", "gold": "4"},
    {"messages": [{"role": "user", "content": "And 3 + 4?"}], "problem": "q", "gold": "7"},
    {"prompt": "And 5 + 8?", "problem": "r", "gold": "13"},
]


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in PROBLEMS))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pool.jsonl"


@pytest.fixture
def generate(server, capsys):
    """Run the command; returns its status, what it printed, and what it told."""

    def call(*words, retries=2, url=None):
        url = server.url if url is None else url
        status = run_command("openai", "generate", "--url", url, "--retries", retries, *words)
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.fixture
def fill(generate, problems, path):
    """Sample all problems into the pool file."""

    def call(*words, **more):
        return generate("--problems", problems, "-o", path, *words, **more)

    return call


def texts(path):
    return {pool.problem: [one.text for one in pool] for pool in et.read_pools(path)}


def expected(n, of=lambda problem, i: f"{seed_of(0, problem, 0)} {i}"):
    return {one["problem"]: [of(one["problem"], i) for i in range(n)] for one in PROBLEMS}


# --- what comes of it


def test_a_pool_file_holds_what_the_server_chose(fill, path, server):
    status, out, err = fill("-n", 5)
    assert (status, err) == (0, "")
    assert "15 candidates of 3 problems" in out
    assert texts(path) == expected(5)
    (pool,) = (pool for pool in et.read_pools(path) if pool.problem == "p")
    assert (pool.gold, pool.prompt) == ("4", "")
    assert pool.messages == ({"role": "user", "content": "What is 2 + 2?"},)
    assert [body["n"] for body in server.bodies] == [5, 5, 5]
    assert {one.finish_reason for one in pool} == {"eos"}


def test_the_settings_say_what_a_server_cannot_promise(fill, path):
    fill("-n", 2, "--logprobs", "--body", "top_k=40", "--body", "top_p=null")
    settings = next(iter(et.read_pools(path))).settings
    assert settings["model"] == MODEL
    assert settings["server"] == "openai-compatible"
    assert settings["unverified"] == ["model", "seed", "token_logprobs"]
    assert settings["body"] == {"top_k": 40, "top_p": None}


def test_fields_of_the_request_are_those_asked_for(generate, server):
    words = ("--system", "Be short.", "--stop", "END", "--body", "top_k=3", "--body", "seed_x=a")
    generate("Why?", "-n", 1, "--max-tokens", 11, "--body", "top_p=null", *words)
    (body,) = server.bodies
    assert body == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Why?"},
        ],
        "temperature": 0.8,
        "max_tokens": 11,
        "seed": seed_of(0, "0", 0),
        "stop": ["END"],
        "top_k": 3,
        "seed_x": "a",
    }
    assert server.paths == ["/v1/chat/completions"]


def test_raw_text_is_continued_and_kept_as_the_prompt(generate, path, server):
    server.answer = lambda body, number: completion({"text": " 4", "finish_reason": "length"})
    generate("2 + 2 =", "--raw", "-n", 1, "-o", path)
    pool = et.Pool.load(path)
    assert (pool.prompt, pool.messages, pool.candidates[0].text) == ("2 + 2 =", None, " 4")
    assert pool.candidates[0].is_cut_off
    assert server.paths == ["/v1/completions"]
    assert server.bodies[0]["prompt"] == "2 + 2 ="


def test_a_prompt_without_a_file_is_answered_on_the_screen(generate, server):
    server.answer = lambda body, number: completion(choice("red\x1b[2J"), choice("blue"))
    status, out, _ = generate("A colour?", "-n", 2)
    assert (status, out) == (0, "0  eos  red\\x1b[2J\n1  eos  blue\n")
    status, out, _ = generate("A colour?", "-n", 2, "--json")
    assert [one["text"] for one in json.loads(out)["candidates"]] == ["red\x1b[2J", "blue"]


def test_a_pool_of_a_server_is_scored_graded_and_selected_as_any(fill, path, server, capsys):
    server.answer = lambda body, number: completion(*(choice(f"It is {t}.") for t in (4, 7, 4)))
    assert fill("-n", 3)[0] == 0
    assert run_command("grade", path, "--answer", "number") == 0
    assert run_command("select", path, "--rule", "majority", "--json") == 0
    assert run_command("show", path, "p") == 0
    assert "What is 2 + 2?" in capsys.readouterr().out
    marks = {pool.problem: [one.correct for one in pool] for pool in et.read_pools(path)}
    assert marks == {"p": [True, False, True], "q": [False, True, False], "r": [False] * 3}


def test_log_probabilities_that_do_not_come_are_missed(generate, server):
    told = {"content": [{"token": "x", "logprob": -0.5}]}
    server.answer = lambda body, number: completion(choice(logprobs=told), choice(logprobs=None))
    status, _, err = generate("Why?", "-n", 2, "--logprobs")
    assert (status, server.bodies[0]["logprobs"]) == (0, True)
    assert one_line(err) == "edifice-tt: 1 of 2 came without log-probabilities"


def test_where_no_terminal_is_lines_say_how_far_it_is(fill, monkeypatch):
    monkeypatch.setattr(edifice_tt_openai.command, "SECONDS", 0.0)
    lines = fill("-n", 2, "--concurrency", 1)[2].splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{i}/6 finished" for i in (2, 4, 6)]


# --- `n`


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_server_that_gives_fewer_choices_is_asked_again(fill, path, server, most):
    server.most = most
    assert fill("-n", 5, "--concurrency", 1)[0] == 0
    starts = [i - i % most for i in range(5)]
    assert texts(path) == expected(5, lambda p, i: f"{seed_of(0, p, starts[i])} {i - starts[i]}")
    assert max(body.get("n", 1) for body in server.bodies[3:]) <= most


def test_a_server_that_gives_more_choices_is_taken_at_its_first(fill, path, server):
    server.answer = lambda body, number: completion(*(choice(f"{i}") for i in range(9)))
    fill("-n", 2)
    assert texts(path) == expected(2, lambda _, i: str(i))


def test_a_server_that_refuses_n_is_asked_for_one_at_a_time(fill, path, server):
    usual = server.answer

    def answer(body, number):
        refused = (400, {"error": {"message": "n must be 1"}})
        return refused if "n" in body else usual(body, number)

    server.answer = answer
    assert fill("-n", 3)[0] == 0
    assert texts(path) == expected(3, lambda p, i: f"{seed_of(0, p, i)} 0")


def test_each_request_has_a_seed_of_its_own():
    seeds = {seed_of(s, p, i) for s in range(3) for p in ("p", "q", "1 p") for i in range(5)}
    assert len(seeds) == 45
    assert all(0 <= seed < 2**31 for seed in seeds)


# --- faults that pass

FAULTS = {
    "busy": (429, {"error": {"message": "slow down"}}),
    "broken": (500, {"error": {"message": "out of memory"}}),
    "no JSON": b"<html>oops",
    "half an answer": CUT,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_passes_costs_nothing(fill, path, server, fault):
    usual = server.answer
    server.answer = lambda body, number: fault if number % 3 != 2 else usual(body, number)
    status, _, err = fill("-n", 2, "--concurrency", 1)
    assert (status, err) == (0, "")
    assert texts(path) == expected(2)
    assert len(server.bodies) == 9


LASTING = {
    "busy": (FAULTS["busy"], "it answered 429 (slow down), 3 times"),
    "broken": (FAULTS["broken"], "it answered 500 (out of memory), 3 times"),
    "no JSON": (
        FAULTS["no JSON"],
        "it answered with '<html>oops', which is no JSON object, 3 times",
    ),
    "nothing": (b"", "it answered with nothing, which is no JSON object, 3 times"),
    "half an answer": (CUT, "the connection was cut"),
    "refused": ((400, {"detail": "too\nlong"}), "it answered 400 (too long)"),
    "an error with status 200": ({"error": "no memory"}, "it answered with an error (no memory)"),
    "no choices": ({"object": "list"}, "in its answer, it has no choices: {'object': 'list'}"),
    "empty choices": ({"choices": []}, "it has no choices"),
    "a choice that is empty": ({"choices": [{}]}, "a choice has neither a message nor a text"),
    "a choice that is no object": ({"choices": ["x"]}, "a choice is 'x', no object"),
    "a content of another kind": (
        completion(choice({"a": 1})),
        "a message has a content that is no text",
    ),
}


@pytest.mark.parametrize(("fault", "told"), LASTING.values(), ids=LASTING)
def test_a_problem_that_fails_is_named_and_the_others_are_kept(fill, path, server, fault, told):
    usual = server.answer

    def answer(body, number):
        return fault if "3 + 4" in str(body["messages"]) else usual(body, number)

    server.answer = answer
    status, out, err = fill("-n", 2)
    assert status == 3
    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "edifice-tt: 1 of 3 problems lack candidates:"
    assert lines[1].startswith("edifice-tt:   q: ")
    assert told in lines[1]
    assert "4 of 6 candidates are there" in lines[2]
    assert "4 candidates of 3 problems" in out
    assert texts(path) == {p: t for p, t in expected(2).items() if p != "q"}
    server.answer = usual
    assert fill("-n", 2, "--resume")[0] == 0
    assert texts(path) == expected(2)


def test_an_empty_text_is_a_candidate(generate, server):
    server.answer = lambda body, number: completion(choice(""), choice(None))
    status, out, _ = generate("Why?", "-n", 2, "--json")
    assert status == 0
    assert [one["text"] for one in json.loads(out)["candidates"]] == ["", ""]


def test_a_slow_answer_is_not_asked_for_again(generate, server, monkeypatch):
    request, asked = httpx2.AsyncClient.request, []

    async def wait(client, verb, address, **more):
        asked.append(verb)
        if verb == "POST":
            raise httpx2.ReadTimeout("")
        return await request(client, verb, address, **more)

    monkeypatch.setattr(httpx2.AsyncClient, "request", wait)
    status, _, err = generate("Why?", "-n", 1, "--timeout", 61)
    assert (status, asked) == (3, ["GET", "POST"])
    assert "no answer within 61 s; give a longer timeout" in err


@pytest.mark.parametrize(
    ("asked", "waits"),
    [("", [0.5, 1.0, 2.0]), ("7", [7.0, 7.0, 7.0]), ("1e9", [0.5, 1.0, 2.0]), ("999", [60.0] * 3)],
)
def test_waits_double_unless_the_server_asks_for_longer_ones(
    generate, server, monkeypatch, asked, waits
):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(edifice_tt_openai.server, "FIRST_WAIT", 0.5)
    monkeypatch.setattr(edifice_tt_openai.server.asyncio, "sleep", sleep)
    server.retry_after = asked
    server.answer = lambda body, number: FAULTS["busy"]
    generate("Why?", "-n", 1, retries=3)
    assert slept == waits


# --- servers that are no use


def one_line(err):
    (line,) = err.splitlines()
    return line


def test_an_address_where_nothing_is_is_one_line(generate, path, server):
    status, _, err = generate("Why?", url="http://127.0.0.1:1/v1")
    assert status == 2
    assert "http://127.0.0.1:1/v1: nothing answers there" in one_line(err)


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "http://me:secret@host/v1", "http://host/v1?key=x", "", "http://"]
)
def test_what_is_no_address_is_one_line_that_says_how_one_looks(generate, url):
    status, _, err = generate("Why?", url=url)
    assert status == 2
    assert "as in http://localhost:8000/v1" in one_line(err)


@pytest.mark.parametrize("url", ["http://a b/v1", "http://host:99999/v1", "http://[::1/v1"])
def test_an_address_that_cannot_be_read_is_one_line(generate, url):
    status, _, err = generate("Why?", url=url)
    assert status == 2
    assert one_line(err)


def test_another_model_is_one_line_with_those_that_are_there(generate, server):
    server.models = ["one", "two"]
    status, _, err = generate("Why?", "--model", "three")
    assert status == 2
    assert "no model 'three', and it has one, two; name one of them, or allow" in one_line(err)
    assert "no model was named, and it has one, two" in one_line(generate("Why?")[2])
    assert server.bodies == []
    assert generate("Why?", "--model", "three", "--unlisted", "-n", 1)[0] == 0
    assert server.bodies[0]["model"] == "three"


def test_a_model_that_the_server_does_not_know_after_all_is_one_line(generate, server):
    server.models = None
    server.answer = lambda body, number: (404, {"error": {"message": "no such model"}})
    line = one_line(generate("Why?", "--model", "three", "-n", 1)[2])
    assert "it answered 404 (no such model)" in line
    assert "OpenAI-compatible" not in line, "the address is right"
    server.answer = lambda body, number: (404, {"detail": "Not Found"})
    assert "Most end in /v1" in one_line(generate("Why?", "--model", "three", "-n", 1)[2])


def test_a_server_without_a_list_of_models_is_asked_for_the_one_named(generate, server):
    server.models = None
    assert generate("Why?", "--model", "any")[0] == 0
    assert server.bodies[0]["model"] == "any"
    assert "no model was named, and it lists no models" in one_line(generate("Why?")[2])


@pytest.mark.parametrize("models", [b"<html>Welcome", {"hello": 1}, {"data": 1}, b"[1]"])
def test_what_is_not_like_openai_is_one_line(generate, server, models):
    server.models = models
    status, _, err = generate("Why?", "--model", "any")
    assert status == 2
    assert "OpenAI-compatible server? Most end in /v1" in one_line(err)
    assert server.bodies == []


def test_a_key_that_is_refused_ends_the_run_and_is_not_shown(fill, server, monkeypatch, path):
    server.answer = lambda body, number: (401, {"error": {"message": "bad key"}})
    assert "no key was sent, as OPENAI_API_KEY is empty" in one_line(fill("-n", 1)[2])
    monkeypatch.setenv("MY_KEY", "sk-secret")
    status, _, err = fill("-n", 1, "--key-from", "MY_KEY", "--resume")
    assert status == 2
    assert "the key was that of MY_KEY" in one_line(err)
    assert server.headers[-1]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in err + path.read_text()


def test_a_key_that_is_none_is_not_shown(generate, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sec\x01ret")
    line = one_line(generate("Why?")[2])
    assert "the key in OPENAI_API_KEY holds characters that no key has" in line
    assert "sec" not in line


def test_a_server_that_goes_away_ends_the_run_and_what_is_there_is_kept(fill, path, server):
    usual = server.answer
    server.answer = lambda body, number: (404, {}) if number else usual(body, number)
    status, _, err = fill("-n", 2, "--concurrency", 1)
    assert status == 2
    assert "2 of 6 candidates are there; the same command with --resume" in one_line(err)
    assert texts(path) == {"p": expected(2)["p"]}


# --- resuming


def test_a_larger_n_asks_only_for_the_others(fill, path, server):
    fill("-n", 2)
    before = texts(path)
    assert fill("-n", 5, "--resume")[0] == 0
    after = texts(path)
    assert {problem: found[:2] for problem, found in after.items()} == before
    assert [body["n"] for body in server.bodies[3:]] == [3, 3, 3]
    assert {body["seed"] for body in server.bodies[3:]} == {seed_of(0, p, 2) for p in "pqr"}


def test_what_is_complete_is_not_asked_for(fill, server):
    fill("-n", 2)
    assert fill("-n", 2, "--resume")[0] == 0
    assert len(server.bodies) == 3


def test_a_pool_never_takes_the_place_of_its_problems(generate, problems, server):
    before = problems.read_bytes()
    for how in ("--force", "--resume"):
        status, _, err = generate("--problems", problems, "-o", problems, how)
        assert (status, problems.read_bytes(), server.bodies) == (2, before, [])
        assert "holds the problems; give the pool file another name" in one_line(err)


def test_another_model_or_other_settings_do_not_complete_a_pool(fill, server):
    fill("-n", 2)
    server.models = ["other"]
    assert "made with model='tiny', given model='other'" in one_line(fill("-n", 2, "--resume")[2])
    server.models = [MODEL]
    assert "temperature=0.8, given" in one_line(fill("--temperature", 1, "--resume", "-n", 2)[2])
    assert "exists; use --resume" in one_line(fill("-n", 2)[2])
    assert fill("-n", 1, "--force")[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_keeps_what_is_finished(server, problems, path, number, status):
    usual = server.answer
    finished = threading.Semaphore(0)

    def answer(body, _):
        if "2 + 2" in str(body["messages"]):
            finished.release()
            return usual(body, _)
        return server.hang()

    server.answer = answer
    words = [
        "openai",
        "generate",
        "--url",
        server.url,
        "--problems",
        problems,
        "-o",
        path,
        "-n",
        "2",
    ]
    command = [sys.executable, "-m", "edifice_tt", *map(str, words), "--concurrency", "1"]
    environment = {**os.environ, "DEV": "CPU"}
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # ignored behind a shell's `&`
    ) as process:
        try:
            assert finished.acquire(timeout=60)
            assert server.waiting.wait(60)  # the second is asked for once the first is written
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == status
    assert "interrupted; 2 of 6 candidates are there; the same command with --resume" in err
    assert texts(path) == {"p": expected(2)["p"]}


# --- mistakes


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "either a prompt or --problems"),
        (("Why?", "-n", 0), "n=0 must be at least 1"),
        (("Why?", "--temperature", "nan"), "temperature=nan must be a number"),
        (("Why?", "--top-p", 0), "top_p=0.0 must be above 0"),
        (("Why?", "--body", "top_k"), "expected NAME=VALUE"),
        (("Why?", "--body", "n=3"), "none of n, seed"),
        (("Why?", "--resume"), "need a pool file"),
        (("Why?", "--raw", "--system", "x"), "leave one out"),
        (("Why?", "--timeout", 0), "timeout=0.0 must be"),
        (("Why?", "--format", "gsm8k"), "--format is for --problems"),
        ((" ",), "the prompt is empty"),
        (("Why?", "--system", "\udcff"), "system: it is no UTF-8 text"),
        (("Why?", "--stop", "\udcff"), "stop: it is no UTF-8 text"),
    ],
)
def test_a_mistake_is_one_line_and_no_request(generate, server, words, told):
    status, _, err = generate(*words)
    assert status == 2
    assert told in one_line(err)
    assert server.bodies == []


def test_many_problems_that_fail_are_listed_in_part(generate, tmp_path, path, server):
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"prompt": f"{i}?"}) + "\n" for i in range(23)))
    server.answer = lambda body, number: (400, {"error": "no"})
    status, _, err = generate("--problems", many, "-o", path, "-n", 1)
    assert status == 3
    lines = err.splitlines()
    assert lines[0].endswith("23 of 23 problems lack candidates:")
    assert (len(lines), lines[-2]) == (23, "edifice-tt:   and 3 others")


def test_being_installed_costs_nothing():
    code = """
import sys, edifice_tt_openai
assert not {"httpx2", "asyncio", "tinygrad", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
