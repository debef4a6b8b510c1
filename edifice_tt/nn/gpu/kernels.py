"""The kernels for GPUs: a product with weights in blocks, and rows of them.

Each has its formula in tinygrad operations, and a test that both agree. What a kernel computes, and
in which order it sums, stands in `c`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from typing import NamedTuple
from zlib import crc32

from tinygrad import Tensor, dtypes

from edifice_tt.nn.cpu.kernels import Weight, as_float
from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.gpu import bridge as gpu
from edifice_tt.nn.gpu.formats import format_in_source, in_bfloat16, named_after, word_type
from edifice_tt.nn.gpu.source import Kernel, Parameter, section, text
from edifice_tt.nn.gpu.table import Way, product_for

THREADS, LANES = 64, 32  # of a group; that share the columns of a product of few rows
HELD = 8  # rows whose sums a thread has registers for
WIDE_THREADS = 8  # of a group of `wide`: enough to share a norm
Sizes = dict[str, int | str]


class Matrix(NamedTuple):
    """The size of a weight in blocks, (parts * columns, depth), with a bias or not."""

    kind: str
    columns: int
    has_bias: bool = False


class Product(NamedTuple):
    """Products of x (rows, parts * depth) with weights, beside one another in `out`.

    With several parts each is the sum of the products of each. With `eps` x goes through a
    root-mean-square norm first. With `residual` what was before is added to the product times that.
    With an activation two weights are a gate and what it gates; a single one is gated by what was
    before.
    """

    rows: int
    depth: int
    weights: tuple[Matrix, ...]
    parts: int = 1
    eps: float = 0.0
    residual: float = 0.0
    activation: str = ""

    @property
    def columns(self) -> int:
        """Those of `out`."""
        return self.weights[0].columns if self.activation else sum(w.columns for w in self.weights)

    @property
    def together(self) -> int:
        """The weights that a group multiplies with."""
        return len(self.weights) if self.activation else 1

    @property
    def reads_before(self) -> bool:
        return bool(self.residual) or (bool(self.activation) and self.together == 1)


def kernel_of(product: Product, way: Way, threads: int = THREADS) -> Kernel:
    """The kernel of a product, computed in such a way, in groups of so many threads."""
    if way.room == "wide":
        return wide(product, min(threads, WIDE_THREADS), way.each)
    if way.room == "few":
        return few(product, threads, way.each)
    if way.room == "matrices":
        return matrices(product, threads, way.each)
    return tiles(product, threads, way.each, way.room == "simd")


def few(product: Product, threads: int, each: int) -> Kernel:
    """The product of up to `table.FEW` rows, which unpacks a weight once for `HELD` of them."""
    teams = threads // LANES
    columns, blocks = teams * each, -(-product.rows // HELD)
    held = -(-product.rows // blocks)
    places = columns * held  # of a weight, in local memory
    squares = product.together * places
    sizes: Sizes = {"LANES": LANES, "TEAMS": teams, "EACH": each, "SQUARES": squares}
    sizes |= {"HELD": held, "BLOCKS": blocks}
    sizes["FOUND"] = squares + (held if product.eps else 0)
    body = [
        "  LOCAL float found[FOUND * (LANES + 1)];",
        "  const int lane = THREAD % LANES, team = THREAD / LANES;",
        # Blocks of rows are next to each other, so that they find the weights in a cache.
        "  const int first_row = GROUP(0) % BLOCKS * HELD;",
    ]
    groups, ends = 0, [text("few_between")]
    for number in range(0, len(product.weights), product.together):
        numbers = range(number, number + product.together)
        own = _own(product, number, groups)
        parts = ["  const int tile = (GROUP(0) - FIRST_GROUP) / BLOCKS;"]
        parts.append("  const int first = (tile * TEAMS + team) * EACH;")
        for place, one in enumerate(numbers):
            of = {"W": f"w{one}", "PLACE": place * places, **named_after(product.weights[one].kind)}
            of["TAKES_SQUARES"] = int(product.eps > 0 and place == 0)
            parts.append(section(text("few"), of))
        groups += blocks * -(-product.weights[number].columns // columns)
        body.append(section(_where(groups, parts), own))
        ends.append(section(_where(groups, [text("few_end")]), own))
    return _kernel("few", product, (groups, 1, 1), threads, sizes, body + ends)


def tiles(product: Product, threads: int, tall: int, has_matrices: bool = False) -> Kernel:
    """The product of more rows, by tiles in local memory; in Metal by matrices of a SIMD group."""
    tile = threads // 8 * tall
    # A line of local memory ends where the next begins in another bank.
    sizes: Sizes = {"TALL": tall, "TILE_ROWS": tile, "GIVEN": tile + 4, "WEIGHTS": 36}
    sizes["MATRICES"] = int(has_matrices)
    room = "simd" if has_matrices else "tiles"
    body = ["  LOCAL float weights[32 * WEIGHTS], given[32 * GIVEN];"]
    return _tiled(room, "tiles", product, tile, threads, sizes, body)


def matrices(product: Product, threads: int, tall: int) -> Kernel:
    """The product of more rows, by the matrices that a warp multiplies, in CUDA."""
    tile = threads // 32 * 16 * tall
    pieces = max(in_bfloat16(weight.kind)["PIECES"] for weight in product.weights)
    # 32 weights are 8 words of 8 bytes, and each line begins 8 banks from the one before.
    sizes: Sizes = {"TALL": tall, "TILE_ROWS": tile, "MOST_PIECES": pieces, "LINE": 12}
    body = ["  LOCAL uint2 weights[MOST_PIECES * 64 * LINE];", "  LOCAL float2 scales[2 * 64];"]
    return _tiled("matrices", "matrices", product, tile, threads, sizes, body)


def _tiled(
    name: str, room: str, product: Product, tile: int, threads: int, sizes: Sizes, body: list[str]
) -> Kernel:
    """By tiles of so many rows and 32 columns."""
    groups = 0
    for number, weight in enumerate(product.weights):
        own = _own(product, number, groups) | {"W": f"w{number}", **named_after(weight.kind)}
        own |= in_bfloat16(weight.kind) if room == "matrices" else {}
        groups += -(-weight.columns // 32)
        body.append(section(_where(groups, [text(room)]), own))
    down = -(-product.rows // tile)
    return _kernel(name, product, (groups, down, 1), threads, sizes, body)


def wide(product: Product, threads: int, each: int) -> Kernel:
    """The product of any number of rows, by vectors of a processor.

    Weights of one format share the text, and any number of full blocks of rows the program: a
    processor takes seconds to compile what it computes in milliseconds.
    """
    blocks, together = -(-product.rows // HELD), product.together
    held = -(-product.rows // blocks)
    is_full = product.rows == blocks * held
    rows = "((int)get_num_groups(1) * HELD)" if is_full else product.rows
    sizes: Sizes = {"EACH": each, "HELD": held, "ALL_ROWS": rows}
    body, groups = [text("wide_begin")], 0
    kinds = [weight.kind for weight in product.weights]
    runs = [[*run] for _, run in groupby(range(len(kinds)), lambda number: kinds[number])]
    for numbers in [[*range(together)]] if together > 1 else runs:
        owns, ends = [], []
        for number in numbers[::together]:
            owns.append(_own(product, number, groups))
            groups += -(-product.weights[number].columns // (threads * each))
            ends.append(groups)
        own = {name: _of_a_group(ends, [one[name] for one in owns]) for name in owns[0]}
        parts = ["  const int first = ((GROUP(0) - FIRST_GROUP) * THREADS + THREAD) * EACH;"]
        parts.append("  float found[TOGETHER][EACH][HELD];")
        w = [f"w{number}" for number in numbers]
        chosen = "(place ? w1 : w0)" if together > 1 else _of_a_group(ends, w)
        for run in runs if together > 1 else [[0]]:
            of: Sizes = {"W": chosen, "PLACE": run[0], "PLACES": len(run)}
            of |= named_after(kinds[numbers[run[0]]])
            parts.append(section(text("wide"), of))
        parts.append(text("wide_end"))
        body.append(section(_where(groups, parts), own))
    shared = product._replace(rows=held) if is_full else product
    return _kernel("wide", shared, (groups, blocks, 1), threads, sizes, body)


def _of_a_group(ends: Sequence[int], values: Sequence[int | str]) -> str:
    """What a group takes of values, each of which belongs to the groups up to an end."""
    asked = (
        f"GROUP(0) < {end} ? {value} : " for end, value in zip(ends[:-1], values[:-1], strict=True)
    )
    return f"({''.join(asked)}{values[-1]})"


def _own(product: Product, number: int, groups: int) -> Sizes:
    """What a weight's columns are: where in `out`, with which bias, of which groups the first."""
    weights = product.weights
    biases = [f"bias{i}[column]" if weight.has_bias else "0" for i, weight in enumerate(weights)]
    return {
        "COLUMNS": weights[number].columns,
        "OFFSET": sum(weight.columns for weight in weights[:number]),
        "FIRST_GROUP": groups,
        "BIAS(column)": biases[number],
        "OTHER_BIAS(column)": biases[-1],
    }


def _where(end: int, parts: list[str]) -> str:
    """What the groups up to an end compute: the same of a group, so barriers may stand in it."""
    inside = "\n".join(parts)
    return f"  if (GROUP(0) >= FIRST_GROUP && GROUP(0) < {end}) {{\n{inside}\n  }}"


def _kernel(
    room: str,
    product: Product,
    groups: tuple[int, int, int],
    threads: int,
    sizes: Sizes,
    body: list[str],
) -> Kernel:
    most = 1 if room == "wide" else 4  # bytes of a word: a processor's vectors are made of bytes
    read = [Parameter("x", "float4")]
    if product.eps:
        read.append(Parameter("gain", "float4"))
    for i, weight in enumerate(product.weights):
        read.append(Parameter(f"w{i}", word_type(weight.kind, most)))
        if weight.has_bias:
            read.append(Parameter(f"bias{i}", "float"))
    if product.reads_before:
        read.append(Parameter("before", "float"))
    rows, depth, weights, parts, eps, residual, activation = product
    sizes |= {"ROWS": rows, "DEPTH": depth, "PARTS": parts, "ALL_COLUMNS": product.columns}
    sizes |= {"NORMED": int(eps > 0), "EPS": as_float(eps), "TOGETHER": product.together}
    sizes |= {"ADDS": int(residual != 0), "RESIDUAL": as_float(residual)}
    sizes |= {"GATED": product.together if activation else 0}
    sizes |= {"IS_GELU": int(activation == "gelu_tanh")}
    library = "\n".join([_blocks(*(weight.kind for weight in weights), most=most), text("product")])
    library += text("fragments") if room == "matrices" else ""
    name = f"{room}_{weights[0].kind}_{rows}_{product.columns}_{depth}_{parts}_{threads}"
    name += f"_{crc32(repr((product, sizes)).encode()):x}"
    out = (Parameter("out", "float"),)
    return Kernel(name, out, tuple(read), groups, threads, "\n".join(body), library, sizes)


def rows_of(kind: str, count: int, rows: int, depth: int, threads: int = THREADS) -> Kernel:
    """Rows of w (rows, depth), which ids (count) name."""
    return Kernel(
        f"lookup_{kind}_{count}_{rows}_{depth}_{threads}",
        (Parameter("out", "float"),),
        (Parameter("ids", "int"), Parameter("w", word_type(kind))),
        (count, -(-depth // (16 * threads)), 1),
        threads,
        section(text("lookup"), named_after(kind)),
        _blocks(kind),
        {"COUNT": count, "ROWS": rows, "DEPTH": depth},
    )


@cache
def _blocks(*kinds: str, most: int = 4) -> str:
    formats = (format_in_source(kind, most) for kind in dict.fromkeys(kinds))
    of_each = (section(text("block"), form) for form in formats)
    return "\n".join([text("blocks"), *of_each])


def multiply(
    x: Tensor,
    weights: Sequence[Weight],
    gain: Tensor | None = None,
    before: Tensor | None = None,
    parts: int = 1,
    formula: Callable[..., Tensor] | None = None,
    **how: float | str,
) -> Tensor:
    """Products of x (..., parts * in) with weights, as `Product` describes them: (..., columns)."""
    depth = _depth_of(weights[0].data, weights[0].kind)
    rows = x.numel() // (parts * depth)
    shapes = tuple(
        Matrix(w.kind, int(w.data.shape[0]) // parts, w.bias is not None) for w in weights
    )
    product = Product(rows, depth, shapes, parts, **how)  # type: ignore[arg-type]
    device = str(x.device)
    way = product_for(str(gpu.dialect_of(device)), rows, gpu.has_matrices(device))
    kernel = kernel_of(product, way)
    out = Tensor.invalids(*x.shape[:-1], product.columns, dtype=dtypes.float32, device=x.device)
    read = [x] if gain is None else [x, gain]
    read += [tensor for w in weights for tensor in (w.data, w.bias) if tensor is not None]
    read += [] if before is None else [before]
    return gpu.call(kernel, [out], read, formula)[0]


def lookup(ids: Tensor, blocks: Tensor, kind: str, formula: Callable[..., Tensor]) -> Tensor:
    """Rows of a weight in blocks, as an embedding gives them: int32 ids (...) -> (..., in)."""
    depth = _depth_of(blocks, kind)
    kernel = rows_of(kind, ids.numel(), int(blocks.shape[0]), depth)
    out = Tensor.invalids(*ids.shape, depth, dtype=dtypes.float32, device=ids.device)
    return gpu.call(kernel, [out], [ids, blocks], formula)[0]


def _depth_of(blocks: Tensor, kind: str) -> int:
    form = FORMATS[kind]
    return int(blocks.shape[1]) // form.bytes * form.weights
