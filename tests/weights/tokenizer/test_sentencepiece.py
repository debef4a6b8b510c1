"""SentencePiece's merges against a plain search, and the rules around them one by one."""

import copy
import json
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.pools.chat_text import ChatText
from edifice_tt.weights.tokenizer import TextStream, Tokenizer

pytest.importorskip("tokenizers")

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
START = [("<unk>", -1.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
BYTES = [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
FIRST = len(START) + len(BYTES)  # the id of the first word


def make_metadata(words, start=START, name=None, **ggml):
    """Three special tokens, the bytes, then words: a text with its score, and its kind."""
    rows = [*start, *BYTES, *((*word, NORMAL)[:3] for word in words)]
    tokens, scores, kinds = map(list, zip(*rows, strict=True))
    settings = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": kinds} | ggml
    metadata = {f"tokenizer.ggml.{key}": value for key, value in settings.items()}
    metadata["general.name"] = name
    return {key: value for key, value in metadata.items() if value is not None}


def make_tokenizer(words, **options):
    return Tokenizer.from_gguf(make_metadata(words, add_bos_token=False, **options))


def by_letters(text, start=0.0):
    return [(letter, start) for letter in dict.fromkeys(text)]


def merged(text, scores):
    """Of all neighbours that make a token, those of the highest score merge; the leftmost first."""
    parts = list(text)
    while True:
        pairs = [
            (-scores[parts[i] + parts[i + 1]], i)
            for i in range(len(parts) - 1)
            if parts[i] + parts[i + 1] in scores
        ]
        if not pairs:
            return parts
        i = min(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@given(
    st.dictionaries(
        st.text("ab▁é", min_size=1, max_size=5), st.sampled_from([-2.0, -1.0, 0.0, 0.5])
    ),
    st.text("ab é▁", max_size=23),
    st.booleans(),
)
def test_ids_are_those_of_a_plain_search_for_any_vocabulary(words, text, space_prefix):
    """With equal scores, letters without a token, and tokens with a space inside or at the end."""
    tokenizer = make_tokenizer(words.items(), add_space_prefix=space_prefix)
    ids = {word: FIRST + i for i, word in enumerate(words)}
    escaped = (" " * (space_prefix and text != "") + text).replace(" ", "▁")
    expected = [
        i
        for part in merged(escaped, words)
        for i in ([ids[part]] if part in ids else [3 + byte for byte in part.encode()])
    ]
    assert tokenizer.encode(text) == expected


def test_long_words_have_the_ids_of_a_plain_search():
    rng = random.Random(5)
    words = {"".join(rng.choices("abc", k=rng.randint(1, 7))): -float(i) for i in range(199)}
    text = "".join(rng.choices("abc", k=499))
    ids = {word: FIRST + i for i, word in enumerate(words)}
    tokenizer = make_tokenizer(words.items(), add_space_prefix=False)
    parts = merged(text, words)
    assert tokenizer.encode(text) == [ids.get(part, 3 + ord(part[0])) for part in parts]


def test_a_space_stands_before_a_text_and_behind_each_special_token():
    words = by_letters("▁ab")
    tokenizer = make_tokenizer([*words, ("<tool>", 0.0, USER_DEFINED)])
    space, a, b, tool = range(FIRST, FIRST + 4)
    assert tokenizer.encode("a") == [space, a]
    assert tokenizer.encode(" a") == [space, space, a]
    assert tokenizer.encode("a<s>b") == [space, a, 1, space, b]
    assert tokenizer.encode("<tool>b<s>") == [tool, space, b, 1]
    assert tokenizer.encode("") == []
    plain = make_tokenizer(words, add_space_prefix=False)
    assert plain.encode("a<s>b") == [a, 1, b]


def test_special_tokens_are_sought_longest_first_over_the_whole_text():
    """As in llama.cpp, not the leftmost first: here the two share a letter."""
    special = [("abc", 0.0, CONTROL), ("cdef", 0.0, CONTROL)]
    tokenizer = make_tokenizer([*by_letters("ab"), *special], add_space_prefix=False)
    assert tokenizer.encode("abcdef") == [FIRST, FIRST + 1, FIRST + 3]
    assert tokenizer.encode("abcabc") == [FIRST + 2] * 2


def test_blanks_behind_special_tokens_go_where_the_model_is_a_phi_3():
    words = [*by_letters("▁a"), ("<|user|>", 0.0, CONTROL), ("<tool>", 0.0, USER_DEFINED)]
    space, a, user, tool = range(FIRST, FIRST + 4)
    text = "<|user|> \n\t a<s> a</s> a<tool>\n"
    expected = [user, space, a, 1, space, space, a, 2, space, a, tool]
    for name in ("Phi3", "microsoft/Phi-3-mini"):
        assert make_tokenizer(words, name=name).encode(text) == expected
    for name in ("phi-2", None, 7):
        assert make_tokenizer(words, name=name).encode(text) != expected
    assert make_tokenizer(words, name="phi3").encode("<|user|>\u00a0a") == [
        *(user, space, *(3 + byte for byte in "\u00a0".encode()), a)
    ]


def test_a_character_without_a_token_is_its_bytes_or_the_unknown_token():
    assert make_tokenizer(by_letters("▁")).encode("é") == [FIRST, 3 + 0xC3, 3 + 0xA9]
    tokens = ["<unk>", "▁", "a", "é"]
    few = {"tokens": tokens, "scores": [0.0] * 4, "token_type": [2, 1, 1, 1]}
    few |= {"bos_token_id": 0, "eos_token_id": 0}
    assert make_tokenizer([], **few).encode("aé☃") == [1, 2, 3, 0]
    assert make_tokenizer([], **few, unknown_token_id=2).encode("b") == [1, 2]


def test_a_control_token_never_comes_of_merging():
    words = [*by_letters("<s>/"), ("</", 0.0), ("s>", 0.0), ("[X]", 9.0, CONTROL), ("[X", 0.0)]
    tokenizer = make_tokenizer([*words, *by_letters("[X]")], add_space_prefix=False)
    assert tokenizer.encode("</s>") == [2]
    assert 2 not in tokenizer.encode_plain("</s>")
    assert tokenizer.decode(tokenizer.encode_plain("</s>[X]<unk>")) == "</s>[X]<unk>"


def test_a_text_that_is_plain_somewhere_has_the_ids_of_the_whole_elsewhere():
    words = [*by_letters("▁hi<s>"), ("hi", -1.0), ("▁hi", -2.0), ("<t>", 0.0, USER_DEFINED)]
    rng = random.Random(7)
    for space_prefix in (True, False):
        tokenizer = make_tokenizer(words, add_space_prefix=space_prefix, name="phi3")
        for _ in range(53):
            parts = rng.choices(["hi", " hi", "  ", "<t>", "<s>", "</s>", "é", "\n"], k=11)
            text = "x" + "".join(parts)
            assert tokenizer.encode(ChatText(text, [(0, 1)])) == tokenizer.encode(text)
        text = ChatText("hi<s><s>hi", [(2, 5)])
        assert tokenizer.encode(text) == [
            *(*tokenizer.encode_plain("hi<s>"), 1, *tokenizer.encode_plain("hi"))
        ]


def test_what_a_file_does_not_say_is_llama_s():
    tokenizer = Tokenizer.from_gguf(make_metadata(by_letters("▁a")))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.add_bos) == (1, 2, True)
    assert tokenizer.stop_ids == {2}
    assert tokenizer.encode("a") == [1, FIRST, FIRST + 1]
    assert tokenizer.encode("<s>a") == [1, FIRST, FIRST + 1]
    given = make_metadata(by_letters("▁a"), bos_token_id=2, eos_token_id=1, add_bos_token=False)
    assert Tokenizer.from_gguf(given).encode("a") == [FIRST, FIRST + 1]
    assert Tokenizer.from_gguf(given).stop_ids == {1, 2}


def test_decode_leaves_out_the_space_before_a_text_and_no_other():
    tokenizer = make_tokenizer([*by_letters("▁ab"), ("▁▁", -1.0)])
    for text in ("a b", " a", "  a ", "", "☃é\n", "\t a"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([1, *tokenizer.encode("a")]) == "a"
    assert tokenizer.decode([3 + 0x20, FIRST + 1]) == "a"
    assert tokenizer.token_bytes(FIRST) == b" "
    plain = make_tokenizer(by_letters("▁a"), add_space_prefix=False)
    assert plain.decode([FIRST, FIRST + 1]) == " a"


def test_tokens_are_printed_by_their_kind():
    words = [("▁a▁", 0.0), ("▁b", 0.0, USER_DEFINED), ("▁c", 0.0, UNUSED), ("d", 0.0, 0)]
    tokenizer = make_tokenizer(words, add_space_prefix=False)
    printed = [tokenizer.token_bytes(FIRST + i).decode() for i in range(4)]
    assert printed == [" a ", "▁b", "", ""]
    assert tokenizer.token_bytes(3 + 0xE2) == b"\xe2"


def test_a_stream_holds_back_bytes_and_equals_decode_for_any_tokens():
    tokenizer = make_tokenizer([*by_letters("▁a"), ("▁▁", 0.0)])
    rng = random.Random(11)
    lively = [0, 1, 3 + 0x20, 3 + 0xF0, 3 + 0x9F, 3 + 0xC3, 3 + 0xA9, *range(FIRST, FIRST + 3)]
    for _ in range(499):
        ids = rng.choices(lively, k=rng.randint(0, 11))
        stream = TextStream(tokenizer)
        assert "".join(map(stream.add, ids)) + stream.finish() == tokenizer.decode(ids)
    stream = TextStream(tokenizer)
    assert [stream.add(i) for i in (1, FIRST, FIRST + 1, 3 + 0xC3, 3 + 0xA9, FIRST)] == [
        *("", "", "a", "", "é", " ")
    ]


def test_a_saved_copied_or_pickled_tokenizer_is_the_same():
    words = [*by_letters("▁ab"), ("ab", -1.5), ("<t>", 0.0, USER_DEFINED)]
    tokenizer = make_tokenizer(words, name="phi3", unknown_token_id=1)
    text = "ab <t>  ba<s> é\n"
    again = Tokenizer.from_json(tokenizer.to_json())
    for one in (again, copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert one.to_json() == tokenizer.to_json()
        assert one.encode(text) == tokenizer.encode(text)
        assert one.decode(one.encode(text)) == tokenizer.decode(one.encode(text))
        assert one.control_tokens() == {"<unk>": 0, "<s>": 1, "</s>": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space_prefix": 1}, "space_prefix=1 must be true or false"),
        ({"bpe": '{"sentencepiece": 7}'}, "the saved tokenizer cannot be read"),
        ({"bpe": '{"sentencepiece": {"tokens": ["a"]}}'}, "the saved tokenizer cannot be read"),
        (
            {"bpe": '{"sentencepiece": {"tokens": [1], "scores": [], "kinds": []}}'},
            "cannot be read",
        ),
    ],
)
def test_a_saved_tokenizer_that_is_damaged_is_one_error(change, message):
    saved = json.loads(make_tokenizer(by_letters("▁a")).to_json()) | change
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_json(json.dumps(saved))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": None}, "scores is missing; convert the model again"),
        ({"tokens": None}, "tokens is missing"),
        ({"scores": [0.0]}, "scores has 1 entries, expected one for each of 260 tokens"),
        ({"scores": [float("nan")] * 260}, r"scores\[0\]=nan must be a number of 32 bits"),
        ({"scores": [0.0] * 9 + [float("inf")] * 251}, r"scores\[9\]=inf must be a number"),
        ({"scores": [10**400] * 260}, r"scores\[0\]=1000.* must be a number of 32 bits"),
        ({"scores": ["0"] * 260}, r"scores\[0\]='0' must be among numbers"),
        ({"scores": [True] * 260}, r"scores\[0\]=True must be among numbers"),
        ({"scores": 7}, "scores=7 must be a list of numbers"),
        ({"token_type": [7] * 260}, r"token_type\[0\]=7 must be from 0 to 6"),
        ({"token_type": [BYTE] * 260}, r"tokens\[0\]='<unk>' is a byte by its type"),
        ({"add_space_prefix": "no"}, "add_space_prefix='no' must be true or false"),
        ({"unknown_token_id": 260}, "unknown_token_id=260 is none of 260 tokens"),
        ({"eos_token_id": -1}, "eos_token_id=-1 is none of 260 tokens"),
        ({"add_bos_token": 1}, "add_bos_token=1 must be true or false"),
    ],
)
def test_metadata_that_cannot_be_used_is_a_clear_error(change, message):
    with pytest.raises(CheckpointError, match=f"tokenizer.ggml.{message}") as caught:
        Tokenizer.from_gguf(make_metadata([("▁", 0.0)], **change))
    assert "\n" not in str(caught.value)


def test_a_vocabulary_smaller_than_llama_s_ids_has_none_of_them():
    few = {"tokens": ["a"], "scores": [0], "token_type": [1]}
    tokenizer = Tokenizer.from_gguf(make_metadata([], **few))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.stop_ids) == (None, None, frozenset())
    assert tokenizer.encode("a") == [0, 0]  # the space is unknown, which is 0
