"""The block formats in NumPy, from their definition in ggml, one weight at a time.

Shares no line with the library. Weights are read as whole numbers, scales and minima for each 16.
"""

import numpy as np
import pytest

# Weights and bytes of a block, where its scales (floats of 16 bits) stand, and what they are.
SIZES = {
    "F16": (32, 64),
    "BF16": (32, 64),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "IQ4_NL": (32, 18),
    "IQ4_XS": (256, 136),
    "MXFP4": (32, 17),
}
_MINIMA = ("Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K")
_UNEVEN = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
_FLOATS = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]


def depth_of(kind):
    """Three blocks."""
    return 3 * max(32, SIZES[kind][0])


def scales_at(kind):
    """Where the floats of 16 bits in a block begin and end."""
    ends = {"Q2_K": (80, 84), "Q3_K": (108, 110), "Q6_K": (208, 210)}
    return ends.get(kind, (0, 4 if kind in _MINIMA else 2))


def blocks(rng, kind, columns, depth):
    """Random blocks of a kind in GGUF files (columns, bytes), their scales small and finite."""
    floats = (rng.standard_normal((columns, depth)) / 10).astype(np.float32)
    if kind == "F16":
        return floats.astype(np.float16).view(np.uint8)
    if kind == "BF16":
        return (floats.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    weights, size = SIZES[kind]
    raw = rng.integers(0, 256, (columns, depth // weights, size), dtype=np.uint8)
    if kind == "MXFP4":
        raw[..., 0] = rng.integers(120, 128, raw.shape[:2])
        return raw.reshape(columns, -1)
    start, stop = scales_at(kind)
    size = (*raw.shape[:2], (stop - start) // 2)
    values = rng.choice([-1, 1], size) * rng.uniform(0.05, 0.2, size)
    values /= {32: 1, 256: 1000}[
        weights
    ]  # about 2^-14, below which floats of 16 bits are subnormal
    raw[..., start:stop] = values.astype(np.float16).view(np.uint8)
    return raw.reshape(columns, -1)


def with_scales(raw, kind, scale, minimum, sub):
    """The blocks with these scales instead, and of large blocks each scale within them `sub`."""
    raw = raw.reshape(len(raw), -1, SIZES[kind][1]).copy()
    start, stop = scales_at(kind)
    halves = np.array([scale, minimum], np.float16).view(np.uint8)
    if kind == "MXFP4":
        raw[..., 0] = 128 + int(np.log2(scale))
    else:
        raw[..., start:stop] = halves[: stop - start]
    if kind in ("Q4_K", "Q5_K"):  # sub in all six bits of each scale and minimum
        raw[..., 4:12] = sub & 63 | (sub >> 4 & 3) << 6
        raw[..., 12:16] = sub & 15 | (sub & 15) << 4
    if kind == "Q2_K":
        raw[..., :16] = (sub & 15) * 17
    if kind == "Q3_K":
        raw[..., 96:104] = (sub + 32 & 15) * 17
        raw[..., 104:108] = (sub + 32 >> 4) * 0b01010101
    if kind == "Q6_K":
        raw[..., 192:208] = sub
    if kind == "IQ4_XS":
        raw[..., 2:4] = (sub + 32 >> 4) * 0b01010101
        raw[..., 4:8] = (sub & 15) * 17
    return raw.reshape(len(raw), -1)


def whole_numbers(raw, kind):
    """Scales and minima (columns, sixteens), and whole numbers (columns, sixteens, 16)."""
    size = SIZES[kind][1]
    found = [_block(block, kind) for block in raw.reshape(-1, size)]
    d, m, q = (np.stack(parts) for parts in zip(*found, strict=True))
    return (
        d.reshape(len(raw), -1),
        m.reshape(len(raw), -1),
        q.astype(int).reshape(len(raw), -1, 16),
    )


def floats(raw, kind):
    """The weights (columns, depth), rounded once to float32."""
    if kind == "F16":
        return raw.view(np.float16).astype(np.float32)
    if kind == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    d, m, q = whole_numbers(raw, kind)
    return (q * d[..., None] + m[..., None]).astype(np.float32).reshape(len(raw), -1)


def _block(b, kind):
    """Of one block: scales, minima and numbers of its sixteens, as Python ints and floats."""
    weights = SIZES[kind][0]
    b = [int(byte) for byte in b]

    def half(at):
        return float(np.array(b[at : at + 2], np.uint8).view(np.float16)[0])

    def nibble(at, i):
        return b[at + i % 16] >> i // 16 * 4 & 15

    start, stop = scales_at(kind)
    d, m = half(start), half(stop - 2) if kind in _MINIMA else 0.0
    scales, minima = [d] * (weights // 16), [m] * (weights // 16)
    if kind in ("Q4_0", "Q4_1"):
        q = [nibble(SIZES[kind][1] - 16, i) - 8 * (kind == "Q4_0") for i in range(32)]
    if kind in ("Q5_0", "Q5_1"):
        at = SIZES[kind][1] - 16
        fifth = [b[at - 4 + i // 8] >> i % 8 & 1 for i in range(32)]
        q = [nibble(at, i) + 16 * fifth[i] - 16 * (kind == "Q5_0") for i in range(32)]
    if kind == "Q8_0":
        q = [byte - 256 * (byte > 127) for byte in b[2:]]
    if kind == "IQ4_NL":
        q = [_UNEVEN[nibble(2, i)] for i in range(32)]
    if kind == "MXFP4":
        scales = [2.0 ** (b[0] - 128)] * 2
        q = [_FLOATS[nibble(1, i)] for i in range(32)]
    if kind in ("Q2_K", "Q3_K"):
        at = 16 if kind == "Q2_K" else 32
        q = [b[at + i // 128 * 32 + i % 32] >> i % 128 // 32 * 2 & 3 for i in range(256)]
    if kind == "Q2_K":
        scales, minima = [d * (s & 15) for s in b[:16]], [-m * (s >> 4) for s in b[:16]]
    if kind == "Q3_K":
        q = [low + 4 * (b[i % 32] >> i // 32 & 1) - 4 for i, low in enumerate(q)]
        for j in range(16):
            low, high = b[96 + j % 8] >> j // 8 * 4 & 15, b[104 + j % 4] >> j // 4 * 2 & 3
            scales[j] = d * (low + 16 * high - 32)
    if kind in ("Q4_K", "Q5_K"):
        q = []
        for i in range(256):
            byte = i // 64 * 32 + i % 32
            fifth = b[16 + i % 32] >> i // 32 & 1 if kind == "Q5_K" else 0
            q.append(
                (b[(48 if kind == "Q5_K" else 16) + byte] >> i // 32 % 2 * 4 & 15) + 16 * fifth
            )
        for j in range(16):
            k = j // 2
            if k < 4:
                scale, minimum = b[4 + k] & 63, b[8 + k] & 63
            else:
                scale = b[8 + k] & 15 | b[k] >> 6 << 4
                minimum = b[8 + k] >> 4 | b[4 + k] >> 6 << 4
            scales[j], minima[j] = d * scale, -m * minimum
    if kind == "Q6_K":
        q = []
        for i in range(256):
            part = i % 128 // 32
            low = b[i // 128 * 64 + part % 2 * 32 + i % 32] >> part // 2 * 4 & 15
            q.append(low + 16 * (b[128 + i // 128 * 32 + i % 32] >> 2 * part & 3) - 32)
        scales = [d * (s - 256 * (s > 127)) for s in b[192:208]]
    if kind == "IQ4_XS":
        q = [_UNEVEN[nibble(8 + i // 32 * 16, i % 32)] for i in range(256)]
        for j in range(16):
            k = j // 2
            low, high = b[4 + k // 2] >> k % 2 * 4 & 15, b[2 + k // 4] >> k % 4 * 2 & 3
            scales[j] = d * (low + 16 * high - 32)
    return scales, minima, q


QUICK = ("Q4_1", "Q6_K")  # compiling a kernel for each would take long


def each(kinds, *values):
    """A parameter for each kind of block, with the same further values."""
    slow = pytest.mark.slow
    return [pytest.param(kind, *values, marks=[] if kind in QUICK else slow) for kind in kinds]
