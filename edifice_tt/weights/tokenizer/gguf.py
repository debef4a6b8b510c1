"""The tokenizer of a GGUF file: its metadata, checked, as the fields of a `Tokenizer`.

The library `tokenizers` merges; the rules around it are llama.cpp's.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.toolchain import require
from edifice_tt.weights.tokenizer.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from edifice_tt.weights.tokenizer.sentencepiece import SentencePiece
from edifice_tt.weights.tokenizer.vocabulary import (
    BYTE,
    BYTE_NAME,
    BYTES,
    CONTROL,
    FILL_NAMES,
    NORMAL,
    UNDEFINED,
    UNKNOWN,
    USER_DEFINED,
    Pieces,
    check_flag,
    check_id,
    check_ids,
    check_template,
    library_errors,
    piece,
    take_ends,
    take_fill_ends,
)

_START = "tokenizer.ggml."
_MODELS = ("gpt2", "llama")
_WHOLE = (UNKNOWN, CONTROL, USER_DEFINED)  # kinds that are found in a text before anything merges
_LARGEST = 3.5e38  # of a score, a float of 32 bits


def read_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the tokenizer that a GGUF file describes; see `Tokenizer.from_gguf`."""
    ggml = {k.removeprefix(_START): v for k, v in metadata.items() if k.startswith(_START)}
    if (model := ggml.get("model")) not in _MODELS:
        known = ", ".join(map(repr, _MODELS))
        raise CheckpointError(f"{_START}model={model!r:.40} is not supported; supported: {known}")
    byte_level = model == "gpt2"
    pre = _pre_tokenizer(ggml) if byte_level else None
    if missing := {"tokens", "merges" if byte_level else "scores"} - ggml.keys():
        raise CheckpointError(f"{_START}{min(missing)} is missing; convert the model again")
    vocab, kinds = _tokens(ggml)
    tokens = [*vocab]
    ids = _named_ids(ggml, len(tokens), {} if byte_level else {"bos": 1, "eos": 2, "unknown": 0})
    ends = take_ends(vocab, kinds, html=False) | take_fill_ends(vocab, kinds, ids)
    swallowing = _swallowing(metadata.get("general.name"), vocab, kinds)
    if pre:
        bpe = _byte_level(ggml, vocab, kinds, pre, swallowing)
    else:
        bpe = _sentencepiece(ggml, tokens, kinds, ids["unknown"] or 0, swallowing)
    add_bos = ggml.get("add_bos_token", pre.add_bos if pre else True)
    key = "tokenizer.chat_template"
    return {
        "bpe": bpe,
        "pieces": Pieces(piece(text, kinds[i], byte_level) for text, i in vocab.items()),
        "bos_id": ids["bos"],
        "eos_id": ids["eos"],
        "stop_ids": ends.union(i for n in ("eos", "eot", "eom") if (i := ids[n]) is not None),
        "add_bos": check_flag(f"{_START}add_bos_token", add_bos),
        "chat_template": check_template(key, metadata.get(key)),
        "space_prefix": pre is None and bpe.space_prefix,
    }


def _pre_tokenizer(ggml: Mapping[str, Any]) -> PreTokenizer:
    known = ", ".join(sorted(PRE_TOKENIZERS))
    if not (pre := ggml.get("pre")):
        raise CheckpointError(
            f"{_START}pre is missing, which says how texts are split; convert the model again, "
            f"or add the one it was trained with; known: {known}"
        )
    if not isinstance(pre, str) or pre not in PRE_TOKENIZERS:
        raise CheckpointError(f"{_START}pre={pre!r:.40} is unknown; known: {known}")
    return PRE_TOKENIZERS[pre]


def _tokens(ggml: Mapping[str, Any]) -> tuple[dict[str, int], dict[int, int]]:
    """The ids by text, in order, and the kinds by id; a token without text is named by its id."""
    given = _array(ggml, "tokens", (str,), "texts")
    tokens = [text or f"[EMPTY_{i}]" for i, text in enumerate(given)]
    vocab = {text: i for i, text in enumerate(tokens)}
    if len(vocab) < len(tokens):
        i = next(i for i, text in enumerate(tokens) if vocab[text] != i)
        raise CheckpointError(
            f"{_START}tokens[{vocab[tokens[i]]}]={tokens[i]!r:.40} is tokens[{i}] too; "
            "convert the model again"
        )
    check_ids(vocab, f"{_START}tokens")
    types = _array(ggml, "token_type", (int,), "whole numbers", [NORMAL] * len(tokens))
    _check_count("token_type", types, tokens)
    for i, kind in enumerate(types):
        if not UNDEFINED <= kind <= BYTE:
            raise CheckpointError(
                f"{_START}token_type[{i}]={kind} must be from {UNDEFINED} to {BYTE}; "
                "convert the model again"
            )
        if kind == BYTE and not BYTE_NAME.fullmatch(tokens[i]):
            raise CheckpointError(
                f"{_START}tokens[{i}]={tokens[i]!r:.40} is a byte by its type, expected a name "
                "such as '<0x0A>'; convert the model again"
            )
    return vocab, dict(enumerate(types))


def _check_count(name: str, given: Sequence[Any], tokens: Sequence[str]) -> None:
    if len(given) != len(tokens):
        counts = f"{len(given)} entries, expected one for each of {len(tokens)} tokens"
        raise CheckpointError(f"{_START}{name} has {counts}; convert the model again")


def _named_ids(
    ggml: Mapping[str, Any], size: int, defaults: Mapping[str, int]
) -> dict[str, int | None]:
    ids: dict[str, int | None] = {}
    for name in {**dict.fromkeys(("bos", "eos", "eot", "eom")), **defaults, **FILL_NAMES}:
        key, default = f"{name}_token_id", defaults.get(name, size)
        value = ggml.get(key, default if default < size else None)
        ids[name] = None if value is None else check_id(f"{_START}{key}", value, size)
    return ids


def _swallowing(name: Any, vocab: Mapping[str, int], kinds: Mapping[int, int]) -> set[int]:
    """The special tokens that take the blanks behind them: those of Phi 3, which no key tells."""
    if not isinstance(name, str) or not re.search("phi-?3", name.lower()):
        return set()
    kept = ("<unk>", "<s>", "<|endoftext|>")
    return {i for text, i in vocab.items() if kinds[i] in _WHOLE and text not in kept}


def _array(
    ggml: Mapping[str, Any], name: str, kinds: tuple[type, ...], words: str, default: Any = None
) -> Sequence[Any]:
    value = ggml.get(name, default)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise CheckpointError(f"{_START}{name}={value!r:.40} must be a list of {words}")
    if set(map(type, value)) - {*kinds}:
        i, one = next((i, one) for i, one in enumerate(value) if type(one) not in kinds)
        raise CheckpointError(f"{_START}{name}[{i}]={one!r:.40} must be among {words}")
    return value


def _byte_level(
    ggml: Mapping[str, Any],
    vocab: dict[str, int],
    kinds: Mapping[int, int],
    pre: PreTokenizer,
    swallowing: set[int],
) -> Any:
    tokenizers = require("tokenizers", extra="lm")
    # A byte without a token must still keep its neighbours from merging; `encode` drops these ids.
    spare = {text: len(kinds) + i for i, text in enumerate(sorted(BYTES.keys() - vocab.keys()))}
    # Of two merges that are equal the first counts.
    merges = dict.fromkeys(_array(ggml, "merges", (str,), "texts"))
    whole = [(text, i, kinds[i] != USER_DEFINED) for text, i in vocab.items() if kinds[i] in _WHOLE]
    for text in (text for text, _, special in whole if special):  # no text becomes one of these
        for merge in (text, *(f"{text[:cut]} {text[cut:]}" for cut in range(1, len(text) + 1))):
            if "".join(_halves(merge)) == text:
                merges.pop(merge, None)
    pairs = [*map(_halves, merges)]
    with library_errors(f"{_START}merges", "convert the model again"):
        model = tokenizers.models.BPE(vocab | spare, pairs, ignore_merges=pre.takes_whole)
    with library_errors(f"{_START}tokens", "convert the model again"):
        bpe, split = tokenizers.Tokenizer(model), tokenizers.pre_tokenizers
        steps = [split.Split(tokenizers.Regex(regex), "isolated") for regex in pre.patterns]
        bpe.pre_tokenizer = split.Sequence([*steps, split.ByteLevel(False, use_regex=False)])
        for special, add in ((True, bpe.add_special_tokens), (False, bpe.add_tokens)):
            flags = {"normalized": False, "special": special}
            found = [(text, i in swallowing) for text, i, of in whole if of is special]
            add([tokenizers.AddedToken(text, rstrip=blanks, **flags) for text, blanks in found])
    return bpe


def _halves(merge: str) -> tuple[str, str]:
    """The two that become one; a space may begin the first."""
    cut = merge.find(" ", 1)
    return (merge[:cut], merge[cut + 1 :]) if cut > 0 else (merge, "")


def _sentencepiece(
    ggml: Mapping[str, Any],
    tokens: Sequence[str],
    kinds: Mapping[int, int],
    unknown: int,
    swallowing: set[int],
) -> SentencePiece:
    space_prefix = check_flag(f"{_START}add_space_prefix", ggml.get("add_space_prefix", True))
    scores = _scores(ggml)
    return SentencePiece(
        tokens, scores, [*kinds.values()], unknown, space_prefix, sorted(swallowing)
    )


def _scores(ggml: Mapping[str, Any]) -> list[float]:
    scores = _array(ggml, "scores", (float, int), "numbers")
    _check_count("scores", scores, ggml["tokens"])
    for i, one in enumerate(scores):
        if not -_LARGEST <= one <= _LARGEST:
            raise CheckpointError(
                f"{_START}scores[{i}]={one!r:.40} must be a number of 32 bits; "
                "convert the model again"
            )
    return list(map(float, scores))
