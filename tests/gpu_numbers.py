"""What the kernels for GPUs compute against NumPy in float64, for whatever runs a kernel.

A runner takes a kernel, the arrays that it writes and those that it reads, and returns the former
as the kernel leaves them. Each check returns the largest error, relative to the largest number.
"""

from dataclasses import replace
from typing import NamedTuple

import block_formats
import numpy as np
from tinygrad import dtypes

from edifice_tt.nn.cpu.kernels import Weighting
from edifice_tt.nn.gpu import attention, kernels, layer
from edifice_tt.nn.gpu.attention import Heads, Turn
from edifice_tt.nn.gpu.table import Attending

EPS = 1e-5


def changed(kernel, old, new):
    """A kernel with a mistake."""
    whole = kernel.body + kernel.library
    assert old in whole, old
    parts = {"body": kernel.body.replace(old, new, 1)}
    if old not in kernel.body:
        parts = {"library": kernel.library.replace(old, new, 1)}
    return replace(kernel, **parts)


def error(found, expected):
    """NaN counts as infinite."""
    off = np.abs(found - expected) / np.abs(expected).max()
    return float(np.nan_to_num(off, nan=np.inf).max())


def empty(*shape):
    return np.full(shape, np.nan, np.float32)


def normed(x, gain, eps=EPS):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain


class Products(NamedTuple):
    """A product with weights of some kinds and columns, in one of the ways of `Product`."""

    rows: int
    weights: tuple[tuple[str, int, bool], ...]
    parts: int = 1
    has_norm: bool = False
    residual: float = 0.0
    activation: str = ""
    threads: int = 64


# q, k and v of two formats; what is added; a gate and what it gates; gated by what was before.
PRODUCTS = {
    "few, of some": Products(
        3, (("Q4_K", 37, True), ("Q4_K", 9, False), ("Q6_K", 7, True)), 1, True
    ),
    "few, added": Products(1, (("Q8_0", 37, True),), 1, False, 0.5, "", 128),
    "few, gated": Products(5, (("Q4_0", 21, True), ("Q6_K", 21, True)), 1, True, 0.0, "silu"),
    "few, gelu": Products(16, (("Q4_K", 5, False),) * 2, 1, True, 0.0, "gelu_tanh", 32),
    "many, of some": Products(17, (("Q6_K", 37, False), ("Q4_K", 9, True)), 1, True, 0.0, "", 32),
    "many, added": Products(33, (("Q4_0", 37, False),), 2, False, 1.5, "", 128),
    "many, gated": Products(19, (("Q5_0", 35, True),), 1, True, 0.0, "silu"),
}


def _activated(x, activation):
    if activation == "silu":
        return x / (1 + np.exp(-x))
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def error_of_products(run, ways, case, mistake=None):
    """`ways` is `product_for` of a dialect."""
    rng = np.random.default_rng(7)
    matrices = tuple(kernels.Matrix(*one) for one in case.weights)
    depth = max(block_formats.depth_of(kind) for kind, *_ in case.weights)
    x = rng.normal(size=(case.rows, case.parts * depth)).astype(np.float32)
    blocks = [block_formats.blocks(rng, kind, case.parts * n, depth) for kind, n, _ in matrices]
    floats = [
        block_formats.floats(raw, matrix.kind).astype(np.float64)
        for raw, matrix in zip(blocks, matrices, strict=True)
    ]
    size = max(w.std() for w in floats) * depth**0.5  # so that products are about 1
    gain = (rng.normal(size=depth) / size).astype(np.float32)
    exact, y = x.astype(np.float64), []
    read = [x]
    if case.has_norm:
        exact, read = normed(exact, gain), [x, gain]
    for raw, w, (_, columns, has_bias) in zip(blocks, floats, matrices, strict=True):
        bias = rng.normal(size=columns).astype(np.float32)
        read += [raw, bias] if has_bias else [raw]
        parts = exact.reshape(case.rows, case.parts, depth), w.reshape(case.parts, columns, depth)
        y.append(np.einsum("rpd,pcd->rc", *parts) + bias * has_bias)
    expected = np.concatenate(y, axis=1)
    before = rng.normal(size=y[0].shape).astype(np.float32)
    if case.residual:
        expected = before + case.residual * y[0]
    if case.activation:
        gate, up = y if len(y) == 2 else (before.astype(np.float64), y[0])
        expected = _activated(gate, case.activation) * up
    product = kernels.Product(
        case.rows,
        depth,
        matrices,
        case.parts,
        EPS if case.has_norm else 0.0,
        case.residual,
        case.activation,
    )
    if product.reads_before:
        read.append(before)
    kernel = kernels.kernel_of(product, ways(case.rows), case.threads)
    kernel = changed(kernel, *mistake) if mistake else kernel
    return error(run(kernel, [empty(*expected.shape)], read)[0], expected)


class Read(NamedTuple):
    """Attention: its sizes, how queries and keys are made, and what both memories hold."""

    heads: Heads
    turn: Turn
    by: Weighting
    shared: int
    length: int
    how: Attending


HALF = dtypes.float16
# texts, tokens, heads, kept heads, size, room, room of what is shared
READS = {
    "decoding": Read(
        Heads(3, 1, 4, 2, 8, 37, 53), Turn("none", EPS, 8), Weighting(0.3), 41, 5, Attending(99, 16)
    ),
    "alone": Read(
        Heads(1, 1, 6, 2, 12, 32),
        Turn("head", EPS, 4),
        Weighting(0.4, 3.0),
        0,
        30,
        Attending(99, 8, 4, 32),
    ),
    "chunk": Read(
        Heads(2, 5, 4, 2, 8, 31),
        Turn("whole", EPS, 6),
        Weighting(0.3, 0.0, 7),
        0,
        13,
        Attending(99, 8, 8, 128),
    ),
    "window": Read(
        Heads(3, 4, 2, 2, 4, 20, 24), Turn(), Weighting(0.5, 0.0, 11), 23, 6, Attending(99, 8, 2)
    ),
    "halves": Read(
        Heads(2, 1, 4, 1, 8, 19, 17, HALF),
        Turn("head", EPS, 8),
        Weighting(0.3),
        17,
        18,
        Attending(99, 8),
    ),
}


def error_of_turn(run, case, mistake=None):
    """The error, and the queries, keys and values as the kernel leaves them."""
    rng, (h, how, _, shared, length, _) = np.random.default_rng(3), case
    kept = np.float16 if h.kept == HALF else np.float32
    products = rng.normal(size=(h.rows, h.heads + 2 * h.kept_heads, h.size)).astype(np.float32)
    own = rng.normal(size=(2, h.texts, h.room, h.kept_heads, h.size)).astype(kept)
    rows = np.array([shared, length, 0, 0, 0], np.int32)
    angles = rng.uniform(0, 7, (h.room + h.shared_room, max(how.rotated // 2, 1)))
    tables = [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]
    times = {"none": (0, 0), "head": (1, 1), "whole": (h.heads, h.kept_heads)}[how.norm]
    gains = [rng.normal(size=n * h.size).astype(np.float32) for n in times if n]
    q, k, v = np.split(products.astype(np.float64), [h.heads, h.heads + h.kept_heads], axis=1)
    if gains:
        q, k = (
            normed(one.reshape(h.rows, -1, gain.size), gain).reshape(one.shape)
            for one, gain in zip((q, k), gains, strict=True)
        )
    if how.rotated:
        at = shared + length + np.arange(h.rows) % h.tokens
        cos, sin = (table[at][:, None].astype(np.float64) for table in tables)
        for one in (q, k):
            a, b = np.split(one[..., : how.rotated].copy(), 2, axis=-1)
            turned = np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
            one[..., : how.rotated] = turned
    expected = own.astype(np.float64)
    for row in range(h.rows):
        expected[:, row // h.tokens, length + row % h.tokens] = k[row], v[row]
    kernel = attention.turn(h, how, case.how.threads)
    kernel = changed(kernel, *mistake) if mistake else kernel
    read = [products, rows, *gains, *(tables if how.rotated else [])]
    given = own.view(np.uint16) if h.kept == HALF else own
    queries, after = run(kernel, [empty(*q.shape), given], read)
    after = after.view(kept).reshape(own.shape)
    if h.kept == HALF:  # to half of the last of 11 bits
        off = np.abs(after - expected) > 5.2e-4 * np.abs(expected) + 1e-7
        assert not off.any()
        expected = after.astype(np.float64)
    return max(error(queries, q), error(after, expected)), queries.reshape(q.shape), after


def error_of_attention(run, case, mistake=None, room="attend"):
    """Of all three kernels; a mistake is made in the one of a room."""
    h, _, by, shared, length, how = case

    def made(name, kernel):
        return changed(kernel, *mistake) if mistake and room == name else kernel

    worst, q, own = error_of_turn(run, case, mistake if room == "turn" else None)
    rng, kept = np.random.default_rng(4), own.dtype
    common = rng.normal(size=(2, 1, h.shared_room, h.kept_heads, h.size)).astype(kept)
    rows = np.array([shared, length, 0, 0, 0], np.int32)
    memories = [own, common] if h.shared_room else [own]
    given = [one.view(np.uint16) if h.kept == HALF else one for one in memories]
    parts = int(attention.attend(h, by, how).sizes["PARTS"]) * h.rows * h.heads
    written = [empty(parts, h.size), empty(parts, 2)]
    mixed, found = run(made("attend", attention.attend(h, by, how)), written, [q, rows, *given])
    out = empty(h.rows, h.heads, h.size)
    kernel = made("combine", attention.combine(h, by, how))
    (out,) = run(kernel, [out], [mixed, found, rows])
    expected = np.empty(out.shape)
    for row in range(h.rows):
        text, token = divmod(row, h.tokens)
        both = [common[:, 0, :shared], own[:, text, : length + token + 1]]
        keys, values = np.concatenate(both, axis=1).astype(np.float64)
        if by.window:
            keys, values = keys[-by.window :], values[-by.window :]
        for head in range(h.heads):
            of = head * h.kept_heads // h.heads
            scores = keys[:, of] @ q[row, head].astype(np.float64) * by.scale
            scores = by.cap * np.tanh(scores / by.cap) if by.cap else scores
            weights = np.exp(scores - scores.max())
            expected[row, head] = weights / weights.sum() @ values[:, of]
    return max(worst, error(out, expected))


def error_of_join(run, threads=64, mistake=None):
    rng = np.random.default_rng(2)
    x, before = rng.normal(size=(2, 3, 101)).astype(np.float32)
    gain = rng.normal(size=101).astype(np.float32)
    kernel = layer.join(3, 101, EPS, 0.7, threads)
    kernel = changed(kernel, *mistake) if mistake else kernel
    norm = normed(x.astype(np.float64), gain)
    alone = run(layer.join(3, 101, EPS, threads=threads), [empty(3, 101)], [x, gain])[0]
    joined = run(kernel, [empty(3, 101)], [x, gain, before])[0]
    return max(error(joined, before + 0.7 * norm), error(alone, norm))


def of_a_layer(ways):
    """The kernels of a layer as large as models have them, of few rows and of many."""
    q, v = kernels.Matrix("Q4_K", 64), kernels.Matrix("Q6_K", 64, True)
    for rows in (1, 8, 16, 64):
        products = [((q, q, v), EPS, 0.0, ""), ((q, q), EPS, 0.0, "silu"), ((v,), 0.0, 1.0, "")]
        for weights, eps, residual, activation in products:
            weights = weights[1:] if activation and rows == 64 else weights
            product = kernels.Product(rows, 768, weights, 1, eps, residual, activation)
            yield kernels.kernel_of(product, ways(rows), 64)
    yield layer.join(16, 4096, EPS, 1.0)
    by = Weighting(0.1, 30.0, 512)
    for kept in (dtypes.float32, HALF):
        for size, positions in ((64, 64), (128, 256), (256, 64)):
            heads = Heads(16, 1, 32, 8, size, 1024, 512, kept)
            yield attention.turn(heads, Turn("head", EPS, size))
            yield attention.attend(heads, by, Attending(4096, positions))
            yield attention.combine(heads, by, Attending(4096, positions))
