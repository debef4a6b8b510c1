"""Mistakes that a kernel could make, each of one place, for the suite to find."""

from contextlib import contextmanager
from functools import partial

from edifice_tt.nn import ops
from edifice_tt.nn.cpu import kernels
from edifice_tt.nn.gpu import attention, layer, source
from edifice_tt.nn.gpu import kernels as kernels_of_gpus

# In the source of GPUs: the room, what stands there, and the mistake.
IN_BLOCKS = {
    "row": ("block", "(ulong)row *", "(ulong)(row / 2 * 2) *"),
    "scale": ("block", "{ return SCALE; }", "{ s = s / 2 * 2; return SCALE; }"),
    "half": ("blocks", "size < 0x400u ?", "size < 0u ?"),
    "lane": ("few", "i += LANES", "i += LANES / 2"),
    "sum": ("few_end", "l < LANES; l++)\n        sums", "l < LANES - 1; l++)\n        sums"),
    "row of x": ("few", "x[((own * PARTS", "x[((own / 2 * PARTS"),
    "barrier": ("few_between", "BARRIER;", ""),
    "barrier of a tile": ("tiles", "      BARRIER;\n#if MATRICES", "#if MATRICES"),
    "tile of x": ("tiles", "+ row + r]", "+ row + r / 2]"),
}
# The same in the kernels of a layer, and the cases of `gpu_numbers` that tell.
IN_LAYERS = {
    "gate": ("product", "activated(value) * (other)", "value * activated(other)"),
    "norm of a row": ("few_end", "(SQUARES + at % HELD)", "(SQUARES + at % HELD / 2)"),
    "pair": ("turn", "OWN(pair + ROTATED / 2)", "OWN(pair + 1)"),
    "place": ("turn", "place = rows[1] + token", "place = token"),
    "window": ("seen", "- WINDOW : -1", "- WINDOW - 1 : -1"),
    "value": ("attend", "MEMORY(1,", "MEMORY(0,"),
    "largest": ("combine", "+ part)] - largest)", "+ part)] * 0)"),
}
CASES = {"product": ("few, gated",), "few_end": ("few, gated",), "turn": ("chunk",)}
CASES |= {"seen": ("window",), "attend": ("decoding",), "combine": ("decoding",)}
NAMES = ("rope", "tile", "causal", *IN_BLOCKS, *IN_LAYERS)

# In the C of the CPU device: what stands there, and the mistake.
_IN_C = {
    "rope": ("b = x[i + size / 2];", "b = x[size / 2 + (i + 1) % (size / 2)];"),
    "tile": ("g * rep + i % rep)", "i % rep * a.K + g)"),
    "causal": ("long stop = shared + a.seen[first + i + n / rep],", "long stop = at + most,"),
}


@contextmanager
def made(name):
    """Let every device compute with one mistake."""
    if place := (IN_BLOCKS | IN_LAYERS).get(name):
        with _made_in_source(*place):
            yield
        return
    right, wrong = _IN_C[name]
    library = kernels.library
    assert library().count(right) == 1, f"nn/c does not hold {right!r} once; write it anew here"
    before = kernels.library, ops.rotate, ops.attention_formula
    kernels.library = lambda *kinds: library(*kinds).replace(right, wrong)
    if name == "rope":
        ops.rotate = partial(_turn_wrong_pairs, ops.rotate)
    else:
        formula = {"tile": _tile_the_heads, "causal": _see_the_future}[name]
        ops.attention_formula = partial(formula, ops.attention_formula)
    try:
        yield
    finally:
        kernels.library, ops.rotate, ops.attention_formula = before


@contextmanager
def _made_in_source(room, right, wrong):
    text = source.text
    assert text(room).count(right) == 1, f"{room}.c does not hold {right!r} once; write it anew"
    users = (kernels_of_gpus, attention, layer)
    kernels_of_gpus._blocks.cache_clear()
    for user in users:
        user.text = lambda of: text(of).replace(right, wrong) if of == room else text(of)
    try:
        yield
    finally:
        for user in users:
            user.text = text
        kernels_of_gpus._blocks.cache_clear()


def _turn_wrong_pairs(right, x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return right(first.cat(second.roll(1, -1), dim=-1), cos, sin)


def _tile_the_heads(right, q, memories, by=None):
    B, T, H, E = q.shape
    K = memories[0].kv.shape[3]
    tiled = q.reshape(B, T, H // K, K, E).transpose(2, 3).reshape(B, T, H, E)
    return right(tiled, memories, by).reshape(B, T, K, H // K, E).transpose(2, 3).reshape(q.shape)


def _see_the_future(right, q, memories, by=None):
    return right(q, [m._replace(seen=m.seen + m.kv.shape[2]) for m in memories], by)
