"""Which kernel a GPU runs, by its language and the shape: the one place where that is chosen.

Knows no source. Where nothing here serves, the formula in tinygrad's operations does.
"""

from typing import NamedTuple


class Way(NamedTuple):
    """How a product is computed: a room of `c`, and what each of its threads holds."""

    # "few": each weight is unpacked once for all rows; "tiles": once for a tile of them. So do
    # "simd" (the same in Metal) and "matrices" (of CUDA), which multiply matrices in hardware.
    # "wide": once for eight, by vectors of a processor, in one order of sums for any rows.
    room: str
    rows: int  # up to so many
    # Columns of a thread of `few` and `wide`, rows of one of tiles; of a warp's matrices, 16 rows.
    each: int


ANY = 1 << 31
_PRODUCTS = (
    Way("few", 4, each=4),
    Way("few", 16, each=2),
    Way("tiles", 32, each=4),
    Way("tiles", ANY, each=8),
)
PRODUCTS = {
    "opencl": _PRODUCTS,
    "opencl_cpu": (Way("wide", 4, each=4), Way("wide", ANY, each=2)),
    "metal": _PRODUCTS,
    "cuda": _PRODUCTS,
}
# Where the device multiplies matrices in hardware.
_FEW = tuple(way for way in _PRODUCTS if way.room == "few")
MATRICES = {
    "metal": (*_FEW, Way("simd", 32, each=4), Way("simd", ANY, each=8)),
    "cuda": (*_FEW, Way("matrices", 32, each=1), Way("matrices", ANY, each=2)),
}
FEW = max(way.rows for way in _PRODUCTS if way.room == "few")


def product_for(dialect: str, rows: int, has_matrices: bool = False) -> Way:
    """How a product of so many rows is computed, on a device that multiplies matrices or not."""
    ways = MATRICES if has_matrices else PRODUCTS
    return next(way for way in ways[dialect] if rows <= way.rows)


def gates_at_once(dialect: str, rows: int) -> bool:
    """Whether one kernel computes a gate and what it gates; else a second reads the gate."""
    return product_for(dialect, rows).room != "tiles"


class Attending(NamedTuple):
    """How attention is split: into parts of so many positions, each for up to so many queries."""

    room: int  # up to so many positions of all memories
    positions: int
    queries: int = 8
    threads: int = 64  # of a group


# By what a text has room for, never by how many texts there are: so its bits are its own.
_ATTENTION = (Attending(4096, 64), Attending(ANY, 256))
ATTENTION = dict.fromkeys(PRODUCTS, _ATTENTION)


class Drawing(NamedTuple):
    """Which draws a GPU makes. The others are made on the host, to which the logits cross."""

    tokens: int  # of a vocabulary up to so many: so the sum of all weights has 64 bits
    temperatures: tuple[float, float]  # beside 0: at others the formula tells few logits apart


# Whoever asks for measures of confidence, and every search, reads logits on the host as well.
DRAWING = Drawing(1 << 20, (1e-3, 1e6))


def attention_for(dialect: str, room: int) -> Attending:
    """How attention over memories with room for so many positions is split."""
    return next(way for way in ATTENTION[dialect] if room <= way.room)
