"""Sizes and constants of a backbone, and the checks of numbers that options share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edifice_tt.contract.options import check_dropout, check_range, check_size, whole

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


@dataclass(frozen=True)
class BackboneConfig:
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
    rope_base: float = 10000.0
    rope_factors: tuple[float, ...] | None = None  # divides each of the E/2 frequencies
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for option in ("hidden_size", "num_layers", "num_heads", "num_kv_heads"):
            check_size(option, getattr(self, option))
        for option in ("head_dim", "ffn_size"):
            if whole(getattr(self, option)) != 0:
                check_size(option, getattr(self, option))
        for option in ("norm_eps", "final_norm_eps", "rope_base"):
            check_range(option, getattr(self, option))
        for factor in self.rope_factors or ():
            check_range("rope_factors", factor)
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
        object.__setattr__(self, "biases", check_biases(self.biases))

    @property
    def num_weights(self) -> int:
        """How many numbers its weights are."""
        D, E, F = self.hidden_size, self.head_dim, self.ffn_size
        queries, keys = self.num_heads * E, self.num_kv_heads * E
        layer = 2 * D * (queries + keys) + 3 * D * F + 2 * D
        sizes = {"q": queries, "k": keys, "v": keys, "o": D, "gate": F, "up": F, "down": D}
        layer += sum(sizes[part] for part in self.biases)
        return self.num_layers * layer + (2 if self.final_norm == "layer_norm" else 1) * D


def _either(values: list[int]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last
