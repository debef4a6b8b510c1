"""Products by the matrices of Metal's SIMD groups and CUDA's warps, played; and each can fail."""

from functools import partial

import block_formats
import gpu_numbers
import numpy as np
import pytest
from gpu_numbers import PRODUCTS
from player import Misplayed, Player
from test_gpu_kernels import MANY, OTHERS, error_of_product, play
from test_metal import errors_of

from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.gpu import kernels, table
from edifice_tt.nn.gpu.bridge import has_matrices
from edifice_tt.nn.gpu.source import render
from edifice_tt.nn.gpu.table import product_for

pytestmark = pytest.mark.slow

ROOMS = {"metal": "simd", "cuda": "matrices"}
dialects = pytest.mark.parametrize("dialect", ROOMS)


@pytest.fixture
def error_of(player, dialect):
    return partial(error_of_product, player, dialect, has_matrices=True)


@pytest.fixture
def run(player, dialect):
    def run(kernel, written, read):
        return [play(player, dialect, kernel, written[0].shape, *read)]

    return run


@dialects
@pytest.mark.parametrize("rows", [17, 33, 512])
def test_many_rows_are_multiplied_as_matrices_where_a_device_can(dialect, rows):
    assert product_for(dialect, rows, has_matrices=True).room == ROOMS[dialect]
    assert product_for(dialect, rows).room == "tiles"
    assert product_for(dialect, table.FEW, True) == product_for(dialect, table.FEW)


def test_a_processor_has_no_such_matrices():
    assert not has_matrices("CPU")


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("kind", FORMATS)
def test_matrices_of_each_format_are_numpy_s(error_of, kind):
    assert error_of(kind, MANY) < 2e-6


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("case", [case for case in OTHERS if case[0] > table.FEW], ids=str)
def test_matrices_are_numpy_s_in_groups_of_each_size(error_of, case):
    assert error_of("Q4_0", case) < 2e-6


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("case", [case for case in PRODUCTS if case.startswith("many")])
def test_matrices_of_a_layer_are_numpy_s(run, dialect, case):
    ways = partial(product_for, dialect, has_matrices=True)
    assert gpu_numbers.error_of_products(run, ways, PRODUCTS[case]) < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F16", "Q4_1", "Q8_0"])
def test_matrices_are_numpy_s_where_tensor_cores_cut_their_sums(player, tmp_path, kind):
    """As NVIDIA's were found to do it; the PTX ISA leaves it open."""
    cutting = Player(player.clang, tmp_path, cut=True)
    cut = error_of_product(cutting, "cuda", kind, MANY, has_matrices=True)
    assert error_of_product(player, "cuda", kind, MANY, has_matrices=True) < cut < 2e-6


@dialects
def test_no_product_is_rounded_however_large_or_small_it_is(player, dialect):
    """With one number of x in a row each sum is one product, which float32 rounds once."""
    rng, kind, depth = np.random.default_rng(3), "Q8_0", 96
    raw = block_formats.with_scales(block_formats.blocks(rng, kind, 9, depth), kind, 0.5, 0, 0)
    exact = block_formats.floats(raw, kind).astype(np.float64)
    x = np.zeros((24, depth), np.float32)
    at = rng.integers(0, depth, 24)
    x[range(24), at] = rng.normal(size=24) * 10.0 ** np.linspace(-30, 35, 24)
    product = kernels.Product(24, depth, (kernels.Matrix(kind, 9),))
    kernel = kernels.kernel_of(product, product_for(dialect, 24, has_matrices=True))
    found = play(player, dialect, kernel, (24, 9), x, raw)
    expected = x.astype(np.float64)[range(24), at][:, None] * exact[:, at].T
    # Three parts of a product are summed, each sum rounded to half of the last of 24 bits.
    assert (np.abs(found - expected) <= 2**-23 * np.abs(expected)).all()


# In a dialect, what is written in place of what, and how it is seen: by the player, or by numbers.
MISTAKES = {
    "the first columns": ("metal", "WEIGHTS + c * 8", "WEIGHTS", ""),
    "rows for columns": ("metal", "ulong2(0, 0), true);\n#pragma", "ulong2(0, 0));\n#pragma", ""),
    "other rows": ("metal", "THREAD / 32 * 4 * TALL", "THREAD / 32 * 2 * TALL", "race|unwritten"),
    "rows for columns, stored": (
        "metal",
        "GIVEN,\n                    ulong2(0, 0), true)",
        "GIVEN)",
        "",
    ),
    "a scale": ("metal", "(p, s, j) * scale", "(p, s, j)", ""),
    "a barrier": ("metal", "BARRIER;", "", "race|unwritten"),
    "a barrier behind a step": ("metal", "BARRIER;\n    }", "}", "race"),
    "a barrier of the sums": ("metal", "true);\n  BARRIER;", "true);", "race|unwritten"),
    "halves of a weight swapped": (
        "cuda",
        "make_uint2(first, last)",
        "make_uint2(last, first)",
        "",
    ),
    "rows of x swapped": ("cuda", "given[r][lower][run", "given[r][1 - lower][run", ""),
    "sixteens swapped": ("cuda", "LINE + (run + s) * 4", "LINE + (1 - run - s) * 4", ""),
    "a thread's columns": ("cuda", "n * 8 + lane / 4;", "n * 8 + lane % 8;", ""),
    "a scale's columns": ("cuda", "lane % 4 * 2 + i % 2]", "lane % 4 * 2]", ""),
    "a sum's columns": ("cuda", "j / 2 * 8 + lane % 4 * 2", "j / 2 * 8 + lane / 4", "race"),
    "no scale": ("cuda", "found[i] * by.x", "found[i]", ""),
    "a minimum of another row": ("cuda", "totals[i / 2] * by.y", "totals[0] * by.y", ""),
    "half of a row": ("cuda", "x + __shfl_xor_sync(WARP, x, 2)", "x", ""),
    "no barrier": ("cuda", "BARRIER;", "", "race|unwritten"),
    "room for one step": ("cuda", "step % 2 * 32", "0", "race"),
    "beyond the last row": ("cuda", "row < ROWS ?", "row <= ROWS ?", "outside of buffer 1"),
    "beyond the last column": ("cuda", "column < COLUMNS) P", "column <= COLUMNS) P", "outside"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_matrices_is_seen(player, mistake):
    dialect, *written, message = MISTAKES[mistake]
    check = partial(error_of_product, player, dialect, "Q4_1", MANY, written, has_matrices=True)
    if not message:
        assert check() > 1e-3
        return
    with pytest.raises(Misplayed, match=message):
        check()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("Q4_1", "piece < 3; piece++) multiply", "piece < 2; piece++) multiply"),
        ("F16", "i < RUN / 16 * PIECES; i++", "i < RUN / 16 * PIECES; i += PIECES"),
        ("Q6_K", "scales[run * 64", "scales[0"),
        ("Q6_K", "x, 1)", "x, 1) * 0"),
    ],
)
def test_what_only_some_formats_show_is_seen(player, kind, old, new):
    """Also that a part of x, or of a float16, is left out: by more than is allowed."""
    if "x, 1)" in old:
        ways = partial(product_for, "cuda", has_matrices=True)
        run = lambda kernel, out, read: [play(player, "cuda", kernel, out[0].shape, *read)]  # noqa: E731
        case = PRODUCTS["many, of some"]
        assert gpu_numbers.error_of_products(run, ways, case, (old, new)) > 1e-3
        return
    error = error_of_product(player, "cuda", kind, MANY, (old, new), has_matrices=True)
    assert error > 4e-6


@pytest.mark.slow
def test_pointers_into_shared_memory_keep_their_address_space(clang):
    """As clang reads Metal; no Apple compiler has."""
    product = kernels.Product(64, 256, (kernels.Matrix("Q4_K", 37, True),), 1, 1e-5)
    source = render("metal", kernels.kernel_of(product, product_for("metal", 64, True)))
    assert not errors_of(clang, source)
    wrong = source.replace("const int own_rows", "const device float *own = weights; int own_rows")
    assert "cannot initialize" in errors_of(clang, wrong)
