"""Records of data sets -> pools: a problem each, or a candidate each. Reads no file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.foreign_fields import Names, name_another, read_candidate, take_count
from edifice_tt.pools.pool import SCORE, Pool
from edifice_tt.pools.rows import Number, Record, take, take_id, take_text

_LISTS = ("completions", "responses", "generations")
_OWN_ROW = frozenset({"problem", "index", "text"})  # of `export`
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?", re.I)
_MARKS = {"true": True, "false": False}


@dataclass
class Table:
    """Reads records in order, and gathers the rows of a problem."""

    names: Names
    scorer: str
    range: str | None
    left_out: dict[str, None] = field(default_factory=dict)  # names in order
    asked_by_id: bool = False  # a problem has no question, but an id that may be one
    _by_row: bool | None = None  # whether a record is a candidate
    _seen: set[str] = field(default_factory=set)
    _key: str = ""
    _begun: Pool | None = None  # the problem whose rows are being read
    _rows: dict[int, Candidate] = field(default_factory=dict)

    def read(self, record: Record, place: int) -> Pool | None:
        """The pool of a record; of a row, the pool of those before it, if that is whole now."""
        self.names.check(record)
        completions = self.names.find(record, "completions", *_LISTS)
        is_row = self._is_row(record, completions)
        if self._by_row not in (None, is_row):
            raise ValueError(
                "it is a candidate where others are problems with lists, or the other way; give "
                "each kind a file of its own"
            )
        self._by_row = is_row
        if is_row:
            return self._take_row(record)
        entries = take(record, "candidates", list, "a list", None)
        texts = take(record, completions, list, "a list", None)
        if (entries is None) == (texts is None):
            raise ValueError(
                "expected either `candidates` or `completions`, a list; "
                f"{name_another(record, 'completions')}"
            )
        if entries is None:
            entries = self._entries(record, texts)
        pool = self._pool(record, place)
        told = ((index, one, f"candidate {index}: ") for index, one in enumerate(entries))
        return self._with(pool, [self._candidate(*one) for one in told])

    def finish(self) -> Iterator[Pool | None]:
        """The pool of the last rows, if there were any."""
        yield self._whole()

    # --- a problem a record

    def _entries(self, record: Record, texts: list[Any]) -> list[Record]:
        """The completions, each with its score and its mark."""
        entries: list[Record] = [{"text": text} for text in texts]
        scores = self.names.find(record, "scores", "scores")
        correct = self.names.find(record, "correct", "is_correct", "correct")
        for part, name in (("score", scores), ("correct", correct)):
            values = take(record, name, list, "a list, one for each completion", None)
            if values is None:
                continue
            if len(values) != len(texts):
                raise ValueError(f"{name} holds {len(values)} values for {len(texts)} completions")
            for entry, value in zip(entries, values, strict=True):
                entry[part] = value
        return entries

    def _pool(self, record: Record, place: int) -> Pool:
        """The pool of a record's problem, without its candidates."""
        prompt, messages = self.names.take_question(record)
        gold = self.names.take_gold(record)
        problem = take_id(record, place, self.names.find(record, "problem", "problem"))
        self.left_out.update(dict.fromkeys(record))
        self.asked_by_id |= not prompt and messages is None and " " in problem
        return Pool(prompt, (), problem=problem, gold=gold, messages=messages)

    def _candidate(self, index: int, fields: Any, where: str = "") -> Candidate:
        try:
            candidate = read_candidate(index, fields, self.scorer, self.range)
        except ValueError as error:
            raise ValueError(f"{where}{error}") from error
        self.left_out.update(dict.fromkeys(fields))
        return candidate

    def _with(self, pool: Pool, candidates: list[Candidate]) -> Pool:
        """The pool with its candidates, and the range of their scores."""
        names = dict.fromkeys(name for one in candidates for name in one.scores)
        ranges = dict.fromkeys(names, self.range) if self.range else {}
        return replace(pool, candidates=tuple(candidates), ranges=ranges)

    # --- a candidate a record

    def _is_row(self, record: Record, completions: str) -> bool:
        if self.names.completions is not None:
            return type(record[completions]) is not list
        return (
            "candidates" not in record and completions not in record and record.keys() >= _OWN_ROW
        )

    def _take_row(self, record: Record) -> Pool | None:
        """Add a row to those of its problem; where another begins, the pool of the one before."""
        entry, index = self._entry(record), take_count(record, "index")
        has_id = self.names.find(record, "problem", "problem") in record
        pool, before = self._pool(record, len(self._seen)), None
        key = pool.problem if has_id else repr((pool.prompt, pool.messages))
        if self._begun is None or key != self._key:
            if key in self._seen:
                raise ValueError(
                    f"the rows of problem {key!r:.40} do not stand together; sort the file"
                )
            before = self._whole()
            self._seen.add(key)
            self._key, self._begun = key, pool
        else:
            _check_same(key, self._begun, pool)
        index = len(self._rows) if index is None else index
        if index in self._rows:
            raise ValueError(f"candidate {index} of problem {key!r:.40} is there twice")
        self._rows[index] = self._candidate(index, entry)
        return before

    def _entry(self, record: Record) -> Record:
        """What the columns of a row say of its candidate."""
        entry: Record = {"text": record.pop(self.names.completions or "text")}
        columns = {
            "score": self.names.find(record, "scores", "score"),
            "correct": self.names.find(record, "correct", "is_correct", "correct"),
            **{name: name for name in ("num_tokens", "seconds")},
        }
        entry |= {part: _value(record.pop(name, None)) for part, name in columns.items()}
        record["index"] = _value(record.get("index"))
        own = [name for name in record if name.startswith(SCORE)]
        entry["scores"] = {name.removeprefix(SCORE): _value(record.pop(name)) for name in own}
        if (reason := record.pop("finish_reason", None)) is not None:
            entry["finish_reason"] = reason
        if "gold" in record or self.names.gold is not None:
            entry["answer"] = take_text(record, "answer")
        return entry

    def _whole(self) -> Pool | None:
        """The pool of the rows so far."""
        rows, self._rows = [self._rows[index] for index in sorted(self._rows)], {}
        return None if self._begun is None else self._with(self._begun, rows)


def _check_same(key: str, begun: Pool, pool: Pool) -> None:
    """Raise `ValueError` unless two rows of a problem ask the same."""
    if pool.gold != begun.gold:
        raise ValueError(
            f"problem {key!r:.40} has the right answers {begun.gold!r:.40} and {pool.gold!r:.40}; "
            "name the field of the right one with --gold-field (gold_field= in Python)"
        )
    if (pool.prompt, pool.messages) != (begun.prompt, begun.messages):
        raise ValueError(f"the rows of problem {key!r:.40} ask different questions")


def _value(cell: Any) -> Any:
    """The number or the mark that a cell of text stands for."""
    if type(cell) is not str:
        return cell
    number = Number(cell) if _NUMBER.fullmatch(cell) else cell
    return _MARKS.get(cell.lower(), number)
