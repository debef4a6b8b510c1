"""What searches spend and get right on tasks, beside plain sampling at the same tokens.

SmolLM2-135M and its shipped verifier on new problems, all tasks together. Each row of the table is
one way with one n: the share of problems that are right, and per problem the tokens drawn and read.
`plain` is what the first k of the plain candidates get right, where k costs as many tokens: by
votes where the search reads answers, else by the verifier's best score. The difference has a paired
interval over the problems. Where bits are the same, so are accuracy and tokens; seconds are not.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import machine
from timing import Report, arguments

import edifice_tt as et
from edifice_tt.pools.tasks import find_task
from edifice_tt.study.beside import compare_search

VERIFIER = "smollm2-verifier"
RULES = {"majority": "votes", "best_of_n": "best by verifier"}
COLUMNS = ("way", "right", "tokens", "read", "k", "plain", "difference", "from", "to")
Asked = Sequence[tuple[et.Problem, Mapping[str, Any]]]  # each problem, and how to sample it


def main() -> None:
    options = arguments(
        __doc__ or "",
        tasks={"nargs": "+", "default": ["largest"], "help": "of `edifice-tt tasks`"},
        num={"type": int, "default": 100, "help": "problems of each (default: %(default)s)"},
        rows={"type": int, "nargs": "+", "default": [4, 16], "help": "n (default: 4 16)"},
        seed={"type": int, "default": 0, "help": "of the draws"},
    )
    if options.quick:
        options.num, options.rows = 2, [4]
    lm, verifier = et.load_pretrained("smollm2-135m"), et.load_verifier(VERIFIER)
    report = Report(
        f"searches, SmolLM2-135M, {options.num} problems of each of {', '.join(options.tasks)}",
        machine.versions(),
        machine.limits(options.peers),
        options,
        note="difference: right less plain, in 95 % of resamples of the problems from .. to ..",
    )
    tasks = [find_task(name) for name in options.tasks]
    asked: Asked = [
        (problem, {**task.sampling, "seed": options.seed})
        for task in tasks
        for problem in et.make_problems(task, options.num, split="test")
    ]
    longest = max(task.max_tokens for task in tasks)
    for rows in options.rows:
        # A search that copies rows may spend a little more than so many rows do.
        plain = list(sampled(lm, verifier, asked, rows * 5 // 4))
        report.rows += ({"case": f"n = {rows}", **row} for row in plain_ways(plain, rows))
        for way in ways_of(verifier, longest, rows):
            report.rows.append({"case": f"n = {rows}", **searched(lm, plain, asked, *way)})
            print(f"n = {rows}, {way[0]} measured", file=sys.stderr, flush=True)
    report.show({"": "case", **{name: name for name in COLUMNS}})


def ways_of(
    verifier: et.Verifier, longest: int, rows: int
) -> Iterator[tuple[str, et.Verifier | None, dict[str, Any]]]:
    """Methods with their scorers and settings; cuts and steps are parts of the longest answer."""
    half = max(1, longest // 2)
    steps = {"n": rows, "step_tokens": half, "delimiter": None}
    yield "adaptive", None, {"n": rows, "wave": 4}
    yield "window", None, {"n": rows}
    yield "doubling", None, {"n": rows}
    yield "confidence", None, {"n": rows, "warmup": max(1, rows // 4), "wave": 4}
    yield "rejection", verifier, {"n": rows, "cuts": (half,)}
    yield "particles", verifier, steps
    yield "rebase", verifier, steps
    yield "beam", verifier, {**steps, "expand": 2}
    yield "dvts", verifier, {**steps, "expand": 2}


def sampled(lm: Any, verifier: et.Verifier, asked: Asked, n: int) -> Iterator[et.Pool]:
    """Plain candidates of every problem, with the verifier's scores."""
    for problem, how in asked:
        named = {"problem": problem.problem, "gold": problem.gold, "n": n}
        yield et.score(lm, et.generate(lm, problem.prompt, **named, **how), verifier)


def plain_ways(plain: list[et.Pool], rows: int) -> Iterator[dict[str, Any]]:
    """Plain sampling: the mean over all choices of so many candidates."""
    curve = et.scaling_curve(plain, list(RULES), [rows])
    tokens = rows * (curve.cost.tokens_per_candidate or 0)
    for rule in curve.rules:
        costs = {"tokens": tokens, "read": tokens - rows}
        yield {"way": RULES[rule.rule], "right": rule.accuracy[0], **costs}


def searched(
    lm: Any,
    plain: list[et.Pool],
    asked: Asked,
    method: str,
    verifier: et.Verifier | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """One search on every problem, beside plain candidates at the same tokens."""
    begun, pools = time.perf_counter(), []
    for problem, how in asked:
        named = {"problem": problem.problem, "gold": problem.gold, "settings": settings}
        pools.append(et.search(lm, problem.prompt, method, verifier, **named, **how))
    seconds = time.perf_counter() - begun
    beside = compare_search(plain, pools)
    spent, same, gained = beside.spent, beside.same, beside.difference
    read = fmean(dict(pool.search or {})["computed"] for pool in pools)
    costs = {"tokens": spent.tokens, "read": read, "seconds": seconds / len(pools)}
    interval = {"difference": gained.difference, "from": gained.low, "to": gained.high}
    at = {"k": same.samples, "plain": same.accuracy}
    return {"way": method, "right": spent.accuracy, **costs, **at, **interval}


if __name__ == "__main__":
    main()
