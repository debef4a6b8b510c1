"""The kernels of attention on GPUs: norm, rotation and store; scores by parts; one softmax of them.

What they compute, and in which order they sum, stands in `c`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

from tinygrad import Tensor, dtypes
from tinygrad.dtype import DType

from edifice_tt.nn.cpu.kernels import Weighting, as_float
from edifice_tt.nn.gpu import bridge as gpu
from edifice_tt.nn.gpu.source import Kernel, Parameter, text
from edifice_tt.nn.gpu.table import Attending, attention_for

_NORMS = {"none": 0, "head": 1, "whole": 2}
KEPT = {dtypes.float32: ("float", "float4"), dtypes.float16: ("ushort", "ushort4")}
THREADS = 64


class Heads(NamedTuple):
    """The sizes of attention: `texts` of `tokens` queries each, behind what they hold."""

    texts: int
    tokens: int
    heads: int
    kept_heads: int
    size: int
    room: int  # positions of each text's own memory
    shared_room: int = 0  # of the memory that all share; 0: there is none
    kept: DType = dtypes.float32  # one of `KEPT`: of keys and values

    @property
    def rows(self) -> int:
        return self.texts * self.tokens

    @property
    def sizes(self) -> dict[str, int | str]:
        return {
            "ROWS": self.rows,
            "TOKENS": self.tokens,
            "HEADS": self.heads,
            "KEPT_HEADS": self.kept_heads,
            "SIZE": self.size,
            "ROOM": self.room,
            "HALVES": int(self.kept == dtypes.float16),
        }


class Turn(NamedTuple):
    """How products become queries and keys."""

    norm: str = "none"  # of each "head", or of the "whole"
    eps: float = 0.0
    rotated: int = 0  # the first numbers of a head


def turn(heads: Heads, how: Turn, threads: int = THREADS) -> Kernel:
    """The norm and the rotation of queries and keys, and the store of keys and values."""
    read = [Parameter("products", "float"), Parameter("rows", "int")]
    if how.norm != "none":
        read += [Parameter("q_gain", "float"), Parameter("k_gain", "float")]
    if how.rotated:
        read += [Parameter("cosines", "float"), Parameter("sines", "float")]
    written = Parameter("queries", "float"), Parameter("own", KEPT[heads.kept][0])
    sizes = heads.sizes | {"NORM": _NORMS[how.norm], "WHOLE": _NORMS["whole"]}
    sizes |= {"EPS": as_float(how.eps), "ROTATED": how.rotated}
    groups = (heads.heads + 2 * heads.kept_heads, heads.rows, 1)
    name = _name("turn", threads, heads, how)
    return Kernel(name, written, tuple(read), groups, threads, text("turn"), text("kept"), sizes)


def attend(heads: Heads, by: Weighting, how: Attending) -> Kernel:
    """The scores and mixed values of each part of the memories."""
    four = KEPT[heads.kept][1]
    read = [Parameter("q", "float"), Parameter("rows", "int"), Parameter("own", four)]
    read += [Parameter("shared", four)] if heads.shared_room else []
    repeats = heads.heads // heads.kept_heads
    queries = min(how.queries, 1 << (heads.rows * repeats - 1).bit_length())
    shared = -(-heads.rows * repeats // queries) if heads.shared_room else 0
    own = heads.texts * -(-heads.tokens * repeats // queries)
    sizes = _sizes(heads, by, how)
    sizes |= {"QUERIES": queries, "SOME": min(4, queries), "PAIR": min(2, queries)}
    sizes |= {"REPEATS": repeats, "SCALE": as_float(by.scale), "CAP": as_float(by.cap)}
    place = "((({batch}) * {room} + (at)) * KEPT_HEADS + kept) * (SIZE / 4) + (e)"
    of_own = place.format(batch="(ulong)(is_value) * (ROWS / TOKENS) + text", room="ROOM")
    of_shared = place.format(batch="(ulong)(is_value)", room=heads.shared_room)
    memory = f"own[{of_own}]"
    if heads.shared_room:
        memory = f"(is_shared ? shared[{of_shared}] : {memory})"
    sizes["MEMORY(is_value, at, e)"] = f"FOUR_KEPT({memory})"
    written = Parameter("mixed", "float4"), Parameter("found", "float")
    groups = (int(sizes["PARTS"]), heads.kept_heads * max(shared, own), 1)
    name, library = _name("attend", how, heads, by), "\n".join([text("kept"), text("seen")])
    return Kernel(name, written, tuple(read), groups, how.threads, text("attend"), library, sizes)


def combine(heads: Heads, by: Weighting, how: Attending) -> Kernel:
    """One softmax of the parts."""
    read = Parameter("mixed", "float4"), Parameter("found", "float"), Parameter("rows", "int")
    groups = (-(-heads.rows * heads.heads * heads.size // 4 // how.threads), 1, 1)
    name, out = _name("combine", how, heads, by), (Parameter("out", "float4"),)
    sizes = _sizes(heads, by, how)
    return Kernel(name, out, read, groups, how.threads, text("combine"), text("seen"), sizes)


def _sizes(heads: Heads, by: Weighting, how: Attending) -> dict[str, int | str]:
    shared = -(-heads.shared_room // how.positions)
    parts = shared + -(-heads.room // how.positions)
    sizes = heads.sizes | {"SHARED_PARTS": shared, "PARTS": parts, "POSITIONS": how.positions}
    return sizes | {"WINDOW": by.window}


def _name(room: str, *told: Any) -> str:
    return f"{room}_{crc32(repr(told).encode()):x}"


def read_memories(
    products: Tensor,
    own: Tensor,
    shared: Tensor | None,
    read: Sequence[Tensor],
    heads: Heads,
    how: Turn,
    by: Weighting,
) -> Tensor:
    """Attention of products (texts, tokens, queries, keys and values) -> (texts, tokens, H E).

    The keys and values are kept in `own`; `shared` is the memory of all texts. `read` is what else
    `turn` reads, of which the first is `rows`.
    """
    dialect = str(gpu.dialect_of(str(products.device)))
    splits = attention_for(dialect, heads.shared_room + heads.room)
    parts = heads.rows * heads.heads * int(_sizes(heads, by, splits)["PARTS"])

    def empty(*shape: int) -> Tensor:
        return Tensor.invalids(*shape, dtype=dtypes.float32, device=products.device)

    queries = empty(heads.rows, heads.heads, heads.size)
    queries, own = gpu.call(turn(heads, how), [queries, own], [products, *read])
    rows, memories = read[0], [own] if shared is None else [own, shared]
    written = [empty(parts, heads.size), empty(parts, 2)]
    mixed, found = gpu.call(attend(heads, by, splits), written, [queries, rows, *memories])
    out = empty(heads.texts, heads.tokens, heads.heads * heads.size)
    return gpu.call(combine(heads, by, splits), [out], [mixed, found, rows])[0]
