"""How texts are split before anything merges, against llama.cpp's patterns and by hand."""

import json
import lzma
from pathlib import Path

import pytest

from edifice_tt.weights.tokenizer.pre_tokenizers import PRE_TOKENIZERS

tokenizers = pytest.importorskip("tokenizers")

# Of each kind, by llama.cpp's own patterns in Python's `re`, with the classes that it makes of
# characters; random texts of signs on which kinds differ.
PACKED = Path(__file__).parents[2] / "references" / "splits.json.xz"
SPLITS = json.loads(lzma.decompress(PACKED.read_bytes()))


def split(name, text):
    steps = [
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        for pattern in PRE_TOKENIZERS[name].patterns
    ]
    found = tokenizers.pre_tokenizers.Sequence(steps).pre_tokenize_str(text)
    return [piece for piece, _ in found if piece]


@pytest.mark.parametrize("name", SPLITS["lengths"])
@pytest.mark.first(3)
def test_texts_are_split_where_llama_cpp_splits_them(name):
    for text, lengths in zip(SPLITS["texts"], SPLITS["lengths"][name], strict=True):
        assert [len(piece) for piece in split(name, text)] == lengths, text


def test_every_kind_has_references():
    kinds = {PRE_TOKENIZERS[name].patterns for name in SPLITS["lengths"]}
    assert {pre.patterns for pre in PRE_TOKENIZERS.values()} == kinds


@pytest.mark.parametrize(
    ("name", "text", "pieces"),
    [
        ("tekken", "HelloWORLDfoo's", ["Hello", "WORLDfoo", "'s"]),
        ("tekken", "a 123//\n/x", ["a", " ", "1", "2", "3", "//\n/", "x"]),
        ("gpt-4o", "HelloWorld's 1234", ["Hello", "World's", " ", "123", "4"]),
        ("deepseek-v3", "漢字x 1234#ab", ["漢字", "x", " ", "123", "4", "#ab"]),
        ("deepseek-llm", "it's 12漢\n x", ["it", "'", "s", " ", "12", "漢", "\n", " x"]),
        ("deepseek-coder", "f(1)\n\n", ["f", "(", "1", ")", "\n", "\n"]),
        ("falcon", "a`b 1234", ["a", "`", "b", " ", "123", "4"]),
        ("bloom", "hi, you", ["hi", ",", " you"]),
        ("viking", "ab12", ["ab", "1", "2"]),
        ("afmoe", "x 1234567", ["x", " ", "1", "234", "567"]),
        ("tiny_aya", "x1234", ["x", "1", "234"]),
        ("superbpe", "to be 1234567", ["to be ", "1", "234", "567"]),
        ("kimi-k2", "漢字it's", ["漢字", "it's"]),
        ("jais-2", "a" + " " * 7 + "b", ["a", " " * 4, " " * 2, " b"]),
        ("qwen35", "e\u0301te", ["e\u0301te"]),
        ("exaone-moe", "한국 말 hi", ["한국 말 hi"]),
        ("seed-coder", "a!!\n", ["a", "!!", "\n"]),
        ("bailingmoe", "a'S 12\n\n x", ["a", "'S", " ", "1", "2", "\n\n", " x"]),
    ],
)
def test_examples_worked_by_hand(name, text, pieces):
    assert split(name, text) == pieces


def test_files_of_these_names_take_a_whole_piece_and_put_bos_before_a_text():
    whole = {name for name, pre in PRE_TOKENIZERS.items() if pre.takes_whole}
    llama3 = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 jina-v5-nano lfm2 midm-2.0 pixtral"
    assert whole == {*llama3.split(), "tekken", "minicpm5", "youtu", "granite-embed-multi-97m"}
    bos = {name for name, pre in PRE_TOKENIZERS.items() if pre.add_bos}
    assert bos == {*llama3.split(), "tekken", "chameleon"}
