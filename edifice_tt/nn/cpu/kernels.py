"""Calls of the C kernels: a product, a norm, attention. A whole layer is in `layer`.

Each has its formula in tinygrad operations, and a test that both agree. What a kernel computes, and
in which order it sums, stands in `c`; the sizes are compiled in.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from tinygrad import Tensor, dtypes
from tinygrad.dtype import DType

from edifice_tt.nn.cpu import bridge as cpu
from edifice_tt.nn.cpu import tuning
from edifice_tt.nn.cpu.formats import formats_in_c, name_of, rounding_of
from edifice_tt.nn.cpu.instructions import Vectors, allows_amx, tiles_in_c
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.program import gradient_of

GROUP, QUERY_ROWS, MOST_COLUMNS = 96, 8, 8  # what they hold stands in c/vectors.c
GAP = 16  # floats between two columns of a panel; in c/products.c
MEMBERS, PARTS_EACH = 16, 4  # of a team, at most; parts of a job per member
HEADER = 5  # numbers of `rows` (see `KVCache`) before those that it lists
ROUNDED_BYTES = 48  # of 32 activations; in c/int8.c
C_ROOMS = (
    *(
        "vectors",
        "team",
        "weights",
        "products",
        "halves",
        "int8",
        "amx",
        "bfloats",
        "whole",
        "shared",
    ),
    *("kept", "scores", "attention", "delta", "layer", "block"),
)


def library(*kinds: str, kept: DType = dtypes.float32) -> str:
    """The C of every kernel, for weights of these kinds, and keys and values kept as that dtype."""
    return _library(tuning.table(), kinds, kept)


@cache
def _library(table: tuple[Vectors, ...], kinds: tuple[str, ...], kept: DType) -> str:
    sizes = {"GROUP": GROUP, "QUERY_ROWS": QUERY_ROWS, "MOST_COLUMNS": MOST_COLUMNS}
    sizes |= {"ROUNDED_BYTES": ROUNDED_BYTES, "MEMBERS": MEMBERS, "PARTS_EACH": PARTS_EACH}
    sizes |= {"GAP": GAP, "KEPT_BITS": 8 * kept.itemsize, "AMX_ALLOWED": int(allows_amx())}
    folder = Path(__file__).with_name("c")
    first, *rooms = ((folder / f"{room}.c").read_text(encoding="utf-8") for room in C_ROOMS)
    defines = [f"#define {name} {size}" for name, size in sizes.items()]
    return "\n".join([*defines, tiles_in_c(table), first, formats_in_c(kinds), *rooms])


class Weight(NamedTuple):
    """A weight as a kernel reads it: (out, in) floats, or (out, bytes of a row) in blocks.

    Or (groups, bytes of a group), `out` rows in all; such a product takes rounded activations.
    """

    data: Tensor
    kind: str = "F32"
    bias: Tensor | None = None
    out: int | None = None

    @property
    def size(self) -> int:
        return self.out or int(self.data.shape[0])

    @property
    def rounding(self) -> str:
        return rounding_of(self.kind)


def rounded_floats(depth: int, rounding: str) -> int:
    """The room, in floats, for as many rounded rows as go through a product together."""
    each = {"TO_INT8": depth // 32 * ROUNDED_BYTES // 4, "TO_BFLOATS": depth // 2}
    each |= {"TO_HALVES": (depth + 1) // 2 + GAP}
    return GROUP * each.get(rounding, 0)


_KINDS = {dtypes.float32: "F32"}
_KINDS |= {getattr(dtypes, f.dtype): f.name for f in FORMATS.values() if f.dtype}


def pack(weight: Tensor, bias: Tensor | None = None) -> Weight:
    """A weight (out, in) of any of these dtypes, with its bias."""
    return Weight(weight, _KINDS[weight.dtype], bias)


class Arguments:
    """The Tensors of a call by name; a weight is up to two of them."""

    def __init__(self, **tensors: Tensor | None) -> None:
        self.read = {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def weight(self, name: str, weight: Weight) -> str:
        """The C expression of a weight, whose Tensors become arguments."""
        self.read[name] = weight.data
        bias = "0"
        if weight.bias is not None:
            bias = f"{name}_bias"
            self.read[bias] = weight.bias
        return f"(weight){{{name}, {bias}, {weight.kind}}}"


def linear(
    x: Tensor, weight: Weight, formula: Callable[..., Tensor], rows: Tensor | None = None
) -> Tensor:
    """`y = x W^T + b`: x (..., in) -> (..., out).

    With `rows` (see `KVCache`) the others are not computed, and hold anything.
    """
    columns, depth = weight.size, x.shape[-1]
    count = x.numel() // depth
    arguments = Arguments(x=x)
    name = f"linear_{count}_{columns}_{depth}_{weight.kind}"
    name += "" if weight.bias is None else "_bias"
    w = arguments.weight("w", weight)
    if rows is not None:
        arguments.read["rows"] = rows
        name += "_some"
    at, wanted, team, members = "0", str(count), "0", 1
    if rows is not None:
        at, wanted, team, members = f"rows + {HEADER}", "rows[2]", "team_at(rows + 3)", MEMBERS
    out = Tensor.invalids(*x.shape[:-1], columns, dtype=dtypes.float32, device=x.device)
    deepest = depth + GAP
    panels = members * MOST_COLUMNS * deepest
    room = panels + rounded_floats(depth, weight.rounding)
    written, body = {"out": out}, f"target to = {{out, {w}, {columns}}};\n"
    if room > MOST_COLUMNS * deepest:
        written["room"] = Tensor.invalids(room, dtype=dtypes.float32, device=x.device)
    else:
        body += f"_Alignas(LINE) float room[{room}];\n"
    body += f"workers by = {{{team}, room, {deepest}}};\n"
    if weight.rounding == "EXACT":
        body += f"multiply_all((products){{x, 0, {at}, {wanted}, {depth}, &to, 1, .by = by}});"
    else:
        given = f"to, x, {at}, {wanted}, {depth}, by, {weight.rounding}"
        body += f"linear_rounded({given}, room + {panels});"
    gradient = gradient_of(formula, len(written)) if rows is None else None
    return cpu.call(name, library(weight.kind), body, written, arguments.read, gradient)[0]


def lookup(ids: Tensor, weight: Weight, depth: int, formula: Callable[..., Tensor]) -> Tensor:
    """Rows of a weight, as an embedding gives them: int32 ids (...) -> (..., in)."""
    rows, count = weight.size, ids.numel()
    arguments = Arguments(ids=ids)
    w = arguments.weight("w", weight)
    out = Tensor.invalids(*ids.shape, depth, dtype=dtypes.float32, device=ids.device)
    name = f"lookup_{count}_{rows}_{depth}_{weight.kind}"
    body = f"lookup(out, ids, {count}, {w}, {rows}, {depth});"
    gradient = gradient_of(formula)
    return cpu.call(name, library(weight.kind), body, {"out": out}, arguments.read, gradient)[0]


def largest(weight: Weight) -> float:
    """The largest magnitude of a weight in blocks, of a kind whose products are in float16."""
    form = FORMATS[name_of(weight.kind)]
    device, count = weight.data.device, weight.data.numel() // form.bytes
    arguments = Arguments(blocks=Tensor([count], dtype=dtypes.int32, device=device))
    w = arguments.weight("w", weight._replace(bias=None))
    out = Tensor.invalids(1, dtype=dtypes.float32, device=device)
    body = f"*out = largest({w}, *blocks);"
    name = f"largest_{weight.kind}"
    return float(cpu.call(name, library(weight.kind), body, {"out": out}, arguments.read)[0].item())


def norm(
    x: Tensor, gain: Tensor, bias: Tensor | None, eps: float, formula: Callable[..., Tensor]
) -> Tensor:
    """The root-mean-square norm of the last axis, or the layer norm if there is a bias."""
    size = x.shape[-1]
    count = x.numel() // size
    arguments = Arguments(x=x, gain=gain, bias=bias)
    name = f"norm_{count}_{size}_{'rms' if bias is None else 'layer'}"
    given = "0" if bias is None else "bias"
    body = f"""for (long i = 0; i < {count}; i++)
      norm(out + i * {size}, x + i * {size}, gain, {given}, {size}, {as_float(eps)});"""
    out = Tensor.invalids(*x.shape, dtype=dtypes.float32, device=x.device)
    gradient = gradient_of(formula)
    return cpu.call(name, library(), body, {"out": out}, arguments.read, gradient)[0]


def scale(x: Tensor, factor: float, cap: float, formula: Callable[..., Tensor]) -> Tensor:
    """`factor x`, and with a cap `cap tanh(factor x / cap)`."""
    name = f"scale_{x.numel()}_{crc32(repr((factor, cap)).encode()):x}"
    body = f"scale_all(out, x, {x.numel()}, {as_float(factor)}, {as_float(cap)});"
    out = Tensor.invalids(*x.shape, dtype=dtypes.float32, device=x.device)
    return cpu.call(name, library(), body, {"out": out}, {"x": x}, gradient_of(formula))[0]


class Weighting(NamedTuple):
    """How scores become weights: softmax of `scale` times a score, which `cap` (0: none) bounds.

    It is taken over the last `window` positions that a query sees, 0: all.
    """

    scale: float
    cap: float = 0.0
    window: int = 0

    @property
    def c(self) -> str:
        return f"(weighting){{{as_float(self.scale)}, {as_float(self.cap)}, {self.window}}}"

    def width(self, positions: int) -> int:
        """The scores that a row has room for: whole vectors, wherever a window begins."""
        return -(-positions // 16) * 16 + (16 if self.window else 0)


def as_float(value: float) -> str:
    return f"{float(value)!r}f"


def attention(
    q: Tensor,
    memories: Sequence[tuple[Tensor, Tensor]],
    by: Weighting,
    formula: Callable[..., Tensor],
) -> Tensor:
    """Attention of q (B, T, H, E) over a memory of its own and, before it, one that all share.

    Each memory is keys and values (2, B or 1, S, K, E), as they are kept, and how many positions
    the queries see. Of the last that is int32 (T), one more from each query to the next; of a
    shared one, int32 (1).
    """
    B, T, H, E = q.shape
    *shared, (own, seen) = memories
    K, room = own.shape[3], own.shape[2]
    read = {"q": q}
    prefix, common, prefix_room = "0", "0", 0
    if shared:
        read["prefix"], read["shared"] = shared[0]
        prefix, common, prefix_room = "prefix", "shared[0]", shared[0][0].shape[2]
    read["own"], read["seen"] = own, seen
    width = by.width(prefix_room + room)
    kind = f"{crc32(by.c.encode()):x}"
    kind += "" if own.dtype == dtypes.float32 else f"_{8 * own.dtype.itemsize}"
    name = "_".join(map(str, ["attention", B, T, H, K, E, prefix_room, room, kind]))
    body = f"""_Alignas(LINE) float p[QUERY_ROWS * {H // K} * {width}];
    int batch[{B * T}], sees[{B * T}];
    for (int i = 0; i < {B * T}; i++) {{
      batch[i] = i / {T};
      sees[i] = MIN(seen[i % {T}], {room});
    }}
    attend((attention){{out, q, {B * T}, {H}, {K}, {E}, {prefix}, {prefix_room}, {common}, own,
                        {room}, {own.shape[1]}, batch, sees, {by.c}, p, {width}}}, 0);"""
    out = Tensor.invalids(B, T, H, E, dtype=dtypes.float32, device=q.device)
    source = library(kept=own.dtype)
    return cpu.call(name, source, body, {"out": out}, read, gradient_of(formula))[0]
