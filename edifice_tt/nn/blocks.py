"""The parts of a transformer: weights in `__init__`, one formula in `__call__`.

A Tensor attribute is a weight, and its name is its name in files; so nothing else is one. With
`rng=None` the weights are left unfilled, for a loader that brings its own.
"""

from collections.abc import Container
from functools import lru_cache

import numpy as np
from tinygrad import Tensor

from edifice_tt.nn import ops
from edifice_tt.nn.buffers import filled, unfilled, uniform
from edifice_tt.nn.cpu.kernels import Weight, pack
from edifice_tt.nn.ops import Memory


class Linear:
    """A dense layer, glorot-uniform weight (out, in) and zero bias (out)."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        bias: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        if rng is None:
            self.weight = unfilled(out_size, in_size)
        else:
            self.weight = uniform(rng, (6 / (in_size + out_size)) ** 0.5, out_size, in_size)
        self.bias = filled(0, out_size) if bias else None

    @property
    def packed(self) -> Weight:
        return pack(self.weight, self.bias)

    def __call__(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        return ops.linear(x, self.weight, self.bias, rows)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the weight, as an embedding gives them: ids (B, T) -> (B, T, in)."""
        return ops.lookup(ids, self.weight)


class RMSNorm:
    """Root-mean-square norm with a gain, initially one."""

    def __init__(self, size: int, eps: float) -> None:
        self.eps = eps
        self.weight = filled(1, size)

    def __call__(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.weight, self.eps)


class LayerNorm:
    """Layer norm with gain, initially one, and bias, initially zero."""

    def __init__(self, size: int, eps: float) -> None:
        self.eps = eps
        self.weight = filled(1, size)
        self.bias = filled(0, size)

    def __call__(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.weight, self.bias, self.eps)


class Attention:
    """Grouped-query attention with rotary positions."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        *,
        biases: Container[str],
        rng: np.random.Generator | None,
    ) -> None:
        self.head_dim = head_dim
        kv_size = num_kv_heads * head_dim
        self.q_proj = Linear(hidden_size, num_heads * head_dim, bias="q" in biases, rng=rng)
        self.k_proj = Linear(hidden_size, kv_size, bias="k" in biases, rng=rng)
        self.v_proj = Linear(hidden_size, kv_size, bias="v" in biases, rng=rng)
        self.o_proj = Linear(num_heads * head_dim, hidden_size, bias="o" in biases, rng=rng)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated queries (B, T, H, E); rotated keys and plain values (2, B, T, K, E)."""
        q, k, v = (self._split(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        return ops.rotate(q, cos, sin), Tensor.stack(ops.rotate(k, cos, sin), v)

    def attend(self, q: Tensor, memories: list[Memory]) -> Tensor:
        return self.o_proj(ops.attention(q, memories).flatten(2))  # (B, T, D)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim))  # (B, T, heads, E)


class SwiGLU:
    """Gated feed-forward: `down(silu(gate(x)) * up(x))` (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(
        self,
        hidden_size: int,
        ffn_size: int,
        *,
        biases: Container[str],
        rng: np.random.Generator | None,
    ) -> None:
        self.gate_proj = Linear(hidden_size, ffn_size, bias="gate" in biases, rng=rng)
        self.up_proj = Linear(hidden_size, ffn_size, bias="up" in biases, rng=rng)
        self.down_proj = Linear(ffn_size, hidden_size, bias="down" in biases, rng=rng)

    def __call__(self, x: Tensor) -> Tensor:
        return self.down_proj(ops.silu_gate(self.gate_proj(x), self.up_proj(x)))


@lru_cache(maxsize=32)
def rope_tables(
    head_dim: int,
    base: float,
    factors: tuple[float, ...] | None,
    positions: int,
    device: str,
) -> tuple[Tensor, Tensor]:
    """cos and sin (positions, E/2) of `position * base^(-2i/E) / factor_i`, angles in float64.

    Shared and cached, since every layer of every model of one shape reads the same table; a
    device's table is made once.
    """
    theta = base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    if factors is not None:
        theta = theta / np.asarray(factors, dtype=np.float64)
    angles = np.outer(np.arange(positions, dtype=np.float64), theta)
    cos, sin = (
        Tensor(table.astype(np.float32), device=device)
        for table in (np.cos(angles), np.sin(angles))
    )
    Tensor.realize(cos, sin)
    return cos, sin
