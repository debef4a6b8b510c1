"""The records: candidates, pools and problems. Knows no model, tensor or format.

The records document their fields; `lines` knows how they are written.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edifice_tt.pools.chat_text import plain_of

FINISH_REASONS = ("eos", "stop", "length", "unknown")
INTERRUPTED = (
    "interrupted"  # stands among a pool's settings, yet says nothing of how it was sampled
)


@dataclass(frozen=True)
class Candidate:
    """One sampled answer.

    `token_ids` and `token_logprobs` include the token that ended it; `text` does not.
    `token_logprobs` are natural logarithms under the untempered model. `finish_reason` is `eos`
    (the model ended it), `stop` (a stop string or token), `length`, or `unknown` for imported
    candidates. `answer` is what a selector compares: "" if none was found, None if no extractor has
    read the text. `correct` is None if unknown. `num_tokens` counts the tokens even if their ids
    are not kept. `seconds` is the time from the start of its problem's sampling to its end, and is
    ignored in comparisons. `step_scores` are a process scorer's numbers, one per step.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    finish_reason: str = "length"
    answer: str | None = None
    correct: bool | None = None
    num_tokens: int = 0
    seconds: float | None = field(default=None, compare=False)
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
    """The candidates of one problem, with the scores of any number of scorers.

    `prompt` is the text that the model read, after any chat template. It marks control tokens'
    names that a user typed, so that `encode` reads it as the model did. `settings` records the
    model, the seed and the sampler. `problem` is the problem's id, `gold` its right answer if
    known. `ranges` holds each scorer's declared range: `logit`, `probability` or `unbounded`;
    `seen_by` names the scorers that were trained on this problem.
    """

    prompt: str
    candidates: tuple[Candidate, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: str = "0"
    gold: str | None = None
    ranges: Mapping[str, str] = field(default_factory=dict)
    seen_by: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.candidates)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.candidates)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended its sampling; not stored in files."""
        return bool(self.settings.get(INTERRUPTED))

    @property
    def num_missing(self) -> int:
        """How many of the `n` candidates in its settings are missing; 0 if there is no `n`."""
        n = self.settings.get("n")
        return max(n - len(self), 0) if type(n) is int else 0

    @property
    def scorers(self) -> list[str]:
        """The names of the scorers that have scored every candidate."""
        names = [set(candidate.scores) for candidate in self.candidates]
        return sorted(set.intersection(*names)) if names else []

    def with_scores(
        self,
        scorer: str,
        scores: Sequence[float],
        *,
        range: str | None = None,
        steps: Sequence[Sequence[float]] = (),
        seen: bool = False,
    ) -> "Pool":
        """A pool with one more score per candidate, in the pool's order.

        `range` is the scorer's declared range, None if unknown. `steps` are a process scorer's
        numbers, one sequence per candidate, which may be empty. `seen` says that the scorer was
        trained on this problem.
        """
        candidates: list[Candidate] = []
        for candidate, score in zip(self.candidates, scores, strict=True):
            own = {name: s for name, s in candidate.step_scores.items() if name != scorer}
            if steps:
                own[scorer] = tuple(steps[len(candidates)])
            scored = {**candidate.scores, scorer: score}
            candidates.append(replace(candidate, scores=scored, step_scores=own))
        ranges = {name: held for name, held in self.ranges.items() if name != scorer}
        if range is not None:
            ranges[scorer] = range
        seen_by = self.seen_by | {scorer} if seen else self.seen_by - {scorer}
        return replace(self, candidates=tuple(candidates), ranges=ranges, seen_by=seen_by)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON; `plain` is included if the prompt marks plain text."""
        plain = plain_of(self.prompt)
        return {
            "problem": self.problem,
            "prompt": str(self.prompt),
            **({"plain": [list(place) for place in plain]} if plain else {}),
            "gold": self.gold,
            "settings": dict(self.settings),
            "ranges": dict(self.ranges),
            "seen_by": sorted(self.seen_by),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pool to a file, atomically."""
        from edifice_tt.pools.writer import write_pools

        write_pools(path, [self])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Pool":
        """Read a pool file of one problem.

        Raises `CheckpointError` with file and line number for a damaged file, and for a file of
        several problems, which `edifice_tt.read_pools` reads.
        """
        from edifice_tt.pools.writer import read_pool

        return read_pool(path)

    def append_scores(self, path: str | os.PathLike[str], scorer: str) -> None:
        """Append one scorer's scores to this pool's file; a later score replaces an earlier one.

        Raises `CheckpointError` when the file lacks one of the candidates.
        """
        from edifice_tt.pools.writer import PoolWriter

        with PoolWriter(path) as writer:
            writer.add_scores(self, scorer)


@dataclass(frozen=True)
class Problem:
    """A question to sample answers to: its prompt (text or chat messages), id and right answer."""

    prompt: str | Sequence[dict[str, str]]
    problem: str = "0"
    gold: str | None = None
