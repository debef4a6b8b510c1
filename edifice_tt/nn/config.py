"""Sizes and constants of a backbone, and the checks of numbers that options share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

from edifice_tt.contract.errors import unknown_name
from edifice_tt.contract.options import (
    as_factors,
    check_count,
    check_dropout,
    check_range,
    check_size,
    whole,
)
from edifice_tt.nn.kept import KV_DTYPES, kept_bytes

Norms = Literal["before", "after", "both"]
QKNorm = Literal["none", "head", "whole"]
Activation = Literal["silu", "gelu_tanh"]
LONGEST_CONVOLUTION = 16  # tokens
PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")  # the dense parts of a layer


def check_biases(parts: Iterable[str]) -> tuple[str, ...]:
    """Some of `PROJECTIONS`, in their order; raises `ValueError` for anything else."""
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise ValueError(f"biases={parts!r:.60} must be some of {', '.join(PROJECTIONS)}")
    names = list(parts)
    for name in names:
        if name not in PROJECTIONS:
            raise ValueError(f"biases has {name!r:.60}, expected some of {', '.join(PROJECTIONS)}")
    return tuple(part for part in PROJECTIONS if part in names)


class Rope(NamedTuple):
    """How a layer's queries and keys are rotated."""

    base: float
    factors: tuple[float, ...] | None  # divides each frequency
    scale: float  # of cos and sin
    long_factors: tuple[float, ...] | None = None  # of texts that are longer than `long_from`
    long_from: int = 0


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """What families of models do differently in a layer. The defaults are Llama's.

    Raises `ValueError` for what cannot be computed.
    """

    norms: Norms = "before"  # where attention and feed-forward have their norms
    qk_norm: QKNorm = "none"  # a norm of queries and keys: of each head, or of all heads together
    activation: Activation = "silu"
    attention_scale: float = 0.0  # of the scores; 0: head_dim ** -0.5
    attention_softcap: float = 0.0  # scores become cap * tanh(score / cap); 0: none
    residual_scale: float = 1.0  # of what attention and feed-forward add
    rope_base: float = 10000.0
    rope_factors: tuple[float, ...] | None = None  # divides each frequency
    rope_scale: float = 1.0  # of cos and sin
    long_rope_factors: tuple[float, ...] | None = None  # of texts longer than `long_rope_from`
    long_rope_from: int = 0
    rotated: int = 0  # the first numbers of a head, which are rotated; 0: all
    unrotated_layers: tuple[int, ...] = ()
    windows: tuple[int, ...] = ()  # of each layer, how many positions a token sees; 0: all
    window_rope_base: float = 0.0  # of layers with a window; 0: as the others
    window_rope_factors: tuple[float, ...] | None = None
    experts: int = 0  # feed-forwards of which each token goes through a few; 0: one for all
    experts_used: int = 0  # through how many
    expert_size: int = 0  # of each; 0: ffn_size
    experts_normed: bool = False  # whether the shares of those used add up to 1
    dense_layers: tuple[int, ...] = ()  # that have one feed-forward all the same
    gated_attention: bool = False  # whether queries bring a gate of what attention gives
    recurrent_layers: tuple[int, ...] = ()  # with the gated delta rule in place of attention
    delta_key_heads: int = 0  # its sizes
    delta_value_heads: int = 0
    delta_key_size: int = 0
    delta_value_size: int = 0
    delta_conv: int = 0  # tokens that its convolution reads
    delta_tiled: bool = False  # value head i reads key head i mod K, else heads of one key are next

    def rope(self, layer: int) -> Rope | None:
        """How a layer rotates; None for one that does not."""
        if layer in self.unrotated_layers or layer in self.recurrent_layers:
            return None
        if self.window(layer) and self.window_rope_base:
            return Rope(self.window_rope_base, self.window_rope_factors, 1.0)
        long = self.long_rope_factors, self.long_rope_from
        return Rope(self.rope_base, self.rope_factors, self.rope_scale, *long)

    def has_experts(self, layer: int) -> bool:
        return self.experts > 0 and layer not in self.dense_layers

    def window(self, layer: int) -> int:
        return self.windows[layer] if self.windows else 0

    @property
    def delta_channels(self) -> int:
        """The queries, keys and values of a recurrent layer, which its convolution reads."""
        keys = self.delta_key_heads * self.delta_key_size
        return 2 * keys + self.delta_value_heads * self.delta_value_size

    @property
    def state_size(self) -> int:
        """The numbers that a recurrent layer keeps of a text: inputs, and a matrix per head."""
        matrices = self.delta_value_heads * self.delta_key_size * self.delta_value_size
        return max(0, self.delta_conv - 1) * self.delta_channels + matrices

    def check_layers(self, num_layers: int, head_dim: int) -> None:
        """Make a checkpoint's lists tuples, and raise `ValueError` for what cannot be."""
        for one in fields(LayerOptions):  # also of options that nothing reads in this model
            option, value, kind = one.name, getattr(self, one.name), type(one.default)
            if kind is bool and not isinstance(value, bool):
                raise ValueError(f"{option}={value!r:.60} must be True or False")
            if kind is int and (whole(value) is None or value < 0):
                raise ValueError(f"{option}={value!r:.60} must be a whole number, 0 or more")
        for option, kinds in (("norms", Norms), ("qk_norm", QKNorm), ("activation", Activation)):
            if getattr(self, option) not in get_args(kinds):
                raise unknown_name(option, str(getattr(self, option)), get_args(kinds))
        check_range("rope_base", self.rope_base)
        for option in ("rope_scale", "residual_scale"):
            check_range(option, getattr(self, option))
        for option in ("attention_scale", "attention_softcap", "window_rope_base"):
            if getattr(self, option) != 0:
                check_range(option, getattr(self, option))
        rotated = whole(self.rotated)
        if rotated is None or rotated % 2 or not 0 <= rotated <= head_dim:
            raise ValueError(
                f"rotated={self.rotated!r:.60} must be even and at most head_dim={head_dim}"
            )
        if (self.long_rope_factors is not None) != (whole(self.long_rope_from) != 0):
            raise ValueError("long_rope_factors and long_rope_from belong together; give both")
        if self.long_rope_from:
            check_size("context_length", self.long_rope_from, "long_rope_from")
        pairs = (rotated or head_dim) // 2
        for option in ("rope_factors", "long_rope_factors", "window_rope_factors"):
            if (factors := getattr(self, option)) is None:
                continue
            object.__setattr__(self, option, factors := as_factors(factors))
            for factor in factors:
                check_range("rope_factors", factor, option)
            if len(factors) != pairs:
                raise ValueError(
                    f"{option} has {len(factors)} numbers, expected {pairs}, half of "
                    f"{'rotated' if rotated else 'head_dim'}"
                )
        object.__setattr__(self, "windows", _whole_numbers("windows", self.windows, 1 << 31))
        if len(self.windows) not in (0, num_layers):
            raise ValueError(f"windows has {len(self.windows)} numbers for {num_layers} layers")
        layers = _whole_numbers("unrotated_layers", self.unrotated_layers, num_layers)
        object.__setattr__(self, "unrotated_layers", layers)
        layers = _whole_numbers("dense_layers", self.dense_layers, num_layers)
        object.__setattr__(self, "dense_layers", layers)
        if whole(self.experts) != 0:
            check_size("experts", self.experts)
            check_count("experts_used", self.experts_used, self.experts)
            if whole(self.expert_size) != 0:
                check_size("ffn_size", self.expert_size, "expert_size")
        self._check_recurrence(num_layers)

    def _check_recurrence(self, num_layers: int) -> None:
        layers = _whole_numbers("recurrent_layers", self.recurrent_layers, num_layers)
        object.__setattr__(self, "recurrent_layers", tuple(sorted({*layers})))
        if not layers:
            return
        for option in ("delta_key_heads", "delta_value_heads"):
            check_size("num_heads", getattr(self, option), option)
        for option in ("delta_key_size", "delta_value_size"):
            check_size("head_dim", getattr(self, option), option)
        check_count("delta_conv", self.delta_conv, LONGEST_CONVOLUTION)
        if self.delta_value_heads % self.delta_key_heads:
            raise ValueError(
                f"delta_value_heads={self.delta_value_heads} must be a multiple of "
                f"delta_key_heads={self.delta_key_heads}"
            )


def _whole_numbers(option: str, given: Any, end: int) -> tuple[int, ...]:
    """A list as a tuple; raises `ValueError` unless all lie from 0 to below `end`."""
    numbers = list(map(whole, given)) if isinstance(given, Sequence) else [None]
    if not all(number is not None and 0 <= number < end for number in numbers):
        raise ValueError(f"{option}={given!r:.60} must be whole numbers from 0 to {end - 1}")
    return tuple(number for number in numbers if number is not None)


@dataclass(frozen=True)
class BackboneConfig(LayerOptions):
    """Sizes and constants of a backbone. Derived values are None until `__post_init__`.

    Raises `ValueError` for sizes that cannot work, naming the values that would, and for what lies
    outside of `MOST` and `RANGES`.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int = 0  # 0: hidden_size // num_heads, floored as in the original
    ffn_size: int = 0  # 0: hidden_size * 2.667, rounded up to a multiple of 8, as in the original
    biases: tuple[str, ...] = PROJECTIONS  # those that have one
    final_norm: Literal["layer_norm", "rms_norm"] = "layer_norm"
    norm_eps: float = 1e-6
    final_norm_eps: float = 1e-5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for option in ("hidden_size", "num_layers", "num_heads", "num_kv_heads"):
            check_size(option, getattr(self, option))
        for option in ("head_dim", "ffn_size"):
            if whole(getattr(self, option)) != 0:
                check_size(option, getattr(self, option))
        for option in ("norm_eps", "final_norm_eps"):
            check_range(option, getattr(self, option))
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
        check_dropout(self.dropout)
        self.check_layers(self.num_layers, self.head_dim)
        object.__setattr__(self, "biases", check_biases(self.biases))

    @property
    def num_weights(self) -> int:
        """How many numbers its weights are."""
        D, F = self.hidden_size, self.ffn_size
        n, size = self.experts, self.expert_size or F
        mixed = sum(map(self.has_experts, range(self.num_layers)))
        sizes = {"gate": F, "up": F, "down": D}
        dense = 3 * D * F + sum(sizes[part] for part in self.biases if part in sizes)
        forward = mixed * (n * D + 3 * n * D * size) + (self.num_layers - mixed) * dense
        recurrent = len(self.recurrent_layers)
        mixing = recurrent * self._of_delta + (self.num_layers - recurrent) * self._of_attention
        norms = (4 if self.norms == "both" else 2) * self.num_layers
        return mixing + forward + (norms + (2 if self.final_norm == "layer_norm" else 1)) * D

    @property
    def _of_attention(self) -> int:
        D, E = self.hidden_size, self.head_dim
        queries, keys = self.num_heads * E, self.num_kv_heads * E
        asked = queries * (2 if self.gated_attention else 1)
        sizes = {"q": asked, "k": keys, "v": keys, "o": D}
        norms = {"none": 0, "head": 2 * E, "whole": queries + keys}[self.qk_norm]
        biases = sum(sizes[part] for part in self.biases if part in sizes)
        return D * (asked + 2 * keys + queries) + norms + biases

    @property
    def _of_delta(self) -> int:
        heads, values = self.delta_value_heads, self.delta_value_heads * self.delta_value_size
        rows = self.delta_channels + 2 * values + 2 * heads  # those of `out` are its columns
        return (
            self.hidden_size * rows
            + self.delta_channels * self.delta_conv
            + (2 * heads + self.delta_value_size)
        )

    def cache_bytes(self, rows: int, tokens: int, kv_dtype: str = KV_DTYPES[0]) -> int:
        """The bytes of what is kept of so many texts, with keys and values of that dtype."""
        recurrent = len(self.recurrent_layers)
        of_token = 2 * (self.num_layers - recurrent) * self.num_kv_heads
        of_token *= kept_bytes(self.head_dim, kv_dtype)
        return rows * (of_token * tokens + 4 * recurrent * self.state_size)


def _either(values: list[int]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last
