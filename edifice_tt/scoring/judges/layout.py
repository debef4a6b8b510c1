"""What a judge's texts are made with: its tokenizer, its template, its steps and tokens.

Which parts stand where in a text is for `forms`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from edifice_tt.contract.errors import EdificeError
from edifice_tt.pools.messages import keep
from edifice_tt.weights.rewards.kinds import Kind

DAY = "2024-07-26"  # what a template that tells the day is told, so that scores do not change
_CHATS = ("chat", "reasoning_chat", "marked_chat", "turns", "prompt", "follow_up")
Messages: TypeAlias = Sequence[Mapping[str, Any]]
Answer: TypeAlias = str | Sequence[str]  # a text, or its steps


@dataclass(frozen=True, eq=False)
class Layout:
    """How a judge's texts look: its form, its tokenizer, and the text of its prompt file, if any.

    `pad_id` is the token that a judge takes for padding. `mark` is what stands behind each step,
    where that is not the kind's own marker.
    """

    tokenizer: Any
    kind: Kind
    pad_id: int | None = None
    prompt: str | None = None
    mark: str | None = None

    @property
    def marker(self) -> str:
        return self.kind.marker if self.mark is None else self.mark

    @property
    def form(self) -> str:
        if self.kind.form == "ranked":
            return "chat" if self.prompt is None else "literal"
        if self.prompt is None or self.kind.form == "follow_up":
            return self.kind.form
        asks = self.kind.form == "prompt" and self.tokenizer.has_chat_template
        return "prompt" if asks else "literal"

    @property
    def chats(self) -> bool:
        return self.form in _CHATS

    def token(self, text: str) -> int:
        """The id of the only token that a text is; raises `EdificeError` if there is none."""
        for spelt in dict.fromkeys((text, text.strip())):
            ids = self.tokenizer.encode_plain(spelt)
            if len(ids) == 1:
                told = self.tokenizer.token_bytes(ids[0])
                if told == text.encode() or (
                    self.tokenizer.space_prefix and told.strip() == text.strip().encode()
                ):
                    return int(ids[0])
        raise EdificeError(
            f"the vocabulary has no token {text!r:.40}, which a {self.kind.name} reads; use the "
            "judge with its own tokenizer, or name another kind"
        )

    def control(self, name: str) -> int:
        """The id of a control token; raises `EdificeError` if there is none."""
        if (found := self.tokenizer.bpe.token_to_id(name)) is None:
            raise EdificeError(
                f"the vocabulary has no token {name!r}, which a {self.kind.name} reads; use the "
                "judge with its own tokenizer, or name another kind"
            )
        return int(found)

    def render(self, messages: Messages, ask: bool = False) -> str:
        """The text of a chat by the judge's own template, on one day for ever."""
        text: str = self.tokenizer.render(messages, {}, ask, DAY).text
        return text

    def encode(self, text: str) -> list[int]:
        """The ids of a rendered chat: BOS is there where the template wrote it."""
        return list(replace(self.tokenizer, add_bos=False).encode(text))

    def plain(self, text: str) -> list[int]:
        return list(self.tokenizer.encode_plain(text))

    @property
    def bos(self) -> list[int]:
        return [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]

    def end(self, ids: list[int]) -> list[int]:
        """The place of a score for the whole text."""
        if self.kind.place == "unpadded" and self.pad_id is not None:
            return [max((i for i, one in enumerate(ids) if one != self.pad_id), default=0)]
        return [len(ids) - 1]


def split_steps(answer: Answer) -> list[str]:
    """The steps of an answer: what stands between blank lines. One of nothing has one step.

    >>> split_steps("so 1 + 1\\n  = 2\\n\\nhence 2\\n")
    ['so 1 + 1\\n  = 2', 'hence 2']
    """
    if not isinstance(answer, str):
        return list(answer) or [""]
    parts = re.split(r"\n(?:[ \t]*\n)+", answer.strip("\n"))
    return [part for part in parts if part.strip()] or [""]


def whole(answer: Answer) -> str:
    return answer if isinstance(answer, str) else "\n\n".join(answer)


def content_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content)


def only_question(kind: Kind, question: Messages) -> str:
    """The question of a chat of one; raises `ValueError` for more turns. A system turn is none."""
    turns = [message for message in question if message.get("role") != "system"]
    if [message.get("role") for message in turns] != ["user"]:
        raise ValueError(
            f"a {kind.name} reads one question, given a chat of {len(turns)} turns; use a judge "
            "that reads chats"
        )
    return content_of(turns[0])


def check_question(question: str | Messages) -> Messages:
    """The messages of a question; raises `ValueError` for what is none."""
    if isinstance(question, str):
        return [{"role": "user", "content": question}]
    if not isinstance(question, list | tuple):
        raise ValueError(f"question={question!r:.60} must be a text or a list of messages")
    return keep(question)


def check_answers(answers: Sequence[Answer]) -> None:
    """Raise `ValueError` for a text in place of a list, and for what is neither text nor steps."""
    if isinstance(answers, str) or not isinstance(answers, Sequence):
        raise ValueError(f"answers={answers!r:.60} must be a list with a text for each candidate")
    for i, answer in enumerate(answers):
        steps = [answer] if isinstance(answer, str) else answer
        if not isinstance(steps, list | tuple) or not all(isinstance(one, str) for one in steps):
            raise ValueError(f"answers[{i}]={answer!r:.60} must be a text, or a list of its steps")


def check_prompt(prompt: str, kind: str | None) -> str:
    """The same; raises `ValueError` for a prompt with no answer in it, but for that of a next turn.

    There question and answer stand before it.
    """
    field = re.search(r"\{(question|query|answer|document)\}", prompt)
    if kind == "follow_up":
        if field or not prompt.strip():
            raise ValueError(
                f"the judge's prompt {prompt!r:.40} is the turn behind question and answer; write "
                "what is asked there, without {question} and {answer}"
            )
    elif not re.search(r"\{(answer|document)\}", prompt):
        raise ValueError(
            f"the judge's prompt {prompt!r:.40} has no place for the answer; write {{question}} "
            "and {answer} where they belong, or name the kind follow_up for one that asks behind it"
        )
    return prompt
