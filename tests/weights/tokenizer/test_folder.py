"""SentencePiece in a `tokenizer.json`: what the library says, and the rules around it."""

import json
import random

import pytest

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.pools.chat_text import ChatText
from edifice_tt.weights.tokenizer import TextStream, Tokenizer

tokenizers = pytest.importorskip("tokenizers")

REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Prepend", "prepend": "▁"}
BACK = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
LEGACY = {
    "normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]},
    "decoder": {
        "type": "Sequence",
        "decoders": [BACK, {"type": "ByteFallback"}, {"type": "Fuse"}, STRIP],
    },
}
GEMMA = {
    "normalizer": REPLACE,
    "decoder": {
        "type": "Sequence",
        "decoders": [BACK, {"type": "ByteFallback"}, {"type": "Fuse"}],
    },
}


def metaspace(scheme):
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    return {"pre_tokenizer": space, "decoder": space}


KINDS = {"legacy": LEGACY, "gemma": GEMMA} | {
    scheme: metaspace(scheme) for scheme in ("always", "first", "never")
}


def write_folder(folder, kind, added=(), **files):
    """Bytes, letters, `▁hi`, then special tokens that are found before anything merges."""
    vocab = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocab += ["▁", "h", "i", "<", ">", "s", "hi", "▁hi", "<t>"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    special = [{"content": name, "special": True} for name in ("<unk>", "<s>", "</s>")]
    layout = {
        "version": "1.0",
        "added_tokens": [
            {**flags, "id": vocab.index(one["content"]), **one} for one in (*special, *added)
        ],
        "model": {
            "type": "BPE",
            "vocab": {text: i for i, text in enumerate(vocab)},
            "merges": [["h", "i"], ["▁", "hi"]],
            "unk_token": "<unk>",
            "byte_fallback": True,
            "fuse_unk": True,
        },
    } | KINDS[kind]
    for name, content in {"tokenizer": layout, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return folder


TOOL = {"content": "<t>", "special": False}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_texts_are_those_of_the_library(kind, tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, kind, [TOOL]))
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rng = random.Random(3)
    for _ in range(199):
        text = "".join(rng.choices(["hi", " ", "é", "\n", "<s>", "<t>", "☃"], k=rng.randint(0, 9)))
        ids = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == library.decode(ids)
        stream = TextStream(tokenizer)
        assert "".join(map(stream.add, ids)) + stream.finish() == library.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blanks", [{}, {"rstrip": True}, {"lstrip": True, "rstrip": True}])
def test_a_text_that_is_plain_somewhere_has_the_ids_of_the_whole_elsewhere(kind, blanks, tmp_path):
    """Also where only the first part of a text has a space put before it."""
    added = [TOOL, {"content": "</s>", "special": True, **blanks}]
    tokenizer, rng = Tokenizer.from_folder(write_folder(tmp_path, kind, added)), random.Random(7)
    for _ in range(53):
        text = "x" + "".join(rng.choices(["hi", " hi", "  ", "<t>", "<s>", "</s>", "\n"], k=11))
        assert tokenizer.encode(ChatText(text, [(0, 1)])) == tokenizer.encode(text)
    saved = Tokenizer.from_json(tokenizer.to_json())
    text = ChatText("<s>hi</s>", [(5, 9)])
    assert saved.encode(text) == tokenizer.encode(text)
    assert saved.encode(text)[:2] == tokenizer.encode("<s>hi")[:2]
    assert 2 not in saved.encode(text)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_spelled_as_text_and_bytes(kind, tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, kind, [TOOL]))
    names = {tokenizer.bpe.id_to_token(i): tokenizer.token_bytes(i) for i in range(268)}
    assert names["▁hi"] == b" hi"
    assert names["<t>"] == b"<t>"
    assert names["</s>"] == b""
    assert names["<0xC3>"] == (b"\xc3" if kind in ("legacy", "gemma") else b"<0xC3>")
    assert tokenizer.space_prefix == (kind not in ("gemma", "never"))


def test_bos_is_added_where_the_post_processor_does_whatever_the_config_says(tmp_path):
    processor = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    write_folder(tmp_path, "legacy", tokenizer_config={"bos_token": "<s>", "add_bos_token": False})
    assert not Tokenizer.from_folder(tmp_path).add_bos
    layout = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    layout["post_processor"] = processor
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout), "utf-8")
    assert Tokenizer.from_folder(tmp_path).add_bos


def test_the_tag_of_html_is_what_the_folder_says(tmp_path):
    ends = {"generation_config": {"eos_token_id": [1]}}
    write_folder(tmp_path, "legacy", **ends)
    assert Tokenizer.from_folder(tmp_path).stop_ids == {1, 2}
    layout = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    del layout["added_tokens"][2]
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout), "utf-8")
    assert Tokenizer.from_folder(tmp_path).stop_ids == {1}


def test_a_folder_with_only_the_model_of_sentencepiece_is_told_how_to_make_the_other(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a")
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json, and its tokenizer\.model is"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        7,
        [],
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        {"type": "Sequence", "decoders": [{"type": "Fuse"}, 7, {"type": []}]},
        {"type": "Sequence", "decoders": 7},
        {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
    ],
)
def test_a_decoder_of_another_kind_is_refused_by_name(decoder, tmp_path):
    write_folder(tmp_path, "legacy")
    layout = json.loads((tmp_path / "tokenizer.json").read_text("utf-8")) | {"decoder": decoder}
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout), "utf-8")
    with pytest.raises(CheckpointError, match=r"decoder=.* is none that is known, expected Byte"):
        Tokenizer.from_folder(tmp_path)
