"""A question and an answer -> the token ids that a judge reads, and the places that count.

Each form of text is a function. What a user or a model wrote never becomes a control token.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.chat_text import ChatText, plain_of, signs_apart_from
from edifice_tt.scoring.judges.layout import (
    Answer,
    Layout,
    Messages,
    content_of,
    only_question,
    split_steps,
    whole,
)

REASONING = r"Please reason step by step, and put your final answer within \boxed{}."
_FIELDS = {"question": 0, "query": 0, "answer": 1, "document": 1}


class Text(NamedTuple):
    """Token ids, and at which of them the judge's numbers are read."""

    ids: list[int]
    places: list[int]


def write_text(layout: Layout, question: Messages, answer: Answer) -> Text:
    """The ids and places; raises `ValueError` and `EdificeError` for what does not fit."""
    return _FORMS[layout.form](layout, question, answer)


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _asked(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _chat(layout: Layout, question: Messages, answer: Answer) -> Text:
    ids = layout.encode(layout.render([*question, _said(whole(answer))]))
    return Text(ids, layout.end(ids))


def _reasoning(layout: Layout, question: Messages) -> Messages:
    """As Qwen's reward models were trained: with a system turn of their own."""
    system = {"role": "system", "content": REASONING}
    return [system, *(one for one in question if one.get("role") != "system")]


def _reasoning_chat(layout: Layout, question: Messages, answer: Answer) -> Text:
    return _chat(layout, _reasoning(layout, question), answer)


def around(layout: Layout, question: Messages) -> tuple[list[int], list[int]]:
    """The ids before an answer, and those behind it: the next turn, and the judge's own."""
    asked = layout.prompt or ""
    sign = next(signs_apart_from(asked, *map(content_of, question)))
    turns = [*question, _said(sign), _asked(asked)]
    parts = _cut(layout.render(turns, ask=True), sign)
    if len(parts) != 2:
        raise ValueError(
            "the chat template does not keep an answer when a turn follows it; ask in a prompt "
            "with {question} and {answer} instead"
        )
    return layout.encode(parts[0]), layout.encode(parts[1])


def _follow_up(layout: Layout, question: Messages, answer: Answer) -> Text:
    """The chat goes on by a question about the answer; read where the reply begins."""
    before, behind = around(layout, question)
    ids = [*before, *layout.plain(whole(answer)), *behind]
    return Text(ids, [len(ids) - 1])


def said_by(layout: Layout, candidate: Candidate) -> list[int]:
    """The ids of a sampled answer without the one that ended it, if they spell its text.

    A control token that was sampled inside is none of the chat.
    """
    ids, controls = list(candidate.token_ids), {*layout.tokenizer.control_tokens().values()}
    if ids and ids[-1] in controls:
        ids.pop()
    if controls.isdisjoint(ids) and layout.tokenizer.decode(ids) == candidate.text:
        return ids
    return layout.plain(candidate.text)


def _marked_chat(layout: Layout, question: Messages, answer: Answer) -> Text:
    """A chat with a marker behind each step, which is put in as a token and not as text."""
    marker, steps = layout.control(layout.marker), split_steps(answer)
    asked = _reasoning(layout, question)
    sign = next(signs_apart_from(*map(content_of, asked), *steps))
    text = layout.render([*asked, _said("".join(step + sign for step in steps))])
    parts = _cut(text, sign)
    if len(parts) != len(steps) + 1:
        raise ValueError(
            f"the chat template keeps {len(parts) - 1} of {len(steps)} step markers; use the "
            "judge's own template"
        )
    ids: list[int] = []
    places: list[int] = []
    for part in parts[:-1]:
        ids += [*layout.encode(part), marker]
        places.append(len(ids) - 1)
    return Text(ids + layout.encode(parts[-1]), places)


def _cut(text: str, sign: str) -> list[str]:
    """The parts of a text between signs, each with its own marked places."""
    parts, start = list[str](), 0
    for part in str(text).split(sign):
        stop = start + len(part)
        inside = [(a - start, b - start) for a, b in plain_of(text) if start <= a and b <= stop]
        parts.append(ChatText(part, inside) if inside else part)
        start = stop + 1
    return parts


def _turns(layout: Layout, question: Messages, answer: Answer) -> Text:
    """Each step is a user's turn, answered with a plus; read where the plus is foretold."""
    asked, plus = only_question(layout.kind, question), layout.token("+")
    chat: list[dict[str, str]] = []
    ends: list[list[int]] = []
    for step in split_steps(answer):
        said = step.strip()
        chat.append(_asked(said if chat else f"{asked} {said}"))
        ends.append(layout.encode(layout.render(chat, ask=True)))
        chat.append(_said("+"))
    ids = layout.encode(layout.render(chat))
    for end in ends:
        if ids[: len(end)] != end or ids[len(end)] != plus:
            raise ValueError(
                "the chat template writes earlier turns in another way than the last, so it is "
                "not known where a step ends; use the judge's own template"
            )
    return Text(ids, [len(end) - 1 for end in ends])


def _tags(layout: Layout, question: Messages, answer: Answer) -> Text:
    """Plain text with a tag behind each step; read at the tags."""
    tag, text = layout.token(layout.marker), f"{only_question(layout.kind, question)} "
    ends: list[list[int]] = []
    for step in split_steps(answer):
        text += f"\n{step}{layout.marker}" if ends else step + layout.marker
        ends.append(layout.bos + layout.plain(text))
    ids = ends[-1]
    for end in ends:
        if ids[: len(end)] != end or end[-1] != tag:
            raise ValueError(
                f"the tokenizer does not keep the step tag {layout.marker!r} apart from the text "
                "around it, so this judge cannot read it"
            )
    return Text(ids, [len(end) - 1 for end in ends])


def _lines(layout: Layout, question: Messages, answer: Answer) -> Text:
    """The question and each line by itself, read at the line feeds; a blank line is one too."""
    lines = whole(answer) if isinstance(answer, str) else "\n".join(answer)
    return _separated_by(layout, question, lines.split("\n"), "\n", "\n")


def _separated(layout: Layout, question: Messages, answer: Answer) -> Text:
    """The question and each step by itself, read at the separators behind the steps."""
    return _separated_by(layout, question, split_steps(answer), "", layout.marker)


def _separated_by(
    layout: Layout, question: Messages, steps: Sequence[str], end: str, separator: str
) -> Text:
    ids = layout.bos + layout.plain(only_question(layout.kind, question) + end)
    behind, places = layout.plain(separator), list[int]()
    for step in steps:
        ids += layout.plain(step) + behind
        places.append(len(ids) - 1)
    return Text(ids, places)


def _prompt(layout: Layout, question: Messages, answer: Answer) -> Text:
    """A chat in which the judge is asked; read where its answer begins."""
    asked, _ = _filled(layout, question, answer)
    ids = layout.encode(layout.render([_asked(asked)], ask=True))
    return Text(ids, [len(ids) - 1])


def _literal(layout: Layout, question: Messages, answer: Answer) -> Text:
    """The prompt file's own text, in which control tokens count; not in what is put in."""
    text, spans = _filled(layout, question, answer)
    names = sorted(filter(None, layout.tokenizer.control_tokens()), key=len, reverse=True)
    found = re.finditer("|".join(map(re.escape, names)) or r"(?!)", text)
    plain = [m.span() for m in found if any(a < m.end() and m.start() < b for a, b in spans)]
    ids = list(layout.tokenizer.encode(ChatText(text, plain) if plain else text))
    return Text(ids, layout.end(ids))


def _filled(
    layout: Layout, question: Messages, answer: Answer
) -> tuple[str, list[tuple[int, int]]]:
    """The prompt's text with question and answer put in, and where these stand."""
    values = only_question(layout.kind, question), whole(answer)
    text, spans, end = "", list[tuple[int, int]](), 0
    prompt = layout.prompt or ""
    for field in re.finditer(r"\{(" + "|".join(_FIELDS) + r")\}", prompt):
        text += prompt[end : field.start()]
        value = values[_FIELDS[field.group(1)]]
        spans.append((len(text), len(text) + len(value)))
        text, end = text + value, field.end()
    return text + prompt[end:], spans


_FORMS: dict[str, Callable[[Layout, Messages, Answer], Text]] = {
    "chat": _chat,
    "reasoning_chat": _reasoning_chat,
    "marked_chat": _marked_chat,
    "turns": _turns,
    "tags": _tags,
    "lines": _lines,
    "separated": _separated,
    "prompt": _prompt,
    "follow_up": _follow_up,
    "literal": _literal,
}
