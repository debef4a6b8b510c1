"""What keys and values are kept as, and the formula of each. Knows no device and no cache."""

import numpy as np
from tinygrad import Tensor, dtypes
from tinygrad.dtype import DType

KV_DTYPES = ("float32", "float16", "int8")  # of keys and values; all that is reckoned stays float32
SCALED = 32  # numbers that have one scale; in cpu/c/kept.c
LARGEST_HALF = 65504.0  # kept for what is beyond it
NEGLIGIBLE = 1e-30  # a scale below it makes zeros


def kept_size(E: int, kv_dtype: str) -> int:
    """How many numbers of that dtype a head of E numbers takes.

    As int8 a scale for each 32 of them follows, the upper half of a float32.

    >>> kept_size(64, "float16"), kept_size(64, "int8")
    (64, 68)
    """
    return E + 2 * -(-E // SCALED) if kv_dtype == "int8" else E


def kept_bytes(E: int, kv_dtype: str) -> int:
    return kept_size(E, kv_dtype) * np.dtype(kv_dtype).itemsize


def rounded(x: Tensor) -> Tensor:
    """Queries or activations in 8 bits, as floats: 32 of the last axis have one scale."""
    parts, size = _parts(x), x.shape[-1]
    most = parts.abs().max(-1, keepdim=True)
    inverse = (most > NEGLIGIBLE).where(127 / most, 0)
    return ((parts * inverse).round() * (most / 127)).flatten(-2)[..., :size]


def _parts(x: Tensor) -> Tensor:
    """(..., size) -> (..., parts, SCALED), filled up with zeros."""
    count = -(-int(x.shape[-1]) // SCALED)
    padding = (0, count * SCALED - int(x.shape[-1]))
    return x.float().pad((*[None] * (x.ndim - 1), padding)).unflatten(-1, (count, SCALED))


def narrow(x: Tensor, kept: DType) -> Tensor:
    """Heads (..., E) as they are kept: (..., E), or of int8 (..., E and 2 for each scale)."""
    if kept == dtypes.float16:
        x = (x > LARGEST_HALF).where(LARGEST_HALF, x)
        x = (x < -LARGEST_HALF).where(-LARGEST_HALF, x)
    if kept != dtypes.int8:
        return x.cast(kept)
    parts = _parts(x)
    # Rounded up, so that nothing is beyond 127 times it.
    bits = ((parts.abs().max(-1) / 127).bitcast(dtypes.uint32) + 0xFFFF) >> 16
    scale = (bits << 16).bitcast(dtypes.float32)
    inverse = (scale > NEGLIGIBLE).where(1 / scale, 0)
    whole = (parts * inverse.unsqueeze(-1)).round().cast(dtypes.int8)
    whole = whole.flatten(-2)[..., : x.shape[-1]]
    octets = Tensor.stack(bits & 0xFF, bits >> 8, dim=-1).flatten(-2).cast(dtypes.uint8)
    return whole.cat(octets.bitcast(dtypes.int8), dim=-1)


def widen(kept: Tensor, E: int) -> Tensor:
    """What kept heads stand for: float32 (..., E), or halves as they are."""
    if kept.dtype != dtypes.int8:
        return kept
    octets = kept[..., E:].bitcast(dtypes.uint8).cast(dtypes.uint32)
    scale = (octets[..., 0::2] << 16 | octets[..., 1::2] << 24).bitcast(dtypes.float32)
    return kept[..., :E].float() * scale.repeat_interleave(SCALED, -1)[..., :E]
