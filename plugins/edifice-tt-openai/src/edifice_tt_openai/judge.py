"""A chat model that rates answers: by a number that it writes, or by how likely it says yes.

Knows the judge's prompt and how its replies are read; knows no pool.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edifice_tt import read_choices, without_thinking
from edifice_tt_openai.server import Connection, Server, ServerError, run

GIVES = ("number", "yes")
AT_ONCE = 4  # answers of one problem
LISTED = 20  # tokens that a server may list, most likely first
_ABOUT = "Question:\n{question}\n\nAnswer to judge:\n{answer}\n\n"
PROMPTS = {
    "number": _ABOUT
    + "How good and how correct is this answer, from 0 (worst) to {out_of} (best)? "
    "End your reply with a line of this form:\nScore: NUMBER",
    "yes": _ABOUT + "Is this answer correct? Reply with one word, Yes or No.",
}
_FIELD = re.compile(r"\{(question|answer|gold|out_of)\}")
_NUMBER = r"\**\s*(-?\d+(?:\.\d+)?)(?![\d.]*\d)"
_SCORE = re.compile(rf"score\W{{0,6}}?{_NUMBER}", re.I)
_BARE = re.compile(rf"\W*?{_NUMBER}\s*(?:/\s*\d+)?\W*")


@dataclass(frozen=True)
class Judge:
    """A scorer of texts that asks a chat model about each answer, at temperature 0."""

    server: Server
    model: str
    gives: str
    prompt: str
    out_of: float
    max_tokens: int
    found: dict[str, str] = field(default_factory=dict)  # the model, once it was looked for

    @classmethod
    def of(cls, server: Server, model: str, gives: str, prompt: str, **more: Any) -> "Judge":
        """Check the options; `prompt` is a file, or empty for a usual one."""
        if gives not in GIVES:
            raise ValueError(f"gives={gives!r} must be one of {', '.join(GIVES)}")
        if not (more["out_of"] > 0 and math.isfinite(more["out_of"])) or more["max_tokens"] < 1:
            raise ValueError(f"out_of and max_tokens must be above 0, given {more}")
        text = PROMPTS[gives]
        if prompt:
            try:
                text = Path(prompt).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"prompt={prompt!r} is no file that can be read: {error}"
                ) from error
            if "{answer}" not in text:
                raise ValueError(f"{prompt}: it has no {{answer}}, so every answer would be alike")
        return cls(server, model, gives, text, **more)

    def __call__(
        self,
        prompt: str,
        completions: Sequence[str],
        messages: Sequence[Mapping[str, Any]],
        gold: str | None,
    ) -> list[float]:
        """The score of each answer, within [0, 1]."""
        asked = [self._body(messages, completion, gold) for completion in completions]
        return run(self._ask_all(asked)) if asked else []

    async def _ask_all(self, bodies: Sequence[dict[str, Any]]) -> list[float]:
        slots = asyncio.Semaphore(AT_ONCE)
        async with self.server.connect() as connection:
            if "model" not in self.found:
                self.found["model"] = await connection.find_model(self.model)

            async def ask(body: dict[str, Any]) -> float:
                async with slots:
                    return await self._ask(connection, {**self.found, **body})

            return list(await asyncio.gather(*map(ask, bodies)))

    async def _ask(self, connection: Connection, body: dict[str, Any]) -> float:
        reply = await connection.ask("chat/completions", body)
        try:
            text = read_choices(reply)[0].text
        except ValueError as error:
            raise ServerError(f"{self.server.url}: in the judge's reply, {error}") from error
        if self.gives == "yes":
            return probability_of_yes(reply["choices"][0])
        return read_number(text, self.out_of)

    def _body(
        self, messages: Sequence[Mapping[str, Any]], completion: str, gold: str | None
    ) -> dict[str, Any]:
        if gold is None and "{gold}" in self.prompt:
            raise ValueError("the judge's prompt has {gold}, and a problem has no right answer")
        values = {
            "question": written(messages),
            "answer": without_thinking(completion).strip(),
            "gold": gold or "",
            "out_of": f"{self.out_of:g}",
        }
        text = _FIELD.sub(lambda field: values[field[1]], self.prompt)
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "temperature": 0}
        if self.gives == "number":
            return {**body, "max_tokens": self.max_tokens, "seed": 0}
        return {**body, "max_tokens": 1, "logprobs": True, "top_logprobs": LISTED, "seed": 0}


def written(messages: Sequence[Mapping[str, Any]]) -> str:
    """A chat as one text: the question alone, or who says what."""
    if len(messages) == 1:
        return _content(messages[0])
    return "\n\n".join(f"{one['role']}: {_content(one)}" for one in messages)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(str(part.get("text", "")) for part in content)


def read_number(reply: str, out_of: float) -> float:
    """The last score that a reply gives, as a share of `out_of`.

    >>> read_number("It is right.\\nScore: 8", 10), read_number("7/10", 10)
    (0.8, 0.7)
    """
    said = without_thinking(reply).strip()
    found = _SCORE.findall(said) or [one[1] for one in [_BARE.fullmatch(said)] if one]
    if not found:
        raise ServerError(f"the judge gave no score: {said[-80:]!r}; it may need more max_tokens")
    number = float(found[-1])
    if not 0 <= number <= out_of:
        raise ServerError(f"the judge gave {number:g}, expected a number from 0 to {out_of:g}")
    return number / out_of


def probability_of_yes(choice: Mapping[str, Any]) -> float:
    """P(yes) over P(yes) and P(no), of the first token that a reply may begin with."""
    told: Any = choice.get("logprobs")
    try:
        listed = told["content"][0]["top_logprobs"]
    except (TypeError, KeyError, IndexError):
        listed = None
    if not isinstance(listed, list) or not listed:
        raise ServerError("the server gave no log-probabilities; use gives=number")
    sums = {"yes": 0.0, "no": 0.0}
    for one in (one for one in listed if isinstance(one, dict)):
        word, number = str(one.get("token")).strip().lower(), one.get("logprob")
        if word in sums and type(number) in (int, float) and number <= 0:
            sums[word] += math.exp(number)
    if not sum(sums.values()):
        words = [str(one.get("token")) for one in listed if isinstance(one, dict)]
        raise ServerError(
            f"the judge would say neither Yes nor No, but {words[:5]}; see its prompt"
        )
    return sums["yes"] / (sums["yes"] + sums["no"])
