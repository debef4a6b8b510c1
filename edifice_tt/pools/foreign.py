"""JSON lines of other programs -> problems and pools. Knows their shapes; writes nothing."""

import codecs
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from edifice_tt.contract.errors import CheckpointError, PoolWarning
from edifice_tt.contract.records import RANGES
from edifice_tt.machine.json_text import unique
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.lines import decode
from edifice_tt.pools.pool import Pool, Problem

T = TypeVar("T")
_ONE_A_LINE = (
    "each line must hold one whole object: `jq -c '.[]' FILE` makes lines of an array, "
    "`jq -c . FILE` of objects"
)


class _Number(str):
    """A JSON number, as it is written."""

    __slots__ = ()
    __repr__ = str.__str__


def read_problems(path: str | os.PathLike[str]) -> list[Problem]:
    """Read problems from JSON lines: `{"prompt": text, "problem": id, "gold": text}`.

    A problem without an id gets its position, from 0 on. Raises `CheckpointError` with file and
    line number for anything else.
    """

    def read(record: dict[str, Any], place: int) -> Problem:
        if strange := [name for name in record if name not in ("prompt", "problem", "gold")]:
            raise ValueError(f"a problem has no field {strange[0]!r:.40}")
        prompt = _take(record, "prompt", str, "text")
        if not prompt.strip():
            raise ValueError("the prompt is empty")
        return Problem(prompt, _name(record, place), _text(record, "gold"))

    return list(_read(path, read))


def import_pools(
    source: str | os.PathLike[str],
    *,
    scorer: str = "score",
    range: str | None = None,
    model: str | None = None,
) -> Iterator[Pool]:
    """Read candidates that others sampled, one problem per line, as a stream of pools.

    Two shapes: `{"problem", "prompt", "messages", "gold", "candidates": [{"text", "answer",
    "correct", "score", "num_tokens"}]}` and the same with `"completions": [text, ...]` in place of
    candidates. All but the candidates may be omitted; `answer` is used if `gold` is missing.
    `messages` is the chat of the prompt. `scorer` and `range` name the scorer of the scores and its
    declared range. Unknown fields are dropped with one `PoolWarning`.
    Raises `CheckpointError` with file and line number for a line of another shape.
    """
    if range is not None and range not in RANGES:
        raise ValueError(f"range={range!r} must be one of {', '.join(RANGES)}")
    settings = {} if model is None else {"model": model}
    left_out: dict[str, None] = {}  # names in order

    def read(record: dict[str, Any], place: int) -> Pool:
        entries = _take(record, "candidates", list, "a list", None)
        texts = _take(record, "completions", list, "a list", None)
        if (entries is None) == (texts is None):
            raise ValueError("expected either `candidates` or `completions`, a list")
        if entries is None:
            entries = [{"text": text} for text in texts]
        problem, gold = _name(record, place), _text(record, "gold") or _text(record, "answer")
        prompt = _take(record, "prompt", str, "text", "")
        messages = _take(record, "messages", list, "a list of messages", None)
        left_out.update(dict.fromkeys(record))
        candidates = []
        for index, fields in enumerate(entries):
            try:
                candidates.append(_candidate(index, fields, scorer, range))
                left_out.update(dict.fromkeys(fields))
            except ValueError as error:
                raise ValueError(f"candidate {index}: {error}") from error
        ranges = {} if range is None or not any(c.scores for c in candidates) else {scorer: range}
        return Pool(
            *(prompt, tuple(candidates), settings, problem, gold, ranges),
            messages=_numbers(messages),
        )

    yield from _read(source, read)
    if left_out:
        warnings.warn(
            f"{source}: fields that a pool does not hold were left out: {', '.join(left_out)}",
            PoolWarning,
            stacklevel=2,
        )


def _candidate(index: int, fields: Any, scorer: str, range: str | None) -> Candidate:
    if type(fields) is not dict:
        raise ValueError(f"{fields!r:.40} must be an object")
    if fields.keys().isdisjoint(("text", "answer", "correct", "score")):
        raise ValueError("it needs at least one of text, answer, correct and score")
    correct = _take(fields, "correct", bool, "true, false or null", None)
    score = _score(fields, range)
    return Candidate(
        index,
        _take(fields, "text", str, "text", ""),
        finish_reason="unknown",
        answer=_text(fields, "answer"),
        correct=correct,
        num_tokens=_num_tokens(fields),
        scores={} if score is None else {scorer: score},
    )


def _num_tokens(fields: dict[str, Any]) -> int:
    count = _take(fields, "num_tokens", _Number, "a whole number, 0 to 2^63 - 1", _Number(0))
    if not re.fullmatch("[0-9]{1,19}", count) or int(count) >= 2**63:
        raise ValueError(f"num_tokens={count!r:.40} must be a whole number, 0 to 2^63 - 1")
    return int(count)


def _score(fields: dict[str, Any], range: str | None) -> float | None:
    number = _take(fields, "score", _Number, "a finite number", None)
    if number is None:
        return None
    if math.isinf(score := float(number)):
        raise ValueError(f"score={number!r:.40} must be a finite number")
    if range == "probability" and not 0 <= score <= 1:
        raise ValueError(f"score={number!r:.40} is no probability; give another range")
    return score


_NEEDED = object()


def _take(record: dict[str, Any], name: str, kind: type, words: str, default: Any = _NEEDED) -> Any:
    value = record.pop(name, None)
    if value is None and default is not _NEEDED:
        return default
    if type(value) is not kind:
        raise ValueError(f"{name}={value!r:.40} must be {words}")
    return value


def _text(record: dict[str, Any], name: str) -> str | None:
    """A text; a number is taken as it is written."""
    value = record.pop(name, None)
    if type(value) is _Number:
        return str(value)
    if value is not None and type(value) is not str:
        raise ValueError(f"{name}={value!r:.40} must be text or a number")
    return value


def _numbers(value: Any) -> Any:
    """A JSON value with its numbers as numbers."""
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return json.loads(value) if isinstance(value, _Number) else value


def _name(record: dict[str, Any], place: int) -> str:
    name = _text(record, "problem")
    return str(place) if name is None else name


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON; write a number, a text or null")


_DECODER = json.JSONDecoder(
    object_pairs_hook=unique, parse_float=_Number, parse_int=_Number, parse_constant=_no_constant
)


def _record(line: bytes) -> dict[str, Any]:
    """The record of a line, with its numbers as they are written."""
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line:
        raise ValueError("it is no UTF-8 text, but looks like UTF-16 or UTF-32; save it as UTF-8")
    try:
        record = decode(line, _DECODER)
    except ValueError as error:
        if line in (b"{", b"["):
            raise ValueError(f"{error}; {_ONE_A_LINE}") from error
        raise
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
    if type(record) is not dict:
        raise ValueError(f"it must be a JSON object; {_ONE_A_LINE}")
    return record


def _read(path: str | os.PathLike[str], read: Callable[[dict[str, Any], int], T]) -> Iterator[T]:
    """Read each non-blank line of a file; places count from 0.

    Messages give line numbers, which count from 1. A byte order mark is skipped.
    """
    place = 0
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if not line.strip():
                    continue
                try:
                    value = read(_record(line.strip()), place)
                except (ValueError, RecursionError) as error:
                    raise CheckpointError(f"{path}, line {number}: {error}") from error
                yield value
                place += 1
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if place == 0:
        raise CheckpointError(f"{path}: it is empty")
