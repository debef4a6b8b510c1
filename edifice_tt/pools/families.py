"""The questions and right answers of the built-in tasks. Knows words and numbers; no model.

A family draws one question with its answer from a `Random`; the question ends where the answer
begins. `tasks` makes prompts and problems of them.
"""

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WORDS = """
apple basket bridge butter candle carpet castle cheese cherry church circle clock cloud coffee
corner cotton desert dinner doctor dragon engine finger flower forest garden ginger guitar
hammer harbor island jacket jungle kitchen ladder lemon letter market mirror monkey morning
mountain needle number office orange oven paper pencil pepper picture pillow planet pocket
potato prince rabbit ribbon river rocket saddle salad school season shadow shirt silver sister
spider spoon spring square station stone street summer sweater table teacher temple thunder
ticket tiger tomato tower travel turtle valley velvet village violin wagon water window winter
yellow
"""
WORDS = tuple(_WORDS.split())


class Question(NamedTuple):
    """A text that ends where its answer begins, and the answer."""

    text: str
    answer: str


def largest(rng: Random) -> Question:
    numbers = _numbers(rng, 4)
    return Question(f"Q: What is the largest of {_listed(numbers)}?\nA:", str(max(numbers)))


def smallest(rng: Random) -> Question:
    numbers = _numbers(rng, 4)
    return Question(f"min({_listed(numbers)}) =", str(min(numbers)))


def add(rng: Random) -> Question:
    one, other = rng.randrange(10, 60), rng.randrange(2, 10)
    return Question(f"{one} + {other} =", str(one + other))


def removed_number(rng: Random) -> Question:
    numbers = _numbers(rng, 4)
    rest = rng.sample(numbers, 3)
    (gone,) = set(numbers) - set(rest)
    return Question(f"Before: {_listed(numbers)}\nAfter: {_listed(rest)}\nRemoved:", str(gone))


def count_letter(rng: Random) -> Question:
    letters = [rng.choice("abc") for _ in range(rng.randrange(6, 13))]
    return Question(f"Letters: {' '.join(letters)}\nHow many a:", str(letters.count("a")))


def count_things(rng: Random) -> Question:
    things = [rng.choice(("apple", "pear")) for _ in range(rng.randrange(4, 10))]
    return Question(f"Basket: {_listed(things)}\nApples:", str(things.count("apple")))


def first_in_alphabet(rng: Random) -> Question:
    words = rng.sample(WORDS, 4)
    return Question(f"Words: {_listed(words)}\nFirst in the alphabet:", min(words))


def longest_word(rng: Random) -> Question:
    while True:
        words = rng.sample(WORDS, 4)
        shorter, longest = sorted(words, key=len)[-2:]
        if len(shorter) < len(longest):
            return Question(f"Words: {_listed(words)}\nLongest:", longest)


def repeated_word(rng: Random) -> Question:
    words = rng.sample(WORDS, 5)
    twice = rng.choice(words)
    words.insert(rng.randrange(6), twice)
    return Question(f"Words: {_listed(words)}\nTwice:", twice)


def common_word(rng: Random) -> Question:
    words = rng.sample(WORDS, 5)
    one, other = words[:3], words[2:]
    rng.shuffle(one)
    rng.shuffle(other)
    return Question(f"A: {_listed(one)}\nB: {_listed(other)}\nIn both:", words[2])


def days_later(rng: Random) -> Question:
    start, days = rng.randrange(7), rng.randrange(1, 40)
    return Question(f"{DAYS[start]} + {days} days =", DAYS[(start + days) % 7])


def _numbers(rng: Random, count: int) -> list[int]:
    """Different two-digit numbers."""
    return rng.sample(range(10, 100), count)


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things))
