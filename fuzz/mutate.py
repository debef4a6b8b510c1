"""Changes to an input, drawn at random: what is used where atheris is not installed."""

import random
import re

_NUMBERS = (0, 1, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
_WORDS = (
    *(b"null", b"true", b"[]", b"{}", b'""', b"-1", b"0", b"1e999", b"NaN", b"1e-320", b"0.5"),
    *(b"1" + b"0" * 40, b"[" * 70, b'{"a":' * 70, b"\xff", b"\0", b'"\\ud800"', b"[[8]]", b"\\"),
    *(b"{", b"}", b"\\frac{", b"<think>", b"!", b"^", b"{{ ", b" }}", b"{% for x in range(9) %}"),
)
_VALUE = re.compile(rb'"[^"]*"|-?\d[\d.e+-]*|true|false|null|[A-Za-z_]+')


def mutate(given: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    """The input with one to four changes."""
    for _ in range(draw.randint(1, 4)):
        given = draw.choice(_CHANGES)(given, seeds, draw)
    return given


def _flip(given: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    if not given:
        return given
    at = draw.randrange(len(given))
    return given[:at] + bytes([draw.choice((0, 255, draw.randrange(256)))]) + given[at + 1 :]


def _number(given: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    at, size = draw.randrange(len(given) + 1), draw.choice((1, 4, 8))
    number = draw.choice(_NUMBERS) % (1 << 8 * size)
    return given[:at] + number.to_bytes(size, "little") + given[at + size :]


def _cut(given: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    start = draw.randrange(len(given) + 1)
    return given[:start] + given[start + draw.randint(1, 16) :]


def _double(given: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    start = draw.randrange(len(given) + 1)
    stop = start + draw.randint(1, 64)
    return given[:stop] + given[start:stop] * draw.choice((1, 1, 9)) + given[stop:]


def _cross(given: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    other = draw.choice(seeds)
    return given[: draw.randrange(len(given) + 1)] + other[draw.randrange(len(other) + 1) :]


def _word(given: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    """Another value in place of a JSON value or a name."""
    found = list(_VALUE.finditer(given[:20_000]))
    start, stop = draw.choice(found).span() if found else (len(given), len(given))
    return given[:start] + draw.choice(_WORDS) + given[stop:]


_CHANGES = (_flip, _number, _cut, _double, _cross, _word, _word, _word)
