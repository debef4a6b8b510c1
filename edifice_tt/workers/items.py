"""What workers are to do: handed out once, and again when a worker was lost. Knows no work."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

TRIES = 3  # of an item; one that has cost so many workers would cost all


@dataclass(frozen=True)
class Item:
    """A part of the work on one problem."""

    problem: str
    work: Any


@dataclass(frozen=True)
class Failed:
    """In place of what should have been made: one line that says why."""

    reason: str


class Items:
    """The items of a run, as an executor takes them. They are read one at a time.

    `failed` is told why an item of a problem was given up, and `tell` is given a line for each
    reason why a worker could not begin. `refused` is the last of these.
    """

    def __init__(
        self, items: Iterable[Item], failed: dict[str, str], tell: Callable[[str], object]
    ) -> None:
        self._failed = failed
        self.refused = "it has ended"
        self._tell, self._told = tell, set[str]()
        self._items = enumerate(items)
        self._again: deque[int] = deque()
        self._out: dict[int, Item] = {}
        self._lost: Counter[int] = Counter()
        self._ended = False

    def take(self) -> tuple[int, Item] | None:
        """The next item and its number; None if none waits, which may change while some are out."""
        if self._again:
            number = self._again.popleft()
            return number, self._out[number]
        following = next(self._items, None)
        if following is None:
            self._ended = True
            return None
        self._out[following[0]] = following[1]
        return following

    def done(self, number: int) -> None:
        """The item of that number was worked on to its end."""
        del self._out[number]
        self._lost.pop(number, None)

    def lost(self, number: int, reason: str) -> None:
        """The worker went while it had the item: another is to take it, up to three in all."""
        self._lost[number] += 1
        if self._lost[number] < TRIES:
            self._again.append(number)
            return
        self.give_up(number, f"it cost {TRIES} workers; of the last: {reason}")

    def give_up(self, number: int, reason: str) -> None:
        """No worker is to take the item again."""
        self._failed[self._out[number].problem] = reason
        self.done(number)

    def refuse(self, reason: str) -> None:
        """A worker could not begin."""
        self.refused = reason
        if reason not in self._told:
            self._told.add(reason)
            self._tell(f"a worker is refused: {reason}")

    @property
    def waiting(self) -> bool:
        """Whether something is left to take, as far as is known."""
        return bool(self._again) or not self._ended

    @property
    def unfinished(self) -> bool:
        """Whether some were not worked on to their end."""
        return bool(self._out) or not self._ended
