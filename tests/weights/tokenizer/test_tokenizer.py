"""The tokenizer against llama.cpp's ids for a real model, and rule by rule on a handmade one."""

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.pools.chat_text import ChatText
from edifice_tt.weights.tokenizer import TextStream, Tokenizer
from edifice_tt.weights.tokenizer.pre_tokenizers import PRE_TOKENIZERS

pytest.importorskip("tokenizers")

REFERENCES = Path(__file__).parents[2] / "references"
CHATML = (
    "{% for m in messages %}\n"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5


def byte_alphabet():
    """GPT-2's characters for the 256 bytes, as its paper's code counts them up."""
    visible = [b for b in range(256) if chr(b).isprintable() and b not in (0x20, 0xA0, 0xAD)]
    hidden = iter(range(256, 512))
    return [chr(b) if b in visible else chr(next(hidden)) for b in range(256)]


ALPHABET = byte_alphabet()


def spell(text):
    return "".join(ALPHABET[byte] for byte in text.encode())


def make_metadata(words=(), special=(), pre="gpt-2", **ggml):
    """A vocabulary of the 256 bytes, then each word with the merges that build it, then special."""
    tokens, merges = list(ALPHABET), []
    for word in map(spell, words):
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append(f"{word[: end - 1]} {word[end - 1]}")
    types = [1] * len(tokens) + [kind for _, kind in special]
    tokens += [text for text, _ in special]
    settings = {"model": "gpt2", "pre": pre, "tokens": tokens, "merges": merges} | ggml
    settings.setdefault("token_type", types)
    metadata = {f"tokenizer.ggml.{key}": value for key, value in settings.items()}
    return {key: value for key, value in metadata.items() if value is not None}


def make_tokenizer(*args, chat_template=None, **options):
    metadata = make_metadata(*args, **options)
    if chat_template is not None:
        metadata["tokenizer.chat_template"] = chat_template
    return Tokenizer.from_gguf(metadata)


def test_merges_are_cut_at_a_space_and_none_makes_a_control_token():
    merges = ["< x", "x >", "< x", "<x >", "< x>", "  a", "<x> a"]
    special = [("<x>", CONTROL), (" ", 1), (" a", 1), ("<x>a", 1)]
    tokenizer = make_tokenizer(["<x", "x>"], special, merges=merges)
    kept = json.loads(tokenizer.bpe.to_str())["model"]["merges"]
    assert kept == [["<", "x"], ["x", ">"], [" ", "a"], ["<x>", "a"]]


@pytest.mark.parametrize(
    "text", ["\u4e16", "a\u4e16\u00e9", "\x80", "a\xad", " ", "\u0120a", "\u0143\u0144"]
)
def test_a_character_that_is_no_byte_stands_for_itself(text):
    tokenizer = make_tokenizer(special=[(text, 1), ("end", 1)])
    parts = [bytes([ALPHABET.index(c)]) if c in ALPHABET else c.encode() for c in text]
    assert tokenizer.token_bytes(256) == b"".join(parts)
    assert tokenizer.pieces[255:] == [tokenizer.pieces[255], b"".join(parts), b"end"]
    assert (tokenizer.pieces[-1], len(tokenizer.pieces)) == (b"end", 258)


def split(tokenizer, text):
    """The pieces within which merging stays."""
    pieces = [piece for piece, _ in tokenizer.bpe.pre_tokenizer.pre_tokenize_str(text)]
    return [bytes(map(ALPHABET.index, piece)).decode() for piece in pieces]


@pytest.fixture(scope="module")
def real(smollm2_path):
    from tinygrad.llm.gguf import gguf_load

    return Tokenizer.from_gguf(gguf_load(smollm2_path)[0])


def reference_strings():
    entries = json.loads((REFERENCES / "tokens_visible.json").read_text("utf-8"))
    return [(entry["text"], entry["ids"]) for entry in entries]


def test_every_reference_string_has_the_ids_of_llama_cpp(real):
    entries = reference_strings()
    assert len(entries) == 104
    assert [real.encode(text) for text, _ in entries] == [ids for _, ids in entries]


def test_reference_ids_decode_to_their_text_without_control_tokens(real):
    for text, ids in reference_strings():
        assert real.decode(ids) == text.replace("<|im_start|>", "")
        stream = TextStream(real)
        assert "".join(map(stream.add, ids)) + stream.finish() == real.decode(ids)


def test_smollm2_knows_its_special_ids_and_its_chat(real):
    assert real.vocab_size == 49152
    assert real.bos_id == 1
    assert real.stop_ids == {0, 2, 4}  # <reponame> ends code that is filled in
    text = real.chat([{"role": "user", "content": "What is gravity?"}])
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(real.encode(text)) == 34


def test_bytes_that_smollm2_lacks_vanish_and_keep_their_neighbours_apart(real):
    """`!!` would be one token; llama.cpp leaves the unknown byte out only after merging."""
    assert len(real.encode("!!")) == 1
    assert real.encode("!\x04!") == real.encode("!") * 2


SPLITS = {
    "gpt-2": [
        ("It's I'LL", ["It", "'s", " I", "'", "LL"]),
        ("a  b", ["a", " ", " b"]),
        ("ab12345 678", ["ab", "12345", " 678"]),
        ("x \n\n y", ["x", " \n\n", " y"]),
        ("end  ", ["end", "  "]),
        ("hi!?\n", ["hi", "!?", "\n"]),
        (".a", [".", "a"]),
    ],
    "smollm": [
        ("It's I'LL", ["It", "'s", " I", "'", "LL"]),
        # Digits part the text first, so the space before one stands alone.
        ("a 12½ b", ["a", " ", "1", "2", "½", " b"]),
        ("x  1", ["x", "  ", "1"]),
        ("'1s", ["'", "1", "s"]),
    ],
    "llama-bpe": [
        ("It's I'LL", ["It", "'s", " I", "'LL"]),
        # Only before more letters does a contraction show; a long s is none.
        ("a'sx a'REx a'\u017fx", ["a", "'s", "x", " a", "'RE", "x", " a", "'\u017fx"]),
        ("x\n  y", ["x", "\n", " ", " y"]),
        ("a  b", ["a", " ", " b"]),
        ("ab12345 678", ["ab", "123", "45", " ", "678"]),
        ("x \n\n y", ["x", " \n\n", " y"]),
        ("hi!?\r\n\r\nyou", ["hi", "!?\r\n\r\n", "you"]),
        (".a", [".a"]),
        ("\na\tb", ["\n", "a", "\tb"]),
        ("e\u0301t", ["e", "\u0301t"]),
    ],
    "qwen2": [
        ("It's I'LL", ["It", "'s", " I", "'LL"]),
        ("ab123 45", ["ab", "1", "2", "3", " ", "4", "5"]),
        ("hi!?\n\nyou", ["hi", "!?\n\n", "you"]),
        (".a", [".a"]),
    ],
    "default": [
        ("a.b $5", ["a", ".", "b", " ", "$", "5"]),
        ("12345", ["123", "45"]),
        ("a  b", ["a", " ", " b"]),
    ],
}


@pytest.mark.parametrize("pre", SPLITS)
def test_pre_tokenizer_splits_by_hand_worked_examples(pre):
    tokenizer = make_tokenizer(pre=pre)
    for text, pieces in SPLITS[pre]:
        assert split(tokenizer, text) == pieces


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
@pytest.mark.first(3)
def test_no_pre_tokenizer_loses_or_changes_text(pre):
    tokenizer = make_tokenizer(pre=pre)
    rng = random.Random(3)
    signs = "aZ9 \t\r\n'.,!_é\u0301\u00a0\u2028\u3000漢🙂½٣שا\x00\x7f\x85"
    for _ in range(200):
        text = "".join(rng.choices(signs, k=rng.randint(0, 23)))
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("missing", [None, ""])
def test_a_file_that_names_no_pre_tokenizer_is_refused_and_one_that_names_the_default_is_not(
    missing,
):
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.ggml\.pre is missing, .*known: .*codeshell"
    ):
        make_tokenizer(pre=missing)
    assert split(make_tokenizer(pre="default"), "a.12345") == ["a", ".", "123", "45"]


def test_merges_go_by_rank_and_not_by_length():
    metadata = make_metadata()
    tokens = metadata["tokenizer.ggml.tokens"]
    tokens += ["bc", "ab", "abc"]
    metadata["tokenizer.ggml.token_type"] += [1, 1, 1]
    metadata["tokenizer.ggml.merges"] = ["b c", "a b", "ab c"]
    tokenizer = Tokenizer.from_gguf(metadata)
    assert tokenizer.encode("abc") == [tokens.index("a"), tokens.index("bc")]


def test_of_two_equal_merges_the_first_counts():
    metadata = make_metadata()
    metadata["tokenizer.ggml.tokens"] += ["ab", "bc"]
    metadata["tokenizer.ggml.token_type"] += [1, 1]
    metadata["tokenizer.ggml.merges"] = ["a b", "b c", "a b"]
    assert Tokenizer.from_gguf(metadata).encode("abc") == [256, ord("c")]


def test_only_llama3_takes_a_whole_piece_that_no_merge_builds():
    for pre, expected in (("llama-bpe", 1), ("smaug-bpe", 3), ("gpt-2", 3)):
        metadata = make_metadata(pre=pre, bos_token_id=None)
        metadata["tokenizer.ggml.tokens"].append("abc")
        metadata["tokenizer.ggml.token_type"].append(1)
        assert len(Tokenizer.from_gguf(metadata).encode("abc")) == expected


def test_control_tokens_in_the_text_are_recognised_and_not_printed():
    tokenizer = make_tokenizer(["hi"], [("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL)])
    start, end = tokenizer.vocab_size - 2, tokenizer.vocab_size - 1
    ids = tokenizer.encode("<|im_start|>hi<|im_end|>\n<|im_|>")
    assert ids[0] == start
    assert ids[2] == end
    assert tokenizer.decode(ids) == "hi\n<|im_|>"
    assert tokenizer.stop_ids == {end}


def test_user_defined_tokens_are_matched_before_merging_and_printed():
    """Their text is plain, not spelled in bytes: the é must not come out as two."""
    tokenizer = make_tokenizer([], [("<é é>", USER_DEFINED), ("[PAD0]", UNUSED)])
    ids = tokenizer.encode("x<é é>y[PAD0]")
    assert ids[1] == tokenizer.vocab_size - 2
    assert tokenizer.vocab_size - 1 not in ids
    assert tokenizer.decode(ids) == "x<é é>y[PAD0]"
    assert tokenizer.decode([tokenizer.vocab_size - 1]) == ""


def test_longest_of_two_special_tokens_wins():
    tokenizer = make_tokenizer([], [("<a>", CONTROL), ("<a><b>", CONTROL)])
    assert tokenizer.encode("<a><b><a>") == [tokenizer.vocab_size - 1, tokenizer.vocab_size - 2]


def test_special_tokens_are_sought_longest_first_over_the_whole_text():
    """As in llama.cpp, not the leftmost first: here the two share bars."""
    special = [("|a|", USER_DEFINED), ("|bcd|", CONTROL)]
    tokenizer = make_tokenizer([], special)
    assert tokenizer.encode("|a|bcd|") == [*b"|a", 257]
    assert tokenizer.encode_plain("|a|bcd|") == [256, *b"bcd|"]
    assert Tokenizer.from_json(tokenizer.to_json()).encode("|a|bcd|") == [*b"|a", 257]


def test_bos_is_added_only_where_the_file_says_so_and_never_twice():
    special = [("<s>", CONTROL)]
    bos = 256
    plain = make_tokenizer([], special, bos_token_id=bos)
    adding = make_tokenizer([], special, bos_token_id=bos, add_bos_token=True)
    assert plain.bos_id == adding.bos_id == bos
    assert plain.encode("") == []
    assert adding.encode("") == [bos]
    assert adding.encode("<s>a") == [bos, *plain.encode("a")]
    assert make_tokenizer([], special, add_bos_token=True).encode("") == []


def test_llama3_files_that_say_nothing_about_bos_mean_yes():
    special = [("<s>", CONTROL)]
    assert make_tokenizer([], special, "llama-bpe", bos_token_id=256).encode("") == [256]
    silent = make_tokenizer([], special, "llama-bpe", bos_token_id=256, add_bos_token=False)
    assert silent.encode("") == []


def test_stop_ids_are_the_ends_that_the_file_names_or_everyone_knows():
    special = [
        ("</s>", CONTROL),
        ("<|eot_id|>", CONTROL),
        ("<im_end>", CONTROL),
        ("<|endoftext|>", CONTROL),
        ("<turn>", CONTROL),
        ("<other>", CONTROL),
    ]
    tokenizer = make_tokenizer([], special, eos_token_id=256, eot_token_id=260)
    assert tokenizer.stop_ids == {256, 257, 259, 260}
    assert make_tokenizer().stop_ids == frozenset()
    assert make_tokenizer().bos_id is None


LLAMA_CPP_ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>"),
    *("<|return|>", "<|call|>", "<end_of_turn>", "<end_of_utterance>", "<EOT>", "_<EOT>", "[EOT]"),
)


@pytest.mark.parametrize("name", LLAMA_CPP_ENDS)
@pytest.mark.parametrize("kind", [1, CONTROL, USER_DEFINED])
def test_a_name_that_ends_answers_everywhere_does_so_whatever_the_file_calls_it(name, kind):
    """As in llama.cpp: a wrong type is mended, so that the name is read and is not printed."""
    tokenizer = make_tokenizer([], [(name, kind)])
    assert tokenizer.stop_ids == {256}
    assert tokenizer.encode(f"a{name}") == [ord("a"), 256]
    assert tokenizer.decode([256]) == ""


def test_the_tag_of_html_ends_an_answer_of_a_gguf_file_whatever_it_calls_it():
    """As in llama.cpp; a folder's own tokenizer knows better."""
    for kind in (1, CONTROL):
        tokenizer = make_tokenizer([], [("</s>", kind)])
        assert tokenizer.stop_ids == {256}
        assert tokenizer.encode("a</s>") == [ord("a"), 256]


def test_what_parts_the_files_of_filled_in_code_ends_an_answer_too():
    """By role: the first name that there is, or the id that the file gives."""
    names = ("<fim_prefix>", "<fim-pad>", "<PAD>", "<|file_sep|>", "<reponame>", "<|repo_name|>")
    special = [(name, 1) for name in names]
    tokenizer = make_tokenizer([], special)
    assert tokenizer.stop_ids == {257, 259, 261}
    assert tokenizer.encode("<fim_prefix><PAD>") == [256, *b"<PAD>"]
    given = make_tokenizer([], special, fim_pad_token_id=258)
    assert given.stop_ids == {258, 259, 261}
    with pytest.raises(CheckpointError, match="fim_sep_token_id=262 is none of 262 tokens"):
        make_tokenizer([], special, fim_sep_token_id=262)


def test_files_saved_before_filled_in_code_had_ends_know_the_tokenizer():
    """A verifier is bound to it."""
    special = [("<|im_end|>", CONTROL), ("<reponame>", CONTROL)]
    tokenizer = make_tokenizer([], special, eos_token_id=256)
    before = dataclasses.replace(tokenizer, stop_ids=frozenset({256}))
    assert tokenizer.stop_ids == {256, 257}
    assert tokenizer.identity() == before.to_json() != tokenizer.to_json()
    assert make_tokenizer([], special, eos_token_id=257).identity() == (
        make_tokenizer([], special, eos_token_id=257).to_json()
    )


def test_a_tool_that_is_asked_ends_an_answer_and_then_the_tag_of_html_does_not():
    special = [("</s>", CONTROL), ("<|tool_response>", CONTROL)]
    tokenizer = make_tokenizer([], special)
    assert tokenizer.stop_ids == {257}
    assert tokenizer.encode("</s>") == list(b"</s>")


def test_a_message_ends_no_answer_where_an_answer_has_several():
    for others in (("<|return|>", "<|call|>"), ("<|calls|>", "<|flush|>")):
        special = [(name, CONTROL) for name in ("<|end|>", *others)]
        assert make_tokenizer([], special).stop_ids == {257, 258}
    special = [(name, CONTROL) for name in ("<|end|>", "<|return|>")]
    assert make_tokenizer([], special).stop_ids == {256, 257}


def test_a_text_inside_a_sequence_has_no_bos_and_no_control_token():
    special = [("<s>", CONTROL), ("<tool>", USER_DEFINED)]
    tokenizer = make_tokenizer([], special, bos_token_id=256, add_bos_token=True)
    assert tokenizer.encode_plain("a") == [ord("a")]
    assert tokenizer.encode_plain("<s>a") == list(b"<s>a")
    assert tokenizer.encode_plain("") == []
    assert tokenizer.encode_plain("a<tool>") == [ord("a"), 257]
    assert tokenizer.encode("a") == [256, ord("a")]
    with pytest.raises(ValueError, match="without lone surrogates"):
        tokenizer.encode_plain("\ud800")


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe"])
def test_plain_text_is_no_control_token_though_its_merges_or_a_whole_piece_make_one(pre):
    metadata = make_metadata(["EOT", " Eat"], [("END", CONTROL)], pre, bos_token_id=None)
    tokens, types = (metadata[f"tokenizer.ggml.{key}"] for key in ("tokens", "token_type"))
    types[tokens.index("EOT")] = CONTROL
    tokenizer = Tokenizer.from_gguf(metadata)
    control, word = tokens.index("EOT"), tokens.index(spell(" Eat"))
    assert tokenizer.encode("EOT Eat") == [control, word]
    assert tokenizer.encode_plain("EOT Eat") == [tokens.index("EO"), ord("T"), word]
    assert tokenizer.encode_plain("END") == list(b"END")
    assert tokenizer.encode("END") == [tokens.index("END")]


def test_a_plain_name_merges_as_any_text_does():
    tokenizer = make_tokenizer(
        ["hi<"], [("<s>", CONTROL)], chat_template="<s>{{ messages[0].content }}<s>"
    )
    text = tokenizer.chat([{"role": "user", "content": "hi<s>hi"}])
    start = tokenizer.vocab_size - 1
    assert tokenizer.encode("hi<") != list(b"hi<")
    assert tokenizer.encode(text) == [start, *tokenizer.encode_plain("hi<s>hi"), start]


def test_a_text_that_is_plain_somewhere_has_the_ids_of_the_whole_elsewhere():
    """It is cut at its control tokens, across which nothing may merge."""
    special = [("<s>", CONTROL), ("</s>", CONTROL), ("<tool>", USER_DEFINED)]
    rng, words = random.Random(7), ["hi", " hi there", "  ", "\n\n", "é\u0301", "<", "s>", "12345"]
    for pre in ("gpt-2", "llama-bpe", "smollm"):
        tokenizer = make_tokenizer(["hi", " there", "\n\n"], special, pre)
        for _ in range(53):
            parts = rng.choices([*words, "<s>", "</s>", "<tool>"], k=11)
            text, place = "".join(["x", *parts]), (0, 1)  # of a letter that is no control token
            assert tokenizer.encode(ChatText(text, [place])) == tokenizer.encode(text)


def test_decode_is_exact_for_every_byte_and_marks_what_is_not_utf8():
    tokenizer = make_tokenizer()
    for text in ("é漢🙂", "".join(map(chr, range(256))), "\ufffd\ufeff\U0010ffff"):
        ids = list(text.encode())
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.decode([0xF0, 0x9F, 0x99]) == "\ufffd"
    assert tokenizer.decode([0xE6, 0x41, 0xFF]) == "\ufffdA\ufffd"


def test_padding_ids_are_silent_and_negative_ids_are_refused():
    tokenizer = make_tokenizer()
    assert tokenizer.decode([0x41, 70000]) == "A"
    with pytest.raises(ValueError, match="token id -1 must be 0 to 255"):
        tokenizer.decode([-1])


def test_lone_surrogate_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"text='a\\ud800' must be str without lone surrogates"):
        make_tokenizer().encode("a\ud800")


def test_stream_holds_back_an_unfinished_character():
    stream = TextStream(make_tokenizer())
    assert [stream.add(byte) for byte in "a🙂é".encode()] == ["a", "", "", "", "🙂", "", "é"]
    assert stream.add(0xF0) == ""
    assert stream.finish() == "\ufffd"


def test_stream_skips_control_tokens_inside_a_character():
    tokenizer = make_tokenizer([], [("<|im_end|>", CONTROL)])
    ids = [0xC3, 256, 0xA9]
    stream = TextStream(tokenizer)
    assert [stream.add(i) for i in ids] == ["", "", "é"]
    assert tokenizer.decode(ids) == "é"


def test_stream_joined_equals_decode_for_any_bytes():
    """Random bytes are nearly always broken UTF-8, and lead bytes are made likely."""
    tokenizer, rng = make_tokenizer(), random.Random(5)
    for _ in range(2000):
        ids = [
            rng.choice([rng.randrange(256), 0xF0, 0x9F, 0xE6, 0xC3, 0x80, 0x41])
            for _ in range(rng.randint(0, 11))
        ]
        stream = TextStream(tokenizer)
        assert "".join(map(stream.add, ids)) + stream.finish() == tokenizer.decode(ids)


def test_stream_looks_at_each_token_once(monkeypatch):
    """So a long answer costs as much per token at its end as at its start."""
    tokenizer, seen = make_tokenizer(), []
    stream = TextStream(tokenizer)
    monkeypatch.setattr(Tokenizer, "token_bytes", lambda self, i: seen.append(i) or b"a")
    for i in range(100):
        assert stream.add(i) == "a"
    assert seen == list(range(100))


def test_chat_renders_the_files_own_template():
    """`trim_blocks` and `lstrip_blocks` swallow the line breaks and indents around the tags."""
    tokenizer = make_tokenizer(chat_template="  " + CHATML)
    messages = [{"role": "user", "content": "hi <b>"}, {"role": "assistant", "content": "é"}]
    rendered = "<|im_start|>user\nhi <b><|im_end|>\n\n<|im_start|>assistant\né<|im_end|>\n\n"
    assert tokenizer.has_chat_template
    assert tokenizer.chat(messages, add_generation_prompt=False) == rendered
    assert tokenizer.chat(messages) == rendered + "<|im_start|>assistant\n"


def test_chat_template_sees_what_transformers_gives_it():
    special = [("<s>", CONTROL), ("</s>", CONTROL)]
    template = (
        "{{ bos_token }}{{ eos_token }}{{ tools is none }}{{ messages | tojson }}"
        "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}.{% endfor %}"
    )
    options = {"bos_token_id": 256, "eos_token_id": 257, "chat_template": template}
    tokenizer = make_tokenizer([], special, **options)
    text = tokenizer.chat([{"role": "user", "content": "<é'"}] * 3)
    message = '{"role": "user", "content": "<é\'"}'
    assert text == f"<s></s>True[{message}, {message}, {message}]."
    assert make_tokenizer(chat_template=template).chat([{"role": "", "content": ""}])[:4] == "True"


def test_bos_written_by_the_template_is_not_added_again():
    tokenizer = make_tokenizer(
        [],
        [("<s>", CONTROL)],
        bos_token_id=256,
        add_bos_token=True,
        chat_template="{{ bos_token }}{{ messages[0].content }}",
    )
    assert tokenizer.encode(tokenizer.chat([{"role": "user", "content": "a"}])) == [256, ord("a")]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('roles must\nalternate') }}", "roles must alternate"),
        ("{% if %}", "Expected an expression"),
        ("{{ messages[0].content + 1 }}", "can only concatenate str"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ messages.append(1) }}", "attribute 'append' of 'list' object is unsafe"),
        ("{{ ''.__class__.__mro__ }}", "is unsafe"),
    ],
)
def test_template_that_fails_is_a_value_error_in_one_line(template, reason):
    tokenizer = make_tokenizer(chat_template=template)
    with pytest.raises(ValueError, match="the model's chat template failed: ") as caught:
        tokenizer.chat([{"role": "user", "content": "hi"}])
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "hi",
        {"role": "user", "content": "hi"},
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": 1, "content": "hi"}],
        [("user", "hi")],
    ],
)
def test_messages_without_role_and_content_are_refused(messages):
    with pytest.raises(ValueError, match=r"messages\[0\]=.* must be a dict with"):
        make_tokenizer(chat_template=CHATML).chat(messages)


def test_model_without_template_says_to_pass_plain_text():
    tokenizer = make_tokenizer()
    assert not tokenizer.has_chat_template
    with pytest.raises(ValueError, match="no chat template; pass the prompt as plain text"):
        tokenizer.chat([{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "llama"}, "scores is missing; convert the model again"),
        ({"model": "bert"}, "model='bert' is not supported; supported: 'gpt2', 'llama'"),
        ({"model": None}, "model=None is not supported"),
        ({"pre": "nothing"}, "pre='nothing' is unknown; known: .*llama-bpe.*smollm"),
        ({"tokens": None}, "tokens is missing"),
        ({"merges": None}, "merges is missing"),
        ({"merges": ["a zz"]}, "merges: .*zz.*; convert the model again"),
        ({"merges": ["ab"]}, "merges: .*ab.*; convert the model again"),
        ({"token_type": [1]}, "token_type has 1 entries, expected one for each of 256 tokens"),
        ({"token_type": [7] * 256}, r"token_type\[0\]=7 must be from 0 to 6"),
        ({"token_type": [1] * 9 + [-1] * 247}, r"token_type\[9\]=-1 must be from 0 to 6"),
        ({"token_type": [6] * 256}, r"tokens\[0\]='Ā' is a byte by its type, expected"),
        ({"tokens": ["a", "b", "a"], "token_type": [1] * 3}, r"tokens\[2\]='a' is tokens\[0\] too"),
        ({"eos_token_id": 256}, "eos_token_id=256 is none of 256 tokens"),
        ({"eos_token_id": -1}, "eos_token_id=-1 is none of 256 tokens"),
        ({"bos_token_id": "7"}, "bos_token_id='7' must be a token id"),
        ({"eot_token_id": [7]}, r"eot_token_id=\[7\] must be a token id"),
        ({"eom_token_id": 7.0}, "eom_token_id=7.0 must be a token id"),
        ({"bos_token_id": True}, "bos_token_id=True must be a token id"),
        ({"add_bos_token": "no"}, "add_bos_token='no' must be true or false"),
        ({"tokens": 7}, "tokens=7 must be a list of texts"),
        ({"tokens": "abc", "token_type": [1, 1, 1]}, "tokens='abc' must be a list of texts"),
        ({"tokens": ["a", 7], "token_type": [1, 1]}, r"tokens\[1\]=7 must be among texts"),
        ({"token_type": True}, "token_type=True must be a list of whole numbers"),
        ({"token_type": [1.0] * 256}, r"token_type\[0\]=1.0 must be among whole numbers"),
        ({"merges": [1.5]}, r"merges\[0\]=1.5 must be among texts"),
        ({"model": ["gpt2"]}, r"model=\['gpt2'\] is not supported"),
        ({"pre": ["gpt-2"]}, r"pre=\['gpt-2'\] is unknown"),
    ],
)
def test_metadata_that_cannot_be_used_is_a_clear_error(change, message):
    with pytest.raises(CheckpointError, match=f"tokenizer.ggml.{message}") as caught:
        Tokenizer.from_gguf(make_metadata(**change))
    assert "\n" not in str(caught.value)


def test_a_template_of_a_gguf_file_that_is_no_text_is_refused():
    with pytest.raises(CheckpointError, match=r"tokenizer\.chat_template=7 must be a text"):
        Tokenizer.from_gguf(make_metadata() | {"tokenizer.chat_template": 7})


def write_folder(folder, special=("<s>", "</s>", "<|im_end|>"), **files):
    """A Hugging Face folder with the 256 bytes, the word `hi` and its special tokens."""
    vocab = {character: i for i, character in enumerate(ALPHABET)} | {"hi": 256}
    added = [
        {"id": 257 + i, "content": text, "special": True, "normalized": False}
        | {"single_word": False, "lstrip": False, "rstrip": False}
        for i, text in enumerate(special)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    layout = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": byte_level | {"use_regex": True},
        "decoder": byte_level | {"use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["h i"]},
    } | files.pop("layout", {})
    for name, content in ({"tokenizer": layout} | files).items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return folder


def test_folder_gives_the_same_ids_as_the_gguf_of_the_same_vocabulary(tmp_path):
    special = [(text, CONTROL) for text in ("<s>", "</s>", "<|im_end|>")]
    gguf = make_tokenizer(["hi"], special)
    folder = Tokenizer.from_folder(write_folder(tmp_path))
    assert folder.vocab_size == gguf.vocab_size == 260
    for text in ("hi hi", "It's  é漢🙂\r\n", "<s>hi</s>", ""):
        assert folder.encode(text) == gguf.encode(text)
        assert folder.decode(folder.encode(text)) == gguf.decode(gguf.encode(text))


def test_folder_takes_its_names_and_ids_from_the_files_beside_it(tmp_path):
    folder = write_folder(
        tmp_path,
        tokenizer_config={"bos_token": {"content": "<s>"}, "chat_template": CHATML},
        special_tokens_map={"eos_token": "</s>"},
        generation_config={"eos_token_id": [5, 258]},
        config={"bos_token_id": 9, "eos_token_id": 6},
    )
    tokenizer = Tokenizer.from_folder(str(folder))
    assert tokenizer.bos_id == 257
    assert tokenizer.eos_id == 258
    assert tokenizer.stop_ids == {258, 5, 6, 259}
    assert tokenizer.encode("hi") == [256]
    assert tokenizer.chat([{"role": "user", "content": "hi"}]).startswith("<|im_start|>user\nhi")


def test_folder_without_neighbours_has_no_bos_and_no_template(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, special=()))
    assert tokenizer.bos_id is None
    assert tokenizer.stop_ids == frozenset()
    assert not tokenizer.has_chat_template
    assert tokenizer.encode("hi") == [256]


def test_folder_adds_bos_where_its_config_or_its_post_processor_does(tmp_path):
    config = {"bos_token": "<s>"}
    (tmp_path / "config").mkdir()
    folder = write_folder(tmp_path / "config", tokenizer_config=config | {"add_bos_token": True})
    assert Tokenizer.from_folder(folder).encode("hi") == [257, 256]

    processor = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [257], "tokens": ["<s>"]}},
    }
    layout = {"post_processor": processor}
    folder = write_folder(tmp_path, tokenizer_config=config, layout=layout)
    assert Tokenizer.from_folder(folder).encode("hi") == [257, 256]
    assert Tokenizer.from_folder(folder).encode("<s>hi") == [257, 256]


def test_folder_neither_pads_nor_truncates(tmp_path):
    layout = {
        "truncation": {
            "max_length": 2,
            "strategy": "LongestFirst",
            "stride": 0,
            "direction": "Right",
        },
        "padding": {
            "strategy": {"Fixed": 8},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "!",
        },
    }
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, layout=layout))
    assert tokenizer.encode("abcd") == list(b"abcd")


def test_folder_template_may_be_a_list_or_a_file_of_its_own(tmp_path):
    templates = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    folder = write_folder(tmp_path, tokenizer_config={"chat_template": templates})
    messages = [{"role": "user", "content": "hi"}]
    assert Tokenizer.from_folder(folder).chat(messages) == "yes"
    (folder / "chat_template.jinja").write_text("é", "utf-8")
    assert Tokenizer.from_folder(folder).chat(messages) == "é"


def test_folder_that_cannot_be_used_is_a_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
    for content, message in (
        ("{", "is no JSON object"),
        ("[1]", "is no JSON object"),
        ('{"decoder": {"type": "WordPiece"}}', "decoder={'type': 'WordPiece'} is none that is"),
        ('{"decoder": {"type": "Metaspace"}}', "cannot be read"),
        ('{"decoder": {"type": "Sequence", "decoders": 7}}', "is none that is known"),
        ('{"decoder": 7}', "decoder=7 is none that is known"),
        ('{"decoder": {"type": "ByteLevel"}}', "cannot be read"),
    ):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(CheckpointError, match=message):
            Tokenizer.from_folder(tmp_path)


def test_a_tokenizer_is_written_the_same_by_every_process():
    """Most bytes lack a token here, and a set of them has another order in each process."""
    code = (
        "from edifice_tt.weights.tokenizer import Tokenizer\n"
        "given = {'model': 'gpt2', 'pre': 'gpt-2', 'tokens': ['a', 'b', 'ab'], 'merges': ['a b']}\n"
        "given = {f'tokenizer.ggml.{name}': value for name, value in given.items()}\n"
        "print(Tokenizer.from_gguf(given).to_json())"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(written) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": {"eos_token_id": "2"}}, r"config.json: eos_token_id='2' must be a token id"),
        ({"config": {"eos_token_id": [2, None]}}, r"eos_token_id=None must be a token id"),
        ({"config": {"eos_token_id": {"id": 2}}}, r"eos_token_id=.* must be a token id"),
        ({"generation_config": {"eos_token_id": [260]}}, r"eos_token_id=260 is none of 260 tokens"),
        ({"config": {"bos_token_id": -1}}, r"bos_token_id=-1 is none of 260 tokens"),
        (
            {"tokenizer_config": {"eos_token": ["</s>"]}},
            r"eos_token=.* must be the text of a token",
        ),
        ({"tokenizer_config": {"eos_token": "<end>"}}, r"eos_token='<end>' is none of 260 tokens"),
        ({"tokenizer_config": {"add_bos_token": 1}}, r"add_bos_token=1 must be true or false"),
        ({"tokenizer_config": {"chat_template": 7}}, r"chat_template=7 must be a text"),
        (
            {"tokenizer_config": {"chat_template": ["x"]}},
            r"a list of objects with name and template",
        ),
        ({"tokenizer_config": {"chat_template": [{"name": "default", "template": 7}]}}, "a text"),
        ({"layout": {"model": {"type": "BPE", "dropout": 0.5}}}, r"model.dropout=0.5 splits"),
        ({"layout": {"model": {"vocab": {"a": "x"}}}}, r"model.vocab gives 'a' the id 'x'"),
        (
            {"layout": {"model": {"type": "BPE", "vocab": {"a": 2**31}, "merges": []}}},
            "has token id",
        ),
        ({"layout": {"added_tokens": 7}}, "cannot be read"),
    ],
)
def test_a_folder_with_a_field_of_a_wrong_kind_is_one_error_that_names_it(tmp_path, files, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        Tokenizer.from_folder(write_folder(tmp_path, **files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["added", "plain"])
def test_a_folder_that_calls_an_end_token_something_else_is_mended(tmp_path, kind):
    one = {"id": 257, "content": "<|im_end|>", "special": False, "normalized": False}
    one |= {"single_word": False, "lstrip": False, "rstrip": False}
    vocab = {character: i for i, character in enumerate(ALPHABET)} | {"hi": 256, "<|im_end|>": 257}
    model = {"type": "BPE", "vocab": vocab, "merges": ["h i"]}
    layout = {"model": model, "added_tokens": [one] if kind == "added" else []}
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, layout=layout))
    assert tokenizer.stop_ids == {257}
    assert tokenizer.encode("hi<|im_end|>") == [256, 257]
    assert tokenizer.encode_plain("<|im_end|>") == list(b"<|im_end|>")
    assert tokenizer.decode([257]) == ""


def test_what_a_post_processor_puts_behind_a_text_is_in_no_sequence(tmp_path):
    processor = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [258], "tokens": ["</s>"]}},
    }
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, layout={"post_processor": processor}))
    assert tokenizer.encode("hi") == tokenizer.encode_plain("hi") == [256]


def test_a_template_that_is_not_utf8_is_an_error_that_names_the_file(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja cannot be read as UTF-8 text"):
        Tokenizer.from_folder(folder)


def test_a_panic_of_the_library_is_an_ordinary_error(tmp_path, monkeypatch):
    """A panic is no `Exception`, so it would pass through whatever contains errors."""

    class PanicException(BaseException):
        pass

    def panic(*_, **__):
        raise PanicException("index out\nof bounds")

    class Library:
        def __init__(self):
            self.decoder = "ByteLevel"
            self.encode = panic

    tokenizer = Tokenizer(Library(), [])
    with pytest.raises(CheckpointError, match="cannot be encoded: index out of bounds; "):
        tokenizer.encode("a")
    monkeypatch.setattr("tokenizers.Tokenizer.from_str", panic)
    with pytest.raises(CheckpointError, match="json cannot be read: index out of bounds; "):
        Tokenizer.from_folder(write_folder(tmp_path))
    with pytest.raises(CheckpointError, match="the saved tokenizer cannot be read"):
        Tokenizer.from_json(make_tokenizer().to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stop_ids": ["2"]}, "stop_ids='2' must be a token id"),
        ({"bos_id": 256}, "bos_id=256 is none of 256 tokens"),
        ({"eos_id": 1.0}, "eos_id=1.0 must be a token id"),
        ({"add_bos": 1}, "add_bos=1 must be true or false"),
        ({"chat_template": 7}, "chat_template=7 must be a text"),
        ({"pieces": [1]}, "the saved tokenizer cannot be read"),
        ({"bpe": 7}, "the saved tokenizer cannot be read"),
        ({"more": 7}, "the saved tokenizer cannot be read"),
    ],
)
def test_a_saved_tokenizer_with_a_field_of_a_wrong_kind_is_one_error(change, message):
    saved = json.loads(make_tokenizer().to_json()) | change
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_json(json.dumps(saved))
