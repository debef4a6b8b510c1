"""How a record is shown: one line in a session, a table in a notebook. Knows no record."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice

LINE, CELL, ROWS = 160, 200, 20  # characters of a line and of a cell, rows of a table
Table = tuple[Sequence[str], Iterable[Sequence[object]]]  # header and rows


class Shown(ABC):
    """A record with one line that says what it is, and with a table of its parts."""

    @abstractmethod
    def _line(self) -> str:
        """What stands between the name of its type and the end of the line."""

    def _table(self) -> Table:
        return (), ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {cut(self._line(), LINE)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows; every text of the record is escaped."""
        header, rows = self._table()
        rows, columns = list(rows), max(len(header), 1)
        lines = [_row("th", header)] if any(header) else []
        lines += [_row("td", row) for row in rows[:ROWS]]
        if more := len(rows) - ROWS:
            text = f"and {more:,} more"
            lines += [f'<tr><td colspan="{columns}">{text}</td></tr>'] if more > 0 else []
        table = f"<table>{''.join(lines)}</table>" if lines else ""
        return f"<div><code>{escape(repr(self))}</code>{table}</div>"


def cut(text: str, size: int) -> str:
    """A text in one line of at most so many characters.

    >>> cut("one two three", 8)
    'one two…'
    """
    line = " ".join(text.split())
    return line if len(line) <= size else f"{line[: size - 1].rstrip()}…"


def quoted(text: str, size: int = 60) -> str:
    """A text in quotes, cut and in one line."""
    return repr(cut(text, size))


def number(value: float | None) -> str:
    """A number in four digits, nothing for None."""
    return "" if value is None else f"{value:.4g}"


def first_of(numbers: Mapping[str, float], most: int = 3) -> str:
    """The first few of many numbers, by name.

    >>> first_of({"12": 3.0, "13": 1.0}, 1)
    '12: 3, and 1 more'
    """
    parts = [f"{cut(name, 20)}: {number(value)}" for name, value in islice(numbers.items(), most)]
    more = len(numbers) - len(parts)
    return ", ".join(parts + [f"and {more:,} more"] * (more > 0))


def _row(tag: str, cells: Sequence[object]) -> str:
    style = ' style="text-align:left"'
    texts = (escape(cut("" if cell is None else str(cell), CELL)) for cell in cells)
    return f"<tr>{''.join(f'<{tag}{style}>{text}</{tag}>' for text in texts)}</tr>"
