"""What every architecture here shares: attention or a recurrence, and a gated feed-forward.

Reads hidden states, gives hidden states; knows neither tokens nor scores. The key/value cache is
an argument, never an attribute.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cached_property, partial
from typing import Any

import numpy as np
from tinygrad import Tensor, UOp, dtypes
from tinygrad.function import function
from tinygrad.helpers import TRAINING
from tinygrad.nn.state import get_parameters

from edifice_tt.nn.blocks import Attention, Experts, FeedForward, LayerNorm, RMSNorm, rope_tables
from edifice_tt.nn.cache import KVCache, count_up
from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu.layer import Layer, call_layer
from edifice_tt.nn.delta import GatedDelta
from edifice_tt.nn.gpu import layer as gpu
from edifice_tt.nn.ops import Memory
from edifice_tt.nn.program import Gradient

NORMS = ("attn_norm", "attn_post_norm", "ffn_norm", "ffn_post_norm")  # that a layer can have


class Block:
    """One layer: `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.

    Some families have their norms behind attention and feed-forward, or there as well. Some layers
    have the gated delta rule in place of attention.
    """

    def __init__(self, config: BackboneConfig, layer: int, rng: np.random.Generator | None) -> None:
        self.config = config
        self.rope, self.window = config.rope(layer), config.window(layer)

        def norm(*where: str) -> RMSNorm | None:
            present = config.norms in where
            return RMSNorm(config.hidden_size, config.norm_eps) if present else None

        self.attn_norm = norm("before", "both")
        if layer in config.recurrent_layers:
            self.delta = GatedDelta(config, rng)
        else:
            self.attn = Attention(config, rng)
        self.attn_post_norm = norm("after", "both")
        self.ffn_norm = norm("before", "both")
        if config.has_experts(layer):
            self.experts = Experts(config, rng)
        else:
            self.ffn = FeedForward(config, rng)
        self.ffn_post_norm = norm("after", "both")

    def __call__(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor] | None,
        seen: list[Tensor],
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D); `tables` are cos and sin (S, R/2) of all positions, if any."""
        if not self.is_one_kernel(x):
            if cache is None:
                return self._formula(x, tables, seen, cache, layer)
            return self._behind(x, tables, seen, cache, layer)
        if cache is None:
            return call_layer(x, self._layer, tables, gradient=self._gradient)
        prefix = None if cache.prefix is None else cache.prefix.layers[layer]
        return call_layer(x, self._layer, tables, cache.layers[layer], prefix, cache.rows)

    def __getstate__(self) -> dict[str, Any]:
        # A function of this layer's, which a copy makes for itself.
        return {name: value for name, value in vars(self).items() if name != "_gradient"}

    def is_one_kernel(self, x: Tensor) -> bool:
        """Whether the layer runs as one kernel: on a CPU with a C compiler, and not in training."""
        weights = [w for w in get_parameters(self) if w.dtype != dtypes.uint8]
        return not TRAINING and cpu.serves(x, weights=weights)

    @property
    def kind(self) -> tuple[Any, ...]:
        """How it reads and how its weights are stored; layers of one kind run the same program."""
        weights = self._layer.weights.values()
        stored = (w.kind if w.bias is None else f"{w.kind} and bias" for w in weights)
        return self.rope, self.window, *stored

    def _formula(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor] | None,
        seen: list[Tensor],
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        return self._transform(self._mix(x, tables, seen, cache, layer))

    def _behind(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor] | None,
        seen: list[Tensor],
        cache: KVCache,
        layer: int,
    ) -> Tensor:
        """Two halves, each by kernels of a GPU where those cover it."""
        of, prefix = self._layer, None if cache.prefix is None else cache.prefix.layers[layer]
        formula = partial(self._mix, tables=tables, seen=seen, cache=cache, layer=layer)
        y = gpu.attend(x, of, tables, cache.layers[layer], prefix, cache.rows)
        if y is None and gpu.transform(x, of) is None:
            return _apart(lambda x: self._transform(formula(x)), x)
        y = _apart(formula, x) if y is None else y
        z = gpu.transform(y, of)
        return _apart(self._transform, y) if z is None else z

    def _mix(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor] | None,
        seen: list[Tensor],
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        y = self.attn_norm(x) if self.attn_norm else x
        if self.is_recurrent:
            y = self._recall(y, cache, layer)
        else:
            y = self._attend(y, tables, seen, cache, layer)
        return self._add(x, y, self.attn_post_norm)

    def _transform(self, x: Tensor) -> Tensor:
        y = self.forward(self.ffn_norm(x) if self.ffn_norm else x)
        return self._add(x, y, self.ffn_post_norm).contiguous()  # (B, T, D)

    def _attend(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor] | None,
        seen: list[Tensor],
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        start, T = 0 if cache is None else cache.position, x.shape[1]
        turns = (
            None if tables is None else (tables[0][start : start + T], tables[1][start : start + T])
        )
        q, kv, gate = self.attn.project(x, turns)
        if cache is None:
            return self.attn.attend(q, [Memory(kv, seen[0])], self._layer.by, gate)
        wanted = cache.wanted(T) if self.config.recurrent_layers else None
        memories = cache.remember(layer, kv, seen, wanted)
        return self.attn.attend(q, memories, self._layer.by, gate)

    def _recall(self, x: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        if cache is None:
            return self.delta.project(self.delta.recur(x)[0], x)
        wanted = cache.wanted(x.shape[1])
        before = cache.recall(layer, wanted)
        answers, states = self.delta.recur(x, before, wanted)
        return self.delta.project(cache.keep(layer, states, answers), x)

    @property
    def is_recurrent(self) -> bool:
        return hasattr(self, "delta")

    @property
    def forward(self) -> FeedForward | Experts:
        return self.experts if hasattr(self, "experts") else self.ffn

    def _add(self, x: Tensor, y: Tensor, norm: RMSNorm | None) -> Tensor:
        y, scale = norm(y) if norm else y, self.config.residual_scale
        return x + (y if scale == 1 else y * scale).dropout(self.config.dropout)

    @property
    def _layer(self) -> Layer:
        ffn = self.forward
        plain = {name: norm.weight for name in NORMS if (norm := getattr(self, name))}
        if self.is_recurrent:
            of = self.delta
            parts = {"qkv": of.qkv_proj, "z": of.z_proj, "b": of.b_proj, "a": of.a_proj}
            parts["o"] = of.o_proj
            plain |= {"filter": of.filter, "dt_bias": of.dt_bias, "decay": of.decay}
            plain["norm"] = of.norm.weight
        else:
            attn = self.attn
            parts = {"q": attn.q_proj, "k": attn.k_proj, "v": attn.v_proj, "o": attn.o_proj}
            norms = {"q_norm": attn.q_norm, "k_norm": attn.k_norm}
            plain |= {name: norm.weight for name, norm in norms.items() if norm}
        parts |= {"gate": ffn.gate_proj, "up": ffn.up_proj, "down": ffn.down_proj}
        if isinstance(ffn, Experts):
            parts["router"] = ffn.router
        weights = {name: part.packed for name, part in parts.items()}
        return Layer(self.config, self.window, plain, weights)

    @cached_property
    def _gradient(self) -> Gradient:
        # One object a layer: it is part of what tinygrad recognises a scheduled graph by.
        def gradient(of_out: UOp, call: UOp) -> tuple[UOp | None, ...]:
            x, *rest = (Tensor(uop) for uop in call.src[4:])
            tables = None if self.rope is None else (rest.pop(0), rest.pop(0))
            layer = self._layer
            weights = list(layer.plain.values())
            weights += [
                t for w in layer.weights.values() for t in (w.data, w.bias) if t is not None
            ]
            # The same layer on the Tensors that the kernel read.
            memo: dict[int, Any] = {id(w): t for w, t in zip(weights, rest, strict=True)}
            seen = [count_up(1, x.shape[1], str(x.device))]
            y = deepcopy(self, memo)._formula(x, tables, seen, None, 0)
            floats = [t for t in rest if t.is_floating_point()]
            of_x, *of_floats = y.gradient(x, *floats, gradient=Tensor(of_out))
            by_weight = {id(t): g.uop for t, g in zip(floats, of_floats, strict=True)}
            written, turns = [None] * 3, [None] * (0 if tables is None else 2)
            return *written, of_x.uop, *turns, *(by_weight.get(id(t)) for t in rest)

        return gradient


def _apart(formula: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A formula of a layer as a function of its own, so that one like it is scheduled but once.

    No gradient reaches the weights in it; behind a cache none is asked for.
    """
    read: Callable[[Tensor], Tensor] = function(formula, precompile=True, allow_implicit=True)
    return read(x)


class Backbone:
    """`num_layers` blocks and a final norm. Dropout acts under `Context(TRAINING=1)`."""

    def __init__(self, config: BackboneConfig, rng: np.random.Generator | None = None) -> None:
        self.config = config
        self.blocks = [Block(config, layer, rng) for layer in range(config.num_layers)]
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
        positions = T if cache is None else cache.span
        of_long = self.config.long_rope_from < T if cache is None else cache.of_long
        seen = [count_up(1, T, device)] if cache is None else cache.seen(T, device)
        if cache is not None and cache.rows is None:
            cache = cache.wanting_all(x)
        part = range(len(self.blocks)) if part is None else part
        for layer in part:
            block = self.blocks[layer]
            tables = self.rotations(layer, positions, device, of_long)
            x = block(x, tables, seen, cache, layer)  # (B, T, D)
        if part.stop < len(self.blocks):
            return x
        normed, last = None, self.final_norm
        if cache is not None and isinstance(last, RMSNorm):
            normed = gpu.last_norm(x, self.blocks[-1]._layer, last.weight, last.eps)
        return last(x) if normed is None else normed

    def rotations(
        self, layer: int, positions: int, device: str, of_long: bool = False
    ) -> tuple[Tensor, Tensor] | None:
        """cos and sin (S, R/2) of at least that many positions; made once for a device.

        `of_long` as in `KVCache`. None for a layer that is not rotated.
        """
        if (rope := self.blocks[layer].rope) is None:
            return None
        # A power of two, so that texts of many lengths share a table.
        rounded = max(64, 1 << (positions - 1).bit_length())
        size, factors = self.config.rotated or self.config.head_dim, rope.factors
        if of_long and rope.long_factors is not None:
            factors = rope.long_factors
        return rope_tables(size, rope.base, factors, rounded, device, rope.scale)
