"""As Q4_K, with a fifth bit: one byte holds that of 8 weights, 32 from each to the next."""

from edifice_tt.nn.formats.format import Format, WholeNumbers
from edifice_tt.nn.formats.q4_k import MINIMUM, SCALE

FORMAT = Format(
    name="Q5_K",
    ggml_type=13,
    weights=256,
    bytes=176,
    scales=(0, 4),
    whole_numbers=WholeNumbers(
        "(BYTES(48 + s / 4 * 32 + s % 2 * 16) >> s / 2 % 2 * 4 & 15)"
        " | (SHIFTED(BYTES(16 + s % 2 * 16), 4 - s / 2) & 16)",
        bits=5,
        scale=SCALE,
        minimum=MINIMUM,
    ),
)
