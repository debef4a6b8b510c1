"""The head: one learned query attends over all positions up to each token.

Knows hidden states; knows no tokens, no candidates and nothing of edifice_tt. Shapes: **B** batch,
**T** tokens, **D** hidden size, **S** key size.
"""

import numpy as np
from tinygrad import Tensor


class AttentionPool:
    """Causal attention with one query and no value projection, then one dense output."""

    def __init__(self, hidden_size: int, key_size: int, seed: int) -> None:
        # A separate random stream: default_rng(seed) equals default_rng([seed, 0]), which the
        # surrounding model may use.
        rng = np.random.default_rng([seed, 1])
        self.query = Tensor(rng.standard_normal(key_size).astype(np.float32))  # (S)
        self.key_weight = _glorot(rng, key_size, hidden_size)  # (S, D)
        self.out_weight = _glorot(rng, 1, hidden_size)  # (1, D)
        self.out_bias = Tensor(np.zeros(1, np.float32))  # (1)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Score every position from it and those before it: hidden (B, T, D) -> (B, T, 1)."""
        hidden = hidden.float()
        # (q . K h) = (K^T q) . h: one product with K for the query, not one per token.
        direction = self.query @ self.key_weight / self.query.shape[0] ** 0.5  # (D)
        scores = (hidden * direction).sum(-1)  # (B, T)
        position = Tensor.arange(hidden.shape[1])  # (T)
        visible = position.unsqueeze(0) <= position.unsqueeze(1)  # (T, T), row t sees j <= t
        weights = visible.where(scores.unsqueeze(1), -float("inf")).softmax(-1)  # (B, T, T)
        pooled = weights @ hidden  # (B, T, D)
        return pooled @ self.out_weight.transpose() + self.out_bias  # (B, T, 1)


def _glorot(rng: np.random.Generator, out_size: int, in_size: int) -> Tensor:
    limit = (6 / (in_size + out_size)) ** 0.5
    return Tensor(rng.uniform(-limit, limit, (out_size, in_size)).astype(np.float32))
