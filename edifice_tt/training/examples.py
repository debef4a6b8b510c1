"""Pools and features -> arrays for fitting a head. Knows labels and masks; no loss, no head."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edifice_tt.contract.errors import EdificeError
from edifice_tt.pools.candidates import Candidate
from edifice_tt.pools.pool import Pool
from edifice_tt.pools.tasks import held_out as for_measuring
from edifice_tt.study.problems import check_marked
from edifice_tt.training.features import Features

Floats = NDArray[np.float32]
# One target per token for the head's output there; None means no target.
Targets = Callable[[Candidate], Sequence[float | None]]


@dataclass(frozen=True, eq=False)
class Example:
    """A problem: each candidate's states (T, D), targets (T) and weights (T)."""

    pool: Pool
    states: list[NDArray[np.float16]]
    targets: list[Floats]
    weights: list[Floats]

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.array([bool(candidate.correct) for candidate in self.pool])


def check_pools(pools: Sequence[Pool]) -> None:
    """Raise for pools from which no head can learn, or which would invalidate a measurement.

    Raises `ValueError` for unmarked candidates, marks that are all the same, and a duplicate
    problem. Raises `EdificeError` for problems of a task's test split.
    """
    seen: dict[str, str] = {}
    for pool in pools:
        check_marked(pool, "mark the pool with edifice-tt grade")
        if pool.prompt in seen:
            raise ValueError(
                f"problems {seen[pool.prompt]!r} and {pool.problem!r} have the same prompt, and "
                "might be trained on and held out; leave one out"
            )
        seen[pool.prompt] = pool.problem
    if measuring := for_measuring(pool.problem for pool in pools):
        raise EdificeError(
            f"problem {measuring[0]!r} and {len(measuring) - 1} more are of a test split, which is "
            "for measuring; train on problems of the train split"
        )
    marks = {bool(candidate.correct) for pool in pools for candidate in pool}
    if len(marks) < 2:
        every = "no candidate is" if marks == {False} else "all candidates are"
        raise ValueError(f"{every} right, so there is nothing to tell apart; use other problems")


def make_folds(pools: Sequence[Pool], num: int, seed: int) -> list[list[int]]:
    """The problems that each of `num` folds holds out: every problem once, in random order.

    Each fold has at least one problem with right and wrong candidates, so there may be fewer folds.
    Raises `ValueError` when fewer than two problems have both.
    """
    mixed = [len({bool(c.correct) for c in pool}) == 2 for pool in pools]
    if sum(mixed) < 2:
        raise ValueError(
            f"{sum(mixed)} of {len(pools)} problems have right and wrong candidates, and at least "
            "two are needed, one of them to hold out; sample more problems"
        )
    rng, num = np.random.default_rng([seed, 2]), min(num, sum(mixed))
    kinds = np.flatnonzero(mixed), np.flatnonzero(np.logical_not(mixed))
    order: list[int] = np.concatenate([rng.permutation(kind) for kind in kinds]).tolist()
    return [sorted(order[first::num]) for first in range(num)]


def make_examples(
    pools: Sequence[Pool], features: Features, targets: Targets | None, balance: float | None
) -> list[Example]:
    """Make examples; the default target is correctness, at each candidate's last position.

    Every candidate counts the same, whatever its length. `balance` is the share of right
    candidates; with it, right and wrong ones have equal total weight.
    """
    examples = []
    for pool in pools:
        states = features.of(pool)
        labels: list[Floats] = []
        weights: list[Floats] = []
        for candidate, one in zip(pool, states, strict=True):
            numbers = _numbers(pool, candidate, len(one), targets)
            mask = ~np.isnan(numbers)
            weight = mask / max(1, mask.sum())
            if balance is not None:
                weight = weight * (0.5 / (balance if candidate.correct else 1 - balance))
            labels.append(np.nan_to_num(numbers).astype(np.float32))
            weights.append(weight.astype(np.float32))
        examples.append(Example(pool, states, labels, weights))
    return examples


def _numbers(
    pool: Pool, candidate: Candidate, length: int, targets: Targets | None
) -> NDArray[np.float64]:
    """The targets (T) of a candidate, NaN where there is none."""
    if targets is None:
        return np.array([np.nan] * (length - 1) + [float(bool(candidate.correct))])
    numbers = list(targets(candidate))
    where = f"candidate {candidate.index} of problem {pool.problem!r}"
    if len(numbers) != length:
        raise ValueError(f"targets gave {len(numbers)} numbers for the {length} tokens of {where}")
    array = np.array(numbers, np.float64)  # None becomes NaN
    if ((array < 0) | (array > 1)).any():
        raise ValueError(f"targets of {where} must be None or lie within 0 and 1")
    return array


def every_token(candidate: Candidate) -> list[float | None]:
    """The outcome as the target of every token. Source: Yu et al., 2023, arXiv:2311.09724."""
    return [float(bool(candidate.correct))] * max(1, len(candidate.token_ids))


def line_ends(lm: Any) -> frozenset[int]:
    """The tokens whose text ends a line."""
    tokenizer = lm.tokenizer
    return frozenset(i for i in range(tokenizer.vocab_size) if "\n" in tokenizer.decode([i]))


def step_ends(lm: Any) -> Targets:
    """The outcome as the target of the last token of each step, which ends a line, and the last."""
    line = line_ends(lm)

    def targets(candidate: Candidate) -> list[float | None]:
        ends = [token in line for token in candidate.token_ids[:-1]] + [True]
        return [float(bool(candidate.correct)) if end else None for end in ends]

    return targets


def batches(
    examples: Sequence[Example], size: int, order: Sequence[int], shape: tuple[int, int]
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield padded states (P, N, T, D), targets and weights (P, N, T) of `size` problems each."""
    depth = examples[0].states[0].shape[1]
    for start in range(0, len(order), size):
        states = np.zeros((size, *shape, depth), np.float32)
        targets, weights = (np.zeros((size, *shape), np.float32) for _ in range(2))
        for place, number in enumerate(order[start : start + size]):
            example = examples[number]
            for row, one in enumerate(example.states):
                states[place, row, : len(one)] = one
                targets[place, row, : len(one)] = example.targets[row]
                weights[place, row, : len(one)] = example.weights[row]
        yield states, targets, weights


def shape_of(examples: Sequence[Example]) -> tuple[int, int]:
    """The largest number of candidates per problem, and of positions per candidate."""
    return (
        max(len(example.states) for example in examples),
        max(len(one) for example in examples for one in example.states),
    )


def moments(examples: Sequence[Example]) -> tuple[Floats, Floats]:
    """Mean and reciprocal standard deviation (D) of all states, computed in float64."""
    count, total, squares = 0, np.float64(0), np.float64(0)
    for one in (one for example in examples for one in example.states):
        exact = one.astype(np.float64)
        count, total = count + len(one), total + exact.sum(0)
        squares = squares + np.square(exact).sum(0)
    mean = np.asarray(total) / count
    deviation = np.sqrt(np.maximum(np.asarray(squares) / count - mean**2, 0))
    scale = 1 / np.where(deviation > 1e-6, deviation, 1.0)  # constant features stay 0
    return mean.astype(np.float32), scale.astype(np.float32)
