"""Problems, their pools, and the pools of a file. Knows no model and no tensor.

What each field means stands at its record; how it is written down, in `lines`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, SupportsIndex, overload

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.contract.shown import Shown, Table, number, quoted
from edifice_tt.contract.wording import counted
from edifice_tt.machine.files import replacing
from edifice_tt.pools.candidates import RIGHT, Candidate
from edifice_tt.pools.chat_text import plain_of
from edifice_tt.pools.index import PoolIndex
from edifice_tt.pools.messages import Message, keep
from edifice_tt.pools.writer import PoolWriter, put_pools, write_pools

SCORE = "score_"  # before a scorer's name, so that none takes the name of another column
COLUMNS = ("index", "text", "answer", "correct", "finish_reason", "num_tokens", "seconds")


@dataclass(frozen=True, repr=False)
class Problem(Shown):
    """A question to sample answers to: its prompt (text or chat messages), id and right answer."""

    prompt: str | Sequence[Mapping[str, Any]]
    problem: str = "0"
    gold: str | None = None

    def _line(self) -> str:
        chat = [] if isinstance(self.prompt, str) else self.prompt
        asked = chat[-1].get("content", "") if chat else self.prompt
        gold = "" if self.gold is None else f", gold {quoted(self.gold, 20)}"
        return f"{quoted(self.problem, 40)}: {quoted(str(asked))}{gold}"


@dataclass(frozen=True, repr=False)
class Pool(Shown):
    """The candidates of one problem; a pool may carry several scorers' scores.

    `prompt` is the text that the model read, after any chat template. It knows where a user typed
    the name of a control token, so `encode` reads it as the model did. `messages` is the chat that
    the prompt was made of, for a model with another template. It is None if a text was given, or if
    it is not known. `settings` records the model, the seed and the sampler. `problem` is the
    problem's id, `gold` its right answer where that is known. `ranges` holds what each scorer
    declared: `logit`, `probability` or `unbounded`; `seen_by` names the scorers that were trained
    on this problem. `interrupted` says that Ctrl-C ended its sampling; files do not keep it, for
    there `num_missing` tells. `search` holds the books of a search, as `edifice_tt.search` says,
    and `chosen` is the candidate that it chose. `picked` is the index of the answer of a turn of a
    conversation, and `chosen` is that candidate then.
    `scoring` holds what each scorer has spent here, where that is known. It says how many
    `candidates` it scored, the `tokens` that a model read for that (None: not known), and the
    `seconds`. It is ignored in comparisons.

    `pool[0]` is its first candidate. A slice is a pool of these candidates, whose settings hold no
    `n`, for none is missing.
    """

    prompt: str
    candidates: tuple[Candidate, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: str = "0"
    gold: str | None = None
    ranges: Mapping[str, str] = field(default_factory=dict)
    seen_by: frozenset[str] = frozenset()
    messages: tuple[Message, ...] | None = None
    interrupted: bool = False
    search: Mapping[str, Any] | None = None
    scoring: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    picked: int | None = None

    def __post_init__(self) -> None:
        if self.messages is not None:
            object.__setattr__(self, "messages", keep(self.messages))

    def __len__(self) -> int:
        return len(self.candidates)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.candidates)

    @overload
    def __getitem__(self, place: SupportsIndex) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> "Pool": ...
    def __getitem__(self, place: SupportsIndex | slice) -> "Candidate | Pool":
        if not isinstance(place, slice):
            return self.candidates[place]
        settings = {name: value for name, value in self.settings.items() if name != "n"}
        return replace(self, candidates=self.candidates[place], settings=settings)

    def _line(self) -> str:
        marks = [candidate.correct for candidate in self]
        parts = [counted(len(self), "candidate")]
        parts += [f"{marks.count(mark)} {RIGHT[mark]}" for mark in (True, False) if mark in marks]
        parts += [f"{self.num_missing} missing"] if self.num_missing else []
        parts += ["interrupted"] if self.interrupted else []
        scores = f"; scored by {', '.join(self.scorers)}" if self.scorers else ""
        return f"{quoted(self.problem, 40)}: {', '.join(parts)}{self._searched()}{scores}"

    def _searched(self) -> str:
        """What a search came to, and what it has drawn."""
        if self.search is None:
            return ""
        chosen = "no row" if self.search.get("row") is None else f"row {self.search['row']}"
        found = "is not over" if "progress" in self.search else f"chose {chosen}"
        spent = counted(self.search.get("spent", 0), "token")
        return f"; {self.search.get('method')} {found}, {spent} drawn"

    def _table(self) -> Table:
        rows = (
            (
                *(c.index, c.text, c.answer, RIGHT[c.correct], c.finish_reason, c.num_tokens),
                *(number(c.scores[name]) for name in self.scorers),
            )
            for c in self
        )
        return ("", "text", "answer", "marked", "ended by", "tokens", *self.scorers), rows

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that a search chose, or the answer of a turn; None where there is none."""
        row = (self.search or {}).get("row", self.picked)
        return next((c for c in self.candidates if c.index == row), None)

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
        trained on this problem. What an earlier scoring by this scorer has spent is forgotten.
        """
        candidates: list[Candidate] = []
        for candidate, score in zip(self.candidates, scores, strict=True):
            own = {name: s for name, s in candidate.step_scores.items() if name != scorer}
            if steps:
                own[scorer] = tuple(steps[len(candidates)])
            scored = {**candidate.scores, scorer: score}
            candidates.append(replace(candidate, scores=scored, step_scores=own))
        ranges = {name: own for name, own in self.ranges.items() if name != scorer}
        if range is not None:
            ranges[scorer] = range
        seen_by = self.seen_by | {scorer} if seen else self.seen_by - {scorer}
        scoring = {name: cost for name, cost in self.scoring.items() if name != scorer}
        changed: dict[str, Any] = {"ranges": ranges, "seen_by": seen_by, "scoring": scoring}
        return replace(self, candidates=tuple(candidates), **changed)

    def with_cost(self, scorer: str, tokens: int | None, seconds: float) -> "Pool":
        """A pool that says what scoring all its candidates by a scorer has spent."""
        cost = {"candidates": len(self), "tokens": tokens, "seconds": seconds}
        return replace(self, scoring={**self.scoring, scorer: cost}) if len(self) else self

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON; `plain` is included if the prompt marks plain text."""
        plain = plain_of(self.prompt)
        return {
            "problem": self.problem,
            "prompt": str(self.prompt),
            **({"plain": [list(place) for place in plain]} if plain else {}),
            "messages": None if self.messages is None else [dict(one) for one in self.messages],
            "gold": self.gold,
            "interrupted": self.interrupted,
            "settings": dict(self.settings),
            "ranges": dict(self.ranges),
            "seen_by": sorted(self.seen_by),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            **({"scoring": {n: dict(c) for n, c in self.scoring.items()}} if self.scoring else {}),
            **({} if self.search is None else {"search": dict(self.search)}),
            **({} if self.picked is None else {"picked": self.picked}),
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A plain row per candidate, for a table: `pandas.DataFrame(pool.to_rows())`.

        Each score has a column of its own, `score_NAME`. The others are those of `export_pools`.
        """
        asked = {"problem": self.problem, "prompt": str(self.prompt), "gold": self.gold}
        return [
            asked
            | {name: getattr(candidate, name) for name in COLUMNS}
            | {f"{SCORE}{name}": score for name, score in candidate.scores.items()}
            for candidate in self
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pool to a file, atomically."""
        write_pools(path, [self])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Pool":
        """Read a pool file of one problem.

        Raises `CheckpointError` with file and line number for a damaged file, and for a file of
        several problems, which `edifice_tt.read_pools` reads.
        """
        file = PoolFile(path).with_problems()
        if len(file.problems) > 1:
            raise CheckpointError(
                f"{path}: it holds {len(file.problems)} problems; read them with "
                "edifice_tt.read_pools"
            )
        return next(iter(file))

    def append_scores(self, path: str | os.PathLike[str], scorer: str) -> None:
        """Append one scorer's scores to this pool's file; a later score replaces an earlier one.

        Raises `CheckpointError` when the file lacks one of the candidates.
        """
        with PoolWriter(path) as writer:
            writer.add_scores(self, scorer)


class PoolFile(PoolIndex):
    """A file that was read through and found whole; iterate it for its pools."""

    def __iter__(self) -> Iterator[Pool]:
        return (Pool(**fields) for fields in self.fields())

    def pool(self, problem: str) -> Pool:
        """The pool of one problem."""
        return Pool(**next(self.fields(problem)))

    def first(self, n: int) -> "PoolFile":
        """This file as it would be if `n` candidates had been asked for.

        Raises `ValueError` where fewer were.
        """
        asked = self.settings.get("n")
        if type(asked) is int and asked < n:
            raise ValueError(
                f"{self.path}: n={asked} candidates were asked for; take at most {asked}"
            )
        file = copy(self)
        file.settings = {**self.settings, "n": n}
        file.indices = {
            name: {index for index in indices if index < n}
            for name, indices in self.indices.items()
        }
        return file


def read_pools(path: str | os.PathLike[str]) -> Iterator[Pool]:
    """Read a pool file problem by problem, in the file's order, candidates by index.

    The whole file is checked before the first pool is yielded; memory holds one problem at a time.
    An incomplete last line is left out with a `PoolWarning`. Raises `CheckpointError` with file and
    line number for any other damage.
    """
    return iter(PoolFile(path).with_problems())


def rewrite_pools(
    path: str | os.PathLike[str], change: Callable[[PoolFile], Iterable[Pool]]
) -> None:
    """Replace a pool file by the result of `change`, with other writers locked out."""
    try:
        with replacing(Path(path)) as replace:
            file = PoolFile(path).with_problems()
            put_pools(replace, change(file), file.scorers)
    except BlockingIOError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
