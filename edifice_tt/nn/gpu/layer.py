"""The halves of a layer as kernels of a GPU, where these cover all that a family does in it.

What they do not cover the formula computes, half by half. Behind a cache alone, where no gradient
is asked for.
"""

from typing import NamedTuple
from zlib import crc32

from tinygrad import Tensor, dtypes
from tinygrad.helpers import TRAINING

from edifice_tt.nn.cpu.kernels import Weight, as_float
from edifice_tt.nn.cpu.layer import Layer
from edifice_tt.nn.gpu import bridge as gpu
from edifice_tt.nn.gpu.attention import KEPT, Heads, Turn, read_memories
from edifice_tt.nn.gpu.kernels import THREADS, multiply
from edifice_tt.nn.gpu.source import Kernel, Parameter, text
from edifice_tt.nn.gpu.table import gates_at_once


class Half(NamedTuple):
    """A half of a layer, `x + scale * norm(f(norm(x)))`, where each norm may be missing."""

    x: Tensor  # (B, T, D)
    gain: Tensor | None  # of the norm before
    post_gain: Tensor | None  # of the one after
    eps: float
    scale: float

    @classmethod
    def of(cls, x: Tensor, layer: Layer, name: str) -> "Half":
        c, norms = layer.config, layer.plain
        gain, post_gain = norms.get(f"{name}_norm"), norms.get(f"{name}_post_norm")
        return cls(x, gain, post_gain, c.norm_eps, c.residual_scale)

    def serves(self, weights: list[Weight], *given: Tensor | None) -> bool:
        """Whether the kernels can read these weights and Tensors: of one GPU, of fixed shapes."""
        plain = [self.x, self.gain, self.post_gain, *(weight.bias for weight in weights), *given]
        blocks = [weight.data for weight in weights]
        return (
            not TRAINING  # which drops some of what is added
            and all(weight.out is None for weight in weights)
            and all(data.dtype == dtypes.uint8 and data.device == self.x.device for data in blocks)
            and gpu.serves(blocks[0], *plain)
        )

    def first(self, weights: list[Weight], activation: str = "") -> Tensor:
        """Products of the normed x."""
        eps = 0.0 if self.gain is None else self.eps
        return multiply(self.x, weights, self.gain, eps=eps, activation=activation)

    def last(self, y: Tensor, weight: Weight) -> Tensor:
        """What the half gives, from what its last product is taken of."""
        if self.post_gain is None:
            return multiply(y, [weight], before=self.x, residual=self.scale)
        y = multiply(y, [weight])
        kernel = join(y.numel() // y.shape[-1], int(y.shape[-1]), self.eps, self.scale)
        out = Tensor.invalids(*y.shape, dtype=dtypes.float32, device=y.device)
        return gpu.call(kernel, [out], [y, self.post_gain, self.x])[0]


def attend(
    x: Tensor,
    layer: Layer,
    tables: tuple[Tensor, Tensor] | None,
    own: Tensor,
    shared: Tensor | None,
    rows: Tensor | None,
) -> Tensor | None:
    """The half with attention, x (B, T, D) -> (B, T, D); None where the formula is to compute it.

    The arguments are those of `call_layer`.
    """
    c, (B, T, _) = layer.config, x.shape
    # Where a row waits for others its keys stay, and a gate would need a product of its own.
    if rows is None or c.recurrent_layers or c.gated_attention or c.head_dim % 4:
        return None
    half, weights = Half.of(x, layer, "attn"), [layer.weights[name] for name in "qkvo"]
    gains = [layer.plain[name] for name in ("q_norm", "k_norm") if name in layer.plain]
    memories = [own] if shared is None else [shared, own]
    if not half.serves(weights, *gains, *(tables or ()), rows) or not all(
        memory.dtype == own.dtype and memory.device == x.device for memory in memories
    ):
        return None
    if own.dtype not in KEPT:
        return None
    heads = Heads(B, T, c.num_heads, c.num_kv_heads, c.head_dim, int(own.shape[2]), 0, own.dtype)
    if shared is not None:
        heads = heads._replace(shared_room=int(shared.shape[2]))
    turn = Turn(c.qk_norm, c.norm_eps, (c.rotated or c.head_dim) if tables else 0)
    products = half.first(weights[:3])
    read = [rows, *gains, *(tables or ())]
    return half.last(read_memories(products, own, shared, read, heads, turn, layer.by), weights[3])


def transform(x: Tensor, layer: Layer) -> Tensor | None:
    """The half with the feed-forward; None where the formula is to compute it: that of experts."""
    half = Half.of(x, layer, "ffn")
    gate, up, down = (layer.weights[name] for name in ("gate", "up", "down"))
    if "router" in layer.weights or not half.serves([gate, up, down]):
        return None
    activation = layer.config.activation
    rows = x.numel() // int(x.shape[-1])
    if gates_at_once(str(gpu.dialect_of(str(x.device))), rows):
        y = half.first([gate, up], activation)
    else:
        eps = 0.0 if half.gain is None else half.eps
        y = multiply(x, [up], half.gain, half.first([gate]), eps=eps, activation=activation)
    return half.last(y, down)


def last_norm(x: Tensor, layer: Layer, gain: Tensor, eps: float) -> Tensor | None:
    """The norm behind the last layer, summed in one order for any number of rows; or None."""
    half = Half(x, gain, None, eps, 0.0)
    if not half.serves(list(layer.weights.values())):
        return None
    kernel = join(x.numel() // x.shape[-1], int(x.shape[-1]), eps)
    out = Tensor.invalids(*x.shape, dtype=dtypes.float32, device=x.device)
    return gpu.call(kernel, [out], [x, gain])[0]


def join(
    rows: int, columns: int, eps: float, scale: float | None = None, threads: int = THREADS
) -> Kernel:
    """A norm, or with a scale the sum of it, times that, with what was before."""
    read = [Parameter("x", "float"), Parameter("gain", "float")]
    read += [] if scale is None else [Parameter("before", "float")]
    sizes: dict[str, int | str] = {"COLUMNS": columns, "EPS": as_float(eps)}
    sizes["JOINED(at, y)"] = "(y)" if scale is None else f"before[at] + {as_float(scale)} * (y)"
    name = f"join_{rows}_{columns}_{threads}_{crc32(repr(sizes).encode()):x}"
    out = (Parameter("out", "float"),)
    return Kernel(name, out, tuple(read), (rows, 1, 1), threads, text("join"), "", sizes)
