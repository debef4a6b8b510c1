"""The gated delta rule, which some layers have in place of attention.

(Yang et al., 2024, arXiv:2412.06464.) A head keeps a matrix that maps keys to values. Each token
lets it decay, corrects what it answers to its key, and asks it with its query.
"""

import numpy as np
from tinygrad import Tensor

from edifice_tt.nn.blocks import Linear, RMSNorm
from edifice_tt.nn.buffers import filled, unfilled, uniform
from edifice_tt.nn.config import BackboneConfig

_EPS = 1e-6  # under the root of a length


class GatedDelta:
    """Weights and formula of a recurrent layer; the kernel is `c/delta.c`.

    Its state, of each text, is the last inputs of the convolution and then a matrix per head.
    """

    def __init__(self, config: BackboneConfig, rng: np.random.Generator | None) -> None:
        c, D, heads = config, config.hidden_size, config.delta_value_heads
        self.config = config
        values, shape = heads * c.delta_value_size, (c.delta_channels, c.delta_conv)
        self.qkv_proj = Linear(D, c.delta_channels, bias=False, rng=rng)
        self.z_proj = Linear(D, values, bias=False, rng=rng)
        self.b_proj = Linear(D, heads, bias=False, rng=rng)
        self.a_proj = Linear(D, heads, bias=False, rng=rng)
        self.o_proj = Linear(values, D, bias=False, rng=rng)
        limit = c.delta_conv**-0.5
        self.filter = unfilled(*shape) if rng is None else uniform(rng, limit, *shape)
        self.dt_bias = filled(1, heads)
        self.decay = filled(-1, heads)  # what its logarithm is per unit of time
        self.norm = RMSNorm(c.delta_value_size, c.norm_eps)

    def recur(
        self, x: Tensor, state: Tensor | None = None, wanted: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The heads' answers (B, T, heads, V) to x (B, T, D), and the state behind those wanted.

        x follows a state (B, numbers); without one a text begins. `wanted` (B, T) are, of each
        text, the first tokens; by default all.
        """
        c, (B, T, _) = self.config, x.shape
        if state is None:
            state = Tensor.zeros(B, c.state_size, device=x.device)
        if wanted is None:
            wanted = Tensor.ones(B, T, device=x.device).bool()
        inputs = (c.delta_conv - 1) * c.delta_channels
        before = state[:, :inputs].reshape(B, c.delta_conv - 1, c.delta_channels)
        matrices = state[:, inputs:].reshape(
            B, c.delta_value_heads, c.delta_key_size, c.delta_value_size
        )
        window = before.cat(self.qkv_proj(x).float(), dim=1).contiguous()
        answers, matrices = self._answer(self._convolved(window), x, matrices, wanted)
        # The last inputs before the first token that is not wanted.
        at = wanted.sum(1).reshape(B, 1) + Tensor.arange(c.delta_conv - 1)
        before = window.gather(1, at.unsqueeze(-1).expand(before.shape))
        return answers, before.flatten(1).cat(matrices.flatten(1), dim=1)

    def project(self, answers: Tensor, x: Tensor) -> Tensor:
        """Answers (B, T, heads, V) to x -> (B, T, D)."""
        y = self.norm(answers).flatten(2) * self.z_proj(x).float().silu()  # (B, T, values)
        return self.o_proj(y.cast(x.dtype))

    def _convolved(self, window: Tensor) -> Tensor:
        """Queries, keys and values from inputs that begin before the first token."""
        size, weight = self.config.delta_conv, self.filter.float()
        T = window.shape[1] - size + 1
        y = sum(
            (window[:, j : j + T] * weight[:, j] for j in range(1, size)),
            window[:, :T] * weight[:, 0],
        )
        return (y.silu() if self.config.activation == "silu" else y.gelu()).contiguous()

    def _answer(
        self, qkv: Tensor, x: Tensor, state: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the matrices (B, heads, K, V) answer to each token (B, T, heads, V), and the last.

        Token i changes them by `k_i u_i`, where `u_i` is what is wrong of the answer to `k_i`; that
        depends on the changes before it. So all of them solve a triangular system.
        """
        c = self.config
        keys = c.delta_key_heads * c.delta_key_size
        q, k, v = qkv.split([keys, keys, qkv.shape[-1] - 2 * keys], dim=-1)
        q, k = self._of_heads(q) * c.delta_key_size**-0.5, self._of_heads(k)  # (B, heads, T, K)
        v = v.unflatten(-1, (c.delta_value_heads, -1)).transpose(1, 2)  # (B, heads, T, V)
        rates = (self.a_proj(x).float() + self.dt_bias).softplus() * self.decay
        shares = self.b_proj(x).float().sigmoid()
        rates, shares = (  # (B, heads, T)
            wanted.unsqueeze(-1).where(one, 0).transpose(1, 2).contiguous()
            for one in (rates, shares)
        )
        between, since = _decays(rates)  # (B, heads, T, T), (B, heads, T, 1)
        at, by = Tensor.arange(x.shape[1]), shares.unsqueeze(-1)
        before = at.unsqueeze(0) < at.unsqueeze(1)
        coupled = before.where((k @ k.transpose(-1, -2)) * between * by, 0)
        changes = _inverse(coupled.contiguous()) @ ((v - (k @ state) * since) * by)
        answers = (q @ state) * since + ((q @ k.transpose(-1, -2)) * between) @ changes
        left = between[:, :, -1].unsqueeze(-1)  # (B, heads, T, 1)
        state = state * since[:, :, -1:] + (k * left).transpose(-1, -2) @ changes
        return answers.transpose(1, 2), state

    def _of_heads(self, x: Tensor) -> Tensor:
        """Queries or keys (B, T, keys K) of length one, of each value head (B, heads, T, K)."""
        c = self.config
        x = x.unflatten(-1, (c.delta_key_heads, -1))
        x = x * (x.square().sum(-1, keepdim=True) + _EPS).rsqrt()
        times = c.delta_value_heads // c.delta_key_heads
        x = x.repeat(1, 1, times, 1) if c.delta_tiled else x.repeat_interleave(times, dim=2)
        return x.transpose(1, 2).contiguous()


def _decays(rates: Tensor) -> tuple[Tensor, Tensor]:
    """What is left at token i of what was there after token j, 0 for i < j; and of the beginning.

    Logarithms (..., T) -> (..., T, T) and (..., T, 1). Each is a sum of its own: a difference of
    two sums that began long before has lost the small ones.
    """
    at = Tensor.arange(rates.shape[-1])
    i, j, m = at.reshape(-1, 1, 1), at.reshape(1, -1, 1), at
    terms = rates.unsqueeze(-2).unsqueeze(-2)  # (..., 1, 1, T)
    between = ((j < m) & (m <= i)).where(terms, 0).sum(-1)
    since = (m <= at.unsqueeze(-1)).where(rates.unsqueeze(-2), 0).sum(-1, keepdim=True)
    return (j <= i).squeeze(-1).where(between.exp(), 0).contiguous(), since.exp().contiguous()


def _inverse(lower: Tensor) -> Tensor:
    """The inverse of 1 + lower (..., T, T), what is below a diagonal: by halves.

    Of `[[P, 0], [R, Q]]` it is `[[P', 0], [-Q' R P', Q']]`. Its numbers stay small, whatever keys
    repeat; the powers of a series would not.
    """
    *lead, T, _ = lower.shape
    size = 1 << (T - 1).bit_length()
    lower = lower.pad(((0, 0),) * len(lead) + ((0, size - T),) * 2)
    blocks = Tensor.ones(*lead, size, 1, 1, device=lower.device)  # (..., blocks, rows, rows)
    for half in (1 << level for level in range(size.bit_length() - 1)):
        count = size // (2 * half)
        grid = lower.reshape(*lead, count, 2 * half, count, 2 * half).transpose(-2, -3)
        pairs = grid.reshape(*lead, count**2, 2 * half, 2 * half)[..., :: count + 1, :, :]
        first, second = blocks[..., 0::2, :, :], blocks[..., 1::2, :, :]
        below = -(second @ pairs[..., half:, :half] @ first)
        top = first.pad(((0, 0),) * (first.ndim - 1) + ((0, half),))
        blocks = top.cat(below.cat(second, dim=-1), dim=-2).contiguous()
    return blocks.squeeze(-3)[..., :T, :T]
