"""The loop that runs any search: its books, its JSON, and what it refuses."""

import json
import re
from itertools import pairwise

import pytest
from fake_plugins import open_site
from typist import Typist

import edifice_tt as et
from edifice_tt.contract.errors import PluginError, UnknownNameError
from edifice_tt.search import loop
from edifice_tt.search.books import Books
from edifice_tt.search.method import Ask, Row
from edifice_tt.selection.answers import Answers

site = pytest.fixture(open_site, name="site")

SETTINGS = {"confidence": {"warmup": 3}, "rejection": {"cuts": (2, 5)}}
STEPPED = ("particles", "rebase", "beam", "dvts")


def make(name, n=8):
    more = {"delimiter": "w1 ", "max_steps": 7} if name in STEPPED else SETTINGS.get(name, {})
    return et.make_search(name, n=n, **more)


@pytest.mark.parametrize("name", et.list_searches())
def test_a_search_goes_on_from_json_at_every_step(name):
    steps = []
    whole = et.run_search(make(name), Typist(3).advance, problem="p", on_step=steps.append)
    assert len(steps) == whole.books.calls
    for step in steps:
        plain = json.loads(json.dumps(step))
        rest = Typist.resumed(3, plain["rows"])
        assert et.run_search(make(name), rest.advance, problem="p", resume=plain) == whole


@pytest.mark.parametrize("name", et.list_searches())
def test_the_books_agree_with_what_was_written(name):
    """Counted by the typist: the words of each row that its parent did not have."""
    typist = Typist(5)
    written, steps = 0, 0

    def advance(ask):
        nonlocal written, steps
        before = {row: len(words) for row, words in typist.words.items()}
        steps += sum(row not in before or not typist.ended(row) for row in ask.rows)
        told = typist.advance(ask)
        for row, parent in zip(ask.rows, ask.parents or (None,) * len(ask.rows), strict=True):
            begun = before.get(row, before.get(parent, 0))
            written += len(typist.words[row]) - begun
        return told

    found = et.run_search(make(name), advance)
    assert (found.books.tokens, found.books.steps) == (written, steps)
    assert found.books.rows == len(typist.words)
    prefixes = set()
    for row in found.outcome.kept:  # of a copy, only words that were written in it are its own
        parent = found.books.parents[row]
        while True:
            start = found.books.begun[row]
            prefixes |= {(row, place) for place in range(start, len(typist.words[row]))}
            if parent is None:
                break
            row, parent = parent, found.books.parents[parent]
    assert found.kept_tokens == len(prefixes)
    assert found.kept_tokens <= written


@pytest.mark.parametrize("name", et.list_searches())
def test_no_search_exceeds_its_budget(name):
    asks = []
    typist = Typist(7)
    found = et.run_search(make(name), lambda ask: asks.append(ask) or typist.advance(ask))
    assert max(len(ask.rows) for ask in asks) <= 8
    assert sum(parent is None for parent in found.books.parents) <= 8
    for before, after in pairwise(asks):
        gone = {row for row in before.rows if not typist.ended(row)} - {*after.rows, *after.parents}
        assert not gone & {row for ask in asks[asks.index(after) :] for row in ask.rows}


def test_answers_are_extracted_and_equal_ones_are_one():
    texts = ["It is 7.0", "7", "no idea", "8"]

    def advance(ask):
        return [Row(i, texts[i], 3, True) for i in ask.rows]

    found = et.run_search(et.make_search("first", n=4), advance, answer="number")
    assert found.outcome.tally == {"7": 2.0, "8": 1.0}
    assert [row.answer for row in found.rows] == ["7", "7", None, "8"]


def test_an_extractor_s_equal_answers_get_one_vote_each_for_the_first(monkeypatch):
    kind = Answers("word", str.strip, lambda answer, other: answer.lower() == other.lower())
    monkeypatch.setattr(loop, "find_answers", lambda name: kind)
    texts = ["Rome", "paris", "ROME", "Paris"]
    search = et.make_search("adaptive", n=4, wave=3)
    found = et.run_search(
        search, lambda ask: [Row(i, texts[i], 1, True) for i in ask.rows], answer="word"
    )
    assert found.outcome.tally == {"Rome": 2.0, "paris": 2.0}


def test_numbers_that_are_not_known_stay_unknown():
    def advance(ask):
        return [Row(i, num_tokens=None if i else 4, ended=True, answer="a") for i in ask.rows]

    books = et.run_search(et.make_search("first", n=2), advance).books
    assert (books.tokens, books.kept_tokens([0]), books.kept_tokens([0, 1])) == (None, 4, None)


def test_judge_tokens_are_summed():
    typist = Typist(2)
    found = et.run_search(et.make_search("rejection", n=2, cuts=(1,)), typist.advance)
    (one,) = found.outcome.kept
    assert found.books.judge_tokens == 2 + len(typist.words[one])


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "rows [] were told, expected [0, 1]"),
        ([0, 0], "rows [0, 0] were told"),
        ([0, 2], "rows [0, 2] were told"),
    ],
)
def test_rows_that_were_not_asked_for_are_refused(told, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        et.run_search(et.make_search("first", n=2), lambda ask: [Row(i) for i in told])


@pytest.mark.parametrize(
    ("ask", "told", "words"),
    [
        (Ask((0,)), [Row(0, num_tokens=3)], "had 4 before"),
        (Ask((3,)), [Row(3)], "the next new row must be 2"),
        (Ask((2,), parents=(2,)), [Row(2)], "copy of 2, which is not there"),
    ],
)
def test_books_that_cannot_be_right_are_refused(ask, told, words):
    books = Books().add(Ask((0, 1)), [Row(0, num_tokens=4), Row(1, num_tokens=5)])
    with pytest.raises(ValueError, match=words):
        books.add(ask, told)


class Odd:
    n = 2

    def __init__(self, asked, ends=None):
        self.asked, self.ends = asked, ends

    def start(self, problem="0"):
        return {}

    def done(self, state):
        return self.ends

    def ask(self, state):
        return self.asked


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (Odd(None), "asks for None, expected an Ask"),
        (Odd(Ask(())), "expected an Ask for some rows"),
        (Odd(Ask((0, 0))), "different rows"),
        (Odd(Ask((0, 1), parents=(None,))), "a parent or None for each"),
        (Odd(None, ends=7), "ends with 7, expected an Outcome"),
    ],
)
def test_a_search_that_breaks_its_contract_is_told(search, words):
    with pytest.raises(PluginError, match=words):
        et.run_search(search, lambda ask: [])


@pytest.mark.parametrize("name", ["start", "ask", "tell", "done"])
def test_what_a_search_raises_is_a_plugin_error(name):
    search = Odd(Ask((0,)))
    search.tell = lambda state, rows: state
    setattr(search, name, lambda *_, **__: {}[3])
    with pytest.raises(PluginError, match=rf"search test_loop.Odd failed in {name}: KeyError: 3"):
        et.run_search(search, lambda ask: [Row(i) for i in ask.rows])


@pytest.mark.parametrize(
    ("failing", "kind", "words"),
    [("{}[3]", PluginError, "KeyError: 3"), ("int('x')", ValueError, "invalid literal")],
)
@pytest.mark.parametrize("name", ["start", "ask", "tell", "done"])
def test_what_a_search_of_a_plugin_raises_names_the_plugin_and_its_version(
    site, name, failing, kind, words
):
    site.install("halting", HALTING.replace(f"{name}(self", f"{name}(self, *_, **__): {failing}#"))
    method = et.make_search("halting")
    with pytest.raises(kind, match=rf"^search halting.Halting of halting 1.0.*: .*{words}"):
        et.run_search(method, lambda ask: [Row(i) for i in ask.rows])


HALTING = """
import edifice_tt as et

class Halting:
    def __init__(self, n=3): self.n = n
    def start(self, problem): return {"told": 0}
    def ask(self, state): return et.Ask((0,))
    def tell(self, state, rows): return {"told": 1}
    def done(self, state): return et.Outcome(0, (0,), {}, False) if state["told"] else None

@et.hookimpl
def register_searches(register):
    register("halting", Halting)
"""


def test_what_the_rows_raise_is_not_blamed_on_the_search():
    with pytest.raises(ZeroDivisionError):
        et.run_search(et.make_search("first"), lambda ask: 1 / 0)


def test_an_unknown_search_or_setting_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'adaptive'"):
        et.make_search("adaptiv")
    with pytest.raises(UnknownNameError, match="did you mean 'threshold'"):
        et.make_search("adaptive", treshold=0.9)
