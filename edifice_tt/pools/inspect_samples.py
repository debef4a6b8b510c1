"""Samples of Inspect (`inspect_ai`) -> candidates. Knows their fields; reads no file."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.choices import read_choices
from edifice_tt.pools.messages import Message, keep

# What a scorer says in words, as Inspect counts it: correct, partly, incorrect, no answer.
_WORDS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_REASONS = {"stop": "stop", "max_tokens": "length", "model_length": "length"}

Fields = dict[str, Any]


def fields_of(value: Any) -> Fields:
    """The fields of an object; none of anything else."""
    return value if type(value) is dict else {}


def list_of(value: Any) -> list[Any]:
    """The values of a list; none of anything else."""
    return value if type(value) is list else []


@dataclass
class Reader:
    """Reads samples, and counts what a pool cannot hold."""

    scorer: str  # the one that says what is right, unless it is the default
    range: str | None
    remarks: Counter[str] = field(default_factory=Counter)
    seen: dict[str, None] = field(default_factory=dict)  # scorers, in order

    def check_scorer(self) -> None:
        """Raise `ValueError` if the scorer that was named is none of those seen."""
        if self.scorer not in (*self.seen, "score"):
            raise ValueError(
                f"no scorer of it is called {self.scorer!r:.40}; name one of those there are: "
                f"{', '.join(self.seen) or 'none'}"
            )

    def asked(self, sample: Fields) -> tuple[Message, ...]:
        """What was asked: all that stands before what the model said first."""
        chat = [one for one in list_of(sample.get("messages")) if type(one) is dict]
        made = [place for place, one in enumerate(chat) if one.get("source") == "generate"]
        made = made or [place for place, one in enumerate(chat) if one.get("role") == "assistant"]
        given = sample.get("input")
        if not chat:
            chat = given if type(given) is list else [{"role": "user", "content": given}]
        asked = chat[: made[0]] if made else chat
        return keep({"role": one.get("role"), "content": self._text(one)} for one in asked)

    def _text(self, message: Fields) -> str:
        content = message.get("content")
        parts = [fields_of(one) for one in list_of(content)]
        texts = [one.get("text") for one in parts if one.get("type") == "text"]
        if len(texts) < len(parts):
            self.remarks["chats lost their parts that are no text"] += 1
        return "".join(map(str, texts)) if type(content) is list else str(content or "")

    def candidate(self, sample: Fields, index: int) -> Candidate:
        output = fields_of(sample.get("output"))
        choices = list_of(output.get("choices")) or [{}]
        if len(choices) > 1:
            self.remarks["samples keep the first of several choices, as their scorers do"] += 1
        choice = fields_of(choices[0])
        content = fields_of(choice.get("message")).get("content")
        message = {"content": output.get("completion"), "reasoning": _thought(content)}
        if not message["content"] and isinstance(content, str):
            message["content"] = content
        answer = {
            "choices": [
                {
                    "message": message,
                    "finish_reason": _REASONS.get(str(choice.get("stop_reason"))),
                    "logprobs": choice.get("logprobs"),
                }
            ],
            "usage": {"completion_tokens": fields_of(output.get("usage")).get("output_tokens")},
        }
        (candidate,) = read_choices(answer)
        given = fields_of(sample.get("scores"))
        self.seen.update(dict.fromkeys(given))
        scores = dict(self._scores(given))
        judge = fields_of(given.get(self._judge(given) or ""))
        told, right = judge.get("answer"), _number(judge.get("value"))
        seconds = output.get("time", sample.get("working_time"))
        return replace(
            candidate,
            index=index,
            scores=scores,
            correct=None if right not in (0, 1) else right == 1,
            answer=told if isinstance(told, str) else None,
            seconds=None if (_finite(seconds) or 0) < 0 else _finite(seconds),
        )

    def _scores(self, given: Fields) -> Iterator[tuple[str, float]]:
        """The numbers of each scorer; of one with several values each by its name."""
        for name, score in given.items():
            value = fields_of(score).get("value")
            parts = {f"{name}.{part}": one for part, one in fields_of(value).items()}
            for full, one in (parts or {name: value}).items():
                if (number := _number(one)) is None:
                    self.remarks["values of scorers that are no finite numbers were left out"] += 1
                elif self.range == "probability" and not 0 <= number <= 1:
                    raise ValueError(f"{full}={number} is no probability; give another range")
                else:
                    yield full, number

    def _judge(self, given: Fields) -> str | None:
        """Which scorer says what is right."""
        if self.scorer in given:
            return self.scorer
        values = {name: fields_of(score).get("value") for name, score in given.items()}
        says = [name for name, value in values.items() if isinstance(value, str | bool)]
        says = [name for name in says if _number(values[name]) is not None]
        return next(iter(says or (values if len(values) == 1 else ())), None)


def _thought(content: Any) -> str:
    """The thinking of a message; of what is hidden its summary."""
    parts = [fields_of(one) for one in list_of(content)]
    thoughts = (
        one.get("summary" if one.get("redacted") else "reasoning")
        for one in parts
        if one.get("type") == "reasoning"
    )
    return "\n".join(one for one in thoughts if isinstance(one, str))


def _number(value: Any) -> float | None:
    """A value of a scorer as Inspect counts it; None if it is no finite number."""
    if isinstance(value, str):
        return _WORDS.get(value, _WORDS.get(value.lower()) if len(value) > 1 else None)
    return _finite(value)


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None
