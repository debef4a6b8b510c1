"""Documents and docstrings are understood at first reading: short sentences, "per" for rates."""

import ast
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


def too_long(text):
    return [s for s in sentences(text) if len(WORD.findall(s)) > 30]


def test_sentences_are_told_apart():
    text = (
        "# Head\nOne `a. B` two\nthree. Four! Five:\n\n| a. b |\n- Six. (`test_x`,\n  `test_y`)\n"
    )
    assert [s for s in sentences(text) if s] == ["One CODE two three.", "Four!", "Five:", "- Six."]


@each
def test_no_sentence_has_more_than_30_words(path):
    assert too_long(path.read_text()) == []


@pytest.mark.parametrize("rate", ["464 tokens a second", "a number a step", "88 MB a step"])
def test_a_rate_without_per_is_found(rate):
    assert RATE.search(rate)
    assert not RATE.search(rate.replace(" a s", " per s"))


@each
def test_rates_are_said_with_per(path):
    assert [s for s in sentences(path.read_text()) if RATE.search(s)] == []


EXAMPLE = re.compile(r"^[ \t]*>>> .*?(?=\n\s*\n|\Z)|^(?: {4}.*\n?)+", re.M | re.S)
PAID = r"second|minute|step|token|line|row|candidate|completion|answer|problem|layer|core|call"
A_NUMBER = r"an? (?:number|float|list|byte|line|value|score|int)"
NO_PER = re.compile(
    rf"\b(?:one|bytes|calls|{A_NUMBER}|{COUNTED}) an? (?:{PAID}|block|device|position|weight)\b"
)


def docstrings(program):
    """The docstrings of a program, without doctests and indented blocks."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield EXAMPLE.sub("", ast.get_docstring(node) or "")


def rooms():
    for folder in ("edifice_tt", "plugins"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_a_docstring_is_read_without_its_examples():
    program = (
        'def f():\n    """Two words.\n\n    >>> f()\n    1\n\n    Three more words.\n    """\n'
    )
    (text,) = [text for text in docstrings(program) if text]
    assert [s for s in sentences(text) if s] == ["Two words.", "Three more words."]


@pytest.mark.parametrize("rate", ["one a core", "a float a completion", "two bytes a weight"])
def test_a_rate_without_per_is_found_in_a_docstring(rate):
    assert NO_PER.search(rate)
    assert not NO_PER.search(re.sub(r" a (\w+)$", r" per \1", rate))


def test_no_sentence_of_a_docstring_has_more_than_30_words():
    long = [
        (str(room), sentence)
        for room in rooms()
        for text in docstrings(room.read_text())
        for sentence in too_long(text)
    ]
    assert long == []


def test_docstrings_say_rates_with_per():
    rates = [
        (str(room), sentence)
        for room in rooms()
        for text in docstrings(room.read_text())
        for sentence in sentences(text)
        if NO_PER.search(sentence)
    ]
    assert rates == []
