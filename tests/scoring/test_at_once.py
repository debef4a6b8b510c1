"""Several calls at once: all results, none twice, and errors lose nothing that was paid for."""

from collections import deque
from concurrent.futures import wait
from contextvars import ContextVar
from threading import Barrier

import pytest

from edifice_tt.contract.errors import PluginError
from edifice_tt.contract.records import Scorer
from edifice_tt.scoring import at_once
from edifice_tt.scoring.at_once import call_at_once


@pytest.mark.parametrize("count", [1, 2, 3, 17])
def test_every_item_has_its_result_once(count):
    assert sorted(call_at_once(lambda one: one * one, range(11), count)) == [
        one * one for one in range(11)
    ]
    assert [*call_at_once(str, (), count)] == []


def test_so_many_calls_run_at_once():
    together = Barrier(3, timeout=30)  # a call returns only when three are there
    assert sorted(call_at_once(lambda one: together.wait() * 0 + one, range(9), 3)) == [*range(9)]


@pytest.mark.parametrize("error", [ConnectionError("status 500"), KeyboardInterrupt()], ids=repr)
def test_after_an_error_no_call_begins_and_those_that_had_begun_are_kept(error, monkeypatch):
    def call(one):
        begun.append(one)
        if one == 4:
            raise error
        return one

    begun, results = [], []
    monkeypatch.setattr(at_once, "wait", lambda some, return_when: wait(some))  # for all of them
    with pytest.raises(type(error)):
        # Not at once as a list, which the error would take away.
        deque(map(results.append, call_at_once(call, range(11), 3)))
    assert (sorted(begun), sorted(results)) == ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 5])


def test_ctrl_c_waits_for_the_calls_that_had_begun(monkeypatch):
    def interrupted(some, return_when):
        monkeypatch.setattr(at_once, "wait", lambda some, return_when: wait(some))
        raise KeyboardInterrupt

    results = []
    monkeypatch.setattr(at_once, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deque(map(results.append, call_at_once(str, range(11), 3)))
    assert sorted(results) == ["0", "1", "2"]


def test_items_are_taken_when_there_is_room_for_them():
    taken = []

    def items():
        for one in range(7):
            taken.append(one)
            yield one

    given = call_at_once(str, items(), 2)
    next(given)
    assert len(taken) <= 3


def test_a_call_sees_the_context_of_its_caller():
    variable = ContextVar("variable")
    variable.set(5)
    assert [*call_at_once(lambda one: variable.get(), range(2), 2)] == [5, 5]


@pytest.mark.parametrize(
    ("reads", "concurrency", "message"),
    [
        ("text", 0, "concurrency=0 must be a whole number, at least 1"),
        ("text", True, "concurrency=True must be a whole number"),
        ("logprobs", 2, "concurrency=2 is for reads='text', given reads='logprobs'"),
    ],
)
def test_only_a_scorer_of_text_declares_calls_at_once(reads, concurrency, message):
    with pytest.raises(PluginError, match=message):
        Scorer("one", list, reads, concurrency=concurrency)


def test_only_a_scorer_of_text_is_asked_per_answer():
    with pytest.raises(PluginError, match="per='answer' is for reads='text', given reads='hidden'"):
        Scorer("one", list, "hidden", per="answer")
