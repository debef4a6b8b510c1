"""Logits -> calibrated probabilities. Knows numbers only."""

import numpy as np
from numpy.typing import ArrayLike

LEAST_SLOPE = 1e-3  # above 0, so that calibration keeps the order of candidates
_STEPS = 100


def calibrate(logits: ArrayLike, correct: ArrayLike, method: str = "platt") -> tuple[float, float]:
    """Fit slope and offset so that sigmoid(slope * logit + offset) is the chance of being right.

    `platt` fits both, `temperature` only the slope; both arrays are (N). The targets are smoothed
    as in Platt's method, so that a perfect separation stays finite. Raises `ValueError` for an
    unknown method, and when all candidates are right or all wrong. Source: Platt, 1999;
    temperature, Guo et al., 2017, arXiv:1706.04599.

    >>> slope, offset = calibrate([-2.0, -1.0, 1.0, 2.0] * 50, [0, 0.5, 0.5, 1] * 50)
    >>> slope > 0, abs(offset) < 1e-6
    (True, True)
    """
    if method not in ("platt", "temperature"):
        raise ValueError(f"calibration={method!r} must be platt or temperature")
    s, y = np.asarray(logits, np.float64), np.asarray(correct, np.float64)
    if y.sum() == 0 or (1 - y).sum() == 0:
        raise ValueError("a calibration needs right and wrong candidates; use more problems")
    targets = _smoothed(y)
    inputs = np.stack([s, np.ones_like(s)], axis=1)[:, : 1 + (method == "platt")]
    free = _fit(inputs, targets)
    if free[0] >= LEAST_SLOPE:
        return float(free[0]), float(free[1]) if len(free) > 1 else 0.0
    offset = np.log(targets.mean() / (1 - targets.mean())) - LEAST_SLOPE * s.mean()
    return LEAST_SLOPE, float(offset) if method == "platt" else 0.0


def fit_logistic(inputs: ArrayLike, correct: ArrayLike) -> np.ndarray:
    """The weights (K) and the offset behind them, of inputs (N, K), as `calibrate` fits them."""
    x, y = np.asarray(inputs, np.float64), np.asarray(correct, np.float64)
    return _fit(np.column_stack([x, np.ones(len(x))]), _smoothed(y))


def _smoothed(y: np.ndarray) -> np.ndarray:
    right, wrong = y.sum(), (1 - y).sum()
    smoothed: np.ndarray = y * (right + 1) / (right + 2) + (1 - y) / (wrong + 2)
    return smoothed


def _fit(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Logistic regression by Newton's method with halved steps; inputs (N, K) -> (K)."""

    def loss(w: np.ndarray) -> float:
        z = inputs @ w
        return float((np.logaddexp(0, z) - targets * z).sum())

    w = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(inputs @ w, -500, 500)))
        gradient = inputs.T @ (p - targets)
        hessian = (inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-9 * np.eye(len(w))
        step = np.linalg.solve(hessian, gradient)
        while loss(w - step) > loss(w) + 1e-12 and np.abs(step).max() > 1e-12:
            step = step / 2
        w = w - step
        if np.abs(step).max() < 1e-10:
            break
    return w
