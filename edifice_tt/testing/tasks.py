"""Checks a task by drawing questions; needs no model.

Knows the contract of a task; does not know the right answers.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from edifice_tt.contract import registry
from edifice_tt.pools.tasks import SPLITS, Task, make_problems
from edifice_tt.selection.answers import find_answers
from edifice_tt.testing.promises import BrokenPromise, attempt, check_options, find

SEEDS = range(40)


def check_tasks(
    name_or_make: str | Callable[[Random], Any], num: int = 20, **declared: Any
) -> None:
    """Raise `BrokenPromise` unless a task keeps the contract of `register_tasks`.

    Give the registered name, or a function with the arguments of its registration in `declared`. It
    must return a question and its answer, both str. They must depend only on the random numbers
    that it is given. There must be at least `num` different questions for training and as many for
    measuring. The extractor must find the answer in the answer itself, and no text in `stop` may
    cut it off.

    Raises `UnknownNameError` for an unknown name.

    >>> check_tasks("largest")
    >>> check_tasks(lambda rng: (f"Q: {rng.random()}\\nA:", "many"))
    Traceback (most recent call last):
    edifice_tt.testing.promises.BrokenPromise: task '<lambda>': its extractor 'number' finds None \
in the answer 'many', expected that answer
    """
    make: Any = name_or_make
    check_options("task", str(getattr(make, "__name__", make)), Task, declared)
    who, record = find("task", make, partial(Task, make=make, **declared))
    task = Task(**vars(record))
    answers = attempt(who, f"with answer={task.answer!r}", lambda: find_answers(task.answer))
    for seed in SEEDS:
        first, again = (
            attempt(who, "when a question is drawn", partial(task.draw, Random(seed))) for _ in "12"
        )
        if first != again:
            raise BrokenPromise(
                f"{who} gives {first.text!r:.60} and {again.text!r:.60} for the same random "
                "numbers; draw from the Random that it is given alone"
            )
        answer = answers.extract(f" {first.answer}")
        if answer is None or not answers.same(answer, first.answer):
            raise BrokenPromise(
                f"{who}: its extractor {task.answer!r} finds {answer!r:.60} in the answer "
                f"{first.answer!r:.60}, expected that answer"
            )
        if cut := [text for text in task.stop if text in first.answer]:
            raise BrokenPromise(f"{who}: stop={cut[0]!r} cuts off the answer {first.answer!r:.60}")
    with registry.one_registry():
        for split in SPLITS:
            what = f"when {num} problems for {split} are made"
            attempt(who, what, partial(make_problems, task, num, split=split))
