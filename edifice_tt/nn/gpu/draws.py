"""Draws of tokens on GPUs: the kernels that leave the logits where they are. Knows no sampler.

The formula is `sampling/draws.py`. A kernel gives the same token, and the same bits of what a
log-probability is computed from, or leaves a row to the formula, where rounding might decide.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes

from edifice_tt.nn import exponentials
from edifice_tt.nn.buffers import in_memory
from edifice_tt.nn.gpu import bridge as gpu
from edifice_tt.nn.gpu.source import Kernel, Parameter, section, text
from edifice_tt.nn.gpu.table import DRAWING

PART, THREADS = 512, 128  # logits that a group takes; threads of a group
LEAST_GAP = 1e-9  # of logits, by temperature, whose weights the formula can tell apart
Filters = tuple[str, ...]
NOTHING, GREEDY, DRAW = 0, 1, 2  # what a row asks for
_SPARE, _FINE = 10, 22  # bits that weights have less than whole ones; of a sum that rounding takes
_ASKED, _DRAWN = 9, 7  # words of a row

# How a language writes a table, and float64 with one rounding each; without, `c/reals.c` makes it.
_OPENCL = """\
#define CONSTANT __constant
#if defined(cl_khr_fp64) && !defined(WITHOUT_DOUBLES)
#pragma OPENCL FP_CONTRACT OFF
#define HAS_DOUBLES
typedef double real;
#define REAL(bits) as_double((ulong)(bits))
#define BITS_OF(x) as_ulong(x)
#define ADDED(a, b) ((a) + (b))
#define MULTIPLIED(a, b) ((a) * (b))
#endif"""
_METAL = "#define CONSTANT constant"
_CUDA = """\
#define CONSTANT __constant__
#ifndef WITHOUT_DOUBLES
#define HAS_DOUBLES
typedef double real;
#define REAL(bits) __longlong_as_double((long long)(bits))
#define BITS_OF(x) ((ulong)__double_as_longlong(x))
#define ADDED(a, b) __dadd_rn(a, b)
#define MULTIPLIED(a, b) __dmul_rn(a, b)
#endif"""
_REALS = {"opencl": _OPENCL, "opencl_cpu": _OPENCL, "metal": _METAL, "cuda": _CUDA}


class Asked(NamedTuple):
    """What a row asks for: a draw, by a number in [0, 1), or at temperature 0 the most likely.

    `top_k` 0 and `top_p` 1 leave no token out.
    """

    temperature: float
    top_k: int
    top_p: float
    number: float

    @property
    def is_served(self) -> bool:
        """Whether a GPU makes such a draw."""
        least, most = DRAWING.temperatures
        return self.temperature == 0 or least <= self.temperature <= most


class Drawn(NamedTuple):
    """A token, its logit, the highest one, and the sum of all weights as `exponentials.total`."""

    token: int
    logit: float
    top: float
    total: int


@cache
def serves(device: str, size: int) -> bool:
    """Whether tokens of a vocabulary of this size are drawn on a device.

    Where OpenCL runs on a processor, nothing would cross, and its C draws faster.
    """
    if in_memory(device) or gpu.dialect_of(device) in (None, "opencl_cpu"):
        return False
    return size <= DRAWING.tokens


def words_of(asked: Mapping[int, Asked | None], rows: int, size: int) -> NDArray[np.uint32]:
    """What rows ask for, as the kernels read it; a row that asks for nothing costs nothing."""
    words = np.zeros((rows, _ASKED), np.uint32)
    wide = np.zeros((rows, 3), np.uint64)
    for row, of in asked.items():
        if of is None:
            continue
        words[row, 0] = DRAW if of.temperature else GREEDY
        words[row, 1] = of.top_k if "top_k" in filters_of(of, size) else 0
        if of.temperature:
            factor = np.float64(exponentials.OCTAVES / of.temperature).view(np.uint64)
            share = 0 if of.top_p == 1 else int(of.top_p * 2.0**64)
            wide[row] = factor, share, int(of.number * 2.0**64)
        words[row, 8] = np.float32(LEAST_GAP * of.temperature).view(np.uint32)
    words[:, 2:8] = wide.view(np.uint32)
    return words


def drawn_of(words: NDArray[np.uint32]) -> Drawn | None:
    """What the kernels found for a row; None where the draw is left to the formula."""
    token = int(words[:1].view(np.int32)[0])
    if token < 0:
        return None
    logit, top = (float(x) for x in words[1:3].view(np.float32))
    lows, highs = (int(x) for x in words[3:7].copy().view(np.uint64))
    return Drawn(token, logit, top, lows + (highs << 32))


def filters_of(asked: Asked, size: int) -> Filters:
    """The filters that a draw from so many tokens passes, in this order."""
    if not asked.temperature:
        return ()
    return (("top_k",) if 0 < asked.top_k < size else ()) + (("top_p",) if asked.top_p < 1 else ())


def draw(logits: Tensor, asked: Tensor, filters: Filters) -> Tensor:
    """Logits (B, V), words of what rows ask for -> words of what was drawn.

    The rows that draw all pass these filters.
    """
    device, (rows, size) = str(logits.device), (int(n) for n in logits.shape)
    first, second, *keeping, last = kernels(rows, size, str(gpu.dialect_of(device)), filters)
    parts = -(-size // PART)

    def empty(dtype: Any, *shape: int) -> Tensor:
        return Tensor.invalids(*shape, dtype=dtype, device=device)

    read = [logits, asked]
    read += gpu.call(first, [empty(dtypes.uint32, rows, parts)], read)
    weights = [empty(dtypes.float32, rows, size), empty(dtypes.uint32, rows, parts, 4)]
    read += gpu.call(second, weights, read)
    edge: list[Tensor] = []
    for kernel in keeping:
        edge = gpu.call(kernel, [empty(dtypes.uint32, rows, 3)], [*read, *edge])
    return gpu.call(last, [empty(dtypes.uint32, rows, _DRAWN)], [*read, *edge])[0]


def kernels(
    rows: int,
    size: int,
    dialect: str,
    filters: Filters = (),
    has_doubles: bool = True,
    threads: int = THREADS,
) -> list[Kernel]:
    """The highest logits of parts, the weights, each filter, and the token that is taken.

    They compute with float64 where a language has it, unless told otherwise.
    """
    parts = -(-size // PART)
    bits = {"SHIFT": exponentials.SHIFT, "OCTAVES": exponentials.OCTAVES, "ONE": 1.0}
    bits |= {f"C{i}": factor for i, factor in enumerate(exponentials.POLYNOMIAL, 1)}
    bits["NOTHING_LEFT"] = 16.0 * (exponentials.BITS + 2)
    sizes: dict[str, int | str] = {"SIZE": size, "PART": PART, "PARTS": parts}
    sizes |= {"SHARE": -(-parts // threads), "ASKED": _ASKED, "DRAWN": _DRAWN}
    sizes |= {"NOTHING": NOTHING, "DRAW": DRAW, "SPARE": _SPARE, "FINE": _FINE}
    sizes |= {name: f"0x{np.float64(x).view(np.uint64):x}" for name, x in bits.items()}
    sizes["SIXTEENTHS"] = ", ".join(f"0x{n:x}" for n in exponentials.POWERS.view(np.uint64))
    if not has_doubles:
        sizes["WITHOUT_DOUBLES"] = 1
    name = f"{rows}_{size}_{threads}" + "_whole" * (not has_doubles)
    library = "\n".join([_REALS[dialect], text("reals"), text("keys")])

    def kernel(room: str, written: str, read: str, body: str, *more: str) -> Kernel:
        groups = (parts, rows, 1) if room in ("highest", "weigh") else (rows, 1, 1)
        own = "\n".join([library, *map(text, more)])
        given = _parameters(written), _parameters(read)
        return Kernel(f"{room}_{name}", *given, groups, threads, body, own, sizes)

    read = "logits asked highest weights sums"
    made = [
        kernel("highest", "highest", "logits asked", text("highest")),
        kernel("weigh", "weights sums", "logits asked highest", text("weigh"), "whole"),
    ]
    edge = ""
    for one in filters:
        by_weight = one == "top_p"
        own: dict[str, int | str] = {"BY_WEIGHT": int(by_weight), **_FROM[bool(edge)]}
        own["MASS(i)"] = "WEIGHT(i)" if by_weight else "(ulong)1"
        own |= {"COUNTED(i)": "(ulong)(key_of(LOGIT(i)) == at && IS_KEPT(i))"}
        own["COUNT_PART(sum, p)"] = "if (HIGH(p) >= at) OF_PART(p) sum += COUNTED(i);"
        body = section("\n".join(map(text, ("keep", "first", "keep_end"))), own)
        made.append(kernel(f"keep_{one}_{len(edge)}", "to", f"{read} {edge}", body, "tokens"))
        edge = "edges"
    own = {"FILTERED": int(bool(edge)), **_FROM[bool(edge)]}
    own["COUNTED(i)"] = "(!IS_KEPT(i) ? (ulong)0 : draws ? WEIGHT(i) : (ulong)1)"
    own["COUNT_PART(sum, p)"] = (
        "if (!FILTERED && draws) sum += SUM_OF_PART(p); "
        "else if (HIGH(p) >= edge) OF_PART(p) sum += COUNTED(i);"
    )
    body = section("\n".join(map(text, ("take", "first", "take_end"))), own)
    made.append(kernel(f"take_{len(filters)}", "drawn", f"{read} {edge}", body, "tokens"))
    return made


# Where what is kept is found: in a buffer; or all is, up to the last id.
_FROM: Mapping[bool, dict[str, int | str]] = {
    True: {"FROM(j)": "edges[row * 3 + (j)]"},
    False: {"FROM(j)": "(uint)((j) == 1 ? SIZE : (j) == 2)"},
}


def _parameters(names: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(n, "float" if n == "weights" else "uint") for n in names.split())
