"""Text to token ids and back, from a model file's own vocabulary; knows no weight and no tensor.

The library `tokenizers` merges; the rules around it are llama.cpp's, or a `tokenizer.json`'s own.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from edifice_tt.machine.exclusive import Exclusive
from edifice_tt.machine.toolchain import require
from edifice_tt.pools.chat_text import plain_of, signs_apart_from
from edifice_tt.weights.chat_template import check_message, check_options, render
from edifice_tt.weights.template_client import Rendered
from edifice_tt.weights.tokenizer.folder import read_folder
from edifice_tt.weights.tokenizer.gguf import read_metadata
from edifice_tt.weights.tokenizer.sentencepiece import SentencePiece
from edifice_tt.weights.tokenizer.special import Part, SpecialTokens
from edifice_tt.weights.tokenizer.vocabulary import (
    FILL_ENDS,
    Pieces,
    check_flag,
    check_id,
    check_template,
    library_errors,
)

# Some put a space before a text, but before none of its other parts.
_FIRST, _NEVER = '"prepend_scheme":"first"', '"prepend_scheme":"never"'
_WHOLE = '"ignore_merges":true', '"ignore_merges":false'
_reading = Exclusive()  # the library has one switch for all that encode at once


# Slots, because whoever looks for weights in a model walks into every `__dict__`.
@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Tokenizer:
    """A BPE tokenizer, its chat template, and the ids that end an answer."""

    bpe: Any  # tokenizers.Tokenizer, or a SentencePiece that stands for one
    pieces: Sequence[bytes]  # the text of each id; empty for a control token
    bos_id: int | None = None
    eos_id: int | None = None
    stop_ids: frozenset[int] = frozenset()
    add_bos: bool = False
    chat_template: str | None = None
    space_prefix: bool = False  # whether a space at the start of a text is none

    def __repr__(self) -> str:
        template = "a" if self.chat_template else "no"
        return f"<Tokenizer of {self.vocab_size:,} tokens, with {template} chat template>"

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> "Tokenizer":
        """Build the tokenizer that a GGUF file describes in its metadata.

        Raises `CheckpointError` when that is neither byte-level BPE nor SentencePiece, or
        incomplete, or inconsistent.
        """
        return cls(**read_metadata(metadata))

    @classmethod
    def from_folder(cls, path: str | Path) -> "Tokenizer":
        """Build the tokenizer of a Hugging Face folder, from `tokenizer.json` and its neighbours.

        Raises `CheckpointError` when `tokenizer.json` is missing, damaged or of another kind.
        """
        return cls(**read_folder(Path(path)))

    def to_json(self) -> str:
        """Everything that `from_json` needs to make this tokenizer again."""
        rest = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        if not self.space_prefix:  # as it was written before there was one
            del rest["space_prefix"]
        rest |= {"stop_ids": sorted(self.stop_ids), "bpe": self.bpe.to_str()}
        return json.dumps({**rest, "pieces": [piece.decode("latin-1") for piece in self.pieces]})

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """The tokenizer that `to_json` wrote; raises `CheckpointError` for a damaged text."""
        tokenizers = require("tokenizers", extra="lm")
        with library_errors("the saved tokenizer cannot be read", "save it again"):
            saved = json.loads(text)
            text = saved.pop("bpe")
            kind = SentencePiece if text.startswith(SentencePiece.MARK) else tokenizers.Tokenizer
            bpe = kind.from_str(text)
            pieces = Pieces(piece.encode("latin-1") for piece in saved.pop("pieces"))
            stop_ids = frozenset(saved.pop("stop_ids"))
            tokenizer = cls(bpe, pieces, stop_ids=stop_ids, **saved)
        for name in ("bos_id", "eos_id"):
            if (one := getattr(tokenizer, name)) is not None:
                check_id(name, one, len(pieces))
        for one in stop_ids:
            check_id("stop_ids", one, len(pieces))
        check_flag("add_bos", tokenizer.add_bos)
        check_flag("space_prefix", tokenizer.space_prefix)
        check_template("chat_template", tokenizer.chat_template)
        return tokenizer

    def identity(self) -> str:
        """What `to_json` gives, but for the ends of code that is filled in.

        Files saved before these ended an answer know a tokenizer by it.
        """
        fills = {i for name, i in self.control_tokens().items() if name in FILL_ENDS}
        return replace(self, stop_ids=self.stop_ids - (fills - {self.eos_id})).to_json()

    @property
    def vocab_size(self) -> int:
        """How many ids the file gives a meaning; a model's V may be larger, by padding."""
        return len(self.pieces)

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be used."""
        return self.chat_template is not None

    def control_tokens(self) -> dict[str, int]:
        """The id of each control token that a text can name."""
        added = self.bpe.get_added_tokens_decoder()
        return {
            one.content: i for i, one in added.items() if one.special or not self.token_bytes(i)
        }

    def encode(self, text: str) -> list[int]:
        """The ids of a text, after BOS where the file asks for it and the text has none yet.

        Control tokens in the text are recognised, but for those that a user typed into a `chat`.
        Bytes that the vocabulary lacks are left out; SentencePiece has a token for what is unknown.
        Raises `ValueError` for a lone surrogate.
        """
        ids: list[int] = []
        for i, (part, is_plain) in enumerate(self._parts(text)):
            ids += self._ids(part, special=not is_plain, inside=i > 0)
        if self.add_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            ids.insert(0, self.bos_id)
        return ids

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text that stands inside a sequence: no BOS, and no control token.

        A control token's name is read as the text that it is. Raises `ValueError` for a lone
        surrogate.
        """
        return self._ids(text, special=False)

    def _ids(self, text: str, special: bool, inside: bool = False) -> list[int]:
        bpe = _changed(self.bpe, _FIRST, _NEVER) if inside else self.bpe
        ids = [i for i in self._read(bpe, text, special)[0] if i < len(self.pieces)]
        if not special and not all(self.pieces[i] for i in ids):  # a piece is a control token whole
            bpe = _changed(bpe, *_WHOLE)
            ids = [i for i in self._read(bpe, text, special)[0] if i < len(self.pieces)]
        return ids

    def _read(self, bpe: Any, text: str, special: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of a text, and the places of those that are special."""
        if not _is_unicode(text):
            raise ValueError(f"text={text!r:.60} must be str without lone surrogates")
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        with _reading, library_errors(f"text={text!r:.60} cannot be encoded", "check the file"):
            of_gguf = bpe.decoder is None  # so the special tokens are sought as llama.cpp does
            whole = [Part(0, len(text))]
            parts = _special_tokens(bpe).cut(text, plain=not special) if of_gguf else whole
            bpe.encode_special_tokens = of_gguf or not special
            try:
                for start, stop, token in parts:
                    if token is not None:
                        ids.append(token)
                        places.append((start, stop))
                        continue
                    found = bpe.encode(str(text)[start:stop], add_special_tokens=False)
                    ids += found.ids
                    places += [(start, stop)] * len(found.ids) if of_gguf else found.offsets
            finally:
                bpe.encode_special_tokens = False
        return ids, places

    def _parts(self, text: str) -> list[tuple[str, bool]]:
        """The text cut at its control tokens, and for each part whether it is plain.

        Between two control tokens nothing merges across, so the parts have the ids of the whole.
        """
        plain = plain_of(text)
        if not plain:
            return [(text, False)]
        sign = next(signs_apart_from(text))
        hidden = list(text)
        for start, _ in plain:
            hidden[start] = sign
        ids, places = self._read(self.bpe, "".join(hidden), special=True)
        controls, parts, end = set(self.control_tokens().values()), [], 0
        for i, (start, stop) in zip(ids, places, strict=True):
            if i in controls:
                parts += [(text[end:start], True), (text[start:stop], False)]
                end = stop
        return [*parts, (text[end:], True)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without control tokens; bytes that are not UTF-8 become U+FFFD.

        The space that a tokenizer puts before a text is left out.
        """
        text = b"".join(map(self.token_bytes, ids))
        return (text.removeprefix(b" ") if self.space_prefix else text).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token, none for control and padding; `ValueError` for a negative id."""
        if token_id < 0:
            raise ValueError(f"token id {token_id} must be 0 to {self.vocab_size - 1}")
        return self.pieces[token_id] if token_id < len(self.pieces) else b""

    def chat(
        self, messages: Sequence[Any], add_generation_prompt: bool = True, **options: Any
    ) -> str:
        """Render messages, each a dict with `role` and `content`, by the model's own template.

        A content is a str, a list of `{"type": "text", "text": ...}`, or None beside `tool_calls`.
        `options` are variables that the template reads, such as `enable_thinking=False`. A control
        token's name in a message or an option stays text when `encode` reads the result. Raises
        `ValueError` when there is no template, or when it rejects the messages or options.
        """
        return self.render(messages, options, add_generation_prompt).text

    def render(
        self,
        messages: Sequence[Any],
        options: Mapping[str, Any],
        add_generation_prompt: bool = True,
        day: str | None = None,
    ) -> Rendered:
        """As `chat`, on a day (default: today); says too whether the text tells the day."""
        if self.chat_template is None:
            raise ValueError("this model has no chat template; pass the prompt as plain text")
        for i, one in enumerate(messages or [{}]):
            check_message(f"messages[{i}]", one)
        check_options(self.chat_template, options)
        given: dict[str, Any] = {"add_generation_prompt": add_generation_prompt}
        for name, token in (("bos_token", self.bos_id), ("eos_token", self.eos_id)):
            given[name] = self.bpe.id_to_token(token) if token is not None else ""
        controls = tuple(self.control_tokens())
        return render(self.chat_template, messages, options, given, controls, day)

    def turn_ends(self) -> frozenset[int]:
        """The control token with which the chat template ends an answer, where it does so."""
        said = "x7q"
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
        try:
            after = self.render(turns, {}, add_generation_prompt=False).text.rpartition(said)[2]
        except ValueError:  # no template, or one that wants other messages
            return frozenset()
        named = [name for name in self.control_tokens() if after.lstrip().startswith(name)]
        longest = max(named, key=len, default="")
        return frozenset({self.control_tokens()[longest]} if longest else ())


@lru_cache(maxsize=2)  # as little is kept of models that are gone
def _special_tokens(bpe: Any) -> SpecialTokens:
    return SpecialTokens(bpe.get_added_tokens_decoder())


@lru_cache(maxsize=2)
def _changed(bpe: Any, setting: str, other: str) -> Any:
    """The tokenizer with another setting, or itself where it has not this one."""
    told = bpe.to_str()
    return type(bpe).from_str(told.replace(setting, other)) if setting in told else bpe


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
