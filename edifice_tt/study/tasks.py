"""Tasks whose answers a program knows: problems to sample, to train on, and to measure with.

Which problems are for training and which for measuring follows from the text of the question
alone, so no seed and no number of problems can mix them. Knows no model; what is asked stands in
`families`.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from edifice_tt.errors import unknown_name
from edifice_tt.inference.candidates import Problem
from edifice_tt.nn.config import check_count
from edifice_tt.study import families
from edifice_tt.study.families import Question

SPLITS = ("train", "test")
SHOTS = 6
MOST_PROBLEMS = 1_000_000
# Of a hundred questions so many are for the examples in the prompt, and for measuring.
_SHOT_SHARE, _TEST_SHARE = 10, 30
_PATIENCE = 1000  # draws that bring nothing new, before a family counts as exhausted


@dataclass(frozen=True)
class Task:
    """A kind of problem: how it is asked, and how an answer to it is sampled and read.

    `make` draws a question with its answer. `answer` names the extractor; `stop` and `max_tokens`
    are what sampling needs. `examples_seed` draws the examples of the prompt.
    """

    name: str
    summary: str
    make: Callable[[Random], Question]
    answer: str = "number"
    max_tokens: int = 6
    stop: tuple[str, ...] = ("\n",)
    examples_seed: int = 0

    @property
    def examples(self) -> str:
        """The solved examples before every question; none of them is ever asked."""
        shots = _draw(self, "shots", self.examples_seed, SHOTS)
        apart = "\n\n" if "\n" in shots[0].text else "\n"
        return "".join(f"{shot.text} {shot.answer}{apart}" for shot in shots)

    @property
    def sampling(self) -> dict[str, Any]:
        """What `generate_pools` is to be told: where answers end, and how they are read."""
        return {"stop": self.stop, "max_tokens": self.max_tokens, "answer": self.answer}


def make_problems(task: str | Task, num: int, seed: int = 0, split: str = "train") -> list[Problem]:
    """Different problems of a task: few-shot prompts to be continued as raw text, with answers.

    The first of `num` are those of a smaller `num`. A problem is of the split `train` or `test` by
    a hash of its question, whatever the seed, and its id says which. Raises `UnknownNameError` for
    an unknown task, and `ValueError` for an unknown split and for more problems than there are.

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


def list_tasks() -> list[str]:
    """The names of the built-in tasks, sorted."""
    return sorted(TASKS)


def find_task(name: str) -> Task:
    """The record of a task; `UnknownNameError` when there is none of that name."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def held_out(problems: Iterable[str]) -> list[str]:
    """Those of some problem ids that are for measuring only."""
    kinds = tuple(f"{name}-test-" for name in TASKS)
    return [problem for problem in problems if problem.startswith(kinds)]


def _draw(task: Task, split: str, seed: int, num: int) -> list[Question]:
    rng = Random(f"{task.name} {split} {seed}")
    found: dict[str, Question] = {}
    misses = 0
    while len(found) < num:
        question = task.make(rng)
        if question.text not in found and _split_of(task, question) == split:
            found[question.text] = question
            misses = 0
        elif (misses := misses + 1) == _PATIENCE:
            raise ValueError(
                f"num={num} is more than task {task.name!r} has for {split}; it has about "
                f"{len(found)}"
            )
    return list(found.values())


def _split_of(task: Task, question: Question) -> str:
    place = int(_digest(task, question), 16) % 100
    if place < _SHOT_SHARE:
        return "shots"
    return "test" if place < _SHOT_SHARE + _TEST_SHARE else "train"


def _digest(task: Task, question: Question) -> str:
    return hashlib.sha256(f"{task.name}\n{question.text}".encode()).hexdigest()


TASKS = {
    task.name: task
    for task in (
        Task("add", "a two-digit and a one-digit number", families.add),
        Task(
            "common-word",
            "the word that two lists share",
            families.common_word,
            "text",
            examples_seed=1,
        ),
        Task(
            "count-letter",
            "how often a letter stands in a row",
            families.count_letter,
            examples_seed=2,
        ),
        Task(
            "count-things",
            "how many apples are in a basket",
            families.count_things,
            examples_seed=2,
        ),
        Task(
            "days-later",
            "the day of the week so many days later",
            families.days_later,
            "text",
            examples_seed=1,
        ),
        Task(
            "first-in-alphabet",
            "the first of four words in the alphabet",
            families.first_in_alphabet,
            "text",
            examples_seed=1,
        ),
        Task("largest", "the largest of four two-digit numbers", families.largest, examples_seed=7),
        Task(
            "longest-word",
            "the longest of four words",
            families.longest_word,
            "text",
            examples_seed=7,
        ),
        Task("removed-number", "the number that a list lost", families.removed_number),
        Task(
            "repeated-word",
            "the word that stands twice",
            families.repeated_word,
            "text",
            examples_seed=2,
        ),
        Task(
            "smallest", "the smallest of four two-digit numbers", families.smallest, examples_seed=3
        ),
    )
}
