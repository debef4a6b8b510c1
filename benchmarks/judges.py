"""Pairs of answers rated by reward models, beside RewardBench's own pipeline on transformers.

python benchmarks/judges.py --judge FOLDER --peers ../peers/bin/python

Both must prefer the same answer of each pair. A pair whose scores differ by less than 1e-4 in both
is a tie. A folder is what `edifice_tt.load_reward` takes for a sequence classifier.
"""

import random
import time
from functools import partial
from typing import Any

import machine
from peer import Peer, start_peers
from timing import OURS, Report, Subject, arguments, take_turns

import edifice_tt as et

TEXT = """the a one two not 7 12 + = . , so we add then answer naïve état число 数 🙂"""
WORDS = ["\n", *TEXT.split()]
TIE = 1e-4
Chat = list[dict[str, str]]


def pairs(count: int) -> list[tuple[Chat, list[str]]]:
    """Questions of one, two or three turns, each with two answers of other lengths."""
    draw = random.Random(0)

    def text(longest: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, longest)))

    made = []
    for number in range(count):
        roles = ["user", "assistant"] * (number % 3) + ["user"]
        chat = [{"role": role, "content": text(40)} for role in roles]
        made.append((chat, [text(150), text(150)]))
    return made


def prefers(first: float, second: float) -> int:
    """0 for a tie, else which one is higher."""
    return 0 if abs(first - second) < TIE else 1 if first > second else 2


def main() -> None:
    judge = {"required": True, "nargs": "+", "metavar": "FOLDER", "help": "reward models"}
    options = arguments(__doc__ or "", judge=judge)
    report = Report("rating pairs", machine.versions(), {}, options, "answers/s")
    peers = start_peers(options.peers, ["reward_bench"])
    asked = pairs(12 if options.quick else 200)
    chats = [
        [*chat, {"role": "assistant", "content": answer}]
        for chat, answers in asked
        for answer in answers
    ]
    for folder in options.judge:
        judge = et.load_reward(folder)
        scores: dict[str, list[float]] = {}
        subjects: dict[str, Subject] = {OURS: partial(rate, judge, asked, scores)}
        for name, peer in peers.items():
            report.versions |= peer.versions
            peer("load", folder=folder, threads=options.threads)
            subjects[name] = partial(rate_there, name, peer, chats, scores)
        report.add(judge.name, take_turns(subjects, options.repeats, 1), len(chats))
        for name in peers:
            report.note += f"\n{judge.name}, {name}: {compare(scores[OURS], scores[name])}"
    report.show()


def rate(judge: Any, asked: list[tuple[Chat, list[str]]], scores: dict[str, list[float]]) -> float:
    """The seconds of a round; leaves its scores."""
    start = time.perf_counter()
    scores[OURS] = [row[0] for chat, answers in asked for row in judge.rate(chat, answers)]
    return time.perf_counter() - start


def rate_there(name: str, peer: Peer, chats: list[Chat], scores: dict[str, list[float]]) -> float:
    """The same in the peer's process, where its seconds are taken."""
    rated = peer("rate", chats=chats)
    scores[name] = rated["scores"]
    return float(rated["seconds"])


def compare(ours: list[float], theirs: list[float]) -> str:
    """How many pairs both rank alike, and the largest difference of a score."""
    here, there = (
        [prefers(*scores[at : at + 2]) for at in range(0, len(scores), 2)]
        for scores in (ours, theirs)
    )
    alike = sum(map(int.__eq__, here, there))
    largest = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    return (
        f"{alike} of {len(here)} pairs ranked alike, {here.count(0)} ties; largest difference of "
        f"a score: {largest:.2g}"
    )


if __name__ == "__main__":
    main()
