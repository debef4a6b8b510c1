"""The library's kernels for GPUs, played in Metal and in CUDA against NumPy; and each can fail."""

from functools import partial

import block_formats
import gpu_numbers
import numpy as np
import pytest
from gpu_numbers import changed
from player import Misplayed

from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.gpu import kernels, table
from edifice_tt.nn.gpu.source import render
from edifice_tt.nn.gpu.table import product_for

pytestmark = pytest.mark.slow

COLUMNS = 37  # which no tile divides
# rows of x, threads of a group, parts, whether there is a bias
FEW, MANY = (3, 64, 1, True), (17, 64, 1, True)
OTHERS = [(1, 32, 1, False), (16, 128, 1, True), (5, 64, 3, True)]
OTHERS += [(65, 32, 1, False), (33, 128, 1, True), (19, 64, 2, False)]

dialects = pytest.mark.parametrize("dialect", ["metal", "cuda"])


def play(player, dialect, kernel, shape, *given):
    program = getattr(player, dialect)(render(dialect, kernel))
    out = np.full(shape, np.nan, np.float32)
    return program.play(
        kernel.name, out, *given, groups=kernel.groups, threads=(kernel.threads, 1, 1)
    )[0]


def error_of_product(player, dialect, kind, case, mistake=None, has_matrices=False):
    """The largest error of a product, relative to its largest number; NaN counts as infinite."""
    count, threads, parts, has_bias = case
    rng, depth = np.random.default_rng(5), block_formats.depth_of(kind)
    raw = block_formats.blocks(rng, kind, parts * COLUMNS, depth)
    exact = block_formats.floats(raw, kind).astype(np.float64).reshape(parts, COLUMNS, depth)
    x = rng.normal(size=(count, parts * depth)).astype(np.float32)
    bias = rng.normal(size=COLUMNS).astype(np.float32)
    y = np.einsum("rpd,pcd->rc", x.reshape(count, parts, depth).astype(np.float64), exact)
    y += bias * has_bias
    product = kernels.Product(count, depth, (kernels.Matrix(kind, COLUMNS, has_bias),), parts)
    kernel = kernels.kernel_of(product, product_for(dialect, count, has_matrices), threads)
    kernel = changed(kernel, *mistake) if mistake else kernel
    given = [x, raw, bias] if has_bias else [x, raw]
    found = play(player, dialect, kernel, (count, COLUMNS), *given)
    return float(np.nan_to_num(np.abs(found - y) / np.abs(y).max(), nan=np.inf).max())


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("case", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_product_with_each_format_is_numpy_s(player, dialect, case, kind):
    assert error_of_product(player, dialect, kind, case) < 2e-6


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_a_product_is_numpy_s_in_groups_of_each_size(player, dialect, case):
    assert error_of_product(player, dialect, "Q4_0", case) < 2e-6


@pytest.mark.slow
@dialects
@pytest.mark.parametrize("kind", FORMATS)
def test_rows_of_each_format_are_numpy_s(player, dialect, kind):
    """Zeros for ids that name no row."""
    rng, depth = np.random.default_rng(5), block_formats.depth_of(kind)
    raw = block_formats.blocks(rng, kind, COLUMNS, depth)
    ids = np.array([3, COLUMNS, COLUMNS - 1, -1], np.int32)
    kernel = kernels.rows_of(kind, 4, COLUMNS, depth)
    expected = np.zeros((4, depth), np.float32)
    expected[::2] = block_formats.floats(raw, kind)[ids[::2]]
    found = play(player, dialect, kernel, (4, depth), ids, raw)
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


# What is written in place of what, and how it is seen: by the player, or by the numbers.
MISTAKES = {
    "few, an index": (
        "((own * PARTS + part) * SIXTEENS + i) * 4 + k",
        "(own * SIXTEENS + i) * 4 + 3 - k",
        "numbers",
    ),
    "few, beyond the last": (
        "column < COLUMNS)",
        "column <= COLUMNS)",
        "outside of buffer 3",
    ),
    "few, a barrier": ("BARRIER;", "", "unwritten"),
    "few, a scale": (
        "(p, s, 4 * k + 1) * scales[c]",
        "(p, s, 4 * k + 1)",
        "numbers",
    ),
    "many, an index": (
        "(p, s, j) * scale + minimum;",
        "(p, s, 15 - j) * scale + minimum;",
        "numbers",
    ),
    "many, beyond the last": (
        "first_row + at / 8 < ROWS ?",
        "first_row + at / 8 <= ROWS ?",
        "outside of buffer 1",
    ),
    "many, a barrier": ("BARRIER;", "", "unwritten"),
    "many, the last barrier": ("BARRIER;\n    }", "}", "race"),
    "many, a scale": ("(p, s, j) * scale", "(p, s, j)", "numbers"),
}


@dialects
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_product_is_seen(player, dialect, mistake):
    old, new, how = MISTAKES[mistake]
    case = FEW if mistake.startswith("few") else MANY
    if how == "numbers":
        assert error_of_product(player, dialect, "Q4_1", case, (old, new)) > 1e-3
        return
    with pytest.raises(Misplayed, match=how):
        error_of_product(player, dialect, "Q4_1", case, (old, new))


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_a_kernel_leaves_room_for_others_on_a_multiprocessor(nvrtc, arch):
    """A multiprocessor has 65536 registers, and 100 KiB of shared memory at the least."""
    as_matrices = partial(product_for, "cuda", has_matrices=True)
    of_layers = map(gpu_numbers.of_a_layer, (as_matrices, partial(product_for, "cuda")))
    made = [*{kernel.name: kernel for layer in of_layers for kernel in layer}.values()]
    for kind in FORMATS:
        depth = block_formats.depth_of(kind)
        for rows in (1, 8, table.FEW, 128) if kind == "Q4_K" else (table.FEW, 128):
            product = kernels.Product(rows, depth, (kernels.Matrix(kind, COLUMNS, True),))
            made.append(kernels.kernel_of(product, product_for("cuda", rows)))
        made.append(kernels.kernel_of(product, as_matrices(128)))
        made.append(kernels.rows_of(kind, 4, COLUMNS, depth))
    results = nvrtc([render("cuda", kernel) for kernel in made], arch)
    for kernel, found in zip(made, results, strict=True):
        assert not found["error"], kernel.name
        assert bool(found["matrices"]) == kernel.name.startswith("matrices"), kernel.name
        most = {"tiles": 64, "attend": 32}.get(kernel.name.split("_")[0], 16)
        assert found["spilled"] <= most, kernel.name
        assert 0 < 4 * found["registers"] * kernel.threads <= 65536, kernel.name
        assert 4 * found["shared"] <= 100 * 1024, kernel.name
