"""Candidates, the pool that holds them, and the pool's file. Knows no model and no tensor.

A pool file is JSON lines: a header, then a line per candidate, then a line per score, so that
scores can be added later by appending. What each field means
stands at the record.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edifice_tt.errors import CheckpointError, unknown_name
from edifice_tt.files import write_atomically

SCHEMA = 1
FINISH_REASONS = ("eos", "stop", "length")


@dataclass(frozen=True)
class Candidate:
    """One sampled answer.

    `token_ids` and `token_logprobs` include the token that ended it; `text` does not.
    `token_logprobs` are natural logarithms under the untempered model. `finish_reason` is `eos`
    (the model ended it), `stop` (a stop string or token) or `length`. `answer` is what a selector
    compares, when somebody has extracted it already.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    finish_reason: str = "length"
    answer: str | None = None
    scores: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON, scores included."""
        return {**asdict(replace(self, scores={})), "scores": dict(self.scores)}


@dataclass(frozen=True)
class Pool:
    """The candidates of one prompt; a pool may carry several scorers' scores.

    `prompt` is the text that the model read, after any chat template; `settings` records the
    model, the seed and the sampler.
    """

    prompt: str
    candidates: tuple[Candidate, ...]
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

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
            "prompt": self.prompt,
            "settings": dict(self.settings),
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
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("".join(score_lines(self, scorer)))


def pool_lines(pool: Pool) -> Iterator[str]:
    """The lines of a pool file, in order."""
    yield _line("pool", schema=SCHEMA, prompt=pool.prompt, settings=dict(pool.settings))
    for candidate in pool:
        fields = candidate.to_dict()
        del fields["scores"]
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
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not a pool file, it is not UTF-8 text") from error
    if not lines:
        raise CheckpointError(f"{path}: not a pool file, it is empty")
    header: dict[str, Any] = {}
    candidates: dict[int, Candidate] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line, parse_constant=_reject_constant)
            kind = record.pop("kind")
            if number == 1:
                header = _read_header(kind, record)
            elif kind == "candidate":
                candidate = _read_candidate(record)
                if candidate.index in candidates:
                    raise ValueError(f"candidate {candidate.index} is there twice")
                candidates[candidate.index] = candidate
            elif kind == "score":
                _read_score(record, candidates)
            else:
                raise ValueError(f"kind {kind!r} is none of candidate, score")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            what = "not a pool file" if number == 1 else "damaged pool file"
            raise CheckpointError(f"{path}, line {number}: {what}: {reason}") from error
    if not candidates:
        raise CheckpointError(f"{path}: the pool holds no candidates")
    return Pool(header["prompt"], tuple(candidates.values()), header["settings"])


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that a pool may hold")


def _read_header(kind: Any, record: dict[str, Any]) -> dict[str, Any]:
    if kind != "pool" or record["schema"] != SCHEMA:
        raise ValueError(f"the first line must be a pool header of schema {SCHEMA}")
    if not isinstance(record["prompt"], str) or not isinstance(record["settings"], dict):
        raise ValueError("the header's prompt must be text and its settings an object")
    return record


def _read_candidate(record: dict[str, Any]) -> Candidate:
    candidate = Candidate(
        **{**record, "token_ids": tuple(record["token_ids"])}
        | {"token_logprobs": tuple(record["token_logprobs"])}
    )
    if not isinstance(candidate.index, int) or not isinstance(candidate.text, str):
        raise ValueError("a candidate's index must be a whole number and its text text")
    return candidate


def _read_score(record: dict[str, Any], candidates: dict[int, Candidate]) -> None:
    score, index = record["score"], record["index"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"score {score!r} is not a finite number")
    if index not in candidates:
        raise ValueError(f"a score for candidate {index}, which is not there")
    old = candidates[index]
    scores = {**old.scores, record["scorer"]: float(score)}
    candidates[index] = replace(old, scores=scores)


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
