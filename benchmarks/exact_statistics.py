"""Seconds that the statistics take: python benchmarks/exact_statistics.py [problems] [candidates].

Prints; asserts nothing. Answers are drawn with a probability falling as 1 / rank, one is right.
"""

import sys
import time

import numpy as np

import edifice_tt as et
from edifice_tt.study.forecast import forecast_coverage
from edifice_tt.study.intervals import bootstrap_means
from edifice_tt.study.quality import assess_scorer
from edifice_tt.study.statistics import best_of_ks
from edifice_tt.study.voting import majority_at_ks


def timed(what, function):
    start = time.perf_counter()
    result = function()
    print(f"{time.perf_counter() - start:8.2f} s  {what}", flush=True)
    return result


def main(num_problems=10_000, num_candidates=64, num_answers=24):
    rng = np.random.default_rng(0)
    shape = num_problems, num_candidates
    chance = 1 / np.arange(1, num_answers + 1)
    answers = rng.choice(num_answers, size=shape, p=chance / chance.sum())
    right = rng.integers(0, 4, num_problems)[:, None]
    correct = answers == right
    scores = 1 / (1 + np.exp(-rng.normal(1.5 * correct, 1)))
    lengths = rng.integers(50, 800, shape)
    ks = range(1, num_candidates + 1)
    print(f"{num_problems} problems, {num_candidates} candidates, k = 1..{num_candidates}")
    timed("pass@k", lambda: best_of_ks(correct, correct, ks))
    best = timed("best-of-k", lambda: best_of_ks(scores, correct, ks))
    rows = answers.tolist()
    timed("majority@k", lambda: majority_at_ks(zip(rows, correct, strict=True), ks))
    timed("bootstrap, 1000 resamples", lambda: bootstrap_means(best, 1000))
    timed("scorer quality", lambda: assess_scorer("s", scores, correct, lengths, "probability"))
    sizes = [num_candidates] * num_problems
    timed("beta-binomial", lambda: forecast_coverage(sizes, correct.sum(axis=1), [4096]))
    pools = [
        et.Pool(
            "",
            tuple(
                et.Candidate(i, "", answer=str(a), correct=bool(c), scores={"s": float(s)})
                for i, (a, c, s) in enumerate(zip(*candidates, strict=True))
            ),
            problem=str(at),
        )
        for at, candidates in enumerate(zip(answers, correct, scores, strict=True))
    ]
    for rule in ("best_of_n", "majority", "weighted"):
        label = f"scaling_curve of {rule}, k = 1, 2, 4, ..."
        timed(label, lambda rule=rule: et.scaling_curve(pools, [rule]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
