"""Tokens that are found in a text before anything merges, sought as llama.cpp does. Merges none."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_BLANKS = " \t\n\v\f\r"


class Part(NamedTuple):
    """A place of a text, and the token that stands there; None for text between tokens."""

    start: int
    stop: int
    token: int | None = None


class SpecialTokens:
    """The special tokens of a vocabulary, by their ids.

    The longest is sought first, over the whole text. The library `tokenizers` takes the leftmost.
    """

    def __init__(self, added: Mapping[int, Any]) -> None:
        self._tokens = sorted(added.items(), key=lambda one: -len(one[1].content.encode()))

    def cut(self, text: str, plain: bool) -> list[Part]:
        """The parts of a text; with `plain` the names of control tokens are text."""
        characters, parts = set(text), [Part(0, len(text))] if text else []
        for token, one in self._tokens:
            if (plain and one.special) or one.content[0] not in characters:
                continue
            if one.content in text:
                parts = [
                    piece
                    for part in parts
                    for piece in (_cut(text, part, token, one) if part.token is None else [part])
                ]
        return parts


def _cut(text: str, part: Part, token: int, one: Any) -> Iterator[Part]:
    start, stop, _ = part
    while (at := text.find(one.content, start, stop)) >= 0:
        if at > start:
            yield Part(start, at)
        start = at + len(one.content)
        while one.rstrip and start < stop and text[start] in _BLANKS:
            start += 1
        yield Part(at, start, token)
    if start < stop:
        yield Part(start, stop)
