"""The kernels of a layer on GPUs, played in Metal and in CUDA against NumPy; and each can fail."""

from functools import partial

import gpu_numbers
import pytest
from gpu_numbers import PRODUCTS, READS
from player import Misplayed

from edifice_tt.nn.gpu.table import product_for

dialects = pytest.mark.parametrize("dialect", ["metal", "cuda"])


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("case", PRODUCTS)
def test_products_of_a_layer_are_numpy_s(run, dialect, case):
    ways = partial(product_for, dialect)
    assert gpu_numbers.error_of_products(run, ways, PRODUCTS[case]) < 2e-6


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("case", READS)
def test_attention_by_parts_is_numpy_s(run, case):
    assert gpu_numbers.error_of_attention(run, READS[case]) < 2e-6


@dialects
@pytest.mark.parametrize("threads", [32, 64, 128])
@pytest.mark.slow
def test_a_norm_that_is_added_is_numpy_s(run, threads):
    assert gpu_numbers.error_of_join(run, threads) < 2e-6


# Of a product, what is written in place of what, and how it is seen.
IN_PRODUCTS = {
    "another's column": ("few, of some", "OFFSET + (column)", "(column)", "race"),
    "the norm of another row": (
        "few, of some",
        "(SQUARES + at % HELD)",
        "(SQUARES + at % HELD / 2)",
        "",
    ),
    "half the lanes": (
        "few, of some",
        "l < LANES; l++) squares",
        "l < LANES / 2; l++) squares",
        "",
    ),
    "no gain": ("few, of some", "gain[i * 4 + k]", "gain[k]", ""),
    "the gate is gated": (
        "few, gated",
        "activated(value) * (other)",
        "value * activated(other)",
        "",
    ),
    "no gate": ("many, gated", "activated(before", "(before", ""),
    "not added": ("many, added", "RESIDUAL * (value)", "(value)", ""),
    "the norm of a tile": ("many, of some", "[(row + r) * 8 + l]", "[row * 8 + l]", ""),
    "no barrier behind squares": (
        "many, of some",
        "= squares[r];\n  BARRIER;",
        "= squares[r];",
        "race|unwritten",
    ),
}


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("mistake", IN_PRODUCTS)
def test_a_mistake_in_what_a_product_becomes_is_seen(run, dialect, mistake):
    case, old, new, message = IN_PRODUCTS[mistake]
    ways = partial(product_for, dialect)
    check = partial(gpu_numbers.error_of_products, run, ways, PRODUCTS[case], (old, new))
    if not message:
        assert check() > 1e-3
        return
    with pytest.raises(Misplayed, match=message):
        check()


def _without_barrier(loop):
    """What stands in `attend.c` before a loop, with its barrier and without."""
    rest = f"  for (int at = THREAD; {loop}"
    return f"  BARRIER;\n{rest}", rest


# The same of attention: also the room in which it is.
IN_ATTENTION = {
    "a wrong pair": ("turn", "decoding", "OWN(pair + ROTATED / 2)", "OWN(pair + 1)", ""),
    "a wrong position": ("turn", "chunk", "rows[1] + token) *", "rows[1]) *", ""),
    "a rotated value": ("turn", "decoding", "!is_value && i", "i", ""),
    "all of a head": ("turn", "alone", "i < ROTATED)", "i < SIZE)", ""),
    "the whole norm": ("turn", "chunk", "NORM == WHOLE ? (first", "0 ? (first", "outside"),
    "a place kept": ("turn", "chunk", "place = rows[1] + token", "place = token", ""),
    "a barrier of the norm": ("turn", "alone", "BARRIER;", "", "unwritten"),
    "a text": ("turn", "decoding", "row / TOKENS;\n", "0;\n", "race"),
    "rounded down": ("turn", "halves", "0xFFFu + (size >> 13 & 1u)", "0", "rounds"),
    "a key": ("attend", "decoding", "MEMORY(0, begin + p, e)", "MEMORY(0, begin, e)", ""),
    "keys for values": ("attend", "decoding", "MEMORY(1,", "MEMORY(0,", ""),
    "the future": ("attend", "chunk", "(token) + 1, ROOM", "TOKENS, ROOM", ""),
    "the window": ("attend", "window", "- WINDOW : -1", "- WINDOW - 1 : -1", ""),
    "the cap": ("attend", "alone", "* CAP;", ";", ""),
    "barrier of scores": ("attend", "decoding", *_without_barrier("at < there; "), "unwritten"),
    "barrier of queries": ("attend", "decoding", *_without_barrier("at < POS"), "unwritten|race"),
    "barrier of largest": ("attend", "decoding", *_without_barrier("at < there * P"), "unwritten"),
    "barrier of weights": ("attend", "decoding", *_without_barrier("at < SIZE"), "unwritten|race"),
    "beyond": ("attend", "decoding", "MIN(all - first_query, QUERIES)", "QUERIES", "outside"),
    "a part": ("combine", "decoding", "(of * PARTS + part) + 1]", "(of * PARTS) + 1]", ""),
    "what nobody wrote": ("combine", "decoding", "if (IS_SEEN(part, token, token)) {", "{", ""),
    "the largest of a part": ("combine", "decoding", "+ part)] - largest)", "+ part)] * 0)", ""),
    "beyond the heads": ("combine", "alone", "of < ROWS * HEADS", "of <= ROWS * HEADS", "outside"),
}  # fmt: skip


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("mistake", IN_ATTENTION)
def test_a_mistake_in_attention_is_seen(run, mistake):
    room, case, old, new, message = IN_ATTENTION[mistake]
    check = partial(gpu_numbers.error_of_attention, run, READS[case], (old, new), room)
    if not message:
        assert check() > 1e-3
        return
    seen = (AssertionError, None) if message == "rounds" else (Misplayed, message)
    with pytest.raises(seen[0], match=seen[1]):
        check()
