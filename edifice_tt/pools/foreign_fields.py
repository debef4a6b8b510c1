"""Fields of other people's records: what they are called, and what a candidate's hold."""

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from edifice_tt.pools.candidates import FINISH_REASONS, Candidate
from edifice_tt.pools.messages import Message, keep
from edifice_tt.pools.rows import Number, Record, plain, take, take_text

_NOWHERE = "\0"  # a name that no field has
Question = tuple[str, tuple[Message, ...] | None]


@dataclass(frozen=True)
class Names:
    """What the fields of a file are called, where that was said."""

    prompt: str | None = None
    gold: str | None = None
    problem: str | None = None
    completions: str | None = None
    scores: str | None = None
    correct: str | None = None

    def given(self) -> dict[str, str]:
        """The names that were said, by what they are for."""
        return {part: name for part, name in asdict(self).items() if name is not None}

    def find(self, record: Record, part: str, *usual: str) -> str:
        """The field of a record that is this part: as it was said, or a usual one."""
        taken = set(self.given().values())
        there = (name for name in usual if name in record and name not in taken)
        return self.given().get(part) or next(there, _NOWHERE)

    def check(self, record: Record) -> None:
        """Raise `ValueError` for a field that was named and is not there."""
        for part, name in self.given().items():
            if name not in record:
                raise ValueError(f"it has no field {name!r}; {name_another(record, part)}")

    def take_question(self, record: Record) -> Question:
        """What was asked, as a text or as a chat."""
        name = self.find(record, "prompt", "prompt")
        chat = take(record, "messages", list, "a list of messages", None)
        if type(record.get(name)) is list and chat is None:
            chat = record.pop(name)
        text = take(record, name, str, "text or a list of messages", "")
        return text, None if chat is None else keep(plain(chat))

    def take_gold(self, record: Record) -> str | None:
        """The right answer: `gold`, or `answer`, unless another field was named."""
        if self.gold is not None:
            return take_text(record, self.gold)
        taken = {*self.given().values()}
        texts = (take_text(record, name) for name in ("gold", "answer") if name not in taken)
        return next((text for text in texts if text), None)


def name_another(record: Iterable[str], part: str) -> str:
    """What to do about a field that is not there."""
    there = ", ".join(f"{name:.40}" for name in list(record)[:20]) or "none"
    flag = f"--{part}-field ({part}_field= in Python)"
    return f"the fields there are: {there}; name the right one with {flag}"


def read_candidate(index: int, fields: Any, scorer: str, range: str | None) -> Candidate:
    """A candidate of its fields, which are taken out as far as they are understood."""
    if type(fields) is not dict:
        raise ValueError(f"{fields!r:.40} must be an object")
    if fields.keys().isdisjoint(("text", "answer", "correct", "score")):
        raise ValueError("it needs at least one of text, answer, correct and score")
    known = fields.get("finish_reason") in FINISH_REASONS
    seconds = _number("seconds", fields.pop("seconds", None))
    if seconds is not None and seconds < 0:
        raise ValueError(f"seconds={seconds} must be 0 or more")
    steps = _steps(fields, range)
    return Candidate(
        index,
        take(fields, "text", str, "text", ""),
        finish_reason=fields.pop("finish_reason") if known else "unknown",
        answer=take_text(fields, "answer"),
        correct=take(fields, "correct", bool, "true, false or null", None),
        num_tokens=take_count(fields, "num_tokens") or 0,
        seconds=seconds,
        scores=dict(_scores(fields, steps, scorer, range)),
        step_scores={scorer: steps} if steps else {},
    )


def take_count(fields: Record, name: str) -> int | None:
    """Take a whole number out of a record."""
    words = "a whole number, 0 to 2^63 - 1"
    count = take(fields, name, Number, words, None)
    if count is None:
        return None
    if not re.fullmatch("[0-9]{1,19}", count) or int(count) >= 2**63:
        raise ValueError(f"{name}={count!r:.40} must be {words}")
    return int(count)


def _steps(fields: Record, range: str | None) -> tuple[float, ...]:
    """The numbers of a scorer of steps, where the score is a list."""
    if type(fields.get("score")) is not list:
        return ()
    steps = [_number("score", one, range) for one in fields.pop("score")]
    if None in steps:
        raise ValueError("score holds a step without a number")
    return tuple(one for one in steps if one is not None)


def _scores(
    fields: Record, steps: tuple[float, ...], scorer: str, range: str | None
) -> Iterable[tuple[str, float]]:
    """The scores by name; that of steps is the last of them."""
    named = take(fields, "scores", dict, "an object of numbers", {})
    score = _number("score", fields.pop("score", None), range)
    named = {name: _number(name, one, range) for name, one in named.items()}
    if score is not None or steps:
        named[scorer] = steps[-1] if score is None else score
    return ((name, one) for name, one in named.items() if one is not None)


def _number(name: str, value: Any, range: str | None = None) -> float | None:
    """A finite number, in the range that was declared."""
    if value is None:
        return None
    if type(value) is not Number or math.isinf(number := float(value)):
        raise ValueError(f"{name}={value!r:.40} must be a finite number")
    if range == "probability" and not 0 <= number <= 1:
        raise ValueError(f"{name}={value!r:.40} is no probability; give another range")
    return number
