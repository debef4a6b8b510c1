"""What the kit says of extractors, tasks and verifiers that break a promise."""

from dataclasses import replace
from itertools import count
from random import Random

import numpy as np
import pytest

import edifice_tt as et
from edifice_tt.contract.records import Scorer
from edifice_tt.scoring.verifier import new_head
from edifice_tt.testing import BrokenPromise, check_answers, check_scorer, check_tasks
from edifice_tt.testing.verifiers import check_verifier

TICK = count()
OPTIONS = {"scorer_hidden": 5, "dropout": 0.0, "seed": 3}


def last(text):
    return text.split()[-1] if text.split() else None


@pytest.mark.parametrize("name", ["text", "number", "final_number", "boxed"])
def test_the_built_in_extractors_are_sound(name):
    check_answers(name)


@pytest.mark.parametrize("name", [one for one in et.list_tasks() if one != "double"])
def test_the_built_in_tasks_are_sound(name):
    check_tasks(name)


def test_an_extractor_with_an_equality_is_sound():
    check_answers(last, equal=lambda one, other: one.lower() == other.lower(), texts=["A", "a b"])


@pytest.mark.parametrize(
    ("function", "equal", "message"),
    [
        (lambda text: 1 / 0, None, "raises on 'There are 8.': ZeroDivisionError"),
        (len, None, "gives 12 for 'There are 8.', expected a str or None"),
        (lambda text: str(next(TICK)), None, "at first and then '"),
        (last, lambda one, other: None, "equal gives None for '8.' and '8.', expected True or Fal"),
        (last, lambda one, other: False, "says that '8.' is not equal to itself"),
        (last, lambda one, other: one <= other, "are equal depends on their order"),
        (last, lambda one, other: 1 / 0, "raises in equal on '8.' and '8.': ZeroDivisionError"),
    ],
)
def test_an_extractor_that_breaks_a_promise_is_told_which(function, equal, message):
    with pytest.raises(BrokenPromise, match=message):
        check_answers(function, equal)


def test_only_what_is_registered_has_a_name():
    with pytest.raises(et.UnknownNameError, match="did you mean 'number'"):
        check_answers("numbr")
    with pytest.raises(et.UnknownNameError, match="did you mean 'largest'"):
        check_tasks("larges")


def double(rng):
    number = rng.randrange(1000)
    return f"2 * {number} =", str(2 * number)


def test_a_task_that_nobody_has_registered_is_checked_too():
    check_tasks(double)
    check_tasks(lambda rng: (f"{rng.random()} is", "small"), answer="text", max_tokens=3)


@pytest.mark.parametrize(
    ("make", "declared", "message"),
    [
        (lambda rng: 1 / 0, {}, "raises when a question is drawn: task '<lambda>' failed: Zero"),
        (lambda rng: ("2", 2), {}, r"gave \('2', 2\), expected a question and its answer"),
        (lambda rng: (f"{next(TICK)} =", "7"), {}, "for the same random numbers; draw from the"),
        (lambda rng: (f"{rng.random()} =", "so"), {}, "finds None in the answer 'so', expected"),
        (lambda rng: (f"{Random(rng.randrange(9)).random()} =", "7"), {}, "raises when 20 problem"),
        (double, {"stop": ("8",)}, "stop='8' cuts off the answer '[0-9]*8"),
        (double, {"answer": "numbr"}, "raises with answer='numbr': unknown answer extractor"),
    ],
)
def test_a_task_that_breaks_a_promise_is_told_which(make, declared, message):
    with pytest.raises(BrokenPromise, match=message):
        check_tasks(make, **declared)


def judge(**changed):
    ones = np.ones(6, np.float32)
    head = new_head("linear", 6, OPTIONS)
    return replace(et.Verifier("j", "linear", OPTIONS, 1, 6, "f", head, ones, ones), **changed)


class Random3:
    """A head that gives another number each time."""

    def __init__(self):
        self.dense = new_head("linear", 6, OPTIONS).dense

    def __call__(self, hidden):
        return self.dense(hidden) + next(TICK)


class Beside(Random3):
    """A head whose numbers depend on the rest of the batch."""

    def __call__(self, hidden):
        return self.dense(hidden) + hidden.abs().max()


def test_a_sound_verifier_is_sound():
    check_scorer(judge, reads="states")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 1 / 0, "raises when it is opened: scorer 'j' of me failed: ZeroDivisionError"),
        (lambda: "no such file", "raises when it is opened"),
        (lambda: judge(scale=np.full(6, np.nan, np.float32)), "gives nan, expected a finite"),
        (lambda: judge(head=Random3()), "at first and, opened again,"),
        (lambda: judge(head=Beside()), "among others and .* alone"),
    ],
)
@pytest.mark.first(3)
def test_a_verifier_that_breaks_a_promise_is_told_which(make, message):
    record = Scorer("j", make, "states", owner="me")
    with pytest.raises(BrokenPromise, match=message):
        check_verifier("scorer 'j' of me", record)
