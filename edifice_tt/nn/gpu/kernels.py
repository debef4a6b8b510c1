"""The kernels for GPUs: a product with weights in blocks, and rows of them.

Each has its formula in tinygrad operations, and a test that both agree. What a kernel computes, and
in which order it sums, stands in `c`.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tinygrad import Tensor, dtypes

from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.gpu import bridge as gpu
from edifice_tt.nn.gpu.formats import format_in_source, word_type
from edifice_tt.nn.gpu.source import Kernel, Parameter, text
from edifice_tt.nn.program import Size

FEW = 16  # rows of x, up to which a weight is unpacked once for all of them
THREADS, LANES = 64, 32  # of a group; that share the columns of a product of few rows


class Product(NamedTuple):
    """The sizes of a product: x (rows, parts * depth) times w (parts * columns, depth).

    With several parts it is the sum of the products of each.
    """

    kind: str
    rows: int
    columns: int
    depth: int
    has_bias: bool = False
    parts: int = 1


def few(product: Product, threads: int = THREADS) -> Kernel:
    """The product of up to `FEW` rows, which reads each weight once."""
    each, teams = (4 if product.rows <= 4 else 2), threads // LANES
    groups = -(-product.columns // (teams * each))
    sizes = {"LANES": LANES, "TEAMS": teams, "EACH": each}
    return _kernel("few", product, (groups, 1, 1), threads, sizes)


def tiles(product: Product, threads: int = THREADS) -> Kernel:
    """The product of more rows, by tiles in local memory."""
    tall = 4 if product.rows <= 32 else 8
    tile = threads // 8 * tall
    groups = (-(-product.columns // 32), -(-product.rows // tile), 1)
    # A line of local memory ends where the next begins in another bank.
    sizes = {"TALL": tall, "TILE_ROWS": tile, "GIVEN": tile + 4, "WEIGHTS": 36}
    return _kernel("tiles", product, groups, threads, sizes)


def _kernel(
    body: str, product: Product, groups: Size, threads: int, sizes: dict[str, int]
) -> Kernel:
    kind, rows, columns, depth, has_bias, parts = product
    read = [Parameter("x", "float4"), Parameter("w", word_type(kind))]
    name = f"{body}_{kind}_{rows}_{columns}_{depth}_{parts}_{threads}"
    if has_bias:
        read.append(Parameter("bias", "float"))
        name += "_bias"
    sizes |= {"ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "PARTS": parts}
    library = f"{_blocks(kind)}\n#define BIAS(column) {'bias[column]' if has_bias else '0'}"
    out = (Parameter("out", "float"),)
    return Kernel(name, out, tuple(read), groups, threads, text(body), library, sizes)


def rows_of(kind: str, count: int, rows: int, depth: int, threads: int = THREADS) -> Kernel:
    """Rows of w (rows, depth), which ids (count) name."""
    return Kernel(
        f"lookup_{kind}_{count}_{rows}_{depth}_{threads}",
        (Parameter("out", "float"),),
        (Parameter("ids", "int"), Parameter("w", word_type(kind))),
        (count, -(-depth // (16 * threads)), 1),
        threads,
        text("lookup"),
        _blocks(kind),
        {"COUNT": count, "ROWS": rows, "DEPTH": depth},
    )


@cache
def _blocks(kind: str) -> str:
    return "\n".join([format_in_source(kind), text("blocks")])


def linear(
    x: Tensor,
    blocks: Tensor,
    kind: str,
    bias: Tensor | None,
    formula: Callable[..., Tensor],
    parts: int = 1,
) -> Tensor:
    """`y = x W^T + b`: x (..., in) -> (..., out), W in blocks (out, bytes of a row).

    With `parts`, x (..., parts * in) and W (parts * out, in): the sum of the products of each part.
    """
    form = FORMATS[kind]
    depth = int(blocks.shape[1]) // form.bytes * form.weights
    columns, rows = int(blocks.shape[0]) // parts, x.numel() // (parts * depth)
    product = Product(kind, rows, columns, depth, bias is not None, parts)
    kernel = few(product) if rows <= FEW else tiles(product)
    out = Tensor.invalids(*x.shape[:-1], columns, dtype=dtypes.float32, device=x.device)
    read = [x, blocks] if bias is None else [x, blocks, bias]
    return gpu.call(kernel, out, read, formula)


def lookup(ids: Tensor, blocks: Tensor, kind: str, formula: Callable[..., Tensor]) -> Tensor:
    """Rows of a weight in blocks, as an embedding gives them: int32 ids (...) -> (..., in)."""
    form = FORMATS[kind]
    depth = int(blocks.shape[1]) // form.bytes * form.weights
    kernel = rows_of(kind, ids.numel(), int(blocks.shape[0]), depth)
    out = Tensor.invalids(*ids.shape, depth, dtype=dtypes.float32, device=ids.device)
    return gpu.call(kernel, out, [ids, blocks], formula)
