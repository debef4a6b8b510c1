"""The transformer that every architecture here shares: GQA + RoPE + SwiGLU, pre-norm.

Reads hidden states, gives hidden states; knows neither tokens nor scores. The key/value cache is
an argument, never an attribute.
"""

from copy import deepcopy
from functools import cached_property, partial
from typing import Any

import numpy as np
from tinygrad import Tensor, UOp, dtypes
from tinygrad.function import function
from tinygrad.helpers import TRAINING
from tinygrad.nn.state import get_parameters

from edifice_tt.nn.blocks import Attention, LayerNorm, RMSNorm, SwiGLU, rope_tables
from edifice_tt.nn.cache import KVCache, count_up
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.ops import Memory


class Block:
    """One pre-norm layer: `x + attention(norm(x))`, then `x + swiglu(norm(x))`."""

    def __init__(self, config: BackboneConfig, rng: np.random.Generator | None) -> None:
        self.config = config
        self.attn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.attn = Attention(
            config.hidden_size,
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
            biases=config.biases,
            rng=rng,
        )
        self.ffn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.ffn = SwiGLU(config.hidden_size, config.ffn_size, biases=config.biases, rng=rng)

    def __call__(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        seen: list[Tensor],
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D); `tables` are cos and sin (S, E/2) of all positions."""
        if not self.is_one_kernel(x):
            return self._formula(x, tables, seen, cache, layer)
        if cache is None:
            return kernels.block(x, self._layer, tables, gradient=self._gradient)
        prefix = None if cache.prefix is None else cache.prefix.layers[layer]
        return kernels.block(
            x,
            self._layer,
            tables,
            cache.layers[layer],
            prefix,
            cache.rows,
            in_halves=cache.is_shared,
        )

    def __getstate__(self) -> dict[str, Any]:
        # A function of this layer's, which a copy makes for itself.
        return {name: value for name, value in vars(self).items() if name != "_gradient"}

    def is_one_kernel(self, x: Tensor) -> bool:
        """Whether the layer runs as one kernel: on a CPU with a C compiler, and not in training."""
        weights = [w for w in get_parameters(self) if w.dtype != dtypes.uint8]
        return not TRAINING and cpu.serves(x, weights=weights)

    @property
    def kind(self) -> tuple[str, ...]:
        """How its weights are stored; layers of one kind and config run the same program."""
        weights = self._layer.weights.values()
        return tuple(w.kind if w.bias is None else f"{w.kind} and bias" for w in weights)

    def _formula(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        seen: list[Tensor],
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        start = 0 if cache is None else cache.position
        cos, sin = (table[start : start + x.shape[1]] for table in tables)  # each (T, E/2)
        q, kv = self.attn.project(self.attn_norm(x), cos, sin)
        memories = [Memory(kv, seen[0])] if cache is None else cache.remember(layer, kv, seen)
        dropout = self.config.dropout
        x = x + self.attn.attend(q, memories).dropout(dropout)  # (B, T, D)
        return (x + self.ffn(self.ffn_norm(x)).dropout(dropout)).contiguous()  # (B, T, D)

    @property
    def _layer(self) -> kernels.Layer:
        attn, ffn, c = self.attn, self.ffn, self.config
        parts = {"q": attn.q_proj, "k": attn.k_proj, "v": attn.v_proj, "o": attn.o_proj}
        parts |= {"gate": ffn.gate_proj, "up": ffn.up_proj, "down": ffn.down_proj}
        return kernels.Layer(
            c.num_heads,
            c.num_kv_heads,
            c.head_dim,
            c.norm_eps,
            self.attn_norm.weight,
            self.ffn_norm.weight,
            {name: part.packed for name, part in parts.items()},
        )

    @cached_property
    def _gradient(self) -> cpu.Gradient:
        # One object a layer: it is part of what tinygrad recognises a scheduled graph by.
        def gradient(of_out: UOp, call: UOp) -> tuple[UOp | None, ...]:
            x, cos, sin, attn_norm, ffn_norm, *rest = (Tensor(uop) for uop in call.src[4:])
            layer, given = self._layer, [attn_norm, ffn_norm, *rest]
            weights = [layer.attn_norm, layer.ffn_norm]
            weights += [
                t for w in layer.weights.values() for t in (w.data, w.bias) if t is not None
            ]
            # The same layer on the Tensors that the kernel read.
            memo: dict[int, Any] = {id(w): t for w, t in zip(weights, given, strict=True)}
            seen = [count_up(1, x.shape[1], str(x.device))]
            y = deepcopy(self, memo)._formula(x, (cos, sin), seen, None, 0)
            floats = [t for t in given if t.is_floating_point()]
            of_x, *found = y.gradient(x, *floats, gradient=Tensor(of_out))
            by_weight = {id(t): g.uop for t, g in zip(floats, found, strict=True)}
            of_attn_norm, of_ffn_norm, *others = (by_weight.get(id(t)) for t in given)
            written = None, None, None
            return *written, of_x.uop, None, None, of_attn_norm, of_ffn_norm, *others

        return gradient


class Backbone:
    """`num_layers` pre-norm blocks and a final norm. Dropout acts under `Context(TRAINING=1)`."""

    def __init__(self, config: BackboneConfig, rng: np.random.Generator | None = None) -> None:
        self.config = config
        self.blocks = [Block(config, rng) for _ in range(config.num_layers)]
        if config.final_norm == "layer_norm":
            self.final_norm: LayerNorm | RMSNorm = LayerNorm(
                config.hidden_size, config.final_norm_eps
            )
        else:
            self.final_norm = RMSNorm(config.hidden_size, config.final_norm_eps)

    def __call__(
        self, x: Tensor, cache: KVCache | None = None, part: range | None = None
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D); with a cache, x follows what the cache holds.

        `part` are the layers to go through, by default all; the final norm follows the last layer.
        """
        T, device = x.shape[1], str(x.device)
        tables = self.rotations(T if cache is None else cache.span, device)
        seen = [count_up(1, T, device)] if cache is None else cache.seen(T, device)
        if cache is not None and cache.rows is None:
            cache = cache.wanting_all(x)
        part = range(len(self.blocks)) if part is None else part
        for layer in part:
            block = self.blocks[layer]
            read = partial(block, tables=tables, seen=seen, cache=cache, layer=layer)
            if cache is not None and not block.is_one_kernel(x):
                # As a function of its own, a layer like the one before is not scheduled again.
                # No gradient reaches the weights in it; behind a cache none is asked for.
                read = function(read, precompile=True, allow_implicit=True)
            x = read(x)  # (B, T, D)
        return self.final_norm(x) if part.stop == len(self.blocks) else x

    def rotations(self, positions: int, device: str) -> tuple[Tensor, Tensor]:
        """cos and sin (S, E/2) of at least that many positions; made once for a device."""
        c = self.config
        # A power of two, so that texts of many lengths share a table.
        rounded = max(64, 1 << (positions - 1).bit_length())
        return rope_tables(c.head_dim, c.rope_base, c.rope_factors, rounded, device)
