"""Which kernel a GPU runs, by its language and the shape: the one place where that is chosen.

Knows no source. Where nothing here serves, the formula in tinygrad's operations does.
"""

from typing import NamedTuple


class Way(NamedTuple):
    """How a product is computed: a room of `c`, and what each of its threads holds."""

    # "few": each weight is unpacked once for all rows; "tiles": once for a tile of them; "wide":
    # once for eight, by vectors of a processor, in one order of sums for any number of rows.
    room: str
    rows: int  # up to so many
    each: int  # columns of a thread of `few` and `wide`; rows of one of `tiles`


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
FEW = max(way.rows for way in _PRODUCTS if way.room == "few")


def product_for(dialect: str, rows: int) -> Way:
    """How a product of so many rows is computed."""
    return next(way for way in PRODUCTS[dialect] if rows <= way.rows)


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


def attention_for(dialect: str, room: int) -> Attending:
    """How attention over memories with room for so many positions is split."""
    return next(way for way in ATTENTION[dialect] if room <= way.room)
