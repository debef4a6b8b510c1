"""The text of a rendered chat that marks what a user typed. Knows no tokenizer."""

from collections.abc import Iterable, Iterator

Span = tuple[int, int]


class ChatText(str):
    """A `str` that also marks where a control token's name is plain text.

    `plain` holds these places as pairs of character positions. Texts with different places are
    unequal, since a model reads them differently. String methods return texts without them.
    """

    plain: tuple[Span, ...]

    def __new__(cls, text: str, plain: Iterable[Iterable[int]]) -> "ChatText":
        self = super().__new__(cls, text)
        self.plain = tuple((start, stop) for start, stop in plain)
        return self

    def __getnewargs__(self) -> tuple[str, tuple[Span, ...]]:  # type: ignore[override]
        return str(self), self.plain

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True and self.plain == plain_of(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def signs_apart_from(*texts: str) -> Iterator[str]:
    """Characters of no alphabet that none of these texts has."""
    used = set().union(*texts)
    return (sign for sign in map(chr, range(0xE000, 0x110000)) if sign not in used)


def plain_of(text: object) -> tuple[Span, ...]:
    """The places of a text that are plain; none in an ordinary `str`."""
    return getattr(text, "plain", ())


def with_plain(text: str, plain: Iterable[Iterable[int]]) -> str:
    """The text with these places; an ordinary `str` if there are none."""
    places = list(plain)
    return ChatText(text, places) if places else text
