"""The tokenizer of a GGUF file: its metadata, checked, as the fields of a `Tokenizer`.

The library `tokenizers` merges; the rules around it are llama.cpp's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.machine.toolchain import require
from edifice_tt.weights.tokenizer.vocabulary import (
    BYTES,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    check_flag,
    check_id,
    check_ids,
    check_template,
    library_errors,
    piece,
    take_ends,
)

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Not `(?i:'s)`: that would also take a long s.
_CASELESS = (
    r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "lfm2")
# `tokenizer.ggml.pre` -> patterns, each splitting the pieces of the one before.
PRE_TOKENIZERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("smollm", "codeshell", "command-r", "refact", "starcoder"), (r"\p{N}", _GPT2)),
    **dict.fromkeys(("gpt-2", "jais", "mpt", "olmo", "phi-2", "roberta-bpe"), (_GPT2,)),
    **dict.fromkeys((*_LLAMA3, "dbrx", "smaug-bpe"), (_CASELESS % "{1,3}",)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"), (_CASELESS % "",)),
    # llama.cpp's fallback, which is no model's own; a file must name it.
    "default": (r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9]{3}"),
}
_START = "tokenizer.ggml."


def read_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the tokenizer that a GGUF file describes; see `Tokenizer.from_gguf`."""
    ggml = {k.removeprefix(_START): v for k, v in metadata.items() if k.startswith(_START)}
    if (model := ggml.get("model")) != "gpt2":
        raise CheckpointError(f"{_START}model={model!r:.40} is not supported; supported: 'gpt2'")
    known = ", ".join(sorted(PRE_TOKENIZERS))
    if not (pre := ggml.get("pre")):
        raise CheckpointError(
            f"{_START}pre is missing, which says how texts are split; convert the model again, "
            f"or add the one it was trained with; known: {known}"
        )
    if not isinstance(pre, str) or pre not in PRE_TOKENIZERS:
        raise CheckpointError(f"{_START}pre={pre!r:.40} is unknown; known: {known}")
    if missing := {"tokens", "merges"} - ggml.keys():
        raise CheckpointError(f"{_START}{min(missing)} is missing; convert the model again")
    tokens, merges = (_array(ggml, name, str, "texts") for name in ("tokens", "merges"))
    types = _array(ggml, "token_type", int, "whole numbers", [NORMAL] * len(tokens))
    if len(types) != len(tokens):
        counts = f"{len(types)} entries, expected one for each of {len(tokens)} tokens"
        raise CheckpointError(f"{_START}token_type has {counts}; convert the model again")
    ids: dict[str, int | None] = {}
    for name in ("bos", "eos", "eot", "eom"):
        key = f"{name}_token_id"
        value = ggml.get(key)
        ids[name] = None if value is None else check_id(f"{_START}{key}", value, len(tokens))
    kinds = dict(enumerate(types))
    vocab = {text: i for i, text in enumerate(tokens)}
    check_ids(vocab, f"{_START}tokens")
    ends = take_ends(vocab, kinds)
    # Llama 3 files leave the key out and mean yes.
    add_bos = check_flag(f"{_START}add_bos_token", ggml.get("add_bos_token", pre in _LLAMA3))
    key = "tokenizer.chat_template"
    return {
        "bpe": _build_bpe(vocab, kinds, merges, pre),
        "pieces": [piece(text, kinds[i]) for i, text in enumerate(tokens)],
        "bos_id": ids["bos"],
        "eos_id": ids["eos"],
        "stop_ids": ends.union(i for n, i in ids.items() if i is not None and n != "bos"),
        "add_bos": add_bos,
        "chat_template": check_template(key, metadata.get(key)),
    }


def _array(
    ggml: Mapping[str, Any], name: str, kind: type, words: str, default: Any = None
) -> Sequence[Any]:
    value = ggml.get(name, default)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise CheckpointError(f"{_START}{name}={value!r:.40} must be a list of {words}")
    for i, one in enumerate(value):
        if type(one) is not kind:
            raise CheckpointError(f"{_START}{name}[{i}]={one!r:.40} must be among {words}")
    return value


def _build_bpe(vocab: dict[str, int], kinds: dict[int, int], merges: Any, pre: str) -> Any:
    tokenizers = require("tokenizers", extra="lm")
    # A byte without a token must still keep its neighbours from merging; `encode` drops these ids.
    spare = {text: len(kinds) + i for i, text in enumerate(sorted(BYTES.keys() - vocab.keys()))}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    with library_errors(f"{_START}merges", "convert the model again"):
        model = tokenizers.models.BPE(vocab | spare, pairs, ignore_merges=pre in _LLAMA3)
    with library_errors(f"{_START}tokens", "convert the model again"):
        bpe, split = tokenizers.Tokenizer(model), tokenizers.pre_tokenizers
        steps = [split.Split(tokenizers.Regex(regex), "isolated") for regex in PRE_TOKENIZERS[pre]]
        bpe.pre_tokenizer = split.Sequence([*steps, split.ByteLevel(False, use_regex=False)])
        for kind, add in ((True, bpe.add_special_tokens), (False, bpe.add_tokens)):
            whole = (UNKNOWN, CONTROL) if kind else (USER_DEFINED,)
            texts = [text for text, i in vocab.items() if text and kinds[i] in whole]
            add([tokenizers.AddedToken(text, normalized=False, special=kind) for text in texts])
    return bpe
