"""What searches spend and get right on tasks, beside plain sampling at the same tokens.

SmolLM2-135M and verifiers on new problems, all tasks together. Each row of the table is one way
with one n: the share of problems that are right, and per problem the tokens drawn and read. `plain`
is what the first k of the plain candidates get right, where k costs as many tokens: by votes where
the search reads answers, else by the best score of the same verifier. The difference has a paired
interval over the problems. `lost` says how often rejection dropped the row whose final score would
have been the best, and `chance` how often a random choice of as many rows would have. Where bits
are the same, so are accuracy and tokens; seconds are not.
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
COLUMNS = ("way", "by", "right", "tokens", "read", "k", "plain", "difference", "from", "to")
COLUMNS += ("lost", "chance")
Asked = Sequence[tuple[et.Problem, Mapping[str, Any]]]  # each problem, and how to sample it


def main() -> None:
    options = arguments(
        __doc__ or "",
        tasks={"nargs": "+", "default": ["largest"], "help": "of `edifice-tt tasks`"},
        num={"type": int, "default": 100, "help": "problems of each (default: %(default)s)"},
        rows={"type": int, "nargs": "+", "default": [4, 16], "help": "n (default: 4 16)"},
        seed={"type": int, "default": 0, "help": "of the draws"},
        verifiers={
            "nargs": "+",
            "default": [VERIFIER],
            "help": "names or files (default: shipped)",
        },
        step={"type": int, "help": "tokens before a choice (default: half the longest answer)"},
        ways={"nargs": "+", "help": "searches (default: all)"},
    )
    if options.quick:
        options.num, options.rows = 2, [4]
    lm = et.load_pretrained("smollm2-135m")
    verifiers = [et.load_verifier(name) for name in options.verifiers]
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
    step = options.step or max(1, max(task.max_tokens for task in tasks) // 2)
    for rows in options.rows:
        # A search that copies rows may spend a little more than so many rows do.
        plain = list(sampled(lm, verifiers, asked, rows * 5 // 4))
        report.rows += ({"case": f"n = {rows}", **row} for row in plain_ways(plain, rows))
        for way in ways_of(verifiers, step, rows):
            if options.ways is None or way[0] in options.ways:
                report.rows.append({"case": f"n = {rows}", **searched(lm, plain, asked, *way)})
                print(report.rows[-1], file=sys.stderr, flush=True)
    report.show({"": "case", **{name: name for name in COLUMNS}})


def ways_of(
    verifiers: Sequence[et.Verifier], step: int, rows: int
) -> Iterator[tuple[str, et.Verifier | None, dict[str, Any]]]:
    """Methods with their scorers and settings."""
    steps = {"n": rows, "step_tokens": step, "delimiter": None}
    yield "adaptive", None, {"n": rows, "wave": 4}
    yield "window", None, {"n": rows}
    yield "doubling", None, {"n": rows}
    yield "confidence", None, {"n": rows, "warmup": max(1, rows // 4), "wave": 4}
    for verifier in verifiers:
        yield "rejection", verifier, {"n": rows, "cuts": (step,)}
        yield "particles", verifier, steps
        yield "rebase", verifier, steps
        yield "beam", verifier, {**steps, "expand": 2}
        yield "dvts", verifier, {**steps, "expand": 2}


def sampled(lm: Any, verifiers: Sequence[et.Verifier], asked: Asked, n: int) -> Iterator[et.Pool]:
    """Plain candidates of every problem, with the verifiers' scores."""
    for problem, how in asked:
        named = {"problem": problem.problem, "gold": problem.gold, "n": n}
        pool = et.generate(lm, problem.prompt, **named, **how)
        for verifier in verifiers:
            pool = et.score(lm, pool, verifier)
        yield pool


def plain_ways(plain: list[et.Pool], rows: int) -> Iterator[dict[str, Any]]:
    """Plain sampling: the mean over all choices of so many candidates."""
    curve = et.scaling_curve(plain, ["majority", "best_of_n"], [rows])
    tokens = rows * (curve.cost.tokens_per_candidate or 0)
    for rule in curve.rules:
        costs = {"tokens": tokens, "read": tokens - rows}
        ways = {"way": rule.rule, "by": rule.scorer or "votes"}
        yield {**ways, "right": rule.accuracy[0], **costs}


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
    by = {"way": method, "by": verifier.name if verifier else "votes"}
    lost = losses(plain, pools, verifier.name) if verifier and method == "rejection" else {}
    return {**by, "right": spent.accuracy, **costs, **at, **interval, **lost}


def losses(plain: list[et.Pool], pools: list[et.Pool], scorer: str) -> dict[str, float]:
    """How often the row of the best final score was dropped; a plain candidate ends like it."""
    lost, share = [], []
    for whole, pool in zip(plain, pools, strict=True):
        scores = {row.index: whole.candidates[row.index].scores[scorer] for row in pool}
        winners = {row for row, score in scores.items() if score == max(scores.values())}
        dropped = scores.keys() - {*dict(pool.search or {})["kept"]}
        lost.append(len(winners & dropped) / len(winners))
        share.append(len(dropped) / len(scores))
    return {"lost": fmean(lost), "chance": fmean(share)}


if __name__ == "__main__":
    main()
