"""The parts of a transformer: weights in `__init__`, one formula in `__call__`.

A Tensor attribute is a weight, and its name is its name in files; so nothing else is one. With
`rng=None` the weights are left unfilled, for a loader that brings its own.
"""

from functools import lru_cache

import numpy as np
from tinygrad import Tensor

from edifice_tt.nn import ops
from edifice_tt.nn.buffers import filled, unfilled, uniform
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu.kernels import Weight, Weighting, pack
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

    def rounded(self, x: Tensor) -> Tensor:
        """What the product is taken of: here x itself."""
        return x

    def floats(self) -> Tensor:
        """The weight (out, in) as float32."""
        return self.weight.float()

    def sum_of_parts(self, x: Tensor, parts: int) -> Tensor:
        """The sum of the products of parts, x (..., parts in) and as many parts of the rows."""
        return ops.sum_of_parts(x, self.floats(), parts)

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
    """Grouped-query attention, by default with rotary positions."""

    def __init__(self, config: BackboneConfig, rng: np.random.Generator | None) -> None:
        c = self.config = config
        queries, keys = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
        asked = queries * (2 if c.gated_attention else 1)
        self.q_proj = Linear(c.hidden_size, asked, bias="q" in c.biases, rng=rng)
        self.k_proj = Linear(c.hidden_size, keys, bias="k" in c.biases, rng=rng)
        self.v_proj = Linear(c.hidden_size, keys, bias="v" in c.biases, rng=rng)
        self.o_proj = Linear(queries, c.hidden_size, bias="o" in c.biases, rng=rng)
        self.q_norm = self.k_norm = None
        if c.qk_norm != "none":
            whole = c.qk_norm == "whole"
            self.q_norm = RMSNorm(queries if whole else c.head_dim, c.norm_eps)
            self.k_norm = RMSNorm(keys if whole else c.head_dim, c.norm_eps)

    def project(
        self, x: Tensor, tables: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rotated queries (B, T, H, E); rotated keys, plain values (2, B, T, K, E); any gates."""
        asked, gate = self.q_proj(x), None
        if self.config.gated_attention:  # of each head its query, and then its gate
            pairs = asked.unflatten(-1, (self.config.num_heads, 2, -1))
            asked, gate = pairs[:, :, :, 0].flatten(2), pairs[:, :, :, 1].flatten(2)
        q, k = self._normed(asked, self.q_norm), self._normed(self.k_proj(x), self.k_norm)
        if tables is not None:
            q, k = ops.rotate(q, *tables), ops.rotate(k, *tables)
        return q, Tensor.stack(k, self._split(self.v_proj(x))), gate

    def attend(
        self, q: Tensor, memories: list[Memory], by: Weighting, gate: Tensor | None = None
    ) -> Tensor:
        mixed = ops.attention(q, memories, by).flatten(2)
        return self.o_proj(mixed if gate is None else mixed * gate.sigmoid())  # (B, T, D)

    def _normed(self, x: Tensor, norm: RMSNorm | None) -> Tensor:
        if norm is None:
            return self._split(x)
        return self._split(norm(x)) if self.config.qk_norm == "whole" else norm(self._split(x))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.config.head_dim))  # (B, T, heads, E)


class FeedForward:
    """Gated: `down(activation(gate(x)) * up(x))` (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, config: BackboneConfig, rng: np.random.Generator | None) -> None:
        D, F, biases = config.hidden_size, config.ffn_size, config.biases
        self.activation = config.activation
        self.gate_proj = Linear(D, F, bias="gate" in biases, rng=rng)
        self.up_proj = Linear(D, F, bias="up" in biases, rng=rng)
        self.down_proj = Linear(F, D, bias="down" in biases, rng=rng)

    def __call__(self, x: Tensor) -> Tensor:
        return self.down_proj(ops.gated(self.gate_proj(x), self.up_proj(x), self.activation))


class Experts:
    """Feed-forwards of which each token goes through a few, by the shares that a router gives.

    (Shazeer et al., 2017, arXiv:1701.06538.) Rows of one expert's weights stand together.
    """

    def __init__(self, config: BackboneConfig, rng: np.random.Generator | None) -> None:
        c, D, n = config, config.hidden_size, config.experts
        F = c.expert_size or c.ffn_size
        self.config = config
        self.router = Linear(D, n, bias=False, rng=rng)
        self.gate_proj = Linear(D, n * F, bias=False, rng=rng)
        self.up_proj = Linear(D, n * F, bias=False, rng=rng)
        self.down_proj = Linear(F, n * D, bias=False, rng=rng)

    def __call__(self, x: Tensor) -> Tensor:
        c, n = self.config, self.config.experts
        shares = ops.shares(self.router(x), c.experts_used, c.experts_normed)  # (B, T, n)
        y = ops.gated(self.gate_proj(x), self.up_proj(x), c.activation)
        y = self.down_proj.rounded(y)
        y = (y.unflatten(-1, (n, -1)) * shares.unsqueeze(-1)).flatten(-2)  # (B, T, n F)
        return self.down_proj.sum_of_parts(y, n)


@lru_cache(maxsize=32)
def rope_tables(
    head_dim: int,
    base: float,
    factors: tuple[float, ...] | None,
    positions: int,
    device: str,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """cos and sin (positions, E/2) of `position * base^(-2i/E) / factor_i`, angles in float64.

    Both times `scale`.

    Shared and cached, since every layer of every model of one shape reads the same table; a
    device's table is made once.
    """
    theta = base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    if factors is not None:
        theta = theta / np.asarray(factors, dtype=np.float64)
    angles = np.outer(np.arange(positions, dtype=np.float64), theta)
    cos, sin = (
        Tensor((table * scale).astype(np.float32), device=device)
        for table in (np.cos(angles), np.sin(angles))
    )
    Tensor.realize(cos, sin)
    return cos, sin
