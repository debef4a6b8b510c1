"""One line of a pool file <-> its fields: schema 3. Knows JSON and the records; opens no file.

One table, `FIELDS`, lists every kind of line with its fields and their types. A test checks that
`docs/pool-format.md` and `docs/pool.schema.json` agree with it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from edifice_tt.contract.records import CONFIDENCES, RANGES
from edifice_tt.machine.json_text import check_whole, unique, why_no_json
from edifice_tt.pools.candidates import FINISH_REASONS, Candidate
from edifice_tt.pools.chat_text import plain_of
from edifice_tt.pools.fields import (
    Field,
    all_are,
    are_confidences,
    are_numbers,
    are_scored,
    is_count,
    is_number,
    is_place,
    is_text,
    or_null,
)
from edifice_tt.pools.messages import Message, is_message

SCHEMA = 3
OLDEST = 2  # the first schema of which files are read
_SCHEMAS = range(OLDEST, SCHEMA + 1)
_COUNT = Field("a whole number from 0 to 2^63 - 1", is_count)
_NUMBER = Field("a finite number", is_number)
_DURATION = Field("a finite number, at least 0", lambda x: is_number(x) and x >= 0)
_TEXT = Field("text", is_text)
_TEXT_OR_NULL = Field("text or null", or_null(is_text))

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "pool": {
        "schema": Field(f"{OLDEST} or {SCHEMA}", lambda x: type(x) is int and x in _SCHEMAS),
        "settings": Field("an object of finite values", lambda x: type(x) is dict and _is_json(x)),
    },
    "problem": {
        "problem": _TEXT,
        "prompt": _TEXT,
        "plain": Field("a list of places, each two whole numbers", all_are(is_place)),
        "messages": Field(
            "a list of messages, each with role and content", lambda x: _are_messages(x)
        ),
        "gold": _TEXT_OR_NULL,
        "picked": _COUNT,
    },
    "candidate": {
        "problem": _TEXT,
        "index": _COUNT,
        "text": _TEXT,
        "token_ids": Field("a list of token ids", all_are(is_count)),
        "token_logprobs": Field("a list of finite numbers", all_are(is_number)),
        "token_confidences": Field(
            f"an object of {', '.join(CONFIDENCES)}, each a list of numbers of at least 0",
            lambda x: are_confidences(x),
        ),
        "num_tokens": _COUNT,
        "parent": _COUNT,
        "begun": _COUNT,
        "finish_reason": Field(f"one of {', '.join(FINISH_REASONS)}", FINISH_REASONS.__contains__),
        "answer": _TEXT_OR_NULL,
        "correct": Field("true, false or null", or_null(lambda x: type(x) is bool)),
        "seconds": Field(
            "a finite number, at least 0, or null", or_null(lambda x: is_number(x) and x >= 0)
        ),
    },
    "scorer": {
        "scorer": _TEXT,
        "range": Field(f"one of {', '.join(RANGES)}, or null", (*RANGES, None).__contains__),
        "owner": _TEXT_OR_NULL,
        "fingerprint": _TEXT_OR_NULL,
        "trained_on": Field("a list of texts", all_are(is_text)),
    },
    "score": {
        "problem": _TEXT,
        "index": _COUNT,
        "scorer": _TEXT,
        "score": _NUMBER,
        "steps": Field("a list of finite numbers", all_are(is_number)),
    },
    "scoring": {
        "problem": _TEXT,
        "scorer": _TEXT,
        "candidates": Field("a whole number of at least 1", lambda x: is_count(x) and x > 0),
        "tokens": Field("a whole number from 0 to 2^63 - 1, or null", or_null(is_count)),
        "seconds": _DURATION,
    },
    "search": {
        "problem": _TEXT,
        "method": _TEXT,
        "scorer": _TEXT_OR_NULL,
        "row": Field("a whole number from 0 to 2^63 - 1, or null", or_null(is_count)),
        "kept": Field("a list of whole numbers", all_are(is_count)),
        "tally": Field("an object of finite numbers", are_numbers),
        "early": Field("true or false", lambda x: type(x) is bool),
        **dict.fromkeys(("spent", "kept_tokens", "computed", "padding", "again"), _COUNT),
        "judge_tokens": _COUNT,
        "judge_seconds": _NUMBER,
        "seconds": _NUMBER,
        "scored": Field(
            "an object of lists of pairs, each a number of tokens and a score", are_scored
        ),
        "progress": Field("an object of finite values", lambda x: type(x) is dict and _is_json(x)),
    },
}
OPTIONAL: Mapping[str, frozenset[str]] = {
    "problem": frozenset({"plain", "messages", "picked"}),
    "candidate": frozenset({"token_confidences", "parent", "begun"}),
    "scorer": frozenset({"trained_on"}),
    "score": frozenset({"steps"}),
    "search": frozenset({"progress", "scored"}),
}
_CHECKS = {kind: {n: f.holds for n, f in fields.items()} for kind, fields in FIELDS.items()}
_NAMES = {
    kind: (frozenset(fields) - OPTIONAL.get(kind, frozenset()), frozenset(fields))
    for kind, fields in FIELDS.items()
}


_DECODER = json.JSONDecoder(object_pairs_hook=unique)


def _plain(value: Any) -> Any:
    """A NumPy number as a Python number, for JSON."""
    if (item := getattr(value, "item", None)) is None:
        raise TypeError(f"{value!r:.60} of type {type(value).__name__} has no form in JSON")
    return item()


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
)


def _are_messages(x: Any) -> bool:
    return type(x) is list and x != [] and all(map(is_message, x)) and _is_json(x)


def _is_json(x: Any) -> bool:
    with suppress(ValueError):
        return bool(_ENCODER.encode(x))
    return False


def decode(line: bytes, decoder: json.JSONDecoder = _DECODER) -> Any:
    """The JSON value of a line. Raises `ValueError` for anything but JSON in valid Unicode."""
    try:
        text = line.decode()
        value, end = decoder.raw_decode(text)  # less work than json.loads, on short lines
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise why_no_json(error, in_line=True) from error
    check_whole(text, value)
    if text[end:] not in ("\n", "", "\r\n"):
        raise ValueError(f"not one JSON object, more follows at column {end + 1}")
    return value


def check(record: Any) -> str:
    """The kind of a line. Raises `ValueError` for fields that its kind does not allow."""
    if type(record) is not dict:
        raise ValueError("it must be a JSON object")
    kind = record.pop("kind", None)
    if type(kind) is not str or kind not in FIELDS:
        raise ValueError(f"kind={kind!r:.40} must be one of {', '.join(FIELDS)}")
    if kind == "pool" or record.keys() not in _NAMES[kind]:
        _check_names(kind, record)
    checks = _CHECKS[kind]
    for name, value in record.items():
        if not checks[name](value):
            raise ValueError(f"{name}={value!r:.40} must be {FIELDS[kind][name].words}")
    if kind == "candidate" and (ids := record["token_ids"]) and len(ids) != record["num_tokens"]:
        raise ValueError(f"num_tokens={record['num_tokens']} must be the {len(ids)} of token_ids")
    for name, values in record.get("token_confidences", {}).items():
        if record["num_tokens"] not in (0, len(values)):  # 0: they were not counted
            raise ValueError(
                f"num_tokens={record['num_tokens']} must be the {len(values)} of {name}"
            )
    if "plain" in record:
        ends = [0, *(place for one in record["plain"] for place in one), len(record["prompt"])]
        if ends != sorted(ends):
            raise ValueError("plain must be places in the prompt, in their order")
    return kind


def _check_names(kind: str, record: dict[str, Any]) -> None:
    schema = record.get("schema")
    if kind == "pool" and type(schema) is int and schema not in _SCHEMAS:
        raise ValueError(
            f"its schema is {schema}, this edifice_tt reads {OLDEST} to {SCHEMA}; "
            + ("sample it again" if schema < SCHEMA else "update edifice_tt")
        )
    if strange := [name for name in record if name not in FIELDS[kind]]:
        raise ValueError(f"a {kind} has no field {strange[0]!r:.40}")
    needed, _ = _NAMES[kind]
    if missing := [name for name in FIELDS[kind] if name in needed and name not in record]:
        raise ValueError(f"a {kind} needs {', '.join(missing)}")


def encode(kind: str, **fields: Any) -> bytes:
    """Encode a line. Raises `ValueError` for a number that is not finite and a lone surrogate."""
    return _ENCODER.encode({"kind": kind, **fields}).encode() + b"\n"


def header_line(settings: Mapping[str, Any]) -> bytes:
    """The first line: how everything in the file was sampled."""
    return encode("pool", schema=SCHEMA, settings=dict(settings))


def sampling_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the status of a run, which older files contain."""
    return {name: value for name, value in settings.items() if name != "interrupted"}


def problem_line(
    problem: str,
    prompt: str,
    gold: str | None,
    messages: Sequence[Message] | None = None,
    picked: int | None = None,
) -> bytes:
    """The line before a problem's candidates."""
    known: dict[str, Any] = {"plain": plain_of(prompt), "messages": messages}
    known = {name: value for name, value in known.items() if value}
    last = {} if picked is None else {"picked": picked}
    return encode("problem", problem=problem, prompt=prompt, **known, gold=gold, **last)


def candidate_line(problem: str, candidate: Candidate) -> bytes:
    """The line of a candidate, without its scores, which have separate lines."""
    fields = {name: getattr(candidate, name) for name in FIELDS["candidate"] if name != "problem"}
    usual: dict[str, Any] = {"token_confidences": {}, "parent": None, "begun": 0}
    for name in [name for name, value in usual.items() if fields[name] == value]:
        del fields[name]
    return encode("candidate", problem=problem, **fields)


def scorer_line(
    scorer: str,
    range: str | None,
    owner: str | None,
    fingerprint: str | None,
    trained_on: Iterable[str] = (),
) -> bytes:
    """The line before a scorer's first score."""
    seen = {"trained_on": ids} if (ids := list(trained_on)) else {}
    about = {"scorer": scorer, "range": range, "owner": owner, "fingerprint": fingerprint}
    return encode("scorer", **about, **seen)


def score_lines(problem: str, candidates: Iterable[Candidate], scorer: str) -> bytes:
    """A line for each candidate of a problem that the scorer has scored."""
    lines = []
    for candidate in candidates:
        if scorer in candidate.scores:
            fields: dict[str, Any] = {"scorer": scorer, "score": float(candidate.scores[scorer])}
            if scorer in candidate.step_scores:
                fields["steps"] = [float(x) for x in candidate.step_scores[scorer]]
            lines.append(encode("score", problem=problem, index=candidate.index, **fields))
    return b"".join(lines)


def scoring_line(problem: str, scorer: str, cost: Mapping[str, Any]) -> bytes:
    """The line of what a scorer has spent on a problem."""
    return encode("scoring", problem=problem, scorer=scorer, **cost)


def search_line(problem: str, search: Mapping[str, Any]) -> bytes:
    """The line of what a search has spent on a problem, and how it ended."""
    return encode("search", problem=problem, **search)


def to_candidate(
    record: Mapping[str, Any], scores: dict[str, float], steps: dict[str, tuple[float, ...]]
) -> Candidate:
    """The candidate of a checked line, with its scores."""
    seconds = record["seconds"]
    return Candidate(
        record["index"],
        record["text"],
        tuple(record["token_ids"]),
        tuple(map(float, record["token_logprobs"])),
        record["finish_reason"],
        record["answer"],
        record["correct"],
        record["num_tokens"],
        None if seconds is None else float(seconds),
        scores,
        steps,
        {n: tuple(map(float, row)) for n, row in record.get("token_confidences", {}).items()},
        record.get("parent"),
        record.get("begun", 0),
    )
