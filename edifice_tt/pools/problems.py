"""Files of questions -> problems. Knows the fields of common data sets; asks no model."""

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from edifice_tt.contract.errors import PoolWarning, unknown_name
from edifice_tt.contract.registry import load_registry
from edifice_tt.pools.messages import Message, keep
from edifice_tt.pools.pool import Problem
from edifice_tt.pools.rows import Number, Record, plain, read_each, take, take_id, take_text

_LETTERS = "ABCDEFGHIJ"
_MARK = "####"


def read_problems(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    prompt_field: str | None = None,
    gold_field: str | None = None,
    problem_field: str | None = None,
) -> list[Problem]:
    """Read problems from JSON lines, CSV (`.csv`, `.tsv`) or Parquet (`.parquet`).

    A record has a `prompt` (a text) or `messages` (a chat), and may have the id `problem` and the
    right answer `gold`. A problem without an id gets its position, from 0 on. `prompt_field`,
    `gold_field` and `problem_field` are the names of these fields in the file. `format` names a
    common shape: `gsm8k`, `math`, `mmlu` or `humaneval-like`. Other fields are left out, with one
    `PoolWarning` unless a format is named. Another tells of right answers that are whole
    solutions. Raises `CheckpointError` with file and line for anything else, and `ToolchainError`
    for Parquet without `pyarrow`.
    """
    shape = _OWN if format is None else _find(format)
    names = {"prompt": prompt_field, "gold": gold_field, "problem": problem_field}
    named: dict[str, Any] = {part: name for part, name in names.items() if name is not None}
    shape = replace(shape, **named)
    is_strict, left_out = format is None and not named, dict[str, None]()

    def read(record: Record, place: int) -> Problem:
        whole = dict(record)
        _check_fields(shape, named, whole)
        prompt = _take_prompt(shape, record)
        gold = shape.take_gold(record, shape)
        problem = Problem(prompt, take_id(record, place, shape.problem), gold)
        if is_strict and record:
            raise ValueError(
                f"a problem has no field {next(iter(record))!r:.40}, only prompt or messages, "
                f"problem and gold; {_cure(whole)}"
            )
        left_out.update(dict.fromkeys(record))
        return problem

    problems = list(read_each(path, read))
    if left_out and format is None:
        told = f"fields that were not asked for were left out: {', '.join(left_out)}"
        warnings.warn(f"{path}: {told}", PoolWarning, stacklevel=2)
    if whole := [one for one in problems if one.gold is not None and _MARK in one.gold]:
        warnings.warn(
            f"{path}: {len(whole):,} of {len(problems):,} right answers hold {_MARK}, as whole "
            "solutions of GSM8K do; --format gsm8k takes what is behind it (format='gsm8k' in "
            "Python)",
            PoolWarning,
            stacklevel=2,
        )
    return problems


@dataclass(frozen=True)
class _Format:
    """The names of the fields, and how the question and its right answer are made of them."""

    prompt: str
    gold: str
    problem: str
    take_gold: Callable[[Record, "_Format"], str | None]
    choices: str = ""
    told_by: frozenset[str] = frozenset()  # fields that tell a file of this format


def _check_fields(shape: _Format, named: Mapping[str, str], record: Record) -> None:
    """Raise `ValueError` for a field that is needed and not there."""
    fields = list(record)
    needed = {name: part for part, name in named.items()}
    if "messages" not in fields or "prompt" in named:
        needed[shape.prompt] = "prompt"
    for name, part in needed.items():
        if name not in fields:
            there = ", ".join(f"{field:.40}" for field in fields[:20]) or "none"
            raise ValueError(
                f"a problem has no field {name!r}; the fields there are: {there}; "
                f"{_cure(record, part)}"
            )


def _cure(record: Record, *parts: str) -> str:
    """What to do about fields of other names."""
    for name, shape in FORMATS.items():
        if shape.told_by <= record.keys() and _has_gold(record, shape):
            return f"--format {name} reads such a file (format={name!r} in Python)"
    options = parts or ("prompt", "gold")
    flags = " and ".join(f"--{part}-field" for part in options)
    python = ", ".join(f"{part}_field=" for part in options)
    return f"name the right one with {flags} ({python} in Python)"


def _has_gold(record: Record, shape: _Format) -> bool:
    """Whether a format finds its right answer: others have fields of the same names."""
    with suppress(ValueError):
        shape.take_gold(dict(record), shape)
        return True
    return False


def _take_prompt(shape: _Format, record: Record) -> str | tuple[Message, ...]:
    """The question as a text, or as the messages of a chat."""
    asked = shape.prompt if shape.prompt in record else "messages"
    if asked != "messages" and record.get("messages") is not None:
        raise ValueError(f"it has {asked} and messages; give one of them")
    if asked == "messages" or type(record[asked]) is list:
        return keep(plain(take(record, asked, list, "a list of messages")))
    prompt: str = take(record, asked, str, "text")
    record.pop("messages", None)
    if not prompt.strip():
        raise ValueError("the prompt is empty")
    return f"{prompt}{_take_choices(record, shape)}" if shape.choices else prompt


def _find(name: str) -> _Format:
    if name not in FORMATS:
        raise unknown_name("format of problems", name, FORMATS)
    return FORMATS[name]


# --- the right answers of the formats


def _gold(record: Record, shape: _Format) -> str | None:
    return take_text(record, shape.gold)


def _after_the_mark(record: Record, shape: _Format) -> str:
    """What is behind the last `####` of a solution, as in GSM8K."""
    solution = take(record, shape.gold, str, f"text that ends in {_MARK} and the answer")
    _, mark, answer = solution.rpartition(_MARK)
    if not mark or not answer.strip():
        raise ValueError(f"{shape.gold}={solution!r:.40} has no {_MARK} with an answer behind it")
    return str(answer.strip())


def _boxed(record: Record, shape: _Format) -> str | None:
    r"""The answer where it is given, else the last `\boxed{}` of the solution, as in MATH."""
    if (answer := take_text(record, "answer")) is not None:
        return answer
    solution = take(record, shape.gold, str, r"text with the answer in \boxed{}")
    found = load_registry().find("answer extractor", "boxed").function(solution)
    if not found:
        raise ValueError(rf"{shape.gold}={solution!r:.40} has no \boxed{{}} with an answer in it")
    return str(found)


def _letter(record: Record, shape: _Format) -> str:
    """The letter of the right choice, from its number (from 0) or from the letter."""
    answer = take_text(record, shape.gold)
    if isinstance(answer, str):
        if answer.isdecimal() and int(answer) < len(_LETTERS):
            return _LETTERS[int(answer)]
        if len(answer) == 1 and answer in _LETTERS:
            return answer
    raise ValueError(f"{shape.gold}={answer!r:.40} must be the number of a choice, or its letter")


def _take_choices(record: Record, shape: _Format) -> str:
    """The choices, a line each, from a list or from columns A, B, C and so on."""
    choices = record.pop(shape.choices, None)
    if choices is None:
        choices = [record.pop(letter) for letter in _LETTERS if record.get(letter) is not None]
    texts = [str(one) for one in choices if type(one) in (str, Number)] if choices else []
    if type(choices) is not list or not 2 <= len(texts) == len(choices) <= len(_LETTERS):
        raise ValueError(
            f"{shape.choices}={choices!r:.40} must be a list of 2 to {len(_LETTERS)} texts, or "
            "columns A, B, C and so on"
        )
    lines = "".join(f"\n{letter}. {text}" for letter, text in zip(_LETTERS, texts, strict=False))
    return f"{lines}\n\nAnswer with the letter of the right choice."


def _none(*_: Any) -> None:
    """Programs are right if they pass tests, which nothing here runs."""


_OWN = _Format("prompt", "gold", "problem", _gold)
FORMATS = {
    "mmlu": _Format(
        *("question", "answer", "id", _letter, "choices"),
        frozenset({"question", "choices", "answer"}),
    ),
    "gsm8k": _Format(
        *("question", "answer", "id", _after_the_mark), told_by=frozenset({"question", "answer"})
    ),
    "math": _Format(
        *("problem", "solution", "unique_id", _boxed), told_by=frozenset({"problem", "solution"})
    ),
    "humaneval-like": _Format(
        *("prompt", "test", "task_id", _none), told_by=frozenset({"prompt", "test", "entry_point"})
    ),
}
