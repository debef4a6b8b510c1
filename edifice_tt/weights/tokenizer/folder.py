"""The tokenizer of a Hugging Face folder: `tokenizer.json` and its neighbours, checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.toolchain import require
from edifice_tt.weights.tokenizer.vocabulary import (
    BYTE,
    BYTE_NAME,
    CONTROL,
    NORMAL,
    SPACE,
    USER_DEFINED,
    Pieces,
    check_flag,
    check_id,
    check_ids,
    check_template,
    library_errors,
    piece,
    take_ends,
)

_SETTINGS = "tokenizer_config.json"
_NEIGHBOURS = ("tokenizer_config", "special_tokens_map", "generation_config", "config")


def read_folder(folder: Path) -> dict[str, Any]:
    """The fields of the tokenizer that a folder holds; see `Tokenizer.from_folder`."""
    require("tokenizers", extra="lm")
    file = folder / "tokenizer.json"
    if not file.is_file():
        beside = "; save one beside the model"
        if (folder / "tokenizer.model").is_file():
            beside = (
                ", and its tokenizer.model is not read; transformers makes one: "
                "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        raise CheckpointError(f"{folder} has no tokenizer.json{beside}")
    layout = _read_json(file)
    _check_layout(file, layout)
    spelling = _spelling(file, layout)
    bpe = _open(file, file.read_text("utf-8"))
    vocab = bpe.get_vocab(with_added_tokens=True)
    size = check_ids(vocab, str(file))
    added = bpe.get_added_tokens_decoder()
    kinds = {i: CONTROL if one.special else USER_DEFINED for i, one in added.items()}
    before = dict(kinds)
    ends = take_ends(vocab, kinds, html=True)
    if mended := {i for i, kind in kinds.items() if kind != before.get(i)}:
        bpe = _open(file, json.dumps(_with_special(layout, mended, vocab)))
    pieces = [b""] * size
    for text, i in vocab.items():
        pieces[i] = piece(text, spelling.kind(text, kinds.get(i, NORMAL)), spelling.byte_level)
    configs = {folder / f"{name}.json": _read_json(folder / f"{name}.json") for name in _NEIGHBOURS}
    bos, eos = (_named_ids(name, configs, vocab, size) for name in ("bos", "eos"))
    settings = configs[folder / _SETTINGS]
    return {
        "bpe": bpe,
        "pieces": Pieces(pieces),
        "bos_id": bos[0] if bos else None,
        "eos_id": eos[0] if eos else None,
        "stop_ids": ends.union(eos),
        "add_bos": _adds_bos(file, settings, bpe, bos),
        "chat_template": _template(folder, settings.get("chat_template")),
        "space_prefix": spelling.space_prefix,
    }


class _Spelling(NamedTuple):
    """How the names of tokens are read as text."""

    byte_level: bool
    bytes_by_name: bool  # whether <0x0A> is a byte
    space_prefix: bool  # whether a space at the start of a text is none

    def kind(self, text: str, kind: int) -> int:
        """The kind of a token; what SentencePiece adds is spelled as all else there is."""
        if self.byte_level or kind == CONTROL:
            return kind
        return BYTE if self.bytes_by_name and BYTE_NAME.fullmatch(text) else NORMAL


def _spelling(file: Path, layout: Mapping[str, Any]) -> _Spelling:
    decoder = layout.get("decoder")
    steps = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    steps = [one for one in steps if isinstance(one, dict)] if isinstance(steps, list) else []

    def has(kind: str, **settings: Any) -> bool:
        wanted = {"type": kind, **settings}.items()
        return any(all(one.get(key) == value for key, value in wanted) for one in steps)

    if has("ByteLevel"):
        return _Spelling(True, False, False)
    if has("Metaspace"):
        return _Spelling(False, has("ByteFallback"), not has("Metaspace", prepend_scheme="never"))
    if has("Replace", pattern={"String": SPACE}, content=" "):
        return _Spelling(False, has("ByteFallback"), has("Strip", content=" ", start=1))
    raise CheckpointError(
        f"{file}: decoder={decoder!r:.60} is none that is known, expected ByteLevel, or "
        "SentencePiece's Metaspace or Replace; use a model with one of these"
    )


def _check_layout(file: Path, layout: Mapping[str, Any]) -> None:
    model = layout.get("model")
    dropout = model.get("dropout") if isinstance(model, dict) else None
    if dropout:
        raise CheckpointError(
            f"{file}: model.dropout={dropout!r:.40} splits a text at random; set it to null"
        )
    vocab = model.get("vocab") if isinstance(model, dict) else None
    for text, i in vocab.items() if isinstance(vocab, dict) else ():
        if type(i) is not int or not 0 <= i < 2**32:
            raise CheckpointError(f"{file}: model.vocab gives {text!r:.40} the id {i!r:.40}")


def _open(file: Path, text: str) -> Any:
    with library_errors(f"{file} cannot be read", "get it again, or a newer `tokenizers`"):
        bpe = require("tokenizers", extra="lm").Tokenizer.from_str(text)
        bpe.no_truncation()
        bpe.no_padding()
    return bpe


def _with_special(layout: Mapping[str, Any], ids: set[int], vocab: Mapping[str, int]) -> Any:
    """The layout with these tokens among those that are special."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    held = {one["id"]: one for one in layout.get("added_tokens") or ()}
    held |= {
        i: {"id": i, "content": text, **plain, **held.get(i, {}), "special": True}
        for text, i in vocab.items()
        if i in ids
    }
    return {**layout, "added_tokens": [held[i] for i in sorted(held)]}


def _named_ids(
    kind: str, configs: Mapping[Path, dict[str, Any]], vocab: Mapping[str, int], size: int
) -> list[int]:
    found: list[int] = []
    for file, config in configs.items():
        key = f"{kind}_token"
        name, ids = config.get(key), config.get(f"{key}_id")
        name = name.get("content") if isinstance(name, dict) else name
        if name is not None and not isinstance(name, str):
            raise CheckpointError(f"{file}: {key}={name!r:.40} must be the text of a token")
        if name and name not in vocab:
            raise CheckpointError(f"{file}: {key}={name!r:.40} is none of {size} tokens")
        found += [vocab[name]] if name else []
        listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
        found += [check_id(f"{file}: {key}_id", i, size) for i in listed]
    return list(dict.fromkeys(found))


def _adds_bos(file: Path, settings: Mapping[str, Any], bpe: Any, bos: list[int]) -> bool:
    """Whether the settings ask for BOS, or the post-processor makes it of an empty text."""
    asked = settings.get("add_bos_token")
    if asked is not None and check_flag(f"{file.parent / _SETTINGS}: add_bos_token", asked):
        return True
    with library_errors(f"{file} cannot be used", "get it again"):
        return bool(bpe.encode("").ids[:1] == bos[:1] != [])


def _template(folder: Path, listed: Any) -> str | None:
    """The default template: a file of its own, or a text or one of a list in the settings.

    Where neither is, an older file may hold it.
    """
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        try:
            return jinja.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{jinja} cannot be read as UTF-8 text ({error})") from error
    where = f"{folder / _SETTINGS}: chat_template"
    if listed is None:
        older = folder / "chat_template.json"
        where, listed = f"{older}: chat_template", _read_json(older).get("chat_template")
    if isinstance(listed, list):
        try:
            listed = {one["name"]: one["template"] for one in listed}
        except (TypeError, KeyError, IndexError) as error:
            raise CheckpointError(
                f"{where}={listed!r:.40} must be a text or a list of objects with name and template"
            ) from error
    return check_template(where, listed.get("default") if isinstance(listed, dict) else listed)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        held = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        if not isinstance(held, dict):
            raise TypeError(f"it is a {type(held).__name__}")
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is no JSON object ({error}); download it again") from error
    return held
