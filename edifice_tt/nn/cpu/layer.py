"""The call of the C kernel that is a whole layer, and where it works. See `c/layer.c`."""

from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from tinygrad import Tensor, dtypes

from edifice_tt.nn.config import BackboneConfig
from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.cpu.kernels import (
    GAP,
    GROUP,
    HEADER,
    MEMBERS,
    MOST_COLUMNS,
    QUERY_ROWS,
    Arguments,
    Weight,
    Weighting,
    as_float,
    rounded_floats,
)
from edifice_tt.nn.program import Gradient

# What a recurrent layer reads beside its weights and norms, by the names of `c/delta.c`.
DELTA = ("filter", "dt_bias", "decay", "norm")


def scratch_floats(
    config: BackboneConfig, width: int, rounding: str, members: int = MEMBERS
) -> dict[str, int]:
    """Where a layer works, in floats, by the names and in the order of `scratch` in `c/layer.c`.

    Of scores and panels each member of a team has its own.
    """
    c, n = config, config.experts
    D, H, K, E = c.hidden_size, c.num_heads, c.num_kv_heads, c.head_dim
    F = max(c.ffn_size, c.expert_size)
    values = c.delta_value_heads * c.delta_value_size
    mixed = max(H * E, values)
    widest = max(D, F, mixed)
    return {
        "stream": GROUP * D,
        "h": GROUP * D,
        "queries": GROUP * H * E,
        "kv": 2 * GROUP * K * E,
        "mixed": GROUP * mixed,
        "gate": GROUP * F,
        "up": GROUP * F,
        "scores": members * QUERY_ROWS * H // K * width,
        "rounded": rounded_floats(widest, rounding),
        "wide": GROUP * max(c.delta_channels, 2 * H * E if c.gated_attention else 0),
        "gates": GROUP * max(values, H * E if c.gated_attention else 0),
        "rates": GROUP * 2 * c.delta_value_heads,
        "shares": GROUP * n,
        "expert": GROUP * D if n else 0,
        "all_experts": GROUP * D if n else 0,
        "panel": members * MOST_COLUMNS * (widest + GAP),
    }


class Layer(NamedTuple):
    """A layer's sizes, norms and weights, as `block` reads them."""

    config: BackboneConfig
    window: int
    plain: dict[str, Tensor]  # norms, and those of `DELTA`: float32, read as they are
    weights: dict[str, Weight]  # o, gate, up, down; q, k, v or qkv, z, b, a; a router of experts

    @property
    def is_recurrent(self) -> bool:
        return "qkv" in self.weights

    @property
    def by(self) -> Weighting:
        c = self.config
        return Weighting(c.attention_scale or c.head_dim**-0.5, c.attention_softcap, self.window)

    @property
    def rounding(self) -> str:
        """What any of the weights takes but EXACT."""
        return next((of for w in self.weights.values() if (of := w.rounding) != "EXACT"), "EXACT")

    def form(self, arguments: Arguments) -> str:
        """The C expression of the layer, whose Tensors become arguments."""
        c, experts = self.config, self.config.experts if "router" in self.weights else 0
        arguments.read |= self.plain
        weights = {name: arguments.weight(name, w) for name, w in self.weights.items()}
        of_delta = [name for name in (*DELTA, "qkv", "z", "b", "a") if self.is_recurrent]
        fields: dict[str, object] = {
            "D": c.hidden_size,
            "H": c.num_heads,
            "K": c.num_kv_heads,
            "E": c.head_dim,
            "F": self.weights["gate"].size // (experts or 1),
            "rotated": c.rotated or c.head_dim,
            "eps": as_float(c.norm_eps),
            "residual": as_float(c.residual_scale),
            "by": self.by.c,
            "is_gelu": int(c.activation == "gelu_tanh"),
            "norms_whole": int(c.qk_norm == "whole"),
            "rounds": self.rounding,
            "experts": experts,
            "used": c.experts_used,
            "normed": int(c.experts_normed),
            "is_gated": int(c.gated_attention),
            **{name: name for name in self.plain if name not in of_delta},
            **{name: one for name, one in weights.items() if name not in of_delta},
        }
        if self.is_recurrent:
            of_rule = {
                "keys": c.delta_key_heads,
                "heads": c.delta_value_heads,
                "K": c.delta_key_size,
                "V": c.delta_value_size,
                "conv": c.delta_conv,
                "tiled": int(c.delta_tiled),
                **{name: weights.get(name, name) for name in of_delta},
            }
            fields["delta"] = f"(delta_rule){_record(of_rule)}"
        return f"(layer){_record(fields)}"


def _record(fields: Mapping[str, object]) -> str:
    return f"{{{', '.join(f'.{name} = {value}' for name, value in fields.items())}}}"


def call_layer(
    x: Tensor,
    layer: Layer,
    tables: tuple[Tensor, Tensor] | None,
    own: Tensor | None = None,
    prefix: Tensor | None = None,
    rows: Tensor | None = None,
    gradient: Gradient | None = None,
) -> Tensor:
    """A whole layer, x (B, T, D) -> (B, T, D), behind what `own` and `prefix` hold.

    `tables` are cos and sin of all positions, or None. `own` (2, B, S, K, E) takes the new keys and
    values, in place, in its own dtype; of a recurrent layer it is the states (B, numbers). `rows`
    (see `KVCache`) says what both hold, and which rows are wanted.
    """
    B, T, D = x.shape
    c, by = layer.config, layer.by
    K, E = c.num_kv_heads, c.head_dim
    if own is None:
        shape = (B, c.state_size) if layer.is_recurrent else (2, B, T, K, E)
        own = Tensor.invalids(*shape, dtype=dtypes.float32, device=x.device)
    place, kept = 1 if layer.is_recurrent else 2, own.dtype
    room, prefix_room = own.shape[place], 0 if prefix is None else prefix.shape[place]
    width = 0 if layer.is_recurrent else by.width(prefix_room + room)
    sizes = scratch_floats(c, width, layer.rounding)
    *places, floats = accumulate(sizes.values(), initial=0)
    *rooms, panel = (f"scratch + {place}" for place in places)
    team = "0" if rows is None else "team_at(rows + 3)"
    deepest = sizes["panel"] // (MEMBERS * MOST_COLUMNS)
    room_of = f"{', '.join(rooms)}, {{{team}, {panel}, {deepest}}}, {width}"
    arguments = Arguments(x=x)
    arguments.read |= {} if tables is None else {"cos": tables[0], "sin": tables[1]}
    form = layer.form(arguments)
    arguments.read |= {} if prefix is None else {"prefix": prefix}
    arguments.read |= {} if rows is None else {"rows": rows}
    kind = crc32(f"{form}{tables is None}{rows is None}{kept}".encode())
    name = f"block_{B}_{T}_{D}_{room}_{prefix_room}_{kind:x}"
    turns = "0, 0" if tables is None else "cos, sin"
    shared, seen, at, wanted = ("rows[0]", "rows[1] + 1", f"rows + {HEADER}", "rows[2]")
    if rows is None:
        shared, seen, at, wanted = ("0", "1", "0", str(B * T))
    common = "0" if prefix is None else "prefix"

    body = f"""cache tail = {{own, {B}, {room}}};
        cache common = {{(void *){common}, 1, {prefix_room}}};
        block(out, x, {T}, {form}, tail, common, {seen}, {shared}, {at}, {wanted}, {turns},
              (struct scratch){{{room_of}}});"""
    out, scratch = (
        Tensor.invalids(*shape, dtype=dtypes.float32, device=x.device)
        for shape in ((B, T, D), (floats,))
    )
    written = {"out": out, "own": own, "scratch": scratch}
    source = kernels.library(*(w.kind for w in layer.weights.values()), kept=kept)
    return cpu.call(name, source, body, written, arguments.read, gradient)[0]
