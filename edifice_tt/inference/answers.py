"""Which part of a text is its answer. Knows text only.

An extractor returns the answer in a canonical form, so that equal answers compare equal, or None
when it finds none: the candidate then abstains.
"""

import re
from collections.abc import Callable

from edifice_tt.errors import unknown_name
from edifice_tt.inference.numerals import last_number

Extractor = Callable[[str], str | None]

_BARE = r"(?![A-Za-z]{2})(?:\\(?!boxed|fbox)[A-Za-z]+|\{(?:[^{}]|\{[^{}]*\})*+\}|[^\s${}\\])++"
_BRACE = re.compile(
    rf"(?<!\\)\\++(?:boxed|fbox)(?![A-Za-z])\s*+(?:(?P<box>\{{)|(?P<bare>{_BARE}))|\\[\s\S]|[{{}}]"
)
_LIST = re.compile(r"[,;]\s")
_SAID = re.compile(r"(?<![\\A-Za-z])[A-Za-z]|=")
_THOUGHT = re.compile(
    r"</?(?:think|thinking|thought|seed:think)>|<\|(?:begin|end)_of_thought\|>|\[/?THINK\]|◁/?think▷"
)


def extractor(name: str) -> Extractor:
    r"""An extractor by name: `text`, `number`, `boxed`, or `regex:PATTERN`.

    A pattern's first group is the answer (the whole match when it has none); the last match counts.
    Each of them reads a text `without_thinking`. Raises `UnknownNameError` for another name and
    `ValueError` for a pattern that does not compile.

    >>> extractor("number")("3 + 4 = 7, so the answer is 1,007.50.")
    '1007.5'
    >>> extractor(r"regex:answer is (\w+)")("The answer is Paris.")
    'Paris'
    """
    if name.startswith("regex:"):
        try:
            pattern = re.compile(name.removeprefix("regex:"))
        except re.error as error:
            raise ValueError(f"answer={name!r} is not a regular expression: {error}") from error
        return lambda text: _last_match(pattern, without_thinking(text))
    if name not in _EXTRACTORS:
        raise unknown_name("answer extractor", name, [*_EXTRACTORS, "regex:PATTERN"])
    extract = _EXTRACTORS[name]
    return lambda text: extract(without_thinking(text))


def gold_answer(name: str, gold: str) -> str:
    """What an extractor of that name finds in a gold answer, else the gold answer as it stands.

    Several numbers are not one: for `number` a list of them stands too, and no number is equal.

    >>> [gold_answer("number", gold) for gold in ("so 7.0", "no idea", "1, 2")]
    ['7', 'no idea', '1, 2']
    """
    several = name == "number" and _LIST.search(gold) and not _SAID.search(gold)
    return (None if several else extractor(name)(gold)) or gold.strip()


def without_thinking(text: str) -> str:
    """The text without what its model only thought; nothing where the thinking does not end.

    Thinking stands in `<think>...</think>`, also `thinking`, `thought` and `seed:think`; in
    `<|begin_of_thought|>...<|end_of_thought|>`, `[THINK]...[/THINK]` or `◁think▷...◁/think▷`. An
    end without a beginning ends what the prompt began, from the text's first character on.

    >>> without_thinking("<think>7, or 8?</think>It is 9."), without_thinking("<think>Could be 8")
    ('It is 9.', '')
    """
    kept: list[str] = []
    begin, thinking = 0, ""
    for tag in _THOUGHT.finditer(text):
        sign = tag[0].replace("/", "").replace("end", "begin")
        if sign == tag[0]:
            if not thinking:
                kept.append(text[begin : tag.start()])
                thinking = sign
        elif thinking in ("", sign):
            if not thinking:
                kept.clear()
            begin, thinking = tag.end(), ""
    return "" if thinking else "\n".join(part for part in (*kept, text[begin:]) if part)


def whole_text(text: str) -> str | None:
    """The text without white space around it; None when nothing is left."""
    return text.strip() or None


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, with balanced braces; None when there is none.

    `\fbox{...}` and `\boxed 42` are boxes too, and `\{` is no brace.

    >>> boxed(r"so \boxed{\frac{1}{2}}."), boxed(r"so $\boxed 42$.")
    ('\\frac{1}{2}', '42')
    """
    opened: list[tuple[bool, int]] = []  # braces without their match: of a box? where it begins
    begin = end = 0
    for brace in _BRACE.finditer(text):  # once through, for a text may be a million of them
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


_EXTRACTORS: dict[str, Extractor] = {"text": whole_text, "number": last_number, "boxed": boxed}
