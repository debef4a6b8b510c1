"""The transformer that every architecture here shares: GQA + RoPE + SwiGLU, pre-norm.

Reads hidden states, gives hidden states; knows neither tokens nor scores. The key/value cache is
an argument, never an attribute.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from tinygrad import Tensor, UOp, dtypes
from tinygrad.function import function
from tinygrad.helpers import TRAINING
from tinygrad.nn.state import get_parameters

from edifice_tt.nn import cpu, kernels
from edifice_tt.nn.blocks import Attention, LayerNorm, RMSNorm, SwiGLU, rope_tables
from edifice_tt.nn.init import wrap
from edifice_tt.nn.ops import Memory


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes and constants of a backbone. Derived values are None until `__post_init__`.

    Raises `ValueError` for sizes that cannot work, naming the values that would.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int = 0  # 0: hidden_size // num_heads, floored as in the original
    ffn_size: int = 0  # 0: hidden_size * 2.667, rounded up to a multiple of 8, as in the original
    bias: bool = True
    final_norm: Literal["layer_norm", "rms_norm"] = "layer_norm"
    norm_eps: float = 1e-6
    final_norm_eps: float = 1e-5
    rope_base: float = 10000.0
    rope_factors: tuple[float, ...] | None = None  # divides each of the E/2 frequencies
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for option in ("hidden_size", "num_layers", "num_heads", "num_kv_heads"):
            check_count(option, getattr(self, option))
        if self.num_heads % self.num_kv_heads:
            divisors = [k for k in range(1, self.num_heads + 1) if self.num_heads % k == 0]
            raise ValueError(
                f"num_heads={self.num_heads} must be a multiple of num_kv_heads="
                f"{self.num_kv_heads}; use num_kv_heads={_either(divisors)}"
            )
        if not self.head_dim:
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_heads)
        if self.head_dim % 2 or not self.head_dim:
            heads = range(self.num_kv_heads, self.hidden_size + 1, self.num_kv_heads)
            work = [h for h in heads if self.hidden_size // h % 2 == 0]
            nearest = sorted(sorted(work, key=lambda h: abs(h - self.num_heads))[:4])
            advice = f"num_heads={_either(nearest)}" if nearest else "a larger hidden_size"
            raise ValueError(
                f"head_dim={self.head_dim} (hidden_size={self.hidden_size} // num_heads="
                f"{self.num_heads}) must be even and at least 2, since rotary positions turn "
                f"pairs; use {advice}"
            )
        if not self.ffn_size:
            # 2.667 and the rounding are the original's; half-up, like Elixir's round/1.
            rounded = int(self.hidden_size * 2.667 + 0.5)
            object.__setattr__(self, "ffn_size", -(-rounded // 8) * 8)
        check_count("ffn_size", self.ffn_size)
        check_dropout(self.dropout)


def check_count(option: str, value: object) -> None:
    """Raise `ValueError` unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{option}={value!r} must be a whole number, at least 1")


def check_dropout(value: float) -> None:
    """Raise `ValueError` unless the value is a probability below 1."""
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"dropout={value!r} must be at least 0 and below 1")


def _either(values: list[int]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last


@dataclass(frozen=True)
class KVCache:
    """Keys and values of the tokens read so far, one buffer (2, B, S, K, E) a layer.

    `length` tokens of the capacity S are filled; reading more writes behind them, in place.
    `prefix` holds what all rows read before: its batch is 1, so N candidates share one prompt.
    `rows`, int32, says it to a kernel: what the prefix and these buffers hold, how many of the
    B * T tokens that are read next are wanted, and which; what becomes of the others, nobody may
    ask. Without it all are wanted.
    """

    layers: tuple[Tensor, ...]
    length: int | UOp = 0
    prefix: "KVCache | None" = None
    rows: Tensor | None = None

    @classmethod
    def empty(cls, config: BackboneConfig, batch: int, capacity: int, device: str) -> "KVCache":
        shape = (2, batch, capacity, config.num_kv_heads, config.head_dim)
        # Zeros, not empty: a masked position still multiplies its value by a weight of 0.
        zeros = np.zeros(shape, dtype=np.float32)
        if device.split(":")[0] == "CPU":
            return cls(tuple(wrap(zeros.copy(), device) for _ in range(config.num_layers)))
        layers = [Tensor(zeros, device=device) for _ in range(config.num_layers)]
        Tensor.realize(*layers)
        return cls(tuple(layers))

    @property
    def batch(self) -> int:
        return int(self.layers[0].shape[1])

    @property
    def capacity(self) -> int:
        return int(self.layers[0].shape[2])

    @property
    def position(self) -> int | UOp:
        """The position in the text of the next token to be read."""
        return self.length if self.prefix is None else self.prefix.length + self.length

    @property
    def span(self) -> int:
        """The largest number of positions that this cache and its prefix can hold."""
        return self.capacity + (self.prefix.capacity if self.prefix else 0)

    def holding(
        self,
        length: int | UOp,
        prefix: "KVCache | None" = None,
        rows: Tensor | None = None,
    ) -> "KVCache":
        """The same buffers, said to hold `length` tokens, behind `prefix`."""
        return replace(self, length=length, prefix=prefix, rows=rows)

    def wanting_all(self, x: Tensor) -> "KVCache":
        """The same, with `rows` for all tokens of x (B, T, D)."""
        B, T, _ = x.shape
        shared = 0 if self.prefix is None else self.prefix.length
        rows = np.array([shared, self.length, B * T, *range(B * T)], dtype=np.int32)
        return replace(self, rows=Tensor(rows, device=x.device))

    def seen(self, tokens: int, device: str) -> list[Tensor]:
        """How many positions of the prefix (if any) and of this cache T new tokens may see."""
        own = count_up(self.length + 1, tokens, device)
        return [own] if self.prefix is None else [count_up(self.prefix.length, 1, device), own]

    def remember(self, layer: int, kv: Tensor, seen: list[Tensor]) -> list[Memory]:
        """Write keys and values (2, B, T, K, E) of new tokens; returns what they may attend to."""
        buffer = self.layers[layer]
        window = buffer[:, :, self.length : self.length + kv.shape[2]]
        # The supported way to write in place inside a captured graph: whatever reads `own` is
        # ordered after the store.
        own = Tensor(buffer.uop.after(window.uop.store(kv.cast(buffer.dtype).uop)))
        buffers = [own] if self.prefix is None else [self.prefix.layers[layer], own]
        return [Memory(kv, count) for kv, count in zip(buffers, seen, strict=True)]


def count_up(start: int | UOp, tokens: int, device: str) -> Tensor:
    """start, start + 1, ...: int32 (T,)."""
    return (Tensor.arange(tokens) + start).cast(dtypes.int32).clone(device)


class Block:
    """One pre-norm layer: `x + attention(norm(x))`, then `x + swiglu(norm(x))`."""

    def __init__(self, config: BackboneConfig, rng: np.random.Generator | None) -> None:
        self.config = config
        self.dropout = config.dropout
        self.attn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.attn = Attention(
            config.hidden_size,
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
            bias=config.bias,
            rng=rng,
        )
        self.ffn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.ffn = SwiGLU(config.hidden_size, config.ffn_size, bias=config.bias, rng=rng)

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
        return kernels.block(x, self._layer, tables, cache.layers[layer], prefix, cache.rows)

    def is_one_kernel(self, x: Tensor) -> bool:
        """Whether the layer runs as one kernel: on a CPU with a C compiler, and not in training."""
        weights = (w for w in get_parameters(self) if w.dtype != dtypes.uint8)
        return not TRAINING and cpu.serves(x, *weights)

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
        x = x + self.attn.attend(q, memories).dropout(self.dropout)  # (B, T, D)
        return (x + self.ffn(self.ffn_norm(x)).dropout(self.dropout)).contiguous()  # (B, T, D)

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

    def __call__(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D); with a cache, x follows what the cache holds."""
        T, device = x.shape[1], str(x.device)
        tables = self.rotations(T if cache is None else cache.span, device)
        seen = [count_up(1, T, device)] if cache is None else cache.seen(T, device)
        if cache is not None and cache.rows is None:
            cache = cache.wanting_all(x)
        for layer, block in enumerate(self.blocks):
            read = partial(block, tables=tables, seen=seen, cache=cache, layer=layer)
            if cache is not None and not block.is_one_kernel(x):
                # As a function of its own, a layer like the one before is not scheduled again.
                # No gradient reaches the weights in it; behind a cache none is asked for.
                read = function(read, precompile=True, allow_implicit=True)
            x = read(x)  # (B, T, D)
        return self.final_norm(x)

    def rotations(self, positions: int, device: str) -> tuple[Tensor, Tensor]:
        """cos and sin (S, E/2) of at least that many positions; made once for a device."""
        c = self.config
        # A power of two, so that texts of many lengths share a table.
        rounded = max(64, 1 << (positions - 1).bit_length())
        return rope_tables(c.head_dim, c.rope_base, c.rope_factors, rounded, device)
