"""C kernels for tinygrad's CPU device; each has its formula in `ops`, and a test that both agree.

tinygrad's generated code reaches a tenth of what a core can do in a matrix product, so the two
operations that take nearly all the time are written here. They enter as programs from source
(`Tensor.custom_kernel`): tinygrad compiles them with its own clang, keeps them in its cache, orders
and captures them like its own. Every function here returns None where its kernel cannot serve.

Each row is summed in one fixed order, whatever the number of rows; so a candidate's numbers are the
same bits alone and in any batch.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tinygrad import Device, Tensor, dtypes
from tinygrad.helpers import Context
from tinygrad.renderer.cstyle import ClangRenderer
from tinygrad.uop.ops import KernelInfo, Ops, ProgramInfo, UOp

Formula = Callable[..., Tensor]

# Vector width and register tile (rows x columns) by instruction set: as many accumulators as there
# are registers for, each a variable of its own, since clang keeps an array of them in memory.
_TILES = (("__AVX512F__", 16, 8, 3), ("__AVX2__", 8, 3, 3), ("__ARM_NEON", 4, 4, 4), ("1", 4, 2, 2))

_PRELUDE = """
#define WIDTH {width}
#define WIDE __attribute__((min_vector_width(512)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
typedef float vec __attribute__((ext_vector_type(WIDTH), aligned(4)));
typedef int ivec __attribute__((ext_vector_type(WIDTH), aligned(4)));
#define LOAD(p) (*(const vec*)(p))
#define STORE(p, v) (*(vec*)(p) = (v))
static inline WIDE float sum(vec v) {{
  float total[WIDTH];
  STORE(total, v);
  for (int half = WIDTH / 2; half; half /= 2)
    for (int i = 0; i < half; i++) total[i] += total[i + half];
  return total[0];
}}
"""


def _for_each_width(write: Callable[..., str]) -> str:
    """One source for all processors: the preprocessor keeps the branch of the one at hand."""
    branches = [
        f"#{'el' if nth else ''}if {test}\n{_PRELUDE.format(width=width)}\n{write(width, *tile)}"
        for nth, (test, width, *tile) in enumerate(_TILES)
    ]
    return "\n".join([*branches, "#endif"])


@cache
def _compiles_c(device: str) -> bool:
    with Context(ALLOW_DEVICE_USAGE=1):
        return isinstance(Device[device].renderer, ClangRenderer)


def serves(*tensors: Tensor | None) -> bool:
    """Whether the kernels here can work on these tensors: float32, fixed shapes, compiled as C."""
    given = [tensor for tensor in tensors if tensor is not None]
    device = given[0].device
    return (
        isinstance(device, str)
        and device.split(":")[0] == "CPU"
        and all(tensor.device == device for tensor in given)
        and all(tensor.dtype == dtypes.float32 for tensor in given)
        and all(isinstance(size, int) and size for tensor in given for size in tensor.shape)
        and _compiles_c(device)
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, formula: Formula) -> Tensor:
    """`y = x W^T + b`: x (..., in), weight (out, in), bias (out) -> (..., out)."""
    columns, depth = weight.shape
    rows = x.numel() // depth
    name = f"linear_{rows}_{columns}_{depth}{'' if bias is None else '_bias'}"
    arguments = ["out", "x", "w", *([] if bias is None else ["b"])]

    def write(width: int, tile_rows: int, tile_columns: int) -> str:
        body = _linear_body(rows, columns, depth, width, tile_rows, tile_columns, bias is not None)
        return f"WIDE void {name}({_signature(arguments)}) {{\n{body}\n}}"

    out = Tensor.invalids(*x.shape[:-1], columns, dtype=dtypes.float32, device=x.device)
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return _call(name, _for_each_width(write), out, inputs, formula)


def _linear_body(
    rows: int, columns: int, depth: int, width: int, tile_rows: int, tile_columns: int, bias: bool
) -> str:
    m, n = range(min(rows, tile_rows)), range(min(columns, tile_columns))
    whole = depth - depth % width
    lines = [f"for (int n = 0; n < {columns}; n += {len(n)})"]
    lines += [f"for (int m = 0; m < {rows}; m += {len(m)}) {{"]
    # Behind the last row or column the last one is computed again, and not stored.
    lines += [f"const float *x{i} = x + (long)MIN(m + {i}, {rows - 1}) * {depth};" for i in m]
    lines += [f"const float *w{j} = w + (long)MIN(n + {j}, {columns - 1}) * {depth};" for j in n]
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
    return "\n".join([*lines, "}"])


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


def attention(q: Tensor, memories: Sequence[tuple[Tensor, Tensor]], formula: Formula) -> Tensor:
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
        signature = ", ".join([_signature(arguments), *counts])
        return f"{_EXP}\nWIDE void {name}({signature}) {{\n{body}\n}}"

    out = Tensor.invalids(B, T, H, E, dtype=dtypes.float32, device=q.device)
    inputs = [q, *(kv for kv, _ in memories), *(counts for _, counts in memories)]
    return _call(name, _for_each_width(write), out, inputs, formula)


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


def _signature(names: Sequence[str]) -> str:
    out, *inputs = names
    return ", ".join([f"float *restrict {out}", *(f"const float *restrict {n}" for n in inputs)])


def _call(
    name: str, source: str, out: Tensor, inputs: Sequence[Tensor], formula: Formula
) -> Tensor:
    def program(*parameters: UOp) -> UOp:
        sink = UOp.sink(*parameters, arg=KernelInfo(name=name))
        # tinygrad reads the signature from the linearised code, so that is all it holds.
        linear = UOp(Ops.LINEAR, src=(*(parameter.base for parameter in parameters), sink))
        slots = tuple(range(len(parameters)))
        info = ProgramInfo(name=name, globals=slots, outs=slots[:1], ins=slots[1:])
        return UOp(Ops.PROGRAM, src=(sink, linear, UOp(Ops.SOURCE, arg=source)), arg=info)

    results: list[Any] = out.custom_kernel(*inputs, fxn=program, grad_fxn=_gradient_of(formula))
    return results[0]


# One function a formula: tinygrad recognises a layer that it has scheduled before only if the
# gradient function is the same object.
@cache
def _gradient_of(formula: Formula) -> Callable[[UOp, UOp], tuple[UOp | None, ...]]:
    def gradient(of_out: UOp, call: UOp) -> tuple[UOp | None, ...]:
        given = [Tensor(uop) for uop in call.src[2:]]
        floats = [tensor for tensor in given if tensor.is_floating_point()]
        found = iter(formula(*given).gradient(*floats, gradient=Tensor(of_out)))
        return None, *(next(found).uop if t.is_floating_point() else None for t in given)

    return gradient
