"""Tasks with computed answers: problems for sampling, training and measuring.

Only the text of a question decides whether it is for training or for measuring, so no seed and no
number of problems can mix them. Knows no model; `families` has the built-in questions.
"""

import hashlib
from bisect import bisect
from collections.abc import Iterable
from random import Random
from typing import Any

from edifice_tt.contract import records, registry
from edifice_tt.contract.errors import PluginError
from edifice_tt.contract.options import check_count
from edifice_tt.contract.tracing import blamed, named, show
from edifice_tt.pools.families import Question
from edifice_tt.pools.pool import Problem

SPLITS = ("train", "test")
SHOTS = 6
MOST_PROBLEMS = 1_000_000
# Of a hundred questions the first ten are for the examples in a prompt, the next thirty for
# measuring.
_HOMES, _EDGES = ("shots", "test", "train"), (10, 40)
_PATIENCE = 1000  # draws that bring nothing new, before a family counts as exhausted


class Task(records.Task):
    """A registered task, with its prompts and problems.

    `make` draws a question with its answer. `answer` names the extractor; `stop` and `max_tokens`
    are what sampling needs. `examples_seed` draws the examples of the prompt.
    """

    @property
    def examples(self) -> str:
        """The solved examples before every question; none of them is ever a problem."""
        shots = _draw(self, "shots", self.examples_seed, SHOTS)
        apart = "\n\n" if "\n" in shots[0].text else "\n"
        return "".join(f"{shot.text} {shot.answer}{apart}" for shot in shots)

    @property
    def sampling(self) -> dict[str, Any]:
        """The options for `generate_pools`: where answers end, and how they are extracted."""
        return {"stop": self.stop, "max_tokens": self.max_tokens, "answer": self.answer}

    def draw(self, rng: Random) -> Question:
        """Draw a question; raises `PluginError`, naming the owner, if `make` gives none."""
        who = named("task", self)
        with blamed(f"{who} failed"):
            pair = self.make(rng)
            question = Question(*pair)
        if isinstance(pair, str) or not all(
            isinstance(part, str) and part.strip() for part in question
        ):
            raise PluginError(f"{who} gave {show(pair):.60}, expected a question and its answer")
        return question


def make_problems(task: str | Task, num: int, seed: int = 0, split: str = "train") -> list[Problem]:
    """Make different problems of a task: few-shot prompts as raw text, with right answers.

    A smaller `num` gives the first of these problems. A hash of its question decides the split of a
    problem (`train` or `test`), whatever the seed, and its id names the split. Raises
    `UnknownNameError` for an unknown task, and `ValueError` for an unknown split and for more
    problems than there are.

    >>> [problem.gold for problem in make_problems("largest", 3, split="test")]
    ['64', '78', '98']
    """
    task = find_task(task) if isinstance(task, str) else task
    num = check_count("num", num, MOST_PROBLEMS)
    if split not in SPLITS:
        raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")
    examples = task.examples
    return [
        Problem(examples + q.text, f"{task.name}-{split}-{_digest(task, q)[:12]}", q.answer)
        for q in _draw(task, split, seed, num)
    ]


def find_task(name: str) -> Task:
    """The record of a task; raises `UnknownNameError` for an unknown name."""
    return Task(**vars(registry.load_registry().find("task", name)))


def held_out(problems: Iterable[str]) -> list[str]:
    """Those of some problem ids that are for measuring only."""
    names = sorted(registry.list_tasks(), key=len, reverse=True)  # a name may begin with another
    splits = {f"{name}-{split}-": split for name in names for split in SPLITS}

    def split_of(problem: str) -> str | None:
        return next((s for start, s in splits.items() if problem.startswith(start)), None)

    return [problem for problem in problems if split_of(problem) == "test"]


def _draw(task: Task, split: str, seed: int, num: int) -> list[Question]:
    rng = Random(f"{task.name} {split} {seed}")
    questions: dict[str, Question] = {}
    misses = 0
    while len(questions) < num:
        question = task.draw(rng)
        place = int(_digest(task, question), 16) % 100
        home = _HOMES[bisect(_EDGES, place)]
        if question.text not in questions and home == split:
            questions[question.text] = question
            misses = 0
        elif (misses := misses + 1) == _PATIENCE:
            raise ValueError(
                f"num={num} is more than task {task.name!r} has for {split}; it has about "
                f"{len(questions)}"
            )
    return list(questions.values())


def _digest(task: Task, question: Question) -> str:
    return hashlib.sha256(f"{task.name}\n{question.text}".encode()).hexdigest()
