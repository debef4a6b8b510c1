"""Four bits, for each 32 weights a scale and a minimum of six bits, and for all 256 one of each."""

from edifice_tt.nn.formats.format import Format, WholeNumbers

# The first 4 of 8 scales are the lower 6 bits of bytes 4 to 7. Of the last 4 the lower 4 bits are
# the lower halves of bytes 12 to 15; the upper 2 stand above the first. Likewise minima: from byte
# 8 on, and in the upper halves.
SCALE = """HALF_AT(0) * CONVERT(s < 8 ? WORD(4) >> s / 2 % 4 * 8 & 63
  : (WORD(12) >> s / 2 % 4 * 8 & 15) | (WORD(4) >> (s / 2 % 4 * 8 + 2) & 48))"""
MINIMUM = """-HALF_AT(2) * CONVERT(s < 8 ? WORD(8) >> s / 2 % 4 * 8 & 63
  : (WORD(12) >> (s / 2 % 4 * 8 + 4) & 15) | (WORD(8) >> (s / 2 % 4 * 8 + 2) & 48))"""

FORMAT = Format(
    name="Q4_K",
    ggml_type=12,
    weights=256,
    bytes=144,
    scales=(0, 4),
    whole_numbers=WholeNumbers(
        "BYTES(16 + s / 4 * 32 + s % 2 * 16) >> s / 2 % 2 * 4 & 15",
        bits=4,
        scale=SCALE,
        minimum=MINIMUM,
    ),
)
