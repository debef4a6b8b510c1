import math

import pytest
from edifice_tt_openai.judge import read_number
from edifice_tt_openai.server import ServerError
from loopback import choice, completion

import edifice_tt as et
from edifice_tt.testing import check_scorer, run_command

ASKED = ({"role": "user", "content": "What is {answer}?"},)
ANSWERS = (et.Candidate(0, "four"), et.Candidate(1, "<think>hm</think>five"))
POOL = et.Pool("", ANSWERS, gold="4", messages=ASKED)


def judged(server, pool=POOL, **options):
    scored = et.score(None, pool, "openai_judge", scorer_options={"url": server.url, **options})
    (name,) = scored.scorers
    return [one.scores[name] for one in scored]


def says(text):
    return lambda body, number: completion(choice(text))


def first_token(**probabilities):
    listed = [{"token": word, "logprob": math.log(p)} for word, p in probabilities.items()]
    content = [{"token": "x", "logprob": -0.5, "top_logprobs": listed}]
    return lambda body, number: completion(choice("x", logprobs={"content": content}))


@pytest.mark.parametrize("gives", ["number", "yes"])
def test_it_keeps_the_contract_of_a_scorer(server, gives):
    """The server's numbers depend on the answer alone."""

    def answer(body, number):
        length = len(body["messages"][0]["content"]) % 11
        if gives == "number":
            return says(f"Score: {length}")(body, number)
        return first_token(Yes=(length + 1) / 20, No=0.25)(body, number)

    server.answer = answer
    check_scorer("openai_judge", reads="text", range="probability", url=server.url, gives=gives)


def test_the_judge_reads_the_question_and_the_answer_without_its_thinking(server):
    server.answer = says("Good.\nScore: 8")
    assert judged(server) == [0.8, 0.8]
    texts = {body["messages"][0]["content"] for body in server.bodies}
    assert {text.split("How good")[0] for text in texts} == {
        f"Question:\nWhat is {{answer}}?\n\nAnswer to judge:\n{one}\n\n" for one in ("four", "five")
    }
    assert {body["temperature"] for body in server.bodies} == {0}


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Score: 7", 0.7),
        ("**Score:** 7.5", 0.75),
        ("Score: 2\nOn second thought,\nscore = 9/10.", 0.9),
        ("10", 1.0),
        ("7/10", 0.7),
        ("<think>Score: 1</think>Score: 0", 0.0),
    ],
)
def test_the_last_score_of_a_reply_counts(reply, score):
    assert read_number(reply, 10.0) == score


@pytest.mark.parametrize("reply", ["", "It is good.", "I saw 3 errors.", "Score: 11", "Score: -1"])
def test_a_reply_without_a_score_in_range_is_an_error(reply):
    with pytest.raises(ServerError, match="the judge gave"):
        read_number(reply, 10.0)


def test_how_likely_yes_is_against_no_of_all_spellings(server):
    server.answer = first_token(**{"Yes": 0.25, " yes": 0.25, "NO": 0.125, "Maybe": 0.25})
    assert judged(server, gives="yes") == [pytest.approx(0.8)] * 2
    assert server.bodies[0]["max_tokens"] == 1
    assert server.bodies[0]["top_logprobs"] == 20


@pytest.mark.parametrize(
    ("answer", "told"),
    [(says("Yes"), "no log-probabilities; use gives=number"), (first_token(Maybe=0.5), "neither")],
)
def test_a_server_that_does_not_tell_how_likely_yes_is(server, answer, told):
    server.answer = answer
    with pytest.raises(et.PluginError, match=told):
        judged(server, gives="yes")


def test_a_prompt_of_ones_own_may_see_the_right_answer(server, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{question} {gold}? {answer} of {out_of}, {other}")
    server.answer = says("3")
    assert judged(server, prompt=str(prompt), out_of=4.0) == [0.75, 0.75]
    texts = sorted(body["messages"][0]["content"] for body in server.bodies)
    assert texts == [f"What is {{answer}}? 4? {one} of 4, {{other}}" for one in ("five", "four")]
    with pytest.raises(et.PluginError, match="has no right answer"):
        judged(server, et.Pool("Why?", ANSWERS), prompt=str(prompt))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gives": "stars"}, "gives='stars' must be one of number, yes"),
        ({"out_of": 0.0}, "must be above 0"),
        ({"prompt": "nowhere.txt"}, "no file that can be read"),
        ({"url": "here"}, "must be the address"),
        ({"url": "http://me:secret@host/v1"}, "without user, password"),
    ],
)
def test_an_option_that_cannot_be_is_told_before_anything_is_asked(server, options, told):
    with pytest.raises(ValueError, match=told):
        judged(server, **options)
    assert server.bodies == []


def test_a_prompt_that_shows_no_answer_is_refused(server, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Rate it.")
    with pytest.raises(ValueError, match="every answer would be alike"):
        judged(server, prompt=str(prompt))


def test_a_fault_that_passes_costs_no_score(server):
    server.answer = lambda body, number: (
        (500, {}) if number == 0 else says("Score: 5")(body, number)
    )
    assert judged(server) == [0.5, 0.5]


def test_a_command_keeps_what_was_scored_before_the_judge_failed(server, tmp_path, capsys):
    path = tmp_path / "pool.jsonl"
    et.write_pools(path, [et.Pool("Why?", ANSWERS, problem=name) for name in "pqr"])
    words = ("score", path, "--scorer", "openai_judge", "--scorer-option", f"url={server.url}")
    server.answer = lambda body, number: says("Score: 5" if number < 2 else "Dunno.")(body, number)
    assert run_command(*words, "--concurrency", 1) == 2
    err = capsys.readouterr().err
    assert "the judge gave no score: 'Dunno.'" in err
    assert "1 of 3 problems" in err
    server.answer = says("Score: 6")
    assert run_command(*words, "--resume") == 0
    scores = [[*pool.candidates[0].scores.values()] for pool in et.read_pools(path)]
    assert scores == [[0.5], [0.6], [0.6]]
