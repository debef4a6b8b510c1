"""Checks a search on made-up rows; needs no model and no tensor.

Knows the contract of a search: pure, seeded, within its budget, its state plain JSON. Does not know
what it chooses.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from edifice_tt.contract import registry
from edifice_tt.search.method import Ask, Outcome, Row, Until
from edifice_tt.testing.promises import BrokenPromise, attempt, check_options, find

MOST_ASKS = 1000
SEEDS = range(6)
N = 8
SIZE = 40  # about how many tokens a row has


def check_search(
    name_or_make: str | Callable[..., Any], needs: Sequence[str] = (), **options: Any
) -> None:
    """Raise `BrokenPromise` unless a search keeps the contract of `register_searches`.

    Give the registered name, or the function that makes the search and its `needs`; `options` are
    settings. On made-up rows it must come to an end within 1,000 asks. Its state must be JSON, and
    read from JSON it must go on alike. Its calls must give the same again, leave state and rows as
    they are, and not depend on the order of the rows. A second search of the same settings must do
    the same. It may begin no more than `n` rows with the prompt, or ask for more at once. New rows
    are numbered in turn, and one that it left out never comes again. It must choose a row that it
    kept, or none.

    Raises `UnknownNameError` for an unknown name.

    >>> check_search("adaptive")
    >>> class Ever:
    ...     n, start, done = 8, lambda self, problem="0": {}, lambda self, state: None
    ...     ask, tell = lambda self, state: Ask((0,)), lambda self, state, rows: state
    >>> check_search(lambda n: Ever())
    Traceback (most recent call last):
    edifice_tt.testing.promises.BrokenPromise: search '<lambda>' has not come to an end after 1000 \
asks
    """
    make: Any = name_or_make

    def record_of(name: str) -> registry.Search:
        return registry.Search(name, make, needs=tuple(needs))

    who, record = find("search", make, record_of)
    check_options("search", record.name, record.make, options)
    settings = {"n": N, **options}
    for seed in SEEDS:
        method, again = (
            attempt(who, "when it is made", lambda: record.make(**settings)) for _ in "12"
        )
        if missing := [one for one in ("n", *_CALLS) if not hasattr(method, one)]:
            raise BrokenPromise(f"{who} has no {missing[0]}; it needs n, {', '.join(_CALLS)}")
        first = [*_Run(who, method, record).steps(seed)]
        if first != [*_Run(who, again, record).steps(seed)]:
            raise BrokenPromise(
                f"{who}: two searches of the same settings differ; draw by a seed, the problem and "
                "the state alone"
            )


_CALLS = ("start", "ask", "tell", "done")


@dataclass
class _Run:
    """A search under test, on rows that a seed makes up."""

    who: str
    method: Any
    record: registry.Search

    def steps(self, seed: int) -> Iterator[Any]:
        """Run the search to its end; yields each state, and the outcome."""
        world = _World(seed, self.record.gathers)
        state = self._json(self._twice("start", f"problem {seed}"))
        for _ in range(MOST_ASKS):
            yield state
            outcome = self._twice("done", state)
            if outcome is not None:
                self._check_outcome(outcome, world)
                yield outcome
                return
            ask = self._twice("ask", state)
            self._check_ask(ask, world)
            rows = world.advance(ask)
            told = self._json(self._twice("tell", state, rows))
            for moved in (rows[::-1], rows[1:] + rows[:1]):
                if self._call("tell", state, moved) != told:
                    raise BrokenPromise(
                        f"{self.who}: the state depends on the order in which rows are told; sort "
                        "them by their number"
                    )
            state = told
        raise BrokenPromise(f"{self.who} has not come to an end after {MOST_ASKS} asks")

    def _call(self, name: str, *arguments: Any) -> Any:
        return attempt(self.who, f"in {name}", lambda: getattr(self.method, name)(*arguments))

    def _twice(self, name: str, *arguments: Any) -> Any:
        before = deepcopy(arguments)
        first, again = self._call(name, *arguments), self._call(name, *deepcopy(before))
        if arguments != before:
            raise BrokenPromise(f"{self.who}: {name} changes what it is given; work on a copy")
        if first != again:
            raise BrokenPromise(
                f"{self.who}: {name} gives {first!r:.60} at first and then {again!r:.60} of the "
                "same state; draw no random numbers but by a seed"
            )
        return first

    def _json(self, state: Any) -> Any:
        """The state as JSON keeps it."""
        text = attempt(
            self.who, "for its state as JSON", lambda: json.dumps(state, allow_nan=False)
        )
        if (read := json.loads(text)) != state:
            raise BrokenPromise(
                f"{self.who}: its state {state!r:.60} is {read!r:.60} when read from JSON; use "
                "dicts of str, lists, str, numbers and None"
            )
        return read

    def _check_ask(self, ask: Any, world: "_World") -> None:
        if not isinstance(ask, Ask) or not isinstance(ask.until, Until) or not ask.rows:
            raise BrokenPromise(f"{self.who} asks for {ask!r:.60}, expected an Ask for some rows")
        if len(ask.parents) not in (0, len(ask.rows)) or len({*ask.rows}) < len(ask.rows):
            raise BrokenPromise(
                f"{self.who} asks for rows {ask.rows} with parents {ask.parents}, expected "
                "different rows, and no parents or one entry for each"
            )
        if len(ask.rows) > self.method.n:
            raise BrokenPromise(
                f"{self.who} asks for {len(ask.rows)} rows at once, expected at most n="
                f"{self.method.n}"
            )
        new = [row for row in ask.rows if row not in world.rows]
        if new != list(range(len(world.rows), len(world.rows) + len(new))):
            raise BrokenPromise(
                f"{self.who} begins rows {new}, expected numbers in turn from {len(world.rows)}"
            )
        parents = dict(zip(ask.rows, ask.parents or (None,) * len(ask.rows), strict=True))
        begun = world.begun + sum(parents[row] is None for row in new)
        if begun > self.method.n:
            raise BrokenPromise(
                f"{self.who} begins {begun} rows with the prompt, expected at most n="
                f"{self.method.n}"
            )
        copied = [parent for parent in parents.values() if parent is not None]
        if copied and not self.record.gathers:
            raise BrokenPromise(
                f"{self.who} copies row {copied[0]}, and is registered without gathers"
            )
        for row in (*ask.rows, *copied):
            if row in world.dropped or (row in copied and row not in world.rows):
                raise BrokenPromise(
                    f"{self.who} comes back to row {row}, which is not there: it was left out of "
                    "an ask before its end, or never begun"
                )

    def _check_outcome(self, outcome: Any, world: "_World") -> None:
        if not isinstance(outcome, Outcome):
            raise BrokenPromise(f"{self.who} ends with {outcome!r:.60}, expected an Outcome")
        if strange := [row for row in outcome.kept if row not in world.rows]:
            raise BrokenPromise(f"{self.who} keeps row {strange[0]}, which was never begun")
        if outcome.row is not None and outcome.row not in outcome.kept:
            raise BrokenPromise(
                f"{self.who} chooses row {outcome.row}, expected one that it kept: {outcome.kept}"
            )


class _World:
    """Rows that a seed makes up: lengths, answers, scores, confidences. Scores are often equal."""

    def __init__(self, seed: int, gathers: bool) -> None:
        self.seed, self.gathers = seed, gathers
        self.rows: dict[int, Row] = {}
        self.dropped: set[int] = set()
        self.begun = 0

    def advance(self, ask: Ask) -> list[Row]:
        """The rows as they then stand; those that are left out are dropped."""
        parents = ask.parents or (None,) * len(ask.rows)
        for row, parent in zip(ask.rows, parents, strict=True):
            if row not in self.rows:
                self.begun += parent is None
                start = Row(row) if parent is None else replace(self.rows[parent], row=row)
                self.rows[row] = start
        for row in ask.rows:
            self.rows[row] = self._further(self.rows[row], ask.until)
        alive = {row for row, one in self.rows.items() if not one.ended}
        self.dropped |= alive - {*ask.rows}
        return [self.rows[row] for row in ask.rows]

    def _further(self, row: Row, until: Until) -> Row:
        have = row.num_tokens or 0
        size = have if row.ended else max(have + 1, self._draw(row.row, 0, SIZE))
        most = size
        if until.delimiter is not None:
            most = min(size, have + 1 + self._draw(row.row, have, 9))
        if until.tokens is not None:
            most = min(most, have + until.tokens)
        for tokens in range(have + 1, most) if until.word is not None else ():
            if until.word is not None and until.word(self._at(row, tokens, size)):
                return self._at(row, tokens, size)
        return self._at(row, most, size)

    def _at(self, row: Row, tokens: int, size: int) -> Row:
        ended = tokens >= size
        answer = (None, "7", "8", "7")[self._draw(row.row, -1, 4)]
        return replace(
            row,
            text=f"row {row.row}, {tokens} tokens",
            num_tokens=tokens,
            ended=ended,
            answer=answer if ended else None,
            score=self._draw(row.row, tokens, 5) / 4,
            logprobs=tuple(-self._draw(row.row, at, 7) / 4 for at in range(tokens)),
            confidences=tuple(self._draw(row.row, at, 9) / 2 for at in range(tokens)),
            judge_tokens=tokens,
        )

    def _draw(self, row: int, at: int, below: int) -> int:
        return int(Random(f"{self.seed} {row} {at}").random() * below)
