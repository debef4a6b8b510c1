"""What servers send, field by field, as they document it."""

import pytest

import edifice_tt as et

TOKENS = [{"token": "It", "logprob": -0.5}, {"token": "<end>", "logprob": -0.25}]
WITH_LOGPROBS = {"logprobs": {"content": TOKENS}}


def choice(text="It is 42.", reason="stop", **more):
    return {"message": {"role": "assistant", "content": text}, "finish_reason": reason, **more}


def read(*choices, stop=False):
    return et.read_choices({"choices": list(choices), "usage": {"completion_tokens": 7}}, stop=stop)


def test_log_probabilities_are_kept_and_counted_without_ids():
    (one,) = read(choice(**WITH_LOGPROBS))
    assert (one.token_logprobs, one.token_ids, one.num_tokens) == ((-0.5, -0.25), (), 2)


@pytest.mark.parametrize(
    "more",
    [
        {**WITH_LOGPROBS, "token_ids": [3, 2]},
        {
            "logprobs": {
                "content": [{**one, "id": i} for one, i in zip(TOKENS, (3, 2), strict=True)]
            }
        },
        {
            "logprobs": {
                "content": [
                    {**one, "token": f"token_id:{i}"} for one, i in zip(TOKENS, (3, 2), strict=True)
                ]
            }
        },
    ],
    ids=["vLLM", "llama.cpp", "vLLM's other way"],
)
def test_token_ids_are_kept_where_a_server_gives_them(more):
    (one,) = read(choice(**more))
    assert (one.token_ids, one.token_logprobs) == ((3, 2), (-0.5, -0.25))


def test_ids_that_do_not_fit_the_log_probabilities_are_left_out():
    (one,) = read(choice(**WITH_LOGPROBS, token_ids=[3]))
    assert (one.token_ids, one.token_logprobs) == ((), (-0.5, -0.25))


@pytest.mark.parametrize("number", [None, "0.5", float("nan"), float("-inf"), True])
def test_what_is_no_log_probability_leaves_all_out(number):
    (one,) = read(choice(logprobs={"content": [TOKENS[0], {"token": "x", "logprob": number}]}))
    assert (one.token_logprobs, one.num_tokens) == ((), 7)


def test_log_probabilities_of_a_completion_are_two_lists():
    logprobs = {"tokens": ["It", "."], "token_logprobs": [-0.5, -0.125], "top_logprobs": None}
    (one,) = read({"text": "It.", "logprobs": logprobs})
    assert one.token_logprobs == (-0.5, -0.125)


@pytest.mark.parametrize(
    ("reason", "more", "stop", "finish"),
    [
        ("stop", {}, False, "eos"),
        ("stop", {}, True, "unknown"),
        ("stop", {"stop_reason": None}, True, "eos"),
        ("stop", {"stop_reason": "END"}, True, "stop"),
        ("stop", {"stop_reason": 128009}, True, "eos"),
        ("stop", {"matched_stop": 151645}, True, "eos"),
        ("stop", {"matched_stop": "END"}, True, "stop"),
        ("stop", {"matched_stop": None}, True, "unknown"),
        ("length", {}, True, "length"),
        ("content_filter", {}, False, "unknown"),
        (None, {}, False, "unknown"),
    ],
)
def test_a_finish_reason_claims_no_more_than_the_server_says(reason, more, stop, finish):
    (one,) = read(choice(reason=reason, **more), stop=stop)
    assert one.finish_reason == finish


def test_the_tokens_of_several_choices_are_not_shared_out():
    assert [one.num_tokens for one in read(choice(), choice())] == [0, 0]
    assert [one.num_tokens for one in read(choice())] == [7]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize(
    ("content", "reason", "text"),
    [
        ("It is 4.", "stop", "<think>\n2 and 2\n</think>\n\nIt is 4."),
        (None, "length", "<think>\n2 and 2"),
        ("", "stop", "<think>\n2 and 2\n</think>\n\n"),
    ],
)
def test_thinking_that_comes_apart_stands_before_the_answer(field, content, reason, text):
    sent = choice(content, reason=reason)
    sent["message"][field] = "2 and 2"
    assert read(sent)[0].text == text


def test_half_of_a_character_becomes_one_that_a_file_can_hold():
    assert read(choice("a\ud83d"))[0].text == "a\ufffd"


@pytest.mark.parametrize("answer", [{}, {"choices": None}, {"choices": []}, {"choices": [None]}])
def test_what_holds_no_choice_is_refused(answer):
    with pytest.raises(ValueError, match="choice"):
        et.read_choices(answer)
