"""Ids of eleven families against llama.cpp and transformers, by small vocabularies of their kinds.

`EDIFICE_TT_MODELS` names a folder with more: whole models of these families, and `tokenizers/` with
published vocabularies. Without it these are left out.
"""

import json
import lzma
import os
from pathlib import Path

import pytest

from edifice_tt.weights.gguf_header import GGUFHeader
from edifice_tt.weights.tokenizer import TextStream, Tokenizer

pytest.importorskip("tokenizers")

PACKED = Path(__file__).parents[2] / "references" / "tokenizers.json.xz"
FAMILIES = json.loads(lzma.decompress(PACKED.read_bytes()))
MODELS = Path(os.environ.get("EDIFICE_TT_MODELS", "no such folder"))
NAMES = sorted(path.name[:-8] for path in (MODELS / "tokenizers").glob("*.gguf.xz"))
BUILT = [(name, kind) for name in FAMILIES for kind in ("metadata", "folder")]
BUILT.remove(("qwen2-untied", "metadata"))  # no such file was made
WHOLE = [f"{path.parent.name}/{path.name}" for path in sorted(MODELS.glob("*/*-F16.gguf"))]
WHOLE += [f"{path.parent.name}/hf" for path in sorted(MODELS.glob("*/hf"))]


def open_packed(name, kind, folder):
    if kind == "metadata":
        return Tokenizer.from_gguf(FAMILIES[name]["metadata"])
    for file, content in FAMILIES[name]["folder"].items():
        (folder / file).write_text(content, "utf-8")
    return Tokenizer.from_folder(folder)


def with_one_bos(tokenizer, ids):
    """Both put a second one before a text that begins with it; we do not."""
    return ids[1:] if tokenizer.add_bos and ids[:2] == [tokenizer.bos_id] * 2 else ids


def wrong(tokenizer, texts, field):
    """The texts whose ids differ."""
    asked = [one for one in texts if field in one]
    assert asked
    return [
        one["text"]
        for one in asked
        if tokenizer.encode(one["text"]) != with_one_bos(tokenizer, one[field])
    ]


def check_family(tokenizer, tokens, kind):
    field = "llama_cpp" if kind == "metadata" else "transformers"
    assert wrong(tokenizer, tokens["texts"], field) == []
    for chat in tokens["chats"]:
        if chat["text"] is None:
            with pytest.raises(ValueError, match=chat["error"]):
                tokenizer.chat(chat["messages"], chat["add_generation_prompt"])
            continue
        text = tokenizer.chat(chat["messages"], chat["add_generation_prompt"])
        assert text == chat["text"]
        ids, plain = tokenizer.encode(text), chat[f"{field}_plain"]
        assert ids == plain or (tokenizer.add_bos and ids == [tokenizer.bos_id, *plain])
    if kind == "metadata":
        assert tokenizer.stop_ids == set(tokens["llama_cpp_end_of_generation"])
    else:
        assert tokenizer.stop_ids >= set(tokens["generation_config_eos"])
    assert tokenizer.turn_ends() <= tokenizer.stop_ids != set()


@pytest.mark.parametrize(("name", "kind"), BUILT)
def test_texts_chats_and_ends_are_those_of_the_references(name, kind, tmp_path):
    check_family(open_packed(name, kind, tmp_path), FAMILIES[name]["tokens"], kind)


@pytest.mark.parametrize(("name", "kind"), BUILT)
def test_a_saved_tokenizer_reads_and_writes_as_the_one_that_was_saved(name, kind, tmp_path):
    tokenizer = open_packed(name, kind, tmp_path)
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.to_json() == tokenizer.to_json()
    for one in FAMILIES[name]["tokens"]["texts"]:
        ids = tokenizer.encode(one["text"])
        stream = TextStream(again)
        assert again.encode(one["text"]) == ids
        assert "".join(map(stream.add, ids)) + stream.finish() == tokenizer.decode(ids)


@pytest.mark.parametrize(("name", "kind"), BUILT)
def test_text_without_control_tokens_comes_back(name, kind, tmp_path):
    tokenizer = open_packed(name, kind, tmp_path)
    for one in FAMILIES[name]["tokens"]["texts"]:
        text = one["text"]
        if not any(control in text for control in tokenizer.control_tokens()) and "▁" not in text:
            back = tokenizer.decode(tokenizer.encode(text))
            assert back == text or (kind == "folder" and name.startswith("qwen"))  # these compose


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_model_has_the_ids_of_the_references(name):
    path = MODELS / name
    is_folder = path.name == "hf"
    tokenizer = (
        Tokenizer.from_folder(path) if is_folder else Tokenizer.from_gguf(GGUFHeader(path).metadata)
    )
    tokens = json.loads((path.parent / "tokens.json").read_text("utf-8"))
    check_family(tokenizer, tokens, "folder" if is_folder else "metadata")


@pytest.mark.parametrize("name", NAMES)
def test_a_published_vocabulary_has_the_ids_of_llama_cpp(name, tmp_path):
    """Its own test vectors, and further texts."""
    folder, separator = MODELS / "tokenizers", "\n__ggml_vocab_test__\n"
    (tmp_path / "m.gguf").write_bytes(lzma.decompress((folder / f"{name}.gguf.xz").read_bytes()))
    tokenizer = Tokenizer.from_gguf(GGUFHeader(tmp_path / "m.gguf").metadata)
    further = json.loads((folder / f"{name}.texts.json").read_text("utf-8"))
    assert wrong(tokenizer, further["texts"], "llama_cpp") == []
    assert tokenizer.stop_ids == set(further["llama_cpp_end_of_generation"])
    texts = (folder / f"{name}.gguf.inp").read_bytes().decode().split(separator)
    lines = (folder / f"{name}.gguf.out").read_text().split("\n")
    bos = [tokenizer.bos_id] if tokenizer.add_bos else []
    for text, line in zip(texts, lines, strict=True):
        assert tokenizer.encode(text) == [*bos, *map(int, line.split())]
        assert tokenizer.decode(tokenizer.encode(text)) == text
