"""The formulas, in plain tinygrad operations; knows no weights and no configuration.

Shapes everywhere in this library: **B** batch, **T** tokens, **D** hidden size, **H** query heads,
**K** key/value heads, **E** head size, **V** vocabulary, **N** candidates. **S** is the number of
positions that attention looks back on.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

from tinygrad import Tensor, dtypes

from edifice_tt.nn.config import Activation
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu.kernels import Weighting
from edifice_tt.nn.kept import rounded, widen


class Memory(NamedTuple):
    """Keys and values to attend to, and how many of them, from the first, each query may see."""

    kv: Tensor  # keys and values (2, B or 1, S, K, E), as they are kept
    seen: Tensor  # int32 (T,), never fewer from one query to the next; or (1,), the same for all


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, rows: Tensor | None = None
) -> Tensor:
    """`y = x W^T + b`: x (..., in), weight (out, in), bias (out) -> (..., out).

    With `rows` (see `KVCache`) the others may be left out, and hold anything.
    """
    if cpu.serves(x, bias, weights=[weight]):
        return kernels.linear(x, kernels.pack(weight, bias), linear_formula, rows)
    return linear_formula(x, weight, bias)


def linear_formula(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # A weight of 16 bits meets x in 16 bits and sums in float32: what tensor cores do.
    y = x.cast(weight.dtype).matmul(weight.transpose(), dtype=dtypes.float32)
    # Its own kernel: where two products share one, no tensor core is used, and tinygrad computes
    # the second again in every thread that sums up the first.
    return (y if bias is None else y + bias).cast(x.dtype).contiguous()


def sum_of_parts(x: Tensor, weight: Tensor, parts: int) -> Tensor:
    """The sum of products of as many parts: x (..., parts in), weight (parts out, in)."""
    together = weight.unflatten(0, (parts, -1)).permute(1, 0, 2).flatten(1)  # (out, parts in)
    return linear_formula(x, together)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last axis (Zhang and Sennrich, 2019, arXiv:1910.07467)."""
    if cpu.serves(x, weight):
        return kernels.norm(x, weight, None, eps, _with_eps(rms_norm_formula, eps))
    return rms_norm_formula(x, weight, eps)


def rms_norm_formula(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x32 = x.float()
    return (x32 * (x32.square().mean(-1, keepdim=True) + eps).rsqrt()).cast(x.dtype) * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the last axis, biased variance (Ba et al., 2016, arXiv:1607.06450)."""
    if cpu.serves(x, weight, bias):
        return kernels.norm(x, weight, bias, eps, _with_eps(layer_norm_formula, eps))
    return layer_norm_formula(x, weight, bias, eps)


def layer_norm_formula(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x.float() - x.float().mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
    return (centred * scale).cast(x.dtype) * weight + bias


@cache
def _with_eps(formula: Callable[..., Tensor], eps: float) -> Callable[..., Tensor]:
    return partial(formula, eps=eps)


def lookup(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows of a weight (rows, D), as an embedding gives them: int ids (...) -> (..., D)."""
    if cpu.serves(weights=[weight]) and ids.device == weight.device:
        ids = ids.cast(dtypes.int32)
        return kernels.lookup(ids, kernels.pack(weight), weight.shape[1], lookup_formula)
    return lookup_formula(ids, weight)


def lookup_formula(ids: Tensor, weight: Tensor) -> Tensor:
    return weight[ids].float()  # the sum over all layers is of float32, whatever the weights are


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, half-split (Su et al., 2021, arXiv:2104.09864).

    x (B, T, heads, E), cos and sin (T, R/2) -> (B, T, heads, E). The pairs are (i, i + R/2) of the
    first R numbers of a head; the others stay.
    """
    R, x32 = 2 * int(cos.shape[-1]), x.float()
    first, second = x32[..., :R].chunk(2, dim=-1)  # (B, T, heads, R/2)
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # (T, 1, R/2)
    parts = [second * cos + first * sin]
    if x.shape[-1] > R:
        parts.append(x32[..., R:])
    return (first * cos - second * sin).cat(*parts, dim=-1).cast(x.dtype)


def scale(x: Tensor, factor: float, cap: float = 0.0) -> Tensor:
    """`factor x`, and with a cap `cap tanh(factor x / cap)` (Gemma 2, 2024, arXiv:2408.00118)."""
    if cpu.serves(x):
        return kernels.scale(x, factor, cap, _scaling(factor, cap))
    return scale_formula(x, factor, cap)


def scale_formula(x: Tensor, factor: float, cap: float = 0.0) -> Tensor:
    return (x * (factor / cap)).tanh() * cap if cap else x * factor


@cache
def _scaling(factor: float, cap: float) -> Callable[..., Tensor]:
    return partial(scale_formula, factor=factor, cap=cap)


def attention(q: Tensor, memories: Sequence[Memory], by: Weighting | None = None) -> Tensor:
    """Grouped-query attention over one or more memories with one softmax across all of them.

    q (B, T, H, E) -> (B, T, H, E). Key/value head g serves the query heads g*H/K .. (g+1)*H/K-1
    (Ainslie et al., 2023, arXiv:2305.13245). Several memories let N candidates share the keys and
    values of their prompt, which then stand in memory once. `by` is scaled by E^-1/2 by default.
    """
    B, T, _, E = q.shape
    by = by or Weighting(E**-0.5)
    *shared, own = memories
    batches = [memory.kv.shape[1] for memory in memories]
    if (
        batches in ([B], [1, B])
        and cpu.serves(q)
        and cpu.keeps(q, *(memory.kv for memory in memories))
    ):
        counts = [*(memory.seen for memory in shared), own.seen.expand(T)]
        pairs = [(m.kv, count.contiguous()) for m, count in zip(memories, counts, strict=True)]
        return kernels.attention(q, pairs, by, _flat(by))
    return attention_formula(q, memories, by)


@cache
def _flat(by: Weighting) -> Callable[..., Tensor]:
    def formula(q: Tensor, *rest: Tensor) -> Tensor:
        memories = [Memory(*pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
        return attention_formula(q, memories, by)

    return formula


def attention_formula(q: Tensor, memories: Sequence[Memory], by: Weighting | None = None) -> Tensor:
    B, T, H, E = q.shape
    K = memories[0].kv.shape[3]
    by = by or Weighting(E**-0.5)
    if memories[0].kv.dtype == dtypes.int8:
        q = rounded(q)  # keys of 8 bits meet queries of 8 bits
    grouped = q.reshape(B, T, K, H // K, E).permute(0, 2, 3, 1, 4) * by.scale  # (B, K, H/K, T, E)
    # Behind a memory, the next begins at the position that its last one stands before.
    starts = [0, *(memory.seen[-1:] for memory in memories[:-1])]
    newest = memories[-1].seen + starts[-1] - 1  # the position of each query, (T,) or (1,)
    scores, values = [], []
    for memory, start in zip(memories, starts, strict=True):
        kv = widen(memory.kv, E).cast(q.dtype)  # a cache may be wider
        k, v = kv.permute(0, 1, 3, 2, 4).unsqueeze(3)  # each (B or 1, K, 1, S, E)
        at = Tensor.arange(k.shape[-2])
        visible = at < memory.seen.unsqueeze(1)  # (T or 1, S)
        if by.window:
            visible = visible & (at + start > newest.unsqueeze(1) - by.window)
        score = grouped.matmul(k.transpose(-1, -2), dtype=dtypes.float32)
        if by.cap:
            score = scale_formula(score, 1.0, by.cap)
        scores.append(visible.where(score, -float("inf")))
        values.append(v)
    weights = scores[0].cat(*scores[1:], dim=-1).softmax(-1).cast(q.dtype)  # (B, K, H/K, T, S)
    parts = weights.split([v.shape[-2] for v in values], dim=-1)
    mixed = [part @ v for part, v in zip(parts, values, strict=True)]
    return sum(mixed[1:], mixed[0]).permute(0, 3, 1, 2, 4).reshape(B, T, H, E).contiguous()


def shares(logits: Tensor, used: int, normed: bool) -> Tensor:
    """What each expert contributes to a token, 0 but for those `used`: (..., n) -> (..., n).

    Of equals the first is used.
    """
    p = logits.softmax(-1)
    p = (p.topk(used)[1].one_hot(p.shape[-1]).sum(-2) > 0).where(p, 0)
    return p / p.sum(-1, keepdim=True) if normed else p


def gated(gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
    """`activation(gate) * up`, the unit of SwiGLU and GEGLU (Shazeer, 2020, arXiv:2002.05202)."""
    return (gate.silu() if activation == "silu" else gate.gelu()) * up
