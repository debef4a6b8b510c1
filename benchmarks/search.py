"""What searches spend and get right on a task, beside plain sampling with the same model.

SmolLM2-135M and its shipped verifier on new problems of one task. Plain sampling chooses by votes,
and by the verifier. Each row of the table is one way with one n: the share of problems that are
right, and per problem the tokens drawn, kept and read, and seconds. The order of ways changes per
problem, since machines are noisy.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Any

import machine
from timing import Report, arguments

import edifice_tt as et
from edifice_tt.contract.registry import load_registry

VERIFIER = "smollm2-verifier"
Way = Callable[[Any, et.Problem, int, dict[str, Any]], tuple[bool, dict[str, float]]]


def main() -> None:
    options = arguments(
        __doc__ or "",
        task={"default": "largest", "help": "of `edifice-tt tasks` (default: %(default)s)"},
        num={"type": int, "default": 100, "help": "problems (default: %(default)s)"},
        rows={"type": int, "nargs": "+", "default": [4, 8, 16], "help": "n (default: 4 8 16)"},
        seed={"type": int, "default": 0, "help": "of the draws"},
    )
    if options.quick:
        options.num, options.rows = 2, [4]
    task = load_registry().find("task", options.task)
    lm = et.load_pretrained("smollm2-135m")
    problems = et.make_problems(task.name, options.num, split="test")
    how = {"max_tokens": task.max_tokens, "stop": task.stop, "answer": task.answer}
    how["seed"] = options.seed
    report = Report(
        f"searches, SmolLM2-135M, {options.num} problems of {task.name}, at most "
        f"{task.max_tokens} tokens a row",
        machine.versions(),
        machine.limits(options.peers),
        options.json,
        note="right: share of problems, with its standard error; the rest: means per problem",
    )
    verifier = et.load_verifier(VERIFIER)
    ways = ways_of(verifier, task.max_tokens)
    for way in ways.values():  # what is compiled once is no part of any time
        way(lm, problems[0], options.rows[0], how)
    for rows in options.rows:
        found: dict[str, list[tuple[bool, dict[str, float]]]] = {name: [] for name in ways}
        for turn, problem in enumerate(problems):
            names = [*ways][turn % len(ways) :] + [*ways][: turn % len(ways)]
            for name in names:
                found[name].append(ways[name](lm, problem, rows, how))
        for name, results in found.items():
            report.rows.append({"case": f"n = {rows}", "way": name, **means(results)})
        print(f"n = {rows} measured", file=sys.stderr)
    columns = {"": "case", "way": "way", "right": "right", "+-": "error", "tokens": "spent"}
    columns |= {"kept": "kept_tokens", "read": "computed", "s": "seconds"}
    report.show(columns)


def ways_of(verifier: et.Verifier, most: int) -> dict[str, Way]:
    """Plain sampling and searches; cuts and steps are parts of the longest answer."""
    half = max(1, most // 2)
    steps = {"step_tokens": half, "delimiter": None}
    return {
        "votes": partial(plain, None),
        "best by verifier": partial(plain, verifier),
        "adaptive": partial(searched, "adaptive", None, {"wave": 2}),
        "rejection": partial(searched, "rejection", verifier, {"cuts": (half,)}),
        "particles": partial(searched, "particles", verifier, steps),
        "rebase": partial(searched, "rebase", verifier, steps),
        "beam": partial(searched, "beam", verifier, {**steps, "expand": 2}),
        "dvts": partial(searched, "dvts", verifier, {**steps, "expand": 2}),
    }


def plain(
    verifier: et.Verifier | None, lm: Any, problem: et.Problem, rows: int, how: dict[str, Any]
) -> tuple[bool, dict[str, float]]:
    """All candidates, of which votes or the verifier choose one."""
    begun = time.perf_counter()
    asked = {"problem": problem.problem, "gold": problem.gold, "n": rows}
    pool = et.generate(lm, problem.prompt, **asked, **how)
    spent = sum(one.num_tokens for one in pool)
    read = spent - len(pool)
    if verifier is None:
        rule: dict[str, Any] = {"rule": "majority", "cut_off": "vote"}
    else:
        pool, rule = et.score(lm, pool, verifier), {"scorer": VERIFIER}
        read += spent  # a second pass
    right = bool(et.select(pool, **rule).candidate.correct)
    seconds = time.perf_counter() - begun
    costs = {"spent": spent, "kept_tokens": spent, "computed": read, "seconds": seconds}
    return right, costs


def searched(
    method: str,
    verifier: et.Verifier | None,
    settings: dict[str, Any],
    lm: Any,
    problem: et.Problem,
    rows: int,
    how: dict[str, Any],
) -> tuple[bool, dict[str, float]]:
    """A search, and whether the row that it chose is right."""
    asked = {"problem": problem.problem, "gold": problem.gold, "settings": {**settings, "n": rows}}
    pool = et.search(lm, problem.prompt, method, verifier, **asked, **how)
    books = dict(pool.search or {})
    chosen = [one for one in pool if one.index == books["row"]]
    names = ("spent", "kept_tokens", "computed", "seconds")
    return any(one.correct for one in chosen), {name: books[name] for name in names}


def means(results: list[tuple[bool, dict[str, float]]]) -> dict[str, float]:
    """The share that is right, its standard error, and the mean of each cost."""
    count = len(results)
    share = sum(right for right, _ in results) / count
    costs = [cost for _, cost in results]
    mean = {name: sum(cost[name] for cost in costs) / count for name in costs[0]}
    return {"right": share, "error": sqrt(share * (1 - share) / count), **mean}


if __name__ == "__main__":
    main()
