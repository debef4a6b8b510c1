"""The call of the C kernel that is a whole layer, and where it works. See `c/layer.c`."""

from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from tinygrad import Tensor, dtypes

from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu.kernels import (
    GROUP,
    MOST_COLUMNS,
    QUERY_ROWS,
    Arguments,
    Weight,
    Weighting,
    as_float,
    rounded_floats,
)

# The norms that a layer can have, in the order of `layer` in `c/layer.c`.
NORMS = ("attn_norm", "q_norm", "k_norm", "attn_post_norm", "ffn_norm", "ffn_post_norm")


def scratch_floats(config: BackboneConfig, width: int, rounds: bool) -> dict[str, int]:
    """Where a layer works, in floats, by the names and in the order of `scratch` in `c/layer.c`."""
    c, n = config, config.experts
    D, H, K, E = c.hidden_size, c.num_heads, c.num_kv_heads, c.head_dim
    F = max(c.ffn_size, c.expert_size)
    widest = max(D, F, H * E)
    return {
        "stream": GROUP * D,
        "h": GROUP * D,
        "queries": GROUP * H * E,
        "kv": GROUP * K * E,
        "mixed": GROUP * H * E,
        "gate": GROUP * F,
        "up": GROUP * F,
        "scores": QUERY_ROWS * H // K * width,
        "panel": MOST_COLUMNS * widest,
        "rounded": rounded_floats(widest) if rounds else 0,
        "shares": GROUP * n,
        "expert": GROUP * D if n else 0,
        "all_experts": GROUP * D if n else 0,
    }


class Layer(NamedTuple):
    """A layer's sizes, norms and weights, as `block` reads them."""

    config: BackboneConfig
    window: int
    norms: dict[str, Tensor]  # those it has of `NORMS`
    weights: dict[str, Weight]  # q, k, v, o, gate, up, down; and of experts their router

    @property
    def by(self) -> Weighting:
        c = self.config
        return Weighting(c.attention_scale or c.head_dim**-0.5, c.attention_softcap, self.window)


def call_layer(
    x: Tensor,
    layer: Layer,
    tables: tuple[Tensor, Tensor] | None,
    own: Tensor | None = None,
    prefix: Tensor | None = None,
    rows: Tensor | None = None,
    gradient: cpu.Gradient | None = None,
    in_halves: bool = False,
) -> Tensor:
    """A whole layer, x (B, T, D) -> (B, T, D), behind what `own` and `prefix` hold.

    `tables` are cos and sin of all positions, or None. `own` (2, B, S, K, E) takes the new keys and
    values, in place. `rows` (see `KVCache`) says what both hold, and which rows are wanted. In
    halves it is two programs, of which the first writes the keys and values; they have no gradient.
    """
    B, T, D = x.shape
    c, by = layer.config, layer.by
    H, K, E = c.num_heads, c.num_kv_heads, c.head_dim
    experts = c.experts if "router" in layer.weights else 0
    F = layer.weights["gate"].size // (experts or 1)
    if own is None:
        own = Tensor.invalids(2, B, T, K, E, dtype=dtypes.float32, device=x.device)
    room, prefix_room = own.shape[2], 0 if prefix is None else prefix.shape[2]
    width = by.width(prefix_room + room)
    rounds = any(weight.out is not None for weight in layer.weights.values())
    sizes = scratch_floats(c, width, rounds)
    *places, floats = accumulate(sizes.values(), initial=0)
    room_of = ", ".join([*(f"scratch + {place}" for place in places), str(width)])
    arguments = Arguments(x=x)
    arguments.read |= {} if tables is None else {"cos": tables[0], "sin": tables[1]}
    arguments.read |= layer.norms
    arguments.read |= {} if prefix is None else {"prefix": prefix}
    arguments.read |= {} if rows is None else {"rows": rows}
    parts = [
        *(D, H, K, E, F, c.rotated or E, as_float(c.norm_eps), as_float(c.residual_scale), by.c),
        *(int(c.activation == "gelu_tanh"), int(c.qk_norm == "whole"), int(rounds)),
        *(experts, c.experts_used, int(c.experts_normed)),
        *(norm if norm in layer.norms else "0" for norm in NORMS),
        *(arguments.weight(name, w) for name, w in layer.weights.items()),
    ]
    form = f"(layer){{{', '.join(map(str, parts))}}}"
    kind = crc32(f"{form}{tables is None}{rows is None}".encode())
    name = f"block_{B}_{T}_{D}_{F}_{room}_{prefix_room}_{kind:x}"
    turns = "0, 0" if tables is None else "cos, sin"
    shared, seen, at, wanted = ("rows[0]", "rows[1] + 1", "rows + 3", "rows[2]")
    if rows is None:
        shared, seen, at, wanted = ("0", "1", "0", str(B * T))
    common = "0" if prefix is None else "prefix"

    def empty(*shape: int) -> Tensor:
        return Tensor.invalids(*shape, dtype=dtypes.float32, device=x.device)

    def call(halves: str, into: str, queries: str, written: dict[str, Tensor]) -> list[Tensor]:
        body = f"""cache tail = {{own, {B}, {room}}};
            cache common = {{(float *){common}, 1, {prefix_room}}};
            block({into}, x, {T}, {form}, tail, common, {seen}, {shared}, {at}, {wanted}, {turns},
                  (struct scratch){{{room_of}}}, {halves}, {queries});"""
        written["scratch"] = empty(floats)
        source = kernels.library(*(weight.kind for weight in layer.weights.values()))
        return cpu.call(f"{name}_{halves}", source, body, written, arguments.read, gradient)

    out = empty(B, T, D)
    if not in_halves:
        return call("WHOLE", "out", "0", {"out": out, "own": own})[0]
    queries = empty(B * T, H * E)
    queries, own, _ = call("PROJECTS", "0", "queries", {"queries": queries, "own": own})
    arguments.read["queries"] = queries
    return call("READS", "out", "(float *)queries", {"out": out, "own": own})[0]
