"""The tables of `docs/models.md`, made of the data of the tests. Run this file to write them."""

import json
import lzma
import re
from collections import defaultdict
from pathlib import Path

import block_formats

from edifice_tt.nn.formats import FORMATS
from edifice_tt.weights.families import FAMILIES, find_family

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
REFERENCES = Path(__file__).parent / "references"
FOLDER, FILE = "folder", "GGUF file"
NOTHING = "-"


def packed(name):
    path = REFERENCES / name
    return json.loads(lzma.decompress(path.read_bytes())) if path.is_file() else {}


CONFIGS = packed("configs.json.xz")["families"]
TOKENIZERS = packed("tokenizers.json.xz")
LOGITS = packed("models/logits.json.xz")  # of a GGUF file by its name, of a folder as NAME-folder


def families():
    """A row for each family and kind of file: what its models are made of, and held against."""
    models = defaultdict(list)
    for name, one in CONFIGS.items():
        folder = find_family("model_type", one["configs"]["v5"]["model_type"])
        file = find_family("architecture", one["gguf"]["metadata"]["general.architecture"])
        models[folder.name, FOLDER].append(name)
        models[file.name, FILE].append(name)
    yield "family", "kind", "named", "config", "tokenizer", "chat template", "logits"
    for family in FAMILIES.values():
        for kind in (FOLDER, FILE):
            names = models[family.name, kind]
            named = (family.model_type or family.name) if kind == FOLDER else family.name
            cells = _cells(names, kind) if names else (NOTHING,) * 4
            yield family.name, kind, f"`{named}`", *cells


def _cells(names, kind):
    with_tokenizer = [one for one in names if _has(one, kind)]
    suffix = "-folder" if kind == FOLDER else ""
    logits = [one for one in names if f"{one}{suffix}" in LOGITS]
    theirs = "transformers" if kind == FOLDER else "llama.cpp"
    changes = f"{sum(_tried(one, kind) for one in names)} changes"
    config = f"{changes}: transformers" if kind == FOLDER else changes
    against = "transformers" if logits else NOTHING
    if not with_tokenizer:
        return config, NOTHING, NOTHING, against
    tokens = [TOKENIZERS[one]["tokens"] for one in with_tokenizer]
    split = ", ".join(dict.fromkeys(_split(one, kind) for one in with_tokenizer))
    return (
        config,
        f"{split}; {sum(len(one['texts']) for one in tokens)} texts: {theirs}",
        f"{sum(len(one['chats']) for one in tokens)} chats: transformers",
        against,
    )


def _has(name, kind):
    return ("folder" if kind == FOLDER else "metadata") in TOKENIZERS.get(name, {})


def _tried(name, kind):
    """How many values were put in the place of keys."""
    if kind == FILE:
        return len(CONFIGS[name]["gguf"]["metadata"]) - 1
    return sum(len(values) for one in CONFIGS[name]["moves"].values() for values in one.values())


def _split(name, kind):
    model = TOKENIZERS[name]
    if kind == FOLDER:
        decoder = json.loads(model["folder"]["tokenizer.json"])["decoder"]["type"]
        return "byte-level BPE" if decoder == "ByteLevel" else "SentencePiece"
    metadata = model["metadata"]
    if metadata["tokenizer.ggml.model"] == "llama":
        return "SentencePiece"
    return f"byte-level BPE `{metadata['tokenizer.ggml.pre']}`"


def formats():
    """A row for each block format that stays in memory."""
    yield "block format", "bits per weight", '`activations="int8"`', "held against"
    for name, one in FORMATS.items():
        bits = f"{8 * one.bytes / one.weights:g}"
        against = "NumPy, from ggml's definition" if name in block_formats.SIZES else NOTHING
        yield name, bits, "yes" if one.whole_numbers else "as float32", against


def table(rows):
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|---" * (head.count(" | ") + 1) + "|", *rest])


def with_tables(page):
    """A page in which each table that begins as one of these does is this one."""
    for made in (table(families()), table(formats())):
        head = re.escape(made.partition("\n")[0])
        page, found = re.subn(rf"{head}\n(?:\|.*\n)*", lambda _, made=made: f"{made}\n", page)
        if found != 1:
            raise ValueError(f"{PAGE.name} must have one table that begins with {head}")
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
