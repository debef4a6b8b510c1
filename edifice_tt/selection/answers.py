"""Extracts the answer from a text. Knows text only.

An extractor returns the answer in a canonical form, or None when it finds none: the candidate then
abstains. Answers are equal when their forms are, or when the extractor's own `equal` says so.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from edifice_tt.contract import records, registry
from edifice_tt.contract.errors import PluginError
from edifice_tt.contract.records import PATTERN
from edifice_tt.contract.tracing import blamed, named, show

Extractor = Callable[[str], str | None]
Named = str | Extractor  # the name of an extractor, or a function that is one

_BARE = (
    r"(?![A-Za-z]{2})(?=(?P<all>(?:\\(?!boxed|fbox)[A-Za-z]+"
    r"|\{(?=(?P<inner>(?:[^{}]|\{[^{}]*\})*))(?P=inner)\}|[^\s${}\\])+))(?P=all)"
)
_BRACE = re.compile(
    rf"(?<!\\)\\++(?:boxed|fbox)(?![A-Za-z])\s*+(?:(?P<box>\{{)|(?P<bare>{_BARE}))|\\[\s\S]|[{{}}]"
)
_LIST = re.compile(r"[,;]\s")
_SAID = re.compile(r"(?<![\\A-Za-z])[A-Za-z]|=")
_THOUGHT = re.compile(
    r"</?(?:think|thinking|thought|reasoning|seed:think)>|<\|(?:begin|end)_of_thought\|>"
    r"|\[/?THINK\]|◁/?think▷"
)

_LONGEST_SIGN = 24
NUMBERS = ("number", "final_number")  # extractors of numbers


def extractor(name: Named) -> Extractor:
    r"""An extractor by name: `text`, `number`, `final_number`, `boxed`, a plugin's, or
    `regex:PATTERN`.

    A function is one, too; it is then checked as a plugin's is.

    A pattern's first group is the answer (the whole match when it has none); the last match counts.
    Each reads the text `without_thinking`. Raises `UnknownNameError` for an unknown name and
    `ValueError` for a pattern that does not compile. The extractor of a plugin raises `PluginError`
    when it fails.

    >>> extractor("number")("3 + 4 = 7, so the answer is 1,007.50.")
    '1007.5'
    >>> extractor(r"regex:answer is (\w+)")("The answer is Paris.")
    'Paris'
    """
    return find_answers(name).extract


@dataclass(frozen=True)
class Answers:
    """An extractor ready for use, with its test for equal answers."""

    name: str
    extract: Extractor
    equal: Callable[[str, str], bool] | None = None

    def gold(self, gold: str) -> str:
        """What it finds in a gold answer, else the gold answer as it stands.

        Several numbers are not one: for `number` a list of them stands too, and no number is equal.

        >>> [find_answers("number").gold(gold) for gold in ("so 7.0", "no idea", "1, 2")]
        ['7', 'no idea', '1, 2']
        """
        return self.read_gold(gold) or gold.strip()

    def read_gold(self, gold: str) -> str | None:
        """What it finds in a gold answer, None where that stands as it is."""
        several = self.name in NUMBERS and _LIST.search(gold) and not _SAID.search(gold)
        return None if several else self.extract(gold)

    def same(self, answer: str, other: str) -> bool:
        """Whether two answers are equal."""
        return answer == other or (self.equal is not None and self.equal(answer, other))

    def merge(self, answers: Iterable[str | None]) -> list[str | None]:
        """The answers, each replaced by the first equal one in the list; None stays None."""
        if self.equal is None:
            return list(answers)
        firsts: dict[str, str] = {}
        merged: list[str | None] = []
        for answer in answers:
            if answer is not None and answer not in firsts:
                groups = dict.fromkeys(firsts.values())
                firsts[answer] = next((one for one in groups if self.same(answer, one)), answer)
            merged.append(None if answer is None else firsts[answer])
        return merged


def find_answers(name: Named) -> Answers:
    """The extractor of this name with its test for equal answers. Raises as `extractor` does."""
    if callable(name):
        named = getattr(name, "__name__", type(name).__name__)
        return _in_use(records.Extractor(f"function {named}", name))
    if not isinstance(name, str):
        raise ValueError(f"answer={show(name):.60} is neither an extractor's name nor a function")
    if not name.startswith(PATTERN):
        also = (f"{PATTERN}PATTERN",)
        return _in_use(registry.load_registry().find("answer extractor", name, also))
    try:
        pattern = re.compile(name.removeprefix(PATTERN))
    except re.error as error:
        raise ValueError(f"answer={name!r} is not a regular expression: {error}") from error
    return Answers(name, lambda text: _last_match(pattern, without_thinking(text)))


@lru_cache(maxsize=64)
def _in_use(record: records.Extractor) -> Answers:
    """The registered functions wrapped: they see no thinking, and their results are checked."""
    who = named("answer extractor", record)

    def ask(function: Callable[..., Any], *texts: str) -> Any:
        part = ": equal" if function is record.equal else ""
        on = " and ".join(f"{show(text):.60}" for text in texts)
        with blamed(f"{who}{part} failed on {on}"):
            return function(*texts)

    def extract(text: str) -> str | None:
        answer = ask(record.function, without_thinking(text))
        if answer is not None and not isinstance(answer, str):
            raise PluginError(f"{who} gave {show(answer):.60}, expected a str or None")
        return None if answer is None else whole_text(answer)

    compare = record.equal
    if compare is None:
        return Answers(record.name, extract)

    @lru_cache(maxsize=1 << 16)  # subsets of a pool compare the same pairs repeatedly
    def equal(answer: str, other: str) -> bool:
        same = ask(compare, answer, other)
        if not isinstance(same, bool):
            raise PluginError(f"{who}: equal gave {show(same):.60}, expected True or False")
        return same

    return Answers(record.name, extract, equal)


def without_thinking(text: str) -> str:
    """The text without the model's thinking; empty if the thinking does not end.

    Thinking is enclosed in `<think>...</think>` (also `thinking`, `thought`, `reasoning`,
    `seed:think`), `<|begin_of_thought|>...<|end_of_thought|>`, `[THINK]...[/THINK]` or
    `◁think▷...◁/think▷`. If the prompt opened the thinking, the text up to the closing tag is
    thinking.

    >>> without_thinking("<think>7, or 8?</think>It is 9."), without_thinking("<think>Could be 8")
    ('It is 9.', '')
    """
    parts: list[str] = []
    begin, thinking = 0, ""
    for tag in _THOUGHT.finditer(text):
        sign = tag[0].replace("/", "").replace("end", "begin")
        if sign == tag[0]:
            if not thinking:
                parts.append(text[begin : tag.start()])
                thinking = sign
        elif thinking in ("", sign):
            if not thinking:
                parts.clear()
            begin, thinking = tag.end(), ""
    return "" if thinking else "\n".join(part for part in (*parts, text[begin:]) if part)


def marks_thinking(text: str) -> bool:
    """Whether a text is a sign with which thinking begins or ends, and nothing else."""
    return _THOUGHT.fullmatch(text) is not None


def opened_thinking(prompt: str) -> str:
    """The sign of thinking with which a prompt ends, as some chat templates do; else nothing.

    A text that goes on from there is to be read behind it.

    >>> opened_thinking("<|im_start|>assistant\\n<think>\\n"), opened_thinking("What is <think>?")
    ('<think>', '')
    """
    last = ""
    for tag in _THOUGHT.finditer(end := prompt.rstrip()[-_LONGEST_SIGN:]):
        last = tag[0] if tag.end() == len(end) else ""
    return "" if "/" in last or "end" in last else last


def whole_text(text: str) -> str | None:
    """The text without surrounding white space; None when nothing is left."""
    return text.strip() or None


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, with balanced braces; None when there is none.

    `\fbox{...}` and `\boxed 42` are boxes too, and `\{` is no brace.

    >>> boxed(r"so \boxed{\frac{1}{2}}."), boxed(r"so $\boxed 42$.")
    ('\\frac{1}{2}', '42')
    """
    opened: list[tuple[bool, int]] = []  # open braces: whether of a box, and where it begins
    begin = end = 0
    for brace in _BRACE.finditer(text):  # one pass: a text may hold a million braces
        if brace["bare"]:
            begin = brace.start("bare")
            end = begin + len(brace["bare"].rstrip(".,;:!?*"))
        elif brace["box"] or brace[0] == "{":
            opened.append((bool(brace["box"]), brace.end()))
        elif brace[0] == "}" and opened:
            is_box, start = opened.pop()
            if is_box and start > begin:
                begin, end = start, brace.start()
    return text[begin:end].strip() or None


def _last_match(pattern: re.Pattern[str], text: str) -> str | None:
    matches = list(pattern.finditer(text))
    if not matches:
        return None
    answer = matches[-1].group(1 if pattern.groups else 0)
    return (answer or "").strip() or None
