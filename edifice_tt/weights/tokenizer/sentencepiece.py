"""SentencePiece's vocabulary of a GGUF file: neighbours merge, those of the highest score first.

It merges as llama.cpp does, and answers as a tokenizer of the library `tokenizers`. That one has no
scores: its merges have a rank each, so equal scores and unknown characters come out otherwise.
"""

import json
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from heapq import heappop, heappush
from typing import Any, NamedTuple

from edifice_tt.machine.toolchain import require
from edifice_tt.weights.tokenizer.vocabulary import CONTROL, SPACE, UNKNOWN, USER_DEFINED

_BETWEEN = "\ud800"  # half a character, which no token holds
_LONG = 64  # characters; longer words are not remembered


class Encoding(NamedTuple):
    """The ids of a text."""

    ids: list[int]


class SentencePiece:
    """A vocabulary with a score and a kind of each token, and what the file says around it."""

    MARK = '{"sentencepiece"'  # with which a saved one begins
    decoder = None

    def __init__(
        self,
        tokens: Sequence[str],
        scores: Sequence[float],
        kinds: Sequence[int],
        unknown: int = 0,
        space_prefix: bool = True,  # before a text
        swallowing: Sequence[int] = (),  # special tokens that take the blanks behind them
    ) -> None:
        self.tokens, self.scores, self.kinds = tokens, scores, kinds
        self.unknown, self.space_prefix, self.swallowing = unknown, space_prefix, swallowing
        self._ids = {text: i for i, text in enumerate(tokens) if kinds[i] not in (UNKNOWN, CONTROL)}
        plain = [self._ids.get(chr(byte)) for byte in range(128)] + [None] * 128
        self._bytes = [self._ids.get(f"<0x{b:02X}>", other) for b, other in enumerate(plain)]
        # No token reaches over such an edge, so what is before it merges alone.
        every = _BETWEEN.join(self._ids)
        inside = "".join(set(re.findall(rf"([^{SPACE}{_BETWEEN}]){SPACE}", every)))
        self._edge = re.compile(rf"(?<=[^{SPACE}{re.escape(inside)}])(?={SPACE})")
        self._remembered = lru_cache(maxsize=1 << 14)(self._merged)

    @classmethod
    def from_str(cls, text: str) -> "SentencePiece":
        """The vocabulary that `to_str` wrote."""
        return cls(**json.loads(text)["sentencepiece"])

    def to_str(self) -> str:
        """Everything that `from_str` needs."""
        names = ("tokens", "scores", "kinds", "unknown", "space_prefix", "swallowing")
        return json.dumps({"sentencepiece": {name: getattr(self, name) for name in names}})

    def __reduce__(self) -> tuple[Any, ...]:
        return SentencePiece.from_str, (self.to_str(),)

    def id_to_token(self, token_id: int) -> str:
        return self.tokens[token_id]

    def get_added_tokens_decoder(self) -> dict[int, Any]:
        """The tokens that are found in a text before anything merges."""
        return self._added

    @cached_property
    def _added(self) -> dict[int, Any]:
        added, swallowing = require("tokenizers", extra="lm").AddedToken, {*self.swallowing}
        return {
            i: added(self.tokens[i], special=kind != USER_DEFINED, rstrip=i in swallowing)
            for i, kind in enumerate(self.kinds)
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        }

    def encode(self, text: str, add_special_tokens: bool = False) -> Encoding:
        """The ids of a text without special tokens; nothing is put around it, whatever is asked."""
        text = (" " * self.space_prefix + text).replace(" ", SPACE)
        ids: list[int] = []
        for word in self._edge.split(text):
            ids += (self._merged if len(word) > _LONG else self._remembered)(word)
        return Encoding(ids)

    def _merged(self, word: str) -> tuple[int, ...]:
        """The ids of a word: of the neighbours that make a token, those of the highest merge."""
        parts, size = list(word), len(word)
        before, behind = [*range(-1, size - 1)], [*range(1, size + 1)]
        queue: list[tuple[float, int, int, str]] = []

        def offer(left: int, right: int) -> None:
            if left >= 0 and right < size:
                text = parts[left] + parts[right]
                if (token := self._ids.get(text)) is not None:
                    heappush(queue, (-self.scores[token], left, right, text))

        for left in range(size - 1):
            offer(left, left + 1)
        while queue:
            _, left, right, text = heappop(queue)
            if parts[left] + parts[right] != text:
                continue  # one of them has merged meanwhile
            parts[left], parts[right] = text, ""
            behind[left] = behind[right]
            if behind[left] < size:
                before[behind[left]] = left
            offer(before[left], left)
            offer(left, behind[left])
        return tuple(i for part in parts for i in self._ids_of(part))

    def _ids_of(self, part: str) -> Sequence[int]:
        if (token := self._ids.get(part)) is not None:
            return [token]
        ids = [i for byte in part.encode() if (i := self._bytes[byte]) is not None]
        return ids if len(ids) == len(part.encode()) else [self.unknown]
