"""What ends an answer: stop strings, stop tokens and the model's own ends. Knows no sampling."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.options import whole

_SIGNS = range(0xD800, 0xE000)  # half characters, which no decoded text holds


@dataclass(frozen=True)
class Stops:
    """What ends an answer: strings and token ids, and the model's own end tokens.

    A control token has no text. So for the search, each one that a stop string names is replaced by
    a private character, its sign.
    """

    strings: tuple[str, ...]
    extra_ids: tuple[int, ...]
    eos_ids: frozenset[int]
    signs: Mapping[int, str] = field(default_factory=dict)  # token id -> its sign
    signed: tuple[str, ...] = ()  # the strings that name control tokens, with signs

    @classmethod
    def of(cls, lm: CausalLM, stop: Iterable[str | int], chat: bool = False) -> "Stops":
        """The stops of a model; for a chat also those of its template.

        Raises `ValueError` for a stop that is invalid, or can never occur.
        """
        stop = [s if (token := whole(s)) is None else token for s in stop]
        ids = range(lm.config.vocab_size)
        if not all(s in ids if type(s) is int else s and isinstance(s, str) for s in stop):
            raise ValueError(
                f"stop={stop!r} must hold non-empty strings and token ids from 0 to {ids[-1]} only"
            )
        strings = tuple(s for s in stop if isinstance(s, str))
        extra_ids = tuple(s for s in stop if isinstance(s, int))
        eos_ids = lm.tokenizer.stop_ids if lm.tokenizer else frozenset()
        if chat and lm.tokenizer is not None:
            eos_ids |= lm.tokenizer.turn_ends()
        if not strings or not hasattr(lm.tokenizer, "pieces"):  # a plugin's tokenizer lacks these
            return cls(strings, extra_ids, eos_ids)
        _check_bytes(lm, strings)
        return cls(strings, extra_ids, eos_ids, *_with_signs(lm, strings, eos_ids))

    def find(self, text: str) -> int:
        """The position of the first stop string, or -1."""
        starts = [start for start in map(text.find, self._all) if start >= 0]
        return min(starts, default=-1)

    def possible_start(self, text: str) -> int:
        """The number of trailing characters that may begin a stop string."""
        starts = (s[:size] for s in self._all for size in range(len(s) - 1, 0, -1))
        return max((len(start) for start in starts if text.endswith(start)), default=0)

    def printed(self, text: str) -> str:
        """The text without signs."""
        return "".join(c for c in text if ord(c) not in _SIGNS) if self.signs else text

    @property
    def _all(self) -> tuple[str, ...]:
        return self.strings + self.signed


def _check_bytes(lm: CausalLM, strings: Iterable[str]) -> None:
    for text in strings:
        try:
            needed = set(text.replace("\ufffd", "").encode())  # which stands for any broken bytes
        except UnicodeEncodeError:
            raise ValueError(f"stop={text!r} holds half a character, which no text does") from None
        for byte in sorted(needed):
            if not any(byte in piece for piece in lm.tokenizer.pieces):
                raise ValueError(
                    f"stop={text!r} never comes: no token of the model has the byte {byte}"
                )


def _with_signs(
    lm: CausalLM, strings: Iterable[str], eos_ids: frozenset[int]
) -> tuple[dict[int, str], tuple[str, ...]]:
    controls = lm.tokenizer.control_tokens()
    names = sorted(controls, key=len, reverse=True)
    any_name = re.compile("|".join(map(re.escape, names)) or r"(?!)")
    signs: dict[int, str] = {}

    def sign(match: re.Match[str]) -> str:
        return signs.setdefault(controls[match.group()], chr(_SIGNS[len(signs)]))

    # An end token alone is the model's own end already.
    named = (s for s in strings if any_name.search(s) and controls.get(s) not in eos_ids)
    signed = tuple(any_name.sub(sign, s) for s in named)
    return signs, signed
