"""What ends an answer, token by token, without a model's work."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from edifice_tt.sampling.sampled import Sampled
from edifice_tt.sampling.stops import Stops
from edifice_tt.testing import byte_tokenizer
from edifice_tt.weights.tokenizer import TextStream, Tokenizer

pytest.importorskip("tokenizers")

NONE, START, END = 0, 1, 2
TOKENIZER = byte_tokenizer()
LM = SimpleNamespace(tokenizer=TOKENIZER, config=SimpleNamespace(vocab_size=259))


def read(stop, *said, lm=LM):
    """The text, the reason, and the streamed text of an answer; ids stand for themselves."""
    ids = [i for part in said for i in ([part] if isinstance(part, int) else text_ids(part))]
    row, stops, shown = Sampled(0, TextStream(lm.tokenizer)), Stops.of(lm, stop), ""
    for place, token in enumerate(ids):
        shown += row.add(token, -1.0, stops, last=place == len(ids) - 1)
        if row.finish_reason:
            break
    candidate = row.candidate()
    assert shown == candidate.text
    return candidate.text, candidate.finish_reason, len(candidate.token_ids)


def text_ids(text):
    data = text if isinstance(text, bytes) else text.encode()
    return [3 + byte for byte in data]


def test_a_stop_string_that_is_a_control_token_ends_the_answer_there():
    assert read(["<|im_start|>"], "hello ", START, "user") == ("hello ", "stop", 7)


def test_a_stop_string_that_holds_a_control_token_needs_all_of_it():
    stop = ["!\n<|im_start|>user"]
    assert read(stop, "ab!\n", START, "user", "more") == ("ab", "stop", 9)
    assert read(stop, "ab!\n", START, "usual") == ("ab!\nusual", "length", 10)
    assert read(stop, "ab\n", START, "user") == ("ab\nuser", "length", 8)
    assert read(["a<|im_start|><|im_start|>b"], "xa", START, START, "b") == ("x", "stop", 5)


def test_a_control_token_that_is_spelt_in_letters_stops_too():
    assert read(["<|im_start|>"], "hi<|im_start|>user") == ("hi", "stop", 14)


def test_an_end_token_that_is_a_stop_string_too_is_the_models_own_end():
    assert read(["<|im_end|>"], "hi", END) == ("hi", "eos", 3)
    assert read(["i<|im_end|>"], "hi", END) == ("h", "stop", 3)


def test_a_control_token_within_a_character_leaves_the_character_whole():
    assert read(["x<|im_start|>"], b"\xc3", START, b"\xa9") == ("é", "length", 3)
    assert read(["<|im_start|>"], "a", b"\xc3", START, b"\xa9") == ("a", "stop", 3)


@pytest.mark.parametrize("stop", ["\n", " ", "\t", "\r\n", "\n\n", "\u3000"])
def test_white_space_ends_an_answer(stop):
    assert read([stop], f"one{stop}two") == ("one", "stop", 3 + len(stop.encode()))


def test_the_earliest_of_several_wins_also_beside_a_control_token():
    stop = ["b<|im_start|>", "ab", "<|im_start|>"]
    assert read(stop, "xab", START) == ("x", "stop", 3)
    assert read(stop, "xb", START) == ("x", "stop", 3)


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ("\ud800", "holds half a character"),
        ("", "must hold non-empty strings"),
    ],
)
def test_a_stop_string_that_no_text_can_hold_is_refused(stop, message):
    with pytest.raises(ValueError, match=message):
        Stops.of(LM, [stop])


def test_a_stop_string_with_a_byte_that_the_model_lacks_is_refused():
    pieces = [piece for piece in TOKENIZER.pieces if piece != b"\x04"]
    lm = SimpleNamespace(tokenizer=replace(TOKENIZER, pieces=pieces), config=LM.config)
    with pytest.raises(ValueError, match="never comes: no token of the model has the byte 4"):
        Stops.of(lm, ["a\x04"])
    assert Stops.of(lm, ["\ufffd"]).strings == ("\ufffd",)


def test_a_chat_ends_with_the_token_that_ends_its_templates_turns():
    template = "{% for m in messages %}{{ m.content }}<|endoftext|>{% endfor %}"
    lm = SimpleNamespace(
        tokenizer=replace(TOKENIZER, chat_template=template, stop_ids=frozenset({END})),
        config=LM.config,
    )
    assert Stops.of(lm, [], chat=True).eos_ids == {NONE, END}
    assert Stops.of(lm, []).eos_ids == {END}


def test_an_answer_of_sentencepiece_lacks_the_space_before_it_and_stops_alike():
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "\u2581",
        "\u2581a",
    ]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, 1, 1],
    }
    tokenizer = Tokenizer.from_gguf(metadata)
    lm = SimpleNamespace(tokenizer=tokenizer, config=SimpleNamespace(vocab_size=len(tokens)))
    space, word = 259, 260
    assert read([], word, word, 2, lm=lm) == ("a a", "eos", 3)
    assert read([], space, word, b"\xc3", b"\xa9", 2, lm=lm) == (" a\xe9", "eos", 5)
    assert read([" a"], word, word, lm=lm) == ("a", "stop", 2)
    assert read(["<s>a"], word, 1, b"a", lm=lm) == ("a", "stop", 3)
    lm.tokenizer = replace(tokenizer, pieces=tokenizer.pieces[:3])
    with pytest.raises(ValueError, match="never comes: no token of the model has the byte"):
        Stops.of(lm, ["b"])
