"""The source for GPUs as text; what it computes is for tests/devices and tests/rendering."""

import pytest

from edifice_tt.nn.formats import FORMATS
from edifice_tt.nn.gpu import kernels
from edifice_tt.nn.gpu.bridge import dialect_of
from edifice_tt.nn.gpu.formats import word_bytes
from edifice_tt.nn.gpu.source import DIALECTS, render
from edifice_tt.nn.gpu.table import FEW, product_for

LOCAL_BYTES = 16 << 10  # what a kernel may take of local memory: half of what Metal promises


def local_bytes(kernel):
    """What the arrays at the top of a kernel take."""
    arrays = [line for line in kernel.body.splitlines() if line.startswith("  LOCAL ")]
    sizes = {"float": 4, "float2": 8, "uint2": 8}
    return sum(
        sizes[line.split()[1]]
        * eval(part.split("]")[0], {"THREADS": kernel.threads, **kernel.sizes})
        for line in arrays
        for part in line.split("[")[1:]
    )


@pytest.mark.parametrize(
    ("dialect", "has_matrices"), [("opencl", False), ("metal", True), ("cuda", True)]
)
@pytest.mark.parametrize("rows", [1, 5, 16, 17, 61, 512])
def test_a_product_fits_into_local_memory_and_leaves_nothing_out(rows, dialect, has_matrices):
    product = kernels.Product(rows, 512, (kernels.Matrix("F16", 37),))
    kernel = kernels.kernel_of(product, product_for(dialect, rows, has_matrices))
    assert 0 < local_bytes(kernel) <= LOCAL_BYTES
    sizes, (across, down, _) = kernel.sizes, kernel.groups
    wide = sizes["TEAMS"] * sizes["EACH"] if rows <= FEW else 32
    tall = sizes["HELD"] if rows <= FEW else sizes["TILE_ROWS"]
    if rows <= FEW:  # blocks of rows stand beside each other
        down = sizes["BLOCKS"]
        across //= down
    assert across * wide >= 37 > (across - 1) * wide
    assert down * tall >= rows > (down - 1) * tall


def test_devices_without_one_of_the_languages_have_no_kernels():
    assert dialect_of("CPU") is None
    assert dialect_of("PYTHON") is None


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_source_differs_in_macros_and_in_the_head_alone(dialect):
    kernel = kernels.tiles(kernels.Product(37, 256, (kernels.Matrix("Q6_K", 5, True),)), 64, 8)
    source = render(dialect, kernel)
    assert source.count(kernel.name) == 1
    assert kernel.body in source
    assert kernel.library in source
    (head,) = (line for line in source.splitlines() if kernel.name in line)
    places = [head.index(f" {name}") for name in ("out,", "x,", "w0,", "bias0")]
    assert places == sorted(places)


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
def test_words_divide_a_block(form):
    size = word_bytes(form.name)
    assert form.bytes % size == 0
    assert size == 4 or form.bytes % (2 * size)
