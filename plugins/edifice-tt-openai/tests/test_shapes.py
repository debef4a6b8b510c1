"""Answers and errors in the forms that vLLM, SGLang, ollama and mlx-lm document."""

import json

import pytest

import edifice_tt as et
from edifice_tt.testing import run_command

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def chat(*choices, **more):
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "tiny"} | {
        "choices": list(choices),
        "usage": USAGE,
        **more,
    }


def message(text, **more):
    return {"role": "assistant", "content": text, **more}


def token(text, logprob, **more):
    return {
        "token": text,
        "logprob": logprob,
        "bytes": [*text.encode()],
        "top_logprobs": [],
        **more,
    }


def of_vllm(body, number):
    """All of `n`; null stands for what was not asked for."""
    plain = {"refusal": None, "annotations": None, "tool_calls": [], "reasoning": None}
    told = {"content": [token("4", -0.25), token("</s>", -9999.0)]}
    ends = [("stop", None), ("stop", 128009), ("stop", "END"), ("length", None)]
    return chat(
        *(
            {"index": i, "message": message(f"{i}", **plain), "logprobs": told, "token_ids": None}
            | dict(zip(("finish_reason", "stop_reason"), ends[i % 4], strict=True))
            for i in range(body.get("n", 1))
        ),
        system_fingerprint=None,
        prompt_logprobs=None,
        prompt_token_ids=None,
        kv_transfer_params=None,
    )


def of_sglang(body, number):
    """All of `n`; `matched_stop` is the token or the text that ended it."""
    ends = [("stop", 151645), ("stop", "END"), ("length", None), ("abort", None)]
    return chat(
        *(
            {"index": i, "message": message(f"{i}", reasoning_content=None), "logprobs": None}
            | dict(zip(("finish_reason", "matched_stop"), ends[i % 4], strict=True))
            for i in range(body.get("n", 1))
        ),
        metadata={"weight_version": "default"},
    )


def of_ollama(body, number):
    """One choice whatever `n` is; thinking comes apart."""
    one = {"index": 0, "message": message(f"{number}", reasoning="Hm."), "finish_reason": "stop"}
    return chat(one, system_fingerprint="fp_ollama")


def of_mlx(body, number):
    """One choice whatever `n` is; log-probabilities beside the tokens' ids."""
    told = {"token_logprobs": [-0.5, -1.5], "top_logprobs": [{"4": -0.5}, {"2": -1.5}]}
    told["tokens"] = [4, 2]
    one = {"index": 0, "message": message(f"{number}"), "finish_reason": "stop", "logprobs": told}
    return chat(one, system_fingerprint="0.31")


@pytest.fixture
def ask(server, tmp_path, capsys):
    """Sample four candidates; returns the pool, the number of requests, and what was told."""

    def call(answer, *more):
        server.answer = answer
        path = tmp_path / "pool"
        words = ("What is 2 + 2?", "-n", 4, "-o", path, "--concurrency", 1, "--url", server.url)
        status = run_command("openai", "generate", *words, "--retries", 0, *more)
        told = capsys.readouterr().err
        pools = [*et.read_pools(path)] if status == 0 else []
        return status, (pools or [None])[0], len(server.bodies), told

    return call


@pytest.mark.parametrize(
    ("answer", "requests", "ends"),
    [
        (of_vllm, 1, ["eos", "eos", "stop", "length"]),
        (of_sglang, 1, ["eos", "stop", "length", "unknown"]),
        (of_ollama, 4, ["unknown"] * 4),
        (of_mlx, 4, ["unknown"] * 4),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_all_candidates_come_with_their_ends_whatever_the_server_makes_of_n(
    ask, answer, requests, ends
):
    status, pool, asked, told = ask(answer, "--stop", "END")
    assert (status, asked, told) == (0, requests, "")
    texts = [one.text.removeprefix("<think>\nHm.\n</think>\n\n") for one in pool]
    assert texts == ["0", "1", "2", "3"]
    assert [one.finish_reason for one in pool] == ends


def test_a_seed_that_is_ignored_is_told_where_all_answers_are_the_same(ask):
    def same(body, number):
        return chat({"index": 0, "message": message("4"), "finish_reason": "stop"})

    assert "the server may ignore the seed" not in ask(same)[3]  # four may be the same
    told = ask(same, "-n", 9, "--force")[3]
    assert "the server may ignore the seed or the temperature" in told
    assert ask(same, "-n", 9, "--force", "--temperature", 0)[3] == ""


def test_log_probabilities_are_kept_in_each_form_and_missed_where_they_do_not_come(ask):
    assert ask(of_vllm, "--logprobs")[1][0].token_logprobs == (-0.25, -9999.0)
    found = ask(of_mlx, "--logprobs", "--force")[1][0]
    assert (found.token_ids, found.token_logprobs) == ((4, 2), (-0.5, -1.5))
    for silent in (of_sglang, of_ollama):
        status, pool, _, told = ask(silent, "--logprobs", "--force")
        assert (status, pool[0].token_logprobs) == (0, ())
        assert "4 of 4 came without log-probabilities" in told
    assert pool.settings["unverified"] == ["model", "seed", "token_logprobs"]


def test_the_prompt_s_log_probabilities_are_none_of_the_answer_s(ask):
    def answer(body, number):
        read = [None, {"5": {"logprob": -7.0, "rank": 1, "decoded_token": "x"}}]
        return {**of_vllm(body, number), "prompt_logprobs": read}

    _, pool, _, _ = ask(answer, "--logprobs", "--body", "prompt_logprobs=1")
    assert pool[0].token_logprobs == (-0.25, -9999.0)


GONE = "The model `tiny` does not exist."


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((404, {"object": "error", "message": GONE, "type": "NotFoundError", "code": 404}), GONE),
        ((404, {"error": {"message": GONE, "type": "NotFoundError", "code": 404}}), GONE),
        ((200, {"object": "error", "message": GONE, "param": None, "code": 404}), GONE),
        ((404, {"error": {"message": 'model "tiny" not found', "code": None}}), "not found"),
        ((404, {"error": "no such repository"}), "no such repository"),
        ((400, {"object": "error", "message": "n must be 1", "code": 400}), "n must be 1"),
        ((400, {"detail": [{"loc": ["body", "n"], "msg": "n is too large"}]}), "n is too large"),
        ((422, {"detail": "n is too large"}), "n is too large"),
        ((500, {"error": {"message": "out of memory", "code": 500}}), "out of memory"),
    ],
)
def test_an_error_in_any_of_their_forms_is_told_in_the_server_s_words(ask, fault, message):
    status, _, _, told = ask(lambda body, number: fault)
    assert status in (2, 3)
    assert message in told
    assert "is it the address of an OpenAI-compatible server?" not in told
    assert all(line.startswith("edifice-tt") for line in told.splitlines())


def test_a_wrong_address_and_no_models_are_not_confused(ask, server):
    found = ask(lambda body, number: (404, {"detail": "Not Found"}))[3]
    assert "is it the address of an OpenAI-compatible server?" in found
    server.models = {"object": "list", "data": None}
    found = ask(of_ollama, "--force")[3]
    assert "no model was named, and it has none" in found
    server.models = json.loads('{"object": "list", "data": [{"id": "tiny:latest"}]}')
    found = ask(of_ollama, "--model", "tiny", "--force")[3]
    assert "no model 'tiny', and it has tiny:latest; name one of them" in found
