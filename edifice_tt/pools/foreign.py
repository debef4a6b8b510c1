"""Candidates of other programs -> pools. Knows our own shapes; writes nothing."""

import math
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from edifice_tt.contract.errors import PoolWarning
from edifice_tt.contract.records import RANGES
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.foreign_shapes import Samples, answer_of, pool_of
from edifice_tt.pools.inspect_logs import is_log, read_log
from edifice_tt.pools.pool import Pool
from edifice_tt.pools.rows import Number, plain, read_each, take, take_id, take_text


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

    Two shapes of others: answers of OpenAI-compatible servers with their `choices`, alone or in the
    lines of a batch; and samples that lm-eval logged, with their `resps`.
    Logs of Inspect, `.json` or `.eval`, are known by how they begin: an epoch is a candidate,
    and their scorers keep their names. `scorer` may be the one of them that says what is right.
    Raises `CheckpointError` with file and line number for a line of another shape.
    """
    if range is not None and range not in RANGES:
        raise ValueError(f"range={range!r} must be one of {', '.join(RANGES)}")
    if is_log(source):
        yield from read_log(source, scorer, range, model)
        return
    settings = {} if model is None else {"model": model}
    left_out: dict[str, None] = {}  # names in order
    samples = Samples()

    def read(record: dict[str, Any], place: int) -> Pool | None:
        if "resps" in record:
            if not samples.take(record):
                return None
        elif answer := answer_of(record):
            return replace(pool_of(record, answer, place), settings=settings)
        entries = take(record, "candidates", list, "a list", None)
        texts = take(record, "completions", list, "a list", None)
        if (entries is None) == (texts is None):
            raise ValueError("expected either `candidates` or `completions`, a list")
        if entries is None:
            entries = [{"text": text} for text in texts]
        problem, gold = (
            take_id(record, place),
            take_text(record, "gold") or take_text(record, "answer"),
        )
        prompt = take(record, "prompt", str, "text", "")
        messages = take(record, "messages", list, "a list of messages", None)
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
            messages=plain(messages),
        )

    yield from (pool for pool in read_each(source, read) if pool is not None)
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
    correct = take(fields, "correct", bool, "true, false or null", None)
    score = _score(fields, range)
    return Candidate(
        index,
        take(fields, "text", str, "text", ""),
        finish_reason="unknown",
        answer=take_text(fields, "answer"),
        correct=correct,
        num_tokens=_num_tokens(fields),
        scores={} if score is None else {scorer: score},
    )


def _num_tokens(fields: dict[str, Any]) -> int:
    count = take(fields, "num_tokens", Number, "a whole number, 0 to 2^63 - 1", Number(0))
    if not re.fullmatch("[0-9]{1,19}", count) or int(count) >= 2**63:
        raise ValueError(f"num_tokens={count!r:.40} must be a whole number, 0 to 2^63 - 1")
    return int(count)


def _score(fields: dict[str, Any], range: str | None) -> float | None:
    number = take(fields, "score", Number, "a finite number", None)
    if number is None:
        return None
    if math.isinf(score := float(number)):
        raise ValueError(f"score={number!r:.40} must be a finite number")
    if range == "probability" and not 0 <= score <= 1:
        raise ValueError(f"score={number!r:.40} is no probability; give another range")
    return score
