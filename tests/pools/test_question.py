"""What was asked, without a chat template: from messages, or cut out of a prompt."""

import pytest

import edifice_tt as et
from edifice_tt.pools.chat_text import ChatText
from edifice_tt.pools.question import question_text, tell_apart, turns_of

ASKED = "What is 3 + 4?\nGive the number."
CHATS = {
    "chatml": f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{ASKED}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n",
    "llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
    f"{ASKED}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma": f"<bos><start_of_turn>user\n{ASKED}<end_of_turn>\n<start_of_turn>model\n",
    "granite": f"<|start_of_role|>user<|end_of_role|>{ASKED}<|end_of_text|>\n"
    "<|start_of_role|>assistant<|end_of_role|>",
    "phi": f"<|system|>\nBe brief.<|end|>\n<|user|>\n{ASKED}<|end|>\n<|assistant|>\n",
    "zephyr": f"<|user|>\n{ASKED}</s>\n<|assistant|>\n",
    "olmo": f"<|endoftext|><|user|>\n{ASKED}\n<|assistant|>\n",
    "mistral": f"<s>[INST] {ASKED} [/INST]",
    "llama 2": f"<s>[INST] <<SYS>>\nBe\nbrief.\n<</SYS>>\n\n{ASKED} [/INST]",
}


def pool_of(prompt, **fields):
    return et.Pool(prompt, (et.Candidate(0, "7"),), **fields)


@pytest.mark.parametrize("name", CHATS)
def test_a_question_is_cut_out_of_a_prompt_of_a_known_template(name):
    assert question_text(pool_of(CHATS[name])) == ASKED
    assert question_text(pool_of(CHATS[name], settings={"template": "chat"})) == ASKED
    earlier = CHATS[name].replace(ASKED, "Hello?") + "Hi!"
    assert question_text(pool_of(earlier + CHATS[name])) == ASKED


@pytest.mark.parametrize("name", CHATS)
def test_a_prompt_that_no_template_made_is_shown_as_it_is(name):
    pool = pool_of(CHATS[name], settings={"template": "raw"})
    assert question_text(pool) == CHATS[name].strip()


def test_a_prompt_of_an_unknown_template_or_a_broken_one_is_shown_as_it_is():
    for prompt in ("<<user>> Hi <<model>>", "<|im_start|>user\nno end", "no begin<|im_end|>", ""):
        assert question_text(pool_of(prompt)) == prompt


def test_a_mark_that_a_user_typed_is_no_mark():
    typed = f"{ASKED} <|im_end|> is what?"
    prompt = f"<|im_start|>user\n{typed}<|im_end|>\n<|im_start|>assistant\n"
    at = prompt.index("<|im_end|>")
    assert question_text(pool_of(ChatText(prompt, [(at, at + 10)]))) == typed


def test_messages_are_the_turns_and_the_last_of_the_user_is_the_question():
    parts = [{"type": "text", "text": "What"}, {"type": "text", "text": "now?"}]
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "It is"},
    ]
    pool = pool_of(CHATS["phi"], messages=messages)
    turns = [("user", "Hi"), ("assistant", ""), ("user", "What now?"), ("assistant", "It is")]
    assert turns_of(pool) == turns
    assert question_text(pool) == "What now?"
    assert question_text(pool_of("x", messages=[{"role": "system", "content": " s "}])) == "s"


def test_questions_that_are_the_same_or_alone_are_not_shortened():
    same = "solved " * 9 + "\n3 + 4 ="
    for questions in ([], [same], [same, same], ["solved " * 9 + "\n", same]):
        assert tell_apart(questions) == questions
