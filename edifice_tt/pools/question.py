"""What was asked: the turns of a chat, and the question among them, without a chat template.

Pools that keep messages hold them. Of others, the last turn of the user is cut out of the prompt,
if it is marked as widely used templates mark it. Knows pools; no template and no tokenizer.
"""

import os
import re
from collections.abc import Iterator, Sequence

from edifice_tt.pools.chat_text import plain_of
from edifice_tt.pools.pool import Pool

# Where a turn of the user begins and where it ends.
_TURNS = (
    (r"<\|im_start\|>user\n", r"<\|im_end\|>"),
    (r"<\|start_header_id\|>user<\|end_header_id\|>\n\n", r"<\|eot_id\|>"),
    (r"<start_of_turn>user\n", r"<end_of_turn>"),
    (r"<\|start_of_role\|>user<\|end_of_role\|>", r"<\|end_of_text\|>"),
    (r"<\|user\|>\n?", r"<\|end\|>|</s>|<\|endoftext\|>|\n?<\|assistant\|>"),
    (r"\[INST\] ?(?:<<SYS>>.*?<</SYS>>\s*)?", r" ?\[/INST\]"),
)
_LEAST = 40  # characters that texts share before that is worth leaving out


def turns_of(pool: Pool) -> list[tuple[str, str]]:
    """The turns of a chat, each with its role; of a pool without messages one, of no known role."""
    if pool.messages is None:
        return [("", _without_template(pool))]
    return [(one.role, _text(one.content)) for one in pool.messages]


def question_text(pool: Pool) -> str:
    """The last turn of the user, else the last turn of all; the prompt where no turn is known."""
    turns = turns_of(pool)
    asked = [text for role, text in turns if role == "user"] or [text for _, text in turns]
    return asked[-1].strip() or str(pool.prompt).strip()


def tell_apart(questions: Sequence[str]) -> list[str]:
    """The questions without the lines with which all of them begin, such as solved examples.

    >>> tell_apart(["Add, and give the number alone, as in 1+1=2\\n3+4=", "as it is"])[1]
    'as it is'
    >>> tell_apart([f"Add, and give the number alone, as in 1+1=2\\n{i}+4=" for i in (3, 5)])
    ['... 3+4=', '... 5+4=']
    """
    beginning = os.path.commonprefix(list(questions))  # noqa: RUF071, these are no paths
    shared = beginning.rfind("\n") + 1
    if (
        len(set(questions)) < 2
        or shared < _LEAST
        or not all(one[shared:].strip() for one in questions)
    ):
        return list(questions)
    return [f"... {one[shared:]}" for one in questions]


def _text(content: object) -> str:
    if isinstance(content, list | tuple):
        return " ".join(part["text"] for part in content)
    return "" if content is None else str(content)


def _without_template(pool: Pool) -> str:
    """The prompt, or the last turn of its user if a template made it."""
    prompt = str(pool.prompt)
    if pool.settings.get("template", "chat") != "chat":
        return prompt
    for begin, end in _TURNS:
        begins = [at for at in _marks(begin, pool) if at.end() < len(prompt)]
        ends = [at for at in _marks(end, pool) if begins and at.start() >= begins[-1].end()]
        if ends:
            return prompt[begins[-1].end() : ends[0].start()]
    return prompt


def _marks(pattern: str, pool: Pool) -> Iterator[re.Match[str]]:
    """Where a template marks the prompt; what a user typed is no mark."""
    for found in re.finditer(pattern, str(pool.prompt), re.DOTALL):
        if not any(
            start < found.end() and found.start() < stop for start, stop in plain_of(pool.prompt)
        ):
            yield found
