"""What the kit says of searches that break a promise."""

import json
import math

import pytest

import edifice_tt as et
from edifice_tt import cli
from edifice_tt.contract.errors import PluginError, UnknownNameError
from edifice_tt.contract.records import Search
from edifice_tt.contract.registry import load_registry
from edifice_tt.testing import BrokenPromise, check_search

ENDS = et.Until()


class Sound:
    """The first half of the rows, then the others; chooses the first."""

    def __init__(self, n=8):
        self.n = n

    def start(self, problem="0"):
        return {"told": []}

    def ask(self, state):
        told = len(state["told"])
        return et.Ask(tuple(range(told, self.n if told else self.n // 2)))

    def tell(self, state, rows):
        return {"told": [*state["told"], *sorted(row.row for row in rows)]}

    def done(self, state):
        if len(state["told"]) < self.n:
            return None
        return et.Outcome(0, tuple(state["told"]), {}, False)


def asks(*rows, until=ENDS, parents=()):
    """A search that asks for these, one after the other."""

    class Asks(Sound):
        def start(self, problem="0"):
            return {"asked": 0}

        def ask(self, state):
            return et.Ask(rows[state["asked"]], until, parents and parents[state["asked"]])

        def tell(self, state, rows):
            return {"asked": state["asked"] + 1}

        def done(self, state):
            over = state["asked"] == len(rows)
            return et.Outcome(None, (), {}, False) if over else None

    return Asks


class Random(Sound):
    drawn = 0

    def start(self, problem="0"):
        Random.drawn += 1
        return {"told": [], "draw": Random.drawn}


class SeededByTheObject(Sound):
    made = 0

    def __init__(self, n=8):
        super().__init__(n)
        SeededByTheObject.made += 1
        self.mine = SeededByTheObject.made

    def start(self, problem="0"):
        return {"told": [], "draw": self.mine}


class Changes(Sound):
    def tell(self, state, rows):
        state["told"].extend(sorted(row.row for row in rows))
        return dict(state)


class Ordered(Sound):
    def tell(self, state, rows):
        return {"told": [*state["told"], *(row.row for row in rows)]}


class Tuples(Sound):
    def start(self, problem="0"):
        return {"told": ()}


class Nan(Sound):
    def start(self, problem="0"):
        return {"told": [], "best": math.nan}


class Numbered(Sound):
    def start(self, problem="0"):
        return {"told": [], 3: "three"}


class ChoosesAnother(Sound):
    def done(self, state):
        return et.Outcome(0, (1, 2), {}, False) if state["told"] else None


class KeepsAnother(Sound):
    def done(self, state):
        return et.Outcome(None, (99,), {}, False) if state["told"] else None


class Silent(Sound):
    def done(self, state):
        return 7 if state["told"] else None


class Raises(Sound):
    def ask(self, state):
        return {}[3]


STOP = et.Until(tokens=1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda n: object(), "has no n; it needs n, start, ask, tell, done"),
        (Random, "start gives .* at first and then .* draw no random numbers"),
        (SeededByTheObject, "two searches of the same settings differ"),
        (Changes, "tell changes what it is given; work on a copy"),
        (Ordered, "depends on the order in which rows are told"),
        (Tuples, "when read from JSON"),
        (Numbered, "when read from JSON"),
        (Nan, "raises for its state as JSON"),
        (ChoosesAnother, r"chooses row 0, expected one that it kept: \(1, 2\)"),
        (KeepsAnother, "keeps row 99, which was never begun"),
        (Silent, "ends with 7, expected an Outcome"),
        (Raises, "raises in ask: KeyError"),
        (asks(()), "expected an Ask for some rows"),
        (asks((0, 0)), "expected different rows"),
        (asks((0,), parents=((None, None),)), "one entry for each"),
        (asks((0, 2)), r"begins rows \[2\], expected numbers in turn from 0|begins rows \[0, 2\]"),
        (asks(range(9)), "asks for 9 rows at once, expected at most n=8"),
        (asks(range(8), (8,)), "begins 9 rows with the prompt, expected at most n=8"),
        (asks((0, 1), (0,), (1,), until=STOP), "comes back to row 1, which is not there"),
        (asks((0,), (1,), until=STOP, parents=((None,), (0,))), "registered without gathers"),
    ],
)
def test_a_broken_promise_is_named(make, words):
    with pytest.raises(BrokenPromise, match=words):
        check_search(make)


def test_what_is_sound_passes():
    check_search(Sound)
    check_search(Sound, n=4)
    check_search(asks((0, 1), (0,), (0,), until=STOP))


@pytest.mark.parametrize("name", et.list_searches())
@pytest.mark.first(3)
def test_the_built_in_searches_are_sound(name):
    check_search(name, **({"warmup": 3} if name == "confidence" else {}))


def test_an_unknown_search_is_told():
    with pytest.raises(UnknownNameError, match="did you mean 'adaptive'"):
        check_search("adaptve")


def test_what_a_search_breaks_is_said_where_it_is_chosen(capsys):
    """Every method that changes which candidates there are says so."""
    assert cli.main(["list", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)["searches"]}
    assert listed["beam"]["reads"] == "scores; copies rows"
    assert "not those of 4" in listed["beam"]["breaks"]
    registered = {name: load_registry().searches[name] for name in et.list_searches()}
    assert [name for name, one in registered.items() if not one.breaks] == ["first"]
    copies = {one.breaks for one in registered.values() if one.gathers}
    assert copies == {
        "the first 4 of 16 rows are not those of 4: rows are copies, chosen among all"
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"make": 3}, "make=3 is not callable"),
        ({"make": lambda: 3}, "make has no option n"),
        ({"make": Sound, "needs": ["hidden"]}, "needs='hidden' is none of"),
        ({"make": Sound, "needs": "answers"}, "needs='answers' must be a list"),
    ],
)
def test_a_registration_that_cannot_be_right_is_refused(options, words):
    with pytest.raises(PluginError, match=f"search 'mine': {words}"):
        Search("mine", **options)
