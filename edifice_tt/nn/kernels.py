"""The C kernels: a product with dense or quantised weights, and attention.

Each has its formula in `ops` or `quantized`, and a test that both agree. Each row is summed in one
fixed order, whatever the number of rows; so a candidate's numbers are the same bits alone and in
any batch.
"""

from collections.abc import Sequence

from tinygrad import Tensor, dtypes

from edifice_tt.nn import cpu


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, formula: cpu.Formula) -> Tensor:
    """`y = x W^T + b`: x (..., in), weight (out, in), bias (out) -> (..., out)."""
    columns, depth = weight.shape
    rows = x.numel() // depth
    name = f"linear_{rows}_{columns}_{depth}{'' if bias is None else '_bias'}"
    arguments = ["out", "x", "w", *([] if bias is None else ["b"])]

    def write(width: int, tile_rows: int, tile_columns: int) -> str:
        body = _linear_body(rows, columns, depth, width, tile_rows, tile_columns, bias is not None)
        return f"WIDE void {name}({cpu.signature(arguments)}) {{\n{body}\n}}"

    out = Tensor.invalids(*x.shape[:-1], columns, dtype=dtypes.float32, device=x.device)
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return cpu.call(name, cpu.for_each_width(write), out, inputs, formula)


# How one block of 32 weights at `q` becomes floats at `y`. Products of a half with a few bits are
# exact, so these are the very numbers that de-quantising in float32 gives.
_UNPACK = {
    "Q4_0": """float d = HALF(q); octets b = *(const octets*)(q + 2);
      *(floats*)y = (FLOATS(b & 15) - 8) * d; *(floats*)(y + 16) = (FLOATS(b >> 4) - 8) * d;""",
    "Q4_1": """float d = HALF(q), m = HALF(q + 2); octets b = *(const octets*)(q + 4);
      *(floats*)y = FLOATS(b & 15) * d + m; *(floats*)(y + 16) = FLOATS(b >> 4) * d + m;""",
    "Q8_0": """float d = HALF(q); const signed_octets *b = (const signed_octets*)(q + 2);
      *(floats*)y = FLOATS(b[0]) * d; *(floats*)(y + 16) = FLOATS(b[1]) * d;""",
}
_BLOCKS = """
typedef unsigned char octets __attribute__((ext_vector_type(16), aligned(1)));
typedef signed char signed_octets __attribute__((ext_vector_type(16), aligned(1)));
typedef float floats __attribute__((ext_vector_type(16), aligned(4)));
#define FLOATS(b) __builtin_convertvector(b, floats)
#define HALF(p) ((float)*(const _Float16*)(p))
"""


def quantized_linear(
    x: Tensor, blocks: Tensor, kind: str, block_bytes: int, formula: cpu.Formula
) -> Tensor:
    """`y = x W^T` with W (out, in) in blocks of 32 weights: blocks (out, bytes a row), uint8."""
    columns, row_bytes = blocks.shape
    depth = x.shape[-1]
    rows = x.numel() // depth
    name = f"linear_{rows}_{columns}_{depth}_{kind}"

    def write(width: int, tile_rows: int, tile_columns: int) -> str:
        n = range(min(columns, tile_columns))
        # The panel of one tile's columns is unpacked once and serves all rows.
        unpack = [f"for (int j = 0; j < {len(n)}; j++) {{"]
        unpack += [f"const unsigned char *q = w + (long)MIN(n + j, {columns - 1}) * {row_bytes};"]
        unpack += [f"float *y = panel + j * {depth};"]
        unpack += [f"for (int k = 0; k < {depth}; k += 32, y += 32, q += {block_bytes}) {{"]
        unpack += [_UNPACK[kind], "}}", *(f"const float *w{j} = panel + {j * depth};" for j in n)]
        body = _linear_body(rows, columns, depth, width, tile_rows, tile_columns, False, unpack)
        return (
            f"{_BLOCKS}\nWIDE void {name}({cpu.signature(['out', 'x'])},"
            " const unsigned char *restrict w) {\n"
            f"float panel[{len(n) * depth}] __attribute__((aligned(64)));\n{body}\n}}"
        )

    out = Tensor.invalids(*x.shape[:-1], columns, dtype=dtypes.float32, device=x.device)
    return cpu.call(name, cpu.for_each_width(write), out, [x, blocks], formula)


def _linear_body(
    rows: int,
    columns: int,
    depth: int,
    width: int,
    tile_rows: int,
    tile_columns: int,
    bias: bool,
    unpack: Sequence[str] = (),
) -> str:
    m, n = range(min(rows, tile_rows)), range(min(columns, tile_columns))
    whole = depth - depth % width
    # Behind the last row or column the last one is computed again, and not stored.
    lines = [f"for (int n = 0; n < {columns}; n += {len(n)}) {{"]
    lines += unpack or [
        f"const float *w{j} = w + (long)MIN(n + {j}, {columns - 1}) * {depth};" for j in n
    ]
    lines += [f"for (int m = 0; m < {rows}; m += {len(m)}) {{"]
    lines += [f"const float *x{i} = x + (long)MIN(m + {i}, {rows - 1}) * {depth};" for i in m]
    lines += [f"vec a{i}_{j} = 0;" for i in m for j in n]
    lines += [f"for (int k = 0; k < {whole}; k += WIDTH) {{"]
    lines += [f"vec w{j}k = LOAD(w{j} + k);" for j in n]
    for i in m:
        lines += [f"{{ vec v = LOAD(x{i} + k);", *(f"a{i}_{j} += v * w{j}k;" for j in n), "}"]
    lines += ["}"]
    for j in n:
        lines += ["{", _sums([f"a{i}_{j}" for i in m], width)]
        for i in m:
            lines += [f"if (m + {i} < {rows} && n + {j} < {columns}) {{ float y = total[{i}];"]
            lines += [f"for (int k = {whole}; k < {depth}; k++) y += x{i}[k] * w{j}[k];"]
            lines += [f"out[(long)(m + {i}) * {columns} + n + {j}] = y"]
            lines += [f" + b[n + {j}]; }}" if bias else "; }"]
        lines += ["}"]
    return "\n".join([*lines, "}}"])


def _sums(vectors: Sequence[str], width: int) -> str:
    """`total[i]`: the sum of the i-th vector, neighbours first, however many vectors there are.

    Two vectors of pairs make one vector of sums, and so on: the work of one sum serves many.
    """
    even, odd = (", ".join(str(lane) for lane in range(first, 2 * width, 2)) for first in (0, 1))
    level, lines = list(vectors), []
    for step in range(width.bit_length() - 1):
        pairs = [(level[i], level[min(i + 1, len(level) - 1)]) for i in range(0, len(level), 2)]
        level = [f"s{step}_{i}" for i in range(len(pairs))]
        lines += [
            f"vec {name} = __builtin_shufflevector({a}, {b}, {even})"
            f" + __builtin_shufflevector({a}, {b}, {odd});"
            for name, (a, b) in zip(level, pairs, strict=True)
        ]
    return "\n".join([*lines, "float total[WIDTH];", f"STORE(total, {level[0]});"])


# exp(x) for x <= 0: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2], within 2 units in the last
# place; ln 2 in two parts, the first short enough that n times it is exact.
_EXP = """
static inline WIDE vec vexp(vec x) {
  x = x > -87.0f ? x : (vec)(-87.0f);
  vec n = __builtin_elementwise_floor(x * 1.44269504f + 0.5f);
  vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
  return p * *(vec*)&power;
}
"""


def attention(q: Tensor, memories: Sequence[tuple[Tensor, Tensor]], formula: cpu.Formula) -> Tensor:
    """Attention of q (B, T, H, E) over memories, each keys and values (2, B or 1, S, K, E).

    With each memory come the numbers of its positions that the queries see, int32 (T) or (1).
    """
    B, T, H, E = q.shape
    shapes = [tuple(kv.shape[1:4]) for kv, _ in memories]
    seen = [counts.shape[0] for _, counts in memories]
    name = "_".join(map(str, ["attention", B, T, H, E, *sum(shapes, ()), *seen]))
    arguments = ["out", "q", *(f"kv{i}" for i in range(len(memories)))]
    counts = [f"const int *restrict seen{i}" for i in range(len(memories))]

    def write(width: int, *_: int) -> str:
        body = _attention_body(B, T, H, E, shapes, seen, width)
        signature = ", ".join([cpu.signature(arguments), *counts])
        return f"{_EXP}\nWIDE void {name}({signature}) {{\n{body}\n}}"

    out = Tensor.invalids(B, T, H, E, dtype=dtypes.float32, device=q.device)
    inputs = [q, *(kv for kv, _ in memories), *(counts for _, counts in memories)]
    return cpu.call(name, cpu.for_each_width(write), out, inputs, formula)


def _attention_body(
    B: int,
    T: int,
    H: int,
    E: int,
    shapes: Sequence[tuple[int, ...]],
    seen: Sequence[int],
    width: int,
) -> str:
    scale, whole, K = E**-0.5, E - E % width, shapes[0][2]
    room = -(-sum(S for _, S, _ in shapes) // width) * width
    lines = [f"float p[{room}];"]
    lines += [f"for (int b = 0; b < {B}; b++) for (int t = 0; t < {T}; t++)"]
    lines += [f"for (int h = 0; h < {H}; h++) {{"]
    lines += [f"long at = ((long)(b * {T} + t) * {H} + h) * {E};"]
    lines += [f"const float *qh = q + at; int g = h / {H // K}, count = 0; float top = -1e30f;"]
    for i, (batch, S, _) in enumerate(shapes):
        row = "b" if batch > 1 else "0"
        offset = f"((long){row} * {S} * {K} + g) * {E}"
        lines += [f"const float *k{i} = kv{i} + {offset}, *v{i} = k{i} + {batch * S * K * E}L;"]
        lines += [f"int n{i} = MIN(seen{i}[{'t' if seen[i] > 1 else '0'}], {S});"]
        lines += [f"for (int s = 0; s < n{i}; s++) {{"]
        lines += [f"const float *ks = k{i} + (long)s * {K * E}; vec a = 0; float y;"]
        lines += [f"for (int e = 0; e < {whole}; e += WIDTH) a += LOAD(qh + e) * LOAD(ks + e);"]
        lines += [f"y = sum(a); for (int e = {whole}; e < {E}; e++) y += qh[e] * ks[e];"]
        lines += [f"y *= {scale!r}f; top = y > top ? y : top; p[count++] = y; }}"]
    # The last vector is filled up with what exp makes next to nothing of; it is never read back.
    lines += ["for (int s = count; s % WIDTH; s++) p[s] = top - 100;"]
    lines += ["vec all = 0;"]
    lines += ["for (int s = 0; s < count; s += WIDTH) {"]
    lines += ["vec w = vexp(LOAD(p + s) - top); STORE(p + s, w); all += w; }"]
    lines += ["float share = 1 / sum(all);"]
    vectors = range(0, whole, width)
    lines += [f"vec o{e} = 0;" for e in vectors] + [f"float r{e} = 0;" for e in range(whole, E)]
    start = "0"
    for i in range(len(shapes)):
        lines += [f"for (int s = 0; s < n{i}; s++) {{"]
        lines += [f"const float *vs = v{i} + (long)s * {K * E}; float w = p[{start} + s];"]
        lines += [f"o{e} += LOAD(vs + {e}) * w;" for e in vectors]
        lines += [f"r{e} += vs[{e}] * w;" for e in range(whole, E)] + ["}"]
        start += f" + n{i}"
    lines += [f"STORE(out + at + {e}, o{e} * share);" for e in vectors]
    lines += [f"out[at + {e}] = r{e} * share;" for e in range(whole, E)]
    return "\n".join([*lines, "}"])
