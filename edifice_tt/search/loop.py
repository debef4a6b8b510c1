"""Runs any search against a function that advances rows, and keeps the books. Knows no method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError, PluginError, unknown_name
from edifice_tt.contract.shown import Shown, Table, first_of, number
from edifice_tt.contract.tracing import OWN_NAME, blamed, show, subject_of
from edifice_tt.contract.wording import counted
from edifice_tt.search.books import Books
from edifice_tt.search.method import Ask, Method, Outcome, Row, State, in_order
from edifice_tt.selection.answers import Answers, Named, find_answers

Advance = Callable[[Ask], Sequence[Row]]


def make_search(name: str, **options: Any) -> Method:
    """The search of that name with its settings, such as `n`.

    Raises `UnknownNameError` for an unknown name or setting, and `ValueError` for a value that it
    does not take.

    >>> make_search("adaptive", n=8).ask({"answers": ["4", "4"], "counted": 2, "clear": False}).rows
    (2,)
    """
    record = check_options(name, options)
    who, subject = f"search {name!r} of {record.owner}", subject_of("search", record)
    with blamed(f"{who} failed", own=(EdificeError, ValueError), subject=subject):
        method: Method = record.make(**options)
    return method


@dataclass(frozen=True)
class Progress:
    """Where a search stands: all that is needed to go on, as JSON too."""

    state: State
    books: Books = field(default_factory=Books)
    rows: Mapping[int, Row] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict for JSON."""
        rows = [asdict(row) for row in in_order(self.rows.values())]
        return {"state": self.state, "books": self.books.to_dict(), "rows": rows}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Progress":
        """The progress that `to_dict` wrote down."""
        lists = ("logprobs", "confidences")
        rows = [Row(**{**row, **{n: tuple(row[n]) for n in lists}}) for row in plain["rows"]]
        by_row = {row.row: row for row in rows}
        return cls(plain["state"], Books.from_dict(plain["books"]), by_row)


@dataclass(frozen=True, repr=False)
class Found(Shown):
    """What a search came to: its outcome, its rows as they stand at the end, and its books."""

    outcome: Outcome
    rows: tuple[Row, ...]
    books: Books

    @property
    def chosen(self) -> Row | None:
        """The chosen row, None where the search chose none."""
        return None if self.outcome.row is None else self.rows[self.outcome.row]

    def _line(self) -> str:
        row = "no row" if self.outcome.row is None else f"row {self.outcome.row}"
        tokens = "" if self.books.tokens is None else f", {counted(self.books.tokens, 'token')}"
        return f"{row} of {self.books.rows}{tokens}; {first_of(self.outcome.tally)}"

    def _table(self) -> Table:
        rows = (
            (row.row, row.text, row.answer, row.num_tokens, number(row.score)) for row in self.rows
        )
        return ("", "text", "answer", "tokens", "score"), rows

    @property
    def kept_tokens(self) -> int | None:
        """The tokens of the rows that were kept."""
        return self.books.kept_tokens(self.outcome.kept)


def run_search(
    method: Method,
    advance: Advance,
    *,
    problem: str = "0",
    answer: Named | None = None,
    resume: Mapping[str, Any] | None = None,
    on_step: Callable[[dict[str, Any]], None] | None = None,
) -> Found:
    """Run a search to its end.

    `advance(ask)` advances the rows that an `Ask` names, and returns a `Row` for each as it then
    stands. `answer` is an extractor for the texts of finished rows, by its name or as a function;
    without it their own `answer` counts. After each step `on_step` gets the progress as a plain
    dict, from which `resume` goes on. Raises `ValueError` for rows that were not asked for,
    `UnknownNameError` for an unknown extractor, and `PluginError` for a search that breaks its
    contract.

    >>> texts = ["It is 7.", "8", "7", "7", "7.0", "9"]
    >>> def advance(ask):
    ...     return [Row(i, texts[i], num_tokens=5, ended=True) for i in ask.rows]
    >>> found = run_search(make_search("adaptive", n=6), advance, answer="number")
    >>> found.outcome.tally, found.books.tokens
    ({'7': 4.0, '8': 1.0, '9': 1.0}, 30)
    """
    kind = None if answer is None else find_answers(answer)
    call = partial(_call, method, _owner_of(type(method)))
    at = Progress(call("start", problem)) if resume is None else Progress.from_dict(resume)
    state, books, rows = at.state, at.books, dict(at.rows)
    while (outcome := call("done", state)) is None:
        ask = _checked(call("ask", state))
        told = in_order(advance(ask))
        books = books.add(ask, told)
        for row in told:
            rows[row.row] = row if kind is None else _read(row, kind, rows)
        state = call("tell", state, [rows[row.row] for row in told])
        if on_step is not None:
            on_step(Progress(state, books, rows).to_dict())
    if not isinstance(outcome, Outcome):
        raise PluginError(f"the search ends with {show(outcome):.60}, expected an Outcome")
    return Found(outcome, tuple(in_order(rows.values())), books)


def _call(method: Method, owner: str, name: str, *arguments: Any) -> Any:
    who = f"search {type(method).__module__}.{type(method).__qualname__}{owner and f' of {owner}'}"
    with blamed(f"{who} failed in {name}", own=(EdificeError, ValueError), subject=owner and who):
        return getattr(method, name)(*arguments)


def _owner_of(kind: type) -> str:
    """The plugin that registers searches of the same package, with its version; or nothing."""
    package = kind.__module__.partition(".")[0]
    for record in registry.load_registry().searches.values():
        made = str(getattr(record.make, "__module__", ""))
        if made.partition(".")[0] == package and record.owner != OWN_NAME:
            return record.owner
    return ""


def _checked(ask: Any) -> Ask:
    if not isinstance(ask, Ask) or not ask.rows:
        raise PluginError(f"the search asks for {show(ask):.60}, expected an Ask for some rows")
    if len({*ask.rows}) < len(ask.rows) or len(ask.parents) not in (0, len(ask.rows)):
        raise PluginError(
            f"the search asks for rows {ask.rows} with parents {ask.parents}, expected different "
            "rows and a parent or None for each"
        )
    return ask


def _read(row: Row, kind: Answers, rows: Mapping[int, Row]) -> Row:
    """The row with the answer of its text, if it has ended; equal answers are the first of them."""
    if not row.ended:
        return row
    before = [one.answer for one in in_order(rows.values()) if one.row != row.row]
    return replace(row, answer=kind.merge([*before, kind.extract(row.text)])[-1])


def check_options(name: str, options: Mapping[str, Any]) -> registry.Search:
    """The record of a search; raises `UnknownNameError` for an unknown name or setting."""
    record: registry.Search = registry.load_registry().find("search", name)
    if unknown := [option for option in options if not record.takes(option)]:
        raise unknown_name(f"option of search {name!r}", unknown[0], record.options)
    return record
