"""The documents can be understood at first reading: short sentences, and "per" for rates."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "plugins").glob("*/README.md"),
        ROOT / "benchmarks" / "README.md",
    ]
)
each = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))

NOT_PROSE = re.compile(r"^```.*?^```$|^\|.*?$|^#.*?$|^::: .*?$", re.M | re.S)
NAMES_OF_TESTS = re.compile(r"\(\s*`test_\w+`[^)]*\)")
CODE, LINK = re.compile(r"`[^`]*`"), re.compile(r"!?\[([^]]*)\]\([^)]*\)")
BREAK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )")
END = re.compile(r"(?<=[.!?])[*_)\"]*\s+(?=\S)")
WORD = re.compile(r"\S*\w\S*")
COUNTED = r"\d[\d,.]*|numbers?|floats?|lists?|tokens|rows?|files?|objects?|times|words|[KMGT]i?B"
UNIT = r"second|minute|step|token|line|row|candidate|completion|answer|problem|layer|core|call"
RATE = re.compile(rf"\b(?:{COUNTED})(?: in all)?,? (?:an?|each) (?:{UNIT})\b")


def sentences(text):
    """The sentences of the running text; a code span counts as one word."""
    text = NAMES_OF_TESTS.sub("", NOT_PROSE.sub("\n", text))
    text = LINK.sub(r"\1", CODE.sub("CODE", text))
    for paragraph in BREAK.split(text):
        yield from END.split(" ".join(paragraph.split()))


def test_sentences_are_told_apart():
    text = (
        "# Head\nOne `a. B` two\nthree. Four! Five:\n\n| a. b |\n- Six. (`test_x`,\n  `test_y`)\n"
    )
    assert [s for s in sentences(text) if s] == ["One CODE two three.", "Four!", "Five:", "- Six."]


@each
def test_no_sentence_has_more_than_30_words(path):
    assert [s for s in sentences(path.read_text()) if len(WORD.findall(s)) > 30] == []


@pytest.mark.parametrize("rate", ["464 tokens a second", "a number a step", "88 MB a step"])
def test_a_rate_without_per_is_found(rate):
    assert RATE.search(rate)
    assert not RATE.search(rate.replace(" a s", " per s"))


@each
def test_rates_are_said_with_per(path):
    assert [s for s in sentences(path.read_text()) if RATE.search(s)] == []
