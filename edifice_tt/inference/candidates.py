"""Candidates, the pool that holds them, and the pool's file. Knows no model and no tensor.

A pool file is JSON lines: a header, then a line per candidate, then a line per score, so that
scores can be added later by appending. What each field means stands at the record.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edifice_tt.errors import CheckpointError, unknown_name
from edifice_tt.files import write_atomically

SCHEMA = 1
FINISH_REASONS = ("eos", "stop", "length", "unknown")


@dataclass(frozen=True)
class Candidate:
    """One sampled answer.

    `token_ids` and `token_logprobs` include the token that ended it; `text` does not.
    `token_logprobs` are natural logarithms under the untempered model. `finish_reason` is `eos`
    (the model ended it), `stop` (a stop string or token), `length`, or `unknown` where somebody
    else sampled it. `answer` is what a selector compares, when it has been extracted already;
    `correct` says whether it is right, None where nobody knows. `num_tokens` counts the tokens,
    also where their ids are not kept. `seconds` is the time from the start of its problem's
    sampling to its end. `step_scores` are a process scorer's numbers, one a step.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    finish_reason: str = "length"
    answer: str | None = None
    correct: bool | None = None
    num_tokens: int = 0
    seconds: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    step_scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.token_ids:
            object.__setattr__(self, "num_tokens", len(self.token_ids))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON, scores included."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        steps = {name: list(values) for name, values in self.step_scores.items()}
        return {**plain, "scores": dict(self.scores), "step_scores": steps}


@dataclass(frozen=True)
class Pool:
    """The candidates of one problem; a pool may carry several scorers' scores.

    `prompt` is the text that the model read, after any chat template; `settings` records the
    model, the seed and the sampler. `problem` is the problem's id, `gold` its right answer where
    that is known. `ranges` holds what each scorer declared: `logit`, `probability` or `unbounded`.
    """

    prompt: str
    candidates: tuple[Candidate, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: str = "0"
    gold: str | None = None
    ranges: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.candidates)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.candidates)

    @property
    def scorers(self) -> list[str]:
        """The names of the scorers that have scored every candidate."""
        names = [set(candidate.scores) for candidate in self.candidates]
        return sorted(set.intersection(*names)) if names else []

    def with_scores(self, scorer: str, scores: list[float]) -> "Pool":
        """A pool with one more score a candidate, in the pool's order."""
        scored = (
            replace(candidate, scores={**candidate.scores, scorer: value})
            for candidate, value in zip(self.candidates, scores, strict=True)
        )
        return replace(self, candidates=tuple(scored))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON."""
        return {
            "problem": self.problem,
            "prompt": self.prompt,
            "gold": self.gold,
            "settings": dict(self.settings),
            "ranges": dict(self.ranges),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pool to a file, atomically."""
        text = "".join(pool_lines(self)).encode()
        write_atomically(Path(path), lambda file: file.write(text))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Pool":
        """Read a pool file.

        Raises `CheckpointError` with file and line number for anything that is not as written.
        """
        return read_pool(Path(path))

    def append_scores(self, path: str | os.PathLike[str], scorer: str) -> None:
        """Add one scorer's scores to the file of this pool; a later score replaces an earlier."""
        text = "".join(score_lines(self, scorer)).encode()
        with Path(path).open("rb+") as file:  # not "a": that would make a file of scores alone
            before = file.read()
            if not before.endswith(b"\n"):  # an editor may have taken the last line's end
                text = b"\n" + text
            try:
                file.write(text)
                file.flush()
            except OSError:  # a full disk: half a line would make all of the pool unreadable
                os.truncate(path, len(before))
                raise


def pool_lines(pool: Pool) -> Iterator[str]:
    """The lines of a pool file, in order."""
    yield _line("pool", schema=SCHEMA, prompt=pool.prompt, settings=dict(pool.settings))
    for candidate in pool:
        fields = candidate.to_dict()
        del fields["scores"], fields["step_scores"]
        yield _line("candidate", **fields)
    for scorer in sorted({name for candidate in pool for name in candidate.scores}):
        yield from score_lines(pool, scorer)


def score_lines(pool: Pool, scorer: str) -> Iterator[str]:
    """The lines that add one scorer's scores to a pool file."""
    for candidate in pool:
        if scorer in candidate.scores:
            score = candidate.scores[scorer]
            yield _line("score", scorer=scorer, index=candidate.index, score=score)


def _line(kind: str, **fields: Any) -> str:
    text = json.dumps({"kind": kind, **fields}, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def read_pool(path: Path) -> Pool:
    """See `Pool.load`."""
    try:
        # Not splitlines: that also splits at U+2028 and U+0085, which JSON leaves as they are.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not a pool file, it is not UTF-8 text") from error
    if lines == [""]:
        raise CheckpointError(f"{path}: not a pool file, it is empty")
    header: dict[str, Any] = {}
    candidates: dict[int, Candidate] = {}
    for number, line in enumerate(lines, 1):
        try:
            kind, fields = _read_line(line)
            if (kind == "pool") != (number == 1):
                raise ValueError("the first line, and no other, must be a pool header")
            if kind == "pool":
                header = fields
            elif kind == "candidate":
                candidate = _read_candidate(fields)
                if candidate.index in candidates:
                    raise ValueError(f"candidate {candidate.index} is there twice")
                candidates[candidate.index] = candidate
            else:
                _read_score(fields, candidates)
        except (ValueError, OverflowError, RecursionError) as error:
            what = "not a pool file" if number == 1 else "damaged pool file"
            raise CheckpointError(f"{path}, line {number}: {what}: {error}") from error
    if not candidates:
        raise CheckpointError(f"{path}: the pool holds no candidates")
    return Pool(header["prompt"], tuple(candidates.values()), header["settings"])


# The kinds of lines; what each field of them must be, in words and as a check.
_COUNT = "a whole number, at least 0", lambda x: type(x) is int and x >= 0
_NUMBER = "a finite number", lambda x: type(x) in (int, float) and math.isfinite(x)
_TEXT = "text", lambda x: isinstance(x, str)
_FIELDS: dict[str, dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "pool": {
        "schema": (str(SCHEMA), lambda x: type(x) is int and x == SCHEMA),
        "prompt": _TEXT,
        "settings": ("an object", lambda x: isinstance(x, dict)),
    },
    "candidate": {
        "index": _COUNT,
        "text": _TEXT,
        "token_ids": ("a list of token ids", lambda x: _all(_COUNT[1], x)),
        "token_logprobs": ("a list of finite numbers", lambda x: _all(_NUMBER[1], x)),
        "finish_reason": (f"one of {', '.join(FINISH_REASONS)}", lambda x: x in FINISH_REASONS),
        "answer": ("text or null", lambda x: x is None or isinstance(x, str)),
        "correct": ("true, false or null", lambda x: x is None or isinstance(x, bool)),
        "num_tokens": _COUNT,
        "seconds": ("a number or null", lambda x: x is None or _NUMBER[1](x)),
    },
    "score": {"scorer": _TEXT, "index": _COUNT, "score": _NUMBER},
}


def _all(check: Callable[[Any], bool], value: Any) -> bool:
    return isinstance(value, list) and all(map(check, value))


def _read_line(line: str) -> tuple[str, dict[str, Any]]:
    """The kind of a line and its fields, each of the right type."""
    record = json.loads(line, parse_constant=_reject_constant)
    if not isinstance(record, dict):
        raise ValueError("it must be a JSON object")
    kind = record.pop("kind", None)
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise ValueError(f"kind={kind!r:.40} must be one of {', '.join(_FIELDS)}")
    expected = _FIELDS[kind]
    if missing := [name for name in expected if name not in record]:
        raise ValueError(f"a {kind} needs {', '.join(missing)}")
    for name, value in record.items():
        if name not in expected:
            raise ValueError(f"a {kind} has no field {name!r:.40}")
        what, check = expected[name]
        if not check(value):
            raise ValueError(f"{name}={value!r:.40} must be {what}")
    return kind, record


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that a pool may hold")


def _read_candidate(fields: dict[str, Any]) -> Candidate:
    logprobs = tuple(map(float, fields.pop("token_logprobs")))
    return Candidate(token_ids=tuple(fields.pop("token_ids")), token_logprobs=logprobs, **fields)


def _read_score(fields: dict[str, Any], candidates: dict[int, Candidate]) -> None:
    index = fields["index"]
    if index not in candidates:
        raise ValueError(f"a score for candidate {index}, which is not there")
    scores = {**candidates[index].scores, fields["scorer"]: float(fields["score"])}
    candidates[index] = replace(candidates[index], scores=scores)


def score_of(pool_scorers: list[str], scorer: str | None) -> str:
    """Which scorer's scores to use: the one named, or the only one there is."""
    if scorer is None:
        if len(pool_scorers) != 1:
            listing = ", ".join(pool_scorers) or "none; run edifice_tt.score first"
            raise ValueError(
                f"say which scorer=... to use; the candidates have scores of: {listing}"
            )
        return pool_scorers[0]
    if scorer not in pool_scorers:
        raise unknown_name("scorer in this pool", scorer, pool_scorers)
    return scorer
