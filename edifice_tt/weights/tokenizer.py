"""Text to token ids and back, from a model file's own vocabulary; knows no weight and no tensor.

The library `tokenizers` merges; the rules around it are llama.cpp's, or a `tokenizer.json`'s own.
"""

import codecs
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edifice_tt.errors import CheckpointError
from edifice_tt.toolchain import require

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

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_END_NAMES = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>")
# GPT-2 writes a byte as a character: itself where that is visible, else the next from U+0100 on.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTES = {chr(byte): bytes([byte]) for byte in _VISIBLE}
_BYTES |= {chr(256 + i): bytes([b]) for i, b in enumerate(sorted({*range(256)} - {*_VISIBLE}))}


# Slots, because whoever looks for weights in a model walks into every `__dict__`.
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Tokenizer:
    """A byte-level BPE tokenizer, its chat template, and the ids that end an answer."""

    bpe: Any  # tokenizers.Tokenizer
    pieces: Sequence[bytes]  # the text of each id; empty for a control token
    bos_id: int | None = None
    eos_id: int | None = None
    stop_ids: frozenset[int] = frozenset()
    add_bos: bool = False
    chat_template: str | None = None

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> "Tokenizer":
        """Build the tokenizer that a GGUF file describes in its metadata.

        Raises `CheckpointError` when that is not byte-level BPE, or incomplete, or inconsistent.
        """
        start = "tokenizer.ggml."
        ggml = {k.removeprefix(start): v for k, v in metadata.items() if k.startswith(start)}
        if (model := ggml.get("model")) != "gpt2":
            raise CheckpointError(f"{start}model={model!r} is not supported; supported: 'gpt2'")
        known = ", ".join(sorted(PRE_TOKENIZERS))
        if not (pre := ggml.get("pre")):
            raise CheckpointError(
                f"{start}pre is missing, which says how texts are split; convert the model again, "
                f"or add the one it was trained with; known: {known}"
            )
        if pre not in PRE_TOKENIZERS:
            raise CheckpointError(f"{start}pre={pre!r} is unknown; known: {known}")
        if missing := {"tokens", "merges"} - ggml.keys():
            raise CheckpointError(f"{start}{min(missing)} is missing; convert the model again")
        tokens = ggml["tokens"]
        types = ggml.get("token_type", [_NORMAL] * len(tokens))
        if len(types) != len(tokens):
            counts = f"{len(types)} entries, expected one for each of {len(tokens)} tokens"
            raise CheckpointError(f"{start}token_type has {counts}; convert the model again")
        ids: dict[str, Any] = {n: ggml.get(f"{n}_token_id") for n in ("bos", "eos", "eot", "eom")}
        for name, i in ids.items():
            if i is not None and not 0 <= i < len(tokens):
                raise CheckpointError(f"{start}{name}_token_id={i} is none of {len(tokens)} tokens")
        kinds = dict(enumerate(types))
        vocab = {text: i for i, text in enumerate(tokens)}
        bpe = _build_bpe(vocab, kinds, ggml["merges"], pre)
        pieces = [_piece(text, kind) for text, kind in zip(tokens, types, strict=True)]
        ends = {i for name in _END_NAMES if kinds.get(i := vocab.get(name, -1)) == _CONTROL}
        ends |= {ids[name] for name in ("eos", "eot", "eom") if ids[name] is not None}
        # Llama 3 files leave the key out and mean yes.
        add_bos = bool(ggml.get("add_bos_token", pre in _LLAMA3))
        template = metadata.get("tokenizer.chat_template")
        return cls(bpe, pieces, ids["bos"], ids["eos"], frozenset(ends), add_bos, template)

    @classmethod
    def from_folder(cls, path: str | Path) -> "Tokenizer":
        """Build the tokenizer of a Hugging Face folder, from `tokenizer.json` and its neighbours.

        Raises `CheckpointError` when `tokenizer.json` is missing, damaged or not byte-level BPE.
        """
        folder, tokenizers = Path(path), require("tokenizers", extra="lm")
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json; save one beside the model")
        if "ByteLevel" not in json.dumps(_read_json(file).get("decoder")):
            raise CheckpointError(f"{file} has no ByteLevel decoder; use a byte-level BPE model")
        try:
            bpe = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:
            raise CheckpointError(f"{file} is damaged ({error}); download it again") from error
        bpe.no_truncation()
        bpe.no_padding()
        vocab, added = bpe.get_vocab(with_added_tokens=True), bpe.get_added_tokens_decoder()
        kinds = {i: _CONTROL if one.special else _USER_DEFINED for i, one in added.items()}
        pieces = [b""] * (max(vocab.values(), default=-1) + 1)
        for text, i in vocab.items():
            pieces[i] = _piece(text, kinds.get(i, _NORMAL))
        names = ("tokenizer_config", "special_tokens_map", "generation_config", "config")
        configs = [_read_json(folder / f"{name}.json") for name in names]
        bos, eos = (_named_ids(name, configs, vocab) for name in ("bos", "eos"))
        # Llama 3 says that it wants BOS only by what its post-processor makes of an empty text.
        add_bos = bool(configs[0].get("add_bos_token", bpe.encode("").ids[:1] == bos[:1] != []))
        jinja = folder / "chat_template.jinja"
        template = jinja.read_text("utf-8") if jinja.is_file() else configs[0].get("chat_template")
        if isinstance(template, list):
            template = {one["name"]: one["template"] for one in template}.get("default")
        bos_id, eos_id = (ids[0] if ids else None for ids in (bos, eos))
        ends = {i for name in _END_NAMES if kinds.get(i := vocab.get(name, -1)) == _CONTROL}
        return cls(bpe, pieces, bos_id, eos_id, frozenset(ends.union(eos)), add_bos, template)

    def to_json(self) -> str:
        """Everything that `from_json` needs to make this tokenizer again."""
        rest = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        rest |= {"stop_ids": sorted(self.stop_ids), "bpe": self.bpe.to_str()}
        return json.dumps({**rest, "pieces": [piece.decode("latin-1") for piece in self.pieces]})

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """The tokenizer that `to_json` wrote; raises `CheckpointError` for a damaged text."""
        tokenizers = require("tokenizers", extra="lm")
        try:
            saved = json.loads(text)
            bpe = tokenizers.Tokenizer.from_str(saved.pop("bpe"))
            pieces = [piece.encode("latin-1") for piece in saved.pop("pieces")]
            stop_ids = frozenset(saved.pop("stop_ids"))
            return cls(bpe, pieces, stop_ids=stop_ids, **saved)
        except Exception as error:  # the library raises bare Exception for what it cannot read
            raise CheckpointError(f"the saved tokenizer is damaged ({error})") from error

    @property
    def vocab_size(self) -> int:
        """How many ids the file gives a meaning; a model's V may be larger, by padding."""
        return len(self.pieces)

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be used."""
        return self.chat_template is not None

    def encode(self, text: str) -> list[int]:
        """The ids of a text, after BOS where the file asks for it and the text has none yet.

        Control tokens in the text are recognised; bytes that the vocabulary lacks are left out.
        Raises `ValueError` for a lone surrogate.
        """
        try:
            encoded = self.bpe.encode(text, add_special_tokens=False)
        except TypeError:
            raise ValueError(f"text={text!r:.60} must be str without lone surrogates") from None
        ids = [i for i in encoded.ids if i < len(self.pieces)]
        if self.add_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            ids.insert(0, self.bos_id)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without control tokens; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token, none for control and padding; `ValueError` for a negative id."""
        if token_id < 0:
            raise ValueError(f"token id {token_id} must be 0 to {self.vocab_size - 1}")
        return self.pieces[token_id] if token_id < len(self.pieces) else b""

    def chat(self, messages: Sequence[Any], add_generation_prompt: bool = True) -> str:
        """Render messages, each a dict with `role` and `content`, by the model's own template.

        Raises `ValueError` when there is no template, or when it rejects the messages.
        """
        if self.chat_template is None:
            raise ValueError("this model has no chat template; pass the prompt as plain text")
        keys = ("role", "content")
        for i, one in enumerate(messages or [{}]):
            if not isinstance(one, Mapping) or not all(isinstance(one.get(k), str) for k in keys):
                raise ValueError(f"messages[{i}]={one!r:.80} must be a dict with {keys}, both str")
        values = {"messages": list(messages), "add_generation_prompt": add_generation_prompt}
        for name, token in (("bos_token", self.bos_id), ("eos_token", self.eos_id)):
            values[name] = self.bpe.id_to_token(token) if token is not None else ""
        sandbox = _sandbox()
        try:
            return str(sandbox.from_string(self.chat_template).render(values, tools=None))
        except Exception as error:  # a template is a program: it can fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"the model's chat template failed: {reason}") from error


class TextStream:
    """Text as its tokens arrive; what it returned, joined, equals `decode` of all the ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token_id: int) -> str:
        """The text that this token completes; a character still lacking bytes is held back."""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)


def _build_bpe(vocab: dict[str, int], kinds: dict[int, int], merges: list[str], pre: str) -> Any:
    tokenizers = require("tokenizers", extra="lm")
    # A byte without a token must still keep its neighbours from merging; `encode` drops these ids.
    spare = {text: len(kinds) + i for i, text in enumerate(sorted(_BYTES.keys() - vocab.keys()))}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    try:
        model = tokenizers.models.BPE(vocab | spare, pairs, ignore_merges=pre in _LLAMA3)
    except Exception as error:
        raise CheckpointError(f"tokenizer.ggml.merges: {error}; convert the model again") from error
    bpe, split = tokenizers.Tokenizer(model), tokenizers.pre_tokenizers
    steps = [split.Split(tokenizers.Regex(regex), "isolated") for regex in PRE_TOKENIZERS[pre]]
    bpe.pre_tokenizer = split.Sequence([*steps, split.ByteLevel(False, use_regex=False)])
    whole = (_UNKNOWN, _CONTROL, _USER_DEFINED)
    texts = [text for text, i in vocab.items() if text and kinds[i] in whole]
    bpe.add_special_tokens([tokenizers.AddedToken(text, normalized=False) for text in texts])
    return bpe


def _piece(text: str, kind: int) -> bytes:
    if kind in (_UNKNOWN, _CONTROL, _UNUSED):
        return b""
    table = {} if kind == _USER_DEFINED else _BYTES
    return b"".join(table.get(character) or character.encode() for character in text)


def _named_ids(kind: str, configs: Iterable[dict[str, Any]], vocab: dict[str, int]) -> list[int]:
    found: list[int] = []
    for config in configs:
        name, ids = config.get(f"{kind}_token"), config.get(f"{kind}_token_id")
        name = name.get("content") if isinstance(name, dict) else name
        found += [vocab[name]] if name in vocab else []
        found += ids if isinstance(ids, list) else [] if ids is None else [ids]
    return list(dict.fromkeys(found))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is no JSON object ({error}); download it again") from error


def _sandbox() -> Any:
    def raise_exception(message: str) -> None:
        raise ValueError(message)

    # The settings of transformers, for which templates are written.
    environment = require("jinja2.sandbox", extra="lm").ImmutableSandboxedEnvironment
    sandbox = environment(trim_blocks=True, lstrip_blocks=True)
    sandbox.add_extension("jinja2.ext.loopcontrols")
    sandbox.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
    sandbox.globals.update(raise_exception=raise_exception, strftime_now=time.strftime)
    return sandbox
