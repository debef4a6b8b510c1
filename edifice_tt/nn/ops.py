"""The formulas, in plain tinygrad operations; knows no weights and no configuration.

Shapes everywhere in this library: **B** batch, **T** tokens, **D** hidden size, **H** query heads,
**K** key/value heads, **E** head size, **V** vocabulary, **N** candidates; **S** is the number of
positions that attention looks back on.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tinygrad import Tensor, dtypes


class Memory(NamedTuple):
    """Keys and values to attend to, and which of them each query may see."""

    keys: Tensor  # (B or 1, K, S, E)
    values: Tensor  # (B or 1, K, S, E)
    visible: Tensor  # bool, broadcasts to (B, K, H/K, T, S)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`y = x W^T + b`: x (..., in), weight (out, in), bias (out) -> (..., out)."""
    y = x @ weight.transpose()
    return y if bias is None else y + bias


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last axis (Zhang and Sennrich, 2019, arXiv:1910.07467)."""
    x32 = x.float()
    return (x32 * (x32.square().mean(-1, keepdim=True) + eps).rsqrt()).cast(x.dtype) * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the last axis, biased variance (Ba et al., 2016, arXiv:1607.06450)."""
    centred = x.float() - x.float().mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
    return (centred * scale).cast(x.dtype) * weight + bias


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, half-split (Su et al., 2021, arXiv:2104.09864).

    x (B, heads, T, E), cos and sin (T, E/2) -> (B, heads, T, E). The pairs are (i, i + E/2).
    """
    first, second = x.chunk(2, dim=-1)  # (B, heads, T, E/2)
    return (first * cos - second * sin).cat(second * cos + first * sin, dim=-1)


def attention(q: Tensor, memories: Sequence[Memory]) -> Tensor:
    """Grouped-query attention over one or more memories with one softmax across all of them.

    q (B, H, T, E) -> (B, H, T, E). Key/value head g serves the query heads g*H/K .. (g+1)*H/K-1
    (Ainslie et al., 2023, arXiv:2305.13245). Several memories let N candidates share the keys and
    values of their prompt, which then stand in memory once.
    """
    B, H, T, E = q.shape
    K = memories[0].keys.shape[1]
    grouped = q.reshape(B, K, H // K, T, E) * E**-0.5  # (B, K, H/K, T, E)
    scores = [
        memory.visible.where(
            (grouped @ memory.keys.unsqueeze(2).transpose(-1, -2)).float(), -float("inf")
        )
        for memory in memories
    ]  # each (B, K, H/K, T, S)
    weights = scores[0].cat(*scores[1:], dim=-1).softmax(-1).cast(q.dtype)
    parts = weights.split([memory.keys.shape[2] for memory in memories], dim=-1)
    mixed = [p @ memory.values.unsqueeze(2) for p, memory in zip(parts, memories, strict=True)]
    return sum(mixed[1:], mixed[0]).reshape(B, H, T, E)


def causal(tokens: int) -> Tensor:
    """Which positions each of T tokens may see: itself and those before. Bool (T, T)."""
    position = Tensor.arange(tokens)
    return position.unsqueeze(0) <= position.unsqueeze(1)


def silu_gate(gate: Tensor, up: Tensor) -> Tensor:
    """`silu(gate) * up`, the gated unit of SwiGLU (Shazeer, 2020, arXiv:2002.05202)."""
    return gate.silu() * up


def logprobs(logits: Tensor) -> Tensor:
    """Log-softmax over the last axis in float32."""
    return logits.cast(dtypes.float32).log_softmax(-1)
